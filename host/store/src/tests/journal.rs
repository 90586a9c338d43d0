//! What is kept of tasks that tick: states, and patches that bring them up to date.

use std::sync::Arc;

use rusqlite::Connection;
use taskhost_core::outcome::Counts;
use taskhost_core::patch::{Patch, Rest};
use taskhost_core::ports::{HistoryBatch, JournalEntry, Store, UnitState};

use super::*;

/// A task that succeeded each second since the first.
fn state(last: i64, journal: u64) -> UnitState {
    let mut counts = Counts::default();
    counts.add(Outcome::Success, last.cast_unsigned());
    UnitState {
        counts,
        last_runs: vec![span(1, last)],
        last_success: Some(at(last)),
        accounted: at(last),
        rested_since: Some(at(last)),
        scheduled_runs: last.cast_unsigned(),
        journal,
        ..UnitState::default()
    }
}

/// What says so of a state of an earlier second.
fn patch(last: i64) -> Patch {
    let times = last.cast_unsigned();
    Patch {
        due: at(last),
        lateness_us: Some(7),
        took_us: 8,
        times,
        took_total_us: 9,
        took_max_us: 10,
        lateness_max_us: 11,
        successes: times,
        accounted: at(last),
        rest: Rest::Since(at(last)),
        scheduled_runs: times,
        log_seq: 0,
        log_lost: 0,
    }
}

/// The patches of tasks after so many seconds each, and where the journal goes on after them.
fn entry(start: u64, patches: &[(TaskId, i64)]) -> (JournalEntry, u64) {
    let mut bytes = Vec::new();
    patches.iter().for_each(|(task, last)| patch(*last).encode(*task, &mut bytes));
    let end = start + bytes.len() as u64;
    (JournalEntry { start, patches: bytes.into() }, end)
}

fn batch(states: Vec<(TaskId, UnitState)>, journal: Vec<JournalEntry>) -> HistoryBatch {
    HistoryBatch { states, journal, ..HistoryBatch::default() }
}

/// After how many seconds each task is found.
fn seconds(loaded: &Loaded) -> Vec<i64> {
    let second = |task: &LoadedTask| {
        let expected = state(task.state.accounted.0.max(0) / 1_000_000_000, task.state.journal);
        assert_eq!(task.state, expected);
        task.state.scheduled_runs.cast_signed()
    };
    loaded.tasks.iter().map(second).collect()
}

async fn with_tasks(dir: &Path, tasks: &[(TaskId, &str)]) -> SqliteStore {
    let store = open(dir);
    store.commit(tasks.iter().map(|(id, name)| add(*id, name)).collect()).await.expect("added");
    store
}

#[tokio::test]
async fn states_are_brought_up_to_date_by_the_newest_patches_after_them() {
    let dir = temp_dir();
    let store = with_tasks(dir.path(), &[(1, "a"), (2, "b"), (u64::MAX, "c")]).await;
    let (first, next) = entry(0, &[(1, 5), (2, 5), (1, 6), (u64::MAX, 4)]);
    let (second, end) = entry(next, &[(1, 7), (u64::MAX, 9)]);
    let states = vec![(1, state(3, 0)), (2, state(3, 0)), (u64::MAX, state(3, 0))];
    store.record(Arc::new(batch(states, vec![first]))).await.expect("recorded");
    store.record(Arc::new(batch(vec![(2, state(8, next))], vec![second]))).await.expect("recorded");
    let copy = crashed(dir.path());
    let loaded = load(&open(copy.path()));
    assert_eq!(seconds(&loaded), [7, 8, 9]);
    assert_eq!(loaded.journal, end, "the journal goes on behind what is there");
    close(store).await;
}

#[tokio::test]
async fn of_one_entry_those_after_a_state_count_and_those_before_it_do_not() {
    let dir = temp_dir();
    let store = with_tasks(dir.path(), &[(1, "a"), (2, "b")]).await;
    let (_, middle) = entry(0, &[(1, 5), (2, 5)]);
    let (entry, _) = entry(0, &[(1, 5), (2, 5), (2, 7)]);
    // Both states have more than a patch says, of which nobody would know if it was put upon them.
    let more = |seconds| UnitState { backfills: 3, ..state(seconds, middle) };
    store.record(Arc::new(batch(vec![(1, more(4)), (2, more(4))], vec![entry]))).await.expect("recorded");
    let tasks = load(&store).tasks;
    assert_eq!(tasks[0].state, more(4));
    assert_eq!(tasks[1].state, more(7));
    close(store).await;
}

#[tokio::test]
async fn patches_of_tasks_without_a_state_are_nobodys() {
    let dir = temp_dir();
    let store = with_tasks(dir.path(), &[(1, "a")]).await;
    store.record(Arc::new(batch(vec![], vec![entry(0, &[(1, 5), (2, 5)]).0]))).await.expect("recorded");
    assert_eq!(load(&store).tasks[0].state, UnitState::default());
    assert_eq!(store.faults(), Vec::<String>::new());
    close(store).await;
}

#[tokio::test]
async fn a_damaged_entry_is_told_and_the_others_count() {
    let dir = temp_dir();
    for damage in ["patches = x'00'", "format = 99"] {
        let store = with_tasks(dir.path(), &[(1, "a"), (2, "b")]).await;
        let (first, next) = entry(0, &[(1, 5), (2, 5)]);
        let (second, last) = entry(next, &[(1, 6), (2, 6)]);
        let (third, _) = entry(last, &[(2, 7)]);
        let states = vec![(1, state(3, 0)), (2, state(3, 0))];
        store.record(Arc::new(batch(states, vec![first, second, third]))).await.expect("recorded");
        let copy = crashed(dir.path());
        let conn = Connection::open(copy.path().join("history.db")).expect("opens");
        conn.execute(&format!("UPDATE journal SET {damage} WHERE start = ?1"), [next.cast_signed()]).expect("damaged");
        let damaged = open(copy.path());
        assert_eq!(seconds(&load(&damaged)), [5, 7]);
        let faults = damaged.faults();
        assert!(faults.len() == 1 && faults[0].contains("the journal of it can't be read ("), "{faults:?}");
        close(damaged).await;
        store.commit(vec![delete(1, "a", 2), delete(2, "b", 2)]).await.expect("deleted");
        close(store).await;
        std::fs::remove_file(dir.path().join("history.db")).expect("removed");
    }
}

#[tokio::test]
async fn a_history_that_is_begun_anew_says_so() {
    let dir = temp_dir();
    let store = with_tasks(dir.path(), &[(1, "a")]).await;
    store.record(Arc::new(batch(vec![(1, state(3, 0))], vec![]))).await.expect("recorded");
    assert_eq!(store.histories(), 0);
    let file = dir.path().join("history.db");
    let conn = Connection::open(&file).expect("opens");
    conn.execute_batch("CREATE TABLE x (y); DROP TABLE x; PRAGMA wal_checkpoint(TRUNCATE)").expect("written");
    drop(conn);
    std::fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .and_then(|file| std::os::unix::fs::FileExt::write_all_at(&file, b"not a database at all", 0))
        .expect("damaged");
    store.record(Arc::new(batch(vec![(1, state(4, 0))], vec![]))).await.expect("recorded in a new one");
    assert_eq!(store.histories(), 1);
    close(store).await;
}
