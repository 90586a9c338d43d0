//! Changes of definitions: durable when answered, whole or not at all, each call alone in failing.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use rusqlite::Connection;
use taskhost_core::ports::{Store, StoreError};
use tokio::task::JoinSet;

use super::*;
use crate::OpenError;
use crate::definitions::{MANY_TASKS, WAL_BYTES};

#[tokio::test]
async fn what_was_answered_is_there_after_a_crash() {
    let dir = temp_dir();
    let store = open(dir.path());
    let kept = definition(u64::MAX, "kept");
    store.commit(vec![add(kept.id, "kept")]).await.expect("added");
    store.commit(vec![add(2, "gone")]).await.expect("added");
    store.commit(vec![edit(&kept, &["new"])]).await.expect("edited");
    store.commit(vec![delete(2, "gone", 2)]).await.expect("deleted");

    let copy = crashed(dir.path());
    let found = only_task(&open(copy.path()));
    assert_eq!(found.definition.spec.args, ["new"]);
    assert_eq!(found.definition, Definition { revision: 2, spec: Arc::clone(&found.definition.spec), ..kept });
    close(store).await;
}

#[tokio::test]
async fn a_closed_store_opens_with_the_same_definitions_in_order_of_name() {
    let dir = temp_dir();
    let store = open(dir.path());
    for (id, text) in [(1, "b"), (2, "c"), (3, "a")] {
        store.commit(vec![add(id, text)]).await.expect("added");
    }
    let before: Vec<_> = load(&store).tasks.into_iter().map(|task| task.definition).collect();
    assert_eq!(before, [definition(3, "a"), definition(1, "b"), definition(2, "c")]);
    close(store).await;
    assert!(!dir.path().join("definitions.db-wal").exists(), "all is in one file");

    let store = open(dir.path());
    assert_eq!(load(&store).tasks.into_iter().map(|task| task.definition).collect::<Vec<_>>(), before);
    assert_eq!(store.faults(), Vec::<String>::new());
    close(store).await;
}

#[tokio::test]
async fn so_many_tasks_that_threads_share_them_are_loaded_in_order_of_name_too() {
    let dir = temp_dir();
    let store = open(dir.path());
    let count = u64::from(MANY_TASKS) + 1;
    // Ids from end to end, so that each thread has some, and names the other way round.
    let adds = (0..count).map(|at| add(at * (u64::MAX / count), &format!("task-{:04}", count - 1 - at)));
    store.commit(adds.collect()).await.expect("added");
    assert_eq!(names(&store), (0..count).map(|at| format!("task-{at:04}")).collect::<Vec<_>>());
    close(store).await;
}

#[tokio::test]
async fn a_thousand_changes_at_once_are_all_answered() {
    let dir = temp_dir();
    let store = open(dir.path());
    let mut changes = JoinSet::new();
    for id in 0..1000 {
        changes.spawn(store.commit(vec![add(id, &format!("task-{id:04}"))]));
    }
    while let Some(answer) = changes.join_next().await {
        answer.expect("no panic").expect("added");
    }
    let copy = crashed(dir.path());
    assert_eq!(names(&open(copy.path())), (0..1000).map(|id| format!("task-{id:04}")).collect::<Vec<_>>());
    close(store).await;
}

#[tokio::test]
async fn of_a_hundred_adds_of_one_name_one_succeeds_and_the_rest_fail_alone() {
    let dir = temp_dir();
    let store = open(dir.path());
    let mut changes = JoinSet::new();
    for id in 0..100 {
        changes.spawn(store.commit(vec![add(id, "same")]));
        changes.spawn(store.commit(vec![add(1000 + id, &format!("own-{id}"))]));
    }
    let mut refused = Vec::new();
    while let Some(answer) = changes.join_next().await {
        refused.extend(answer.expect("no panic").err().map(|error| error.to_string()));
    }
    assert_eq!(refused, vec!["a task named `same` is stored already"; 99]);
    assert_eq!(names(&store).len(), 101);
    close(store).await;
}

#[tokio::test]
async fn a_change_that_contradicts_what_is_stored_is_refused_and_leaves_nothing() {
    let dir = temp_dir();
    let store = open(dir.path());
    let first = definition(1, "first");
    store.commit(vec![add(1, "first")]).await.expect("added");
    let stale = Definition { revision: 7, ..first.clone() };
    for (refused, words) in [
        (add(1, "other"), "the id of the new task `other` is taken"),
        (edit(&stale, &[]), "no task `first` with revision 7 is stored"),
        (edit(&definition(2, "none"), &[]), "no task `none` with revision 1 is stored"),
        (delete(2, "none", 1), "no task `none` with this id is stored"),
        (delete(1, "other", 1), "no task `other` with this id is stored"),
    ] {
        assert_eq!(store.commit(vec![refused]).await.expect_err("contradicts").to_string(), words);
    }
    close(store).await;
    let conn = Connection::open(dir.path().join("definitions.db")).expect("opens");
    let revisions = conn.query_row("SELECT count(*) FROM revisions", [], |row| row.get(0));
    assert_eq!(revisions, Ok(1));
}

#[tokio::test]
async fn the_log_is_grown_at_start_and_written_over_from_its_beginning() {
    let dir = temp_dir();
    let store = open(dir.path());
    let log = dir.path().join("definitions.db-wal");
    let mut changes = JoinSet::new();
    // Far more than the log holds.
    let args = "x".repeat(16 << 10);
    let mut last: Vec<_> = (0..8).map(|id| definition(id, &format!("task-{id}"))).collect();
    for definition in &last {
        store.commit(vec![add(definition.id, definition.name.as_str())]).await.expect("added");
    }
    let grown = fs::metadata(&log).expect("a log").len();
    assert!(grown >= WAL_BYTES, "{grown}");
    for _ in 0..100 {
        for definition in &mut last {
            changes.spawn(store.commit(vec![edit(definition, &[&args])]));
            definition.revision += 1;
        }
        while let Some(answer) = changes.join_next().await {
            answer.expect("no panic").expect("edited");
        }
    }
    assert_eq!(fs::metadata(&log).expect("a log").len(), grown);
    close(store).await;
}

#[tokio::test]
async fn a_second_daemon_is_refused_with_the_directory_and_the_pid_of_the_first() {
    let dir = temp_dir();
    let store = open(dir.path());
    let refused = SqliteStore::open(dir.path()).expect_err("in use");
    assert!(matches!(refused, OpenError::InUse { .. }));
    assert_eq!(
        refused.to_string(),
        format!(
            "the data directory {} is in use by another daemon, process {}",
            dir.path().display(),
            std::process::id()
        )
    );
    store.close().await.expect("closes");
    close(open(dir.path())).await;
}

#[tokio::test]
async fn a_definition_that_has_its_name_in_it_is_read_as_one_without() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "a"), add(2, "b")]).await.expect("added");
    let (revisions, tasks) = (store.revisions(1, 10).await.expect("revisions"), load(&store).tasks);
    store.close().await.expect("closes");
    let conn = Connection::open(dir.path().join("definitions.db")).expect("opens");
    for change in [
        "UPDATE tasks SET spec = json_set(spec, '$.name', name)",
        "UPDATE revisions SET spec = json_set(spec, '$.name', 'a')",
        "PRAGMA user_version = 1",
    ] {
        conn.execute_batch(change).expect("as version 1 wrote it");
    }
    drop(conn);
    let store = open(dir.path());
    let definitions = |tasks: Vec<LoadedTask>| tasks.into_iter().map(|task| task.definition).collect::<Vec<_>>();
    let read = definitions(load(&store).tasks);
    assert!(Arc::ptr_eq(&read[0].spec, &read[1].spec), "what is the same is read once");
    assert_eq!(read, definitions(tasks));
    assert_eq!(store.revisions(1, 10).await.expect("revisions"), revisions);
    close(store).await;
}

#[tokio::test]
async fn nothing_is_taken_after_closing() {
    let dir = temp_dir();
    let store = open(dir.path());
    let pending = store.commit(vec![add(1, "late")]);
    store.close().await.expect("closes");
    assert!(matches!(pending.await, Err(StoreError::Closed)));
    assert!(matches!(store.record(Default::default()).await, Err(StoreError::Closed)));
    assert!(matches!(store.record_starts(vec![]).await, Err(StoreError::Closed)));
    assert!(matches!(store.read_logs(1, 0, 1).await, Err(StoreError::Closed)));
    assert!(matches!(store.host_runs(at(0), at(1)).await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn only_the_owner_may_read_a_data_directory() {
    let dir = temp_dir();
    let data = dir.path().join("made/here");
    let store = open(&data);
    store.commit(vec![add(1, "a")]).await.expect("added");
    store.record(Default::default()).await.expect("recorded");
    let mode = |path: &str| fs::metadata(data.join(path)).expect("is there").permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("plugins")), (0o700, 0o700));
    for file in ["definitions.db", "definitions.db-wal", "history.db", "lock"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    close(store).await;
}
