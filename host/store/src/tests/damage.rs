//! Files that are not what they were: said which, kept, and the rest runs.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use taskhost_core::ports::{HistoryBatch, Store, UnitState};

use super::*;
use crate::OpenError;

async fn stored(dir: &Path) {
    let store = open(dir);
    store.commit(vec![add(1, "one")]).await.expect("added");
    store.commit(vec![add(2, "two")]).await.expect("added");
    let state = UnitState { log_seq: 7, ..UnitState::default() };
    store
        .record(Arc::new(HistoryBatch { states: vec![(1, state)], ..HistoryBatch::default() }))
        .await
        .expect("recorded");
    close(store).await;
}

fn overwrite(file: &Path, at: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(file).expect("opens").write_all_at(bytes, at).expect("writes");
}

/// All pages but the first, which has the schema.
fn overwrite_pages(file: &Path) {
    let len = fs::metadata(file).expect("a file").len();
    overwrite(file, 4096, &vec![0xa5; len as usize - 4096]);
}

fn refused_as_damaged(dir: &Path) -> String {
    let file = dir.join("definitions.db");
    let before = fs::read(&file).expect("a file");
    let refused = SqliteStore::open(dir).expect_err("damaged");
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused:?}");
    assert!(fs::read(&file).expect("is kept") == before);
    refused.to_string()
}

#[tokio::test]
async fn damaged_definitions_are_named_and_kept_and_never_started_without() {
    let dir = temp_dir();
    stored(dir.path()).await;
    let file = dir.path().join("definitions.db");
    overwrite_pages(&file);
    let words = refused_as_damaged(dir.path());
    assert!(words.starts_with(&format!("the definitions in {} are damaged (", file.display())), "{words}");
    assert!(words.ends_with("restore it from a backup, or move it away to start without tasks"), "{words}");

    overwrite(&file, 0, b"not a database at all");
    refused_as_damaged(dir.path());
}

#[tokio::test]
async fn definitions_cut_off_to_nothing_are_damaged_and_not_new() {
    let dir = temp_dir();
    stored(dir.path()).await;
    let file = dir.path().join("definitions.db");
    fs::write(&file, b"").expect("writes");
    assert!(refused_as_damaged(dir.path()).contains("(it is empty)"));

    fs::remove_file(&file).expect("removes");
    Connection::open(&file)
        .expect("opens")
        .execute_batch("PRAGMA journal_mode = wal; CREATE TABLE x (y)")
        .expect("another");
    assert!(refused_as_damaged(dir.path()).contains("(it has no schema)"));
}

#[tokio::test]
async fn definitions_moved_away_begin_anew_without_what_their_log_had() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "one")]).await.expect("added");
    let copy = crashed(dir.path());
    close(store).await;
    fs::remove_file(copy.path().join("definitions.db")).expect("moves away");
    let store = open(copy.path());
    assert_eq!(names(&store), Vec::<String>::new());
    assert!(store.faults().iter().any(|fault| fault.contains("had no database beside it")), "{:?}", store.faults());
    close(store).await;
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let dir = temp_dir();
    stored(dir.path()).await;
    for (file, knows) in [("history.db", 5), ("definitions.db", 2)] {
        let file = dir.path().join(file);
        Connection::open(&file).expect("opens").pragma_update(None, "user_version", 99).expect("a version");
        let refused = SqliteStore::open(dir.path()).expect_err("newer");
        assert!(
            matches!(&refused, OpenError::NewerSchema { file: named, found: 99, known } if *named == file && *known == knows),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_definition_that_does_not_parse_is_told_and_kept_and_the_rest_runs() {
    let dir = temp_dir();
    stored(dir.path()).await;
    let file = dir.path().join("definitions.db");
    let conn = Connection::open(&file).expect("opens");
    conn.execute("UPDATE tasks SET spec = '{' WHERE name = 'one'", []).expect("updates");
    let store = open(dir.path());
    assert_eq!(names(&store), ["two"]);
    let faults = store.faults();
    assert!(
        faults.len() == 1 && faults[0].starts_with("the task `one` is not run: its definition can't be read ("),
        "{faults:?}"
    );
    close(store).await;
    assert_eq!(conn.query_row("SELECT spec FROM tasks WHERE id = 1", [], |row| row.get(0)), Ok("{".to_owned()));
}

fn set_aside(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.to_string_lossy().contains("history.db.damaged-")).collect()
}

#[tokio::test]
async fn a_damaged_history_is_set_aside_and_the_definitions_run() {
    for damage in [overwrite_pages, |file: &Path| overwrite(file, 0, b"not a database at all")] {
        let dir = temp_dir();
        stored(dir.path()).await;
        damage(&dir.path().join("history.db"));
        let damaged = fs::read(dir.path().join("history.db")).expect("a file");
        let store = open(dir.path());
        assert_eq!(names(&store), ["one", "two"]);
        assert_eq!(load(&store).tasks[0].state, UnitState::default());
        let aside = set_aside(dir.path());
        assert_eq!(aside.len(), 1);
        assert!(fs::read(&aside[0]).expect("is kept") == damaged);
        let faults = store.faults();
        assert!(
            faults.len() == 1 && faults[0].ends_with(&format!("the file was kept as {}", aside[0].display())),
            "{faults:?}"
        );
        store
            .record(Arc::new(HistoryBatch { states: vec![(1, UnitState::default())], ..HistoryBatch::default() }))
            .await
            .expect("recorded");
        close(store).await;
    }
}

#[tokio::test]
async fn a_history_found_damaged_while_running_is_set_aside_then() {
    let dir = temp_dir();
    stored(dir.path()).await;
    let store = open(dir.path());
    let state = UnitState { log_seq: 8, ..UnitState::default() };
    let batch = HistoryBatch { states: vec![(1, state.clone())], ..HistoryBatch::default() };
    store.record(Arc::new(batch.clone())).await.expect("recorded");
    store.read_logs(1, 0, 10).await.expect("a reader that is connected");
    // Into the log, and with it out of the page cache, so that the next batch reads from the file.
    Connection::open(dir.path().join("history.db"))
        .expect("opens")
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .expect("checkpoints");
    Connection::open(dir.path().join("history.db"))
        .expect("opens")
        .execute_batch("CREATE TABLE other (x); DROP TABLE other; PRAGMA wal_checkpoint(TRUNCATE);")
        .expect("changes the file, so that the writer's page cache is dropped");
    overwrite_pages(&dir.path().join("history.db"));

    store.record_starts(vec![start(1, 10)]).await.expect("recorded in a new one");
    assert_eq!(set_aside(dir.path()).len(), 1);
    store.record(Arc::new(batch)).await.expect("recorded in the same");
    assert_eq!(set_aside(dir.path()).len(), 1);
    let loaded = load(&store).tasks.remove(0);
    assert_eq!((loaded.state, loaded.starts), (state, vec![start(1, 10).run]));
    store.read_logs(1, 0, 10).await.expect("a reader of the new one");
    assert_eq!(store.faults().len(), 1, "{:?}", store.faults());
    close(store).await;
}

#[tokio::test]
async fn a_state_that_does_not_decode_begins_anew_and_is_told() {
    let dir = temp_dir();
    stored(dir.path()).await;
    let conn = Connection::open(dir.path().join("history.db")).expect("opens");
    conn.execute("UPDATE unit_state SET state = x'ff'", []).expect("updates");
    drop(conn);
    let store = open(dir.path());
    assert_eq!(load(&store).tasks[0].state, UnitState::default());
    assert!(store.faults()[0].starts_with("the counters and last runs of task 0000000000000001 begin anew"));
    close(store).await;
}
