//! States and logs.

use std::sync::Arc;

use rusqlite::Connection;
use taskhost_core::log::LogChunk;
use taskhost_core::outcome::{Counts, Outcome};
use taskhost_core::ports::{HistoryBatch, Store, UnitState};

use super::*;
use crate::{MAX_LOG_AGE, MAX_LOG_BYTES};

fn chunk(task: TaskId, first_seq: u64, lines: u32) -> LogChunk {
    LogChunk {
        task,
        first_seq,
        lines,
        first_time: Time(first_seq.cast_signed()),
        last_time: Time(first_seq.cast_signed() + 1),
        failed: false,
        data: first_seq.to_le_bytes().to_vec(),
    }
}

fn logs(logs: Vec<LogChunk>) -> HistoryBatch {
    HistoryBatch { logs, ..HistoryBatch::default() }
}

fn state(successes: u64) -> UnitState {
    let mut counts = Counts::default();
    counts.add(Outcome::Success, successes);
    UnitState { counts, last_success: Some(Time(3)), log_seq: successes, ..UnitState::default() }
}

async fn seqs(store: &SqliteStore, task: TaskId, after_seq: u64, lines: usize) -> Vec<u64> {
    let chunks = store.read_logs(task, after_seq, lines).await.expect("reads");
    chunks.iter().map(|chunk| chunk.first_seq).collect()
}

#[tokio::test]
async fn the_newest_state_of_each_task_is_loaded_after_a_crash() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "a")]).await.expect("added");
    store.commit(vec![add(u64::MAX, "b")]).await.expect("added");
    let batch = |states| HistoryBatch { states, ..HistoryBatch::default() };
    store.record(Arc::new(batch(vec![(1, state(1)), (u64::MAX, state(2))]))).await.expect("recorded");
    store.record(Arc::new(batch(vec![(1, state(3))]))).await.expect("recorded");
    let copy = crashed(dir.path());
    let states: Vec<_> = load(&open(copy.path())).tasks.into_iter().map(|task| task.state).collect();
    assert_eq!(states, [state(3), state(2)]);
    close(store).await;
}

#[tokio::test]
async fn lines_are_numbered_on_from_the_newest_stored_one_even_if_a_crash_lost_the_state() {
    let dir = temp_dir();
    let store = open(dir.path());
    for (id, name) in [(1, "a"), (2, "b"), (u64::MAX, "c")] {
        store.commit(vec![add(id, name)]).await.expect("added");
    }
    let batch = HistoryBatch {
        states: vec![(2, state(100))],
        logs: vec![chunk(1, 11, 10), chunk(1, 1, 10), chunk(2, 1, 10)],
        ..HistoryBatch::default()
    };
    store.record(Arc::new(batch)).await.expect("recorded");
    store.record(Arc::new(logs(vec![chunk(u64::MAX, 5, 2)]))).await.expect("recorded");
    let copy = crashed(dir.path());
    let seqs: Vec<_> = load(&open(copy.path())).tasks.into_iter().map(|task| task.state.log_seq).collect();
    assert_eq!(seqs, [20, 100, 6]);
    close(store).await;
}

#[tokio::test]
async fn log_chunks_read_back_oldest_first_and_no_more_than_asked_for() {
    let dir = temp_dir();
    let store = open(dir.path());
    let chunks: Vec<_> = [1, 11, 21, 31].map(|seq| chunk(5, seq, 10)).to_vec();
    store.record(Arc::new(logs(vec![chunks[2].clone(), chunks[0].clone(), chunk(6, 1, 1)]))).await.expect("recorded");
    store.record(Arc::new(logs(vec![chunks[3].clone(), chunks[1].clone()]))).await.expect("recorded");

    assert_eq!(store.read_logs(5, 0, 1000).await.expect("reads"), chunks);
    assert_eq!(seqs(&store, 5, 0, 10).await, [31]);
    assert_eq!(seqs(&store, 5, 0, 11).await, [21, 31]);
    assert_eq!(seqs(&store, 5, 19, 1000).await, [11, 21, 31]);
    assert_eq!(seqs(&store, 5, 20, 1000).await, [21, 31]);
    assert_eq!(seqs(&store, 5, 35, 6).await, [31], "part of a chunk is not all that was asked for");
    assert_eq!(seqs(&store, 5, 40, 1000).await, Vec::<u64>::new());
    assert_eq!(seqs(&store, 5, 0, 0).await, Vec::<u64>::new());
    assert_eq!(seqs(&store, 7, 0, 10).await, Vec::<u64>::new());
    close(store).await;
}

/// A line of each of so many tasks.
fn of_many(tasks: u64, seq: u64) -> HistoryBatch {
    let data = b"\0\0\x01x".to_vec();
    logs((1..=tasks).map(|task| LogChunk { data: data.clone(), ..chunk(task, seq, 1) }).collect())
}

#[tokio::test]
async fn lines_of_many_tasks_share_rows_and_are_read_with_those_that_have_their_own() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(7, "a"), add(8, "b")]).await.expect("added");
    store.record(Arc::new(of_many(1000, 1))).await.expect("recorded");
    store.record(Arc::new(of_many(1000, 2))).await.expect("recorded");
    store.record(Arc::new(logs(vec![chunk(7, 3, 10)]))).await.expect("recorded");
    store.record(Arc::new(of_many(1000, 13))).await.expect("recorded");
    assert_eq!(seqs(&store, 7, 0, 100).await, [1, 2, 3, 13]);
    assert_eq!(seqs(&store, 7, 0, 2).await, [3, 13]);
    assert_eq!(seqs(&store, 7, 12, 100).await, [13]);
    assert_eq!(seqs(&store, 8, 0, 100).await, [1, 2, 13]);
    assert_eq!(rows(dir.path())[2], [7], "nothing else has a row of its own");
    let copy = crashed(dir.path());
    let loaded = load(&open(copy.path()));
    assert_eq!(loaded.tasks.iter().map(|task| task.state.log_seq).collect::<Vec<_>>(), [13, 13]);
    close(store).await;
}

#[tokio::test]
async fn lines_that_share_rows_become_chunks_and_stay_readable() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(7, "stays"), add(8, "goes")]).await.expect("added");
    for seq in 1..=530 {
        store.record(Arc::new(of_many(300, seq))).await.expect("recorded");
        if seq == 100 {
            store.commit(vec![delete(8, "goes", 2)]).await.expect("deleted");
        }
        // Around the time when they do, each time.
        if seq < 500 && seq % 50 != 0 {
            continue;
        }
        let chunks = store.read_logs(7, 0, 1000).await.expect("reads");
        let lines: Vec<_> = chunks.iter().flat_map(LogChunk::lines).map(|line| line.seq).collect();
        assert_eq!(lines, (1..=seq).collect::<Vec<_>>());
    }
    close(store).await;
    let chunks = &rows(dir.path())[2];
    assert_eq!(chunks.iter().filter(|task| **task == 7).count(), 1, "one for all that shared rows");
    assert!(!chunks.contains(&8), "what is gone is not brought back");
}

#[tokio::test]
async fn a_log_over_its_quota_loses_its_oldest_lines_and_no_other_task_does() {
    let dir = temp_dir();
    let store = open(dir.path());
    let data = vec![7; 64 << 10];
    let large = |task, seq| LogChunk { data: data.clone(), failed: seq == 2, ..chunk(task, seq, 1) };
    store.record(Arc::new(logs(vec![large(2, 1)]))).await.expect("recorded");
    for seq in 1..=100 {
        store.record(Arc::new(logs(vec![large(1, seq)]))).await.expect("recorded");
    }
    let kept = seqs(&store, 1, 0, usize::MAX).await;
    assert!((kept.len() as u64) << 16 <= MAX_LOG_BYTES, "{kept:?}");
    assert!(kept.len() >= 13, "{kept:?}");
    assert_eq!(kept[0], 2, "a failed run's lines go last");
    assert_eq!(kept[1..], (102 - kept.len() as u64..=100).collect::<Vec<_>>());
    assert_eq!(seqs(&store, 2, 0, usize::MAX).await, [1]);
    close(store).await;
}

#[tokio::test]
async fn a_quota_counts_what_was_there_before_a_restart() {
    let dir = temp_dir();
    let data = vec![7; 64 << 10];
    let large = |seq| LogChunk { data: data.clone(), ..chunk(1, seq, 1) };
    let store = open(dir.path());
    store.commit(vec![add(1, "a")]).await.expect("added");
    store.record(Arc::new(logs((1..=15).map(large).collect()))).await.expect("recorded");
    close(store).await;
    let store = open(dir.path());
    store.record(Arc::new(logs(vec![large(16)]))).await.expect("recorded");
    assert_eq!(seqs(&store, 1, 0, usize::MAX).await, (4..=16).collect::<Vec<_>>());
    close(store).await;
}

#[tokio::test]
async fn lines_that_are_too_old_go_with_the_next_ones() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.record(Arc::new(logs(vec![chunk(1, 1, 1), chunk(1, 2, 1)]))).await.expect("recorded");
    let newest = LogChunk { last_time: chunk(1, 2, 1).last_time.saturating_add(MAX_LOG_AGE), ..chunk(1, 3, 1) };
    store.record(Arc::new(logs(vec![newest]))).await.expect("recorded");
    assert_eq!(seqs(&store, 1, 0, 10).await, [2, 3]);
    close(store).await;
}

/// Something of everything that a task may have.
fn of_everything(tasks: impl Iterator<Item = TaskId> + Clone) -> HistoryBatch {
    HistoryBatch {
        states: tasks.clone().map(|task| (task, state(1))).collect(),
        records: tasks.clone().map(|task| (task, record(10, Outcome::Error))).collect(),
        logs: tasks.flat_map(|task| [chunk(task, 1, 1), chunk(task, 2, 1)]).collect(),
        ..HistoryBatch::default()
    }
}

#[tokio::test]
async fn deletion_takes_all_of_a_task_along_and_late_batches_do_not_bring_it_back() {
    let dir = temp_dir();
    let store = open(dir.path());
    let batch = of_everything([1, 2].into_iter());
    let starts = vec![start(1, 10), start(2, 10)];
    store.commit(vec![add(1, "gone"), add(2, "stays")]).await.expect("added");
    store.record(Arc::new(batch.clone())).await.expect("recorded");
    store.record_starts(starts.clone()).await.expect("recorded");
    store.commit(vec![delete(1, "gone", 2)]).await.expect("deleted");
    store.record(Arc::new(batch)).await.expect("recorded");
    store.record_starts(starts).await.expect("recorded");
    assert_eq!(seqs(&store, 1, 0, 10).await, Vec::<u64>::new());
    assert_eq!(seqs(&store, 2, 0, 10).await, [1, 2]);
    close(store).await;
    assert_eq!(rows(dir.path()), [vec![2], vec![2], vec![2, 2], vec![2], vec![2]]);
}

#[tokio::test]
async fn a_task_with_many_records_leaves_none() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "gone"), add(2, "stays")]).await.expect("added");
    for task in [1, 2] {
        let many = (0..1500).map(|second| record(second, Outcome::Success));
        store.record(Arc::new(records(task, many))).await.expect("recorded");
    }
    store.commit(vec![delete(1, "gone", 2)]).await.expect("deleted");
    close(store).await;
    assert_eq!(rows(dir.path())[4], [2; 1500]);
}

#[tokio::test]
async fn what_deleted_tasks_left_at_a_crash_is_removed_at_the_next_start() {
    let dir = temp_dir();
    let store = open(dir.path());
    let tasks = [1, 2, 3, u64::MAX, 1 << 63];
    store.commit(vec![add(2, "stays")]).await.expect("added");
    store.record(Arc::new(of_everything(tasks.into_iter()))).await.expect("recorded");
    store.record_starts(tasks.map(|task| start(task, 10)).to_vec()).await.expect("recorded");
    // Some with nothing but one thing.
    store.record(Arc::new(logs(vec![chunk(76, 1, 1)]))).await.expect("recorded");
    store.record(Arc::new(records(77, [record(10, Outcome::Success)]))).await.expect("recorded");
    store.record_starts(vec![start(78, 10)]).await.expect("recorded");
    close(store).await;
    assert_eq!(rows(dir.path()).map(|tasks| tasks.len()), [5, 6, 11, 6, 6]);
    close(open(dir.path())).await;
    assert_eq!(rows(dir.path()), [vec![2], vec![2], vec![2, 2], vec![2], vec![2]]);
}

/// The tasks of all states, starts, chunks, numbers of newest lines, and records.
fn rows(dir: &Path) -> [Vec<i64>; 5] {
    let conn = Connection::open(dir.join("history.db")).expect("opens");
    ["unit_state", "starts", "log_chunks", "log_seqs", "runs"].map(|table| {
        let mut statement = conn.prepare(&format!("SELECT task FROM {table}")).expect("a statement");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows");
        rows.collect::<Result<_, _>>().expect("rows")
    })
}
