//! Keys and values: durable when answered, counted, each task's own, and never lost silently.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use taskhost_core::key_value::{KeyValueAnswer, KeyValueChange, KeyValueError, KeyValueUsage, MAX_KEY_BYTES};
use taskhost_core::ports::Store;

use super::*;
use crate::OpenError;

const QUOTA_BYTES: u64 = 1 << 20;

fn set_to(key: &str, value: impl Into<Bytes>) -> KeyValueChange {
    KeyValueChange::Write { set: vec![(key.to_owned(), value.into())], delete: Vec::new() }
}

async fn set(store: &SqliteStore, task: TaskId, key: &str, value: &str) {
    let answer = store.key_values().change(task, set_to(key, value.to_owned()), QUOTA_BYTES).await.expect("set");
    assert_eq!(answer, KeyValueAnswer::Written { removed: 0 });
}

async fn get(store: &SqliteStore, task: TaskId, key: &str) -> Option<String> {
    let value = store.key_values().get(task, key.to_owned()).await.expect("readable");
    value.map(|value| String::from_utf8(value.into()).expect("text"))
}

async fn keys(store: &SqliteStore, task: TaskId) -> Vec<(String, u64)> {
    store.key_values().list(task, None, 100).await.expect("readable")
}

/// What is counted, after it was held against what is there.
async fn usage(store: &SqliteStore, task: TaskId) -> KeyValueUsage {
    let usage = store.key_values().usage(task).await.expect("readable");
    let keys = keys(store, task).await;
    let bytes = keys.iter().map(|(key, value_bytes)| key.len() as u64 + value_bytes).sum();
    assert_eq!(usage, KeyValueUsage { keys: keys.len() as u64, bytes });
    usage
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_crash_and_belongs_to_its_task_alone() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "one"), add(2, "two")]).await.expect("added");
    set(&store, 1, "k", "of one").await;
    set(&store, 2, "k", "of two").await;
    set(&store, u64::MAX - 1, "k", "an id with its highest bit").await;
    assert_eq!(get(&store, 1, "k").await.as_deref(), Some("of one"), "read as soon as it is written");
    let copy = crashed(dir.path());
    close(store).await;
    let store = open(copy.path());
    assert_eq!(get(&store, 1, "k").await.as_deref(), Some("of one"));
    assert_eq!(get(&store, 2, "k").await.as_deref(), Some("of two"));
    assert_eq!(get(&store, 3, "k").await, None);
    close(store).await;
}

#[tokio::test]
async fn every_change_counts_what_it_adds_and_takes_away() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "one")]).await.expect("added");
    let kv = store.key_values();
    let change = async |change| kv.change(1, change, 20).await;
    set(&store, 1, "ab", "12345").await;
    set(&store, 1, "ab", "1").await;
    assert_eq!(usage(&store, 1).await, KeyValueUsage { keys: 1, bytes: 3 });
    let both = KeyValueChange::Write {
        set: vec![("ü\0".to_owned(), "22".into()), ("b".to_owned(), "333".into())],
        delete: vec!["ab".to_owned(), "never there".to_owned()],
    };
    assert_eq!(change(both).await.expect("fits"), KeyValueAnswer::Written { removed: 1 });
    assert_eq!(usage(&store, 1).await, KeyValueUsage { keys: 2, bytes: 9 });
    let refused = change(set_to("c", vec![0; 11])).await.expect_err("21 bytes");
    assert!(matches!(refused, KeyValueError::Quota { needed_bytes: 21, quota_bytes: 20 }), "{refused:?}");
    assert_eq!(usage(&store, 1).await.bytes, 9);
    change(set_to("c", vec![0; 10])).await.expect("20 bytes");
    let smaller = kv.change(1, set_to("c", vec![0; 9]), 1).await;
    assert!(smaller.is_ok(), "less than before, though the quota came down: {smaller:?}");
    let add = |by| KeyValueChange::Increment { key: "n".to_owned(), by };
    assert!(matches!(kv.change(1, add(1), 19).await, Err(KeyValueError::Quota { .. })));
    assert_eq!(kv.change(1, add(7), 30).await.expect("fits"), KeyValueAnswer::Number(7));
    assert_eq!(kv.change(1, add(-17), 30).await.expect("fits"), KeyValueAnswer::Number(-10));
    assert_eq!(kv.change(1, KeyValueChange::Clear, 0).await.expect("clears"), KeyValueAnswer::Written { removed: 4 });
    assert_eq!(usage(&store, 1).await, KeyValueUsage::default());
    close(store).await;
}

#[tokio::test]
async fn a_swap_needs_the_value_that_was_expected() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "one")]).await.expect("added");
    let swap = async |expected: Option<&'static str>, value: &'static str| {
        let change =
            KeyValueChange::Swap { key: "k".to_owned(), expected: expected.map(Into::into), value: value.into() };
        store.key_values().change(1, change, QUOTA_BYTES).await.expect("an answer")
    };
    assert_eq!(swap(Some("1"), "2").await, KeyValueAnswer::NotSwapped(None));
    assert_eq!(swap(None, "1").await, KeyValueAnswer::Swapped);
    assert_eq!(swap(None, "2").await, KeyValueAnswer::NotSwapped(Some("1".into())));
    assert_eq!(swap(Some("1"), "2").await, KeyValueAnswer::Swapped);
    close(store).await;
}

#[tokio::test]
async fn keys_are_listed_in_the_order_of_their_bytes_a_page_at_a_time() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "one")]).await.expect("added");
    let longest = "k".repeat(MAX_KEY_BYTES);
    for key in ["b", "ä", "a", "a\0b", &longest, "Z"] {
        set(&store, 1, key, key).await;
    }
    let list = async |after: Option<&str>, limit| {
        let page = store.key_values().list(1, after.map(str::to_owned), limit).await.expect("readable");
        page.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 100).await, ["Z", "a", "a\0b", "b", &longest, "ä"]);
    assert_eq!(list(Some("a"), 2).await, ["a\0b", "b"]);
    assert_eq!(list(Some("not there"), 100).await, ["ä"]);
    for key in ["", &"k".repeat(MAX_KEY_BYTES + 1)] {
        let refused = store.key_values().change(1, set_to(key, ""), QUOTA_BYTES).await;
        assert!(matches!(refused, Err(KeyValueError::Key(_))), "{refused:?}");
    }
    close(store).await;
}

#[tokio::test]
async fn changes_that_come_at_once_share_commits_and_none_is_lost() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "one")]).await.expect("added");
    let kv = store.key_values();
    let adding = (0..500).map(|_| {
        let kv = Arc::clone(&kv);
        let change = KeyValueChange::Increment { key: "n".to_owned(), by: 1 };
        tokio::spawn(async move { kv.change(1, change, QUOTA_BYTES).await })
    });
    for added in adding.collect::<Vec<_>>() {
        added.await.expect("no panic").expect("added");
    }
    assert_eq!(get(&store, 1, "n").await.as_deref(), Some("500"));
    close(store).await;
}

#[tokio::test]
async fn keys_go_with_their_task_and_a_new_one_of_its_name_starts_with_none() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "one"), add(2, "two")]).await.expect("added");
    for number in 0..1_200 {
        set(&store, 1, &format!("{number}"), "value").await;
    }
    set(&store, 2, "k", "kept").await;
    store.commit(vec![edit(&definition(2, "two"), &["x"])]).await.expect("edited");
    store.commit(vec![delete(1, "one", 2)]).await.expect("deleted");
    let refused = store.key_values().change(1, set_to("k", "late"), QUOTA_BYTES).await;
    assert!(refused.is_err(), "its last run may still go on: {refused:?}");
    store.commit(vec![add(3, "one")]).await.expect("added");
    assert_eq!(keys(&store, 3).await, []);
    close(store).await;
    let store = open(dir.path());
    assert_eq!(usage(&store, 1).await, KeyValueUsage::default());
    assert_eq!(get(&store, 2, "k").await.as_deref(), Some("kept"));
    close(store).await;
}

#[tokio::test]
async fn what_a_deleted_task_left_at_a_crash_goes_at_the_next_start() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "one")]).await.expect("added");
    set(&store, 1, "k", "kept").await;
    // As if the host had died between the deletion of its task and that of its keys.
    set(&store, 2, "k", "left").await;
    close(store).await;
    let store = open(dir.path());
    close(store).await;
    let store = open(dir.path());
    assert_eq!((usage(&store, 1).await.keys, usage(&store, 2).await.keys), (1, 0));
    close(store).await;
}

#[tokio::test]
async fn keys_without_definitions_beside_them_are_set_aside_and_not_removed() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "one")]).await.expect("added");
    set(&store, 1, "k", "dear").await;
    close(store).await;
    fs::remove_file(dir.path().join("definitions.db")).expect("moves away");
    let store = open(dir.path());
    let faults = store.faults();
    assert!(faults.len() == 1 && faults[0].contains("key_values.db had no definitions beside it"), "{faults:?}");
    close(store).await;
    let names = fs::read_dir(dir.path()).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().starts_with("key_values.db.damaged-")).count(), 1);
}

#[tokio::test]
async fn a_damaged_file_is_kept_and_answers_nothing_while_all_else_goes_on() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "one")]).await.expect("added");
    set(&store, 1, "k", &"dear".repeat(10_000)).await;
    close(store).await;
    let file = dir.path().join("key_values.db");
    let length = fs::metadata(&file).expect("a file").len() as usize;
    let damage = |at: usize| {
        let noise = vec![0xa5; length - at];
        OpenOptions::new().write(true).open(&file).expect("opens").write_all_at(&noise, at as u64).expect("writes");
    };
    damage(4096);
    let before = fs::read(&file).expect("a file");
    let store = open(dir.path());
    assert_eq!(names(&store), ["one"]);
    let kv = store.key_values();
    let told = |error: KeyValueError| assert!(error.to_string().contains("are damaged ("), "{error}");
    told(kv.get(1, "k".to_owned()).await.expect_err("damaged"));
    told(kv.list(1, None, 10).await.expect_err("damaged"));
    told(kv.change(1, set_to("k", "new"), QUOTA_BYTES).await.expect_err("damaged"));
    let faults = store.faults();
    assert!(faults.len() == 1 && faults[0].contains("restore it from a backup, or move it away"), "{faults:?}");
    store.commit(vec![add(2, "two")]).await.expect("added all the same");
    close(store).await;
    assert!(fs::read(&file).expect("a file") == before, "kept as it is");
}

#[tokio::test]
async fn a_file_of_a_newer_host_is_refused() {
    let dir = temp_dir();
    close(open(dir.path())).await;
    let conn = rusqlite::Connection::open(dir.path().join("key_values.db")).expect("opens");
    conn.pragma_update(None, "user_version", 99).expect("a version");
    drop(conn);
    let refused = SqliteStore::open(dir.path()).expect_err("newer");
    assert!(matches!(refused, OpenError::NewerSchema { found: 99, .. }), "{refused:?}");
}
