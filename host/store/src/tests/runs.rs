//! Records of runs. How many are kept is tested beside the code that decides it.

use std::sync::Arc;

use rusqlite::Connection;
use taskhost_core::ports::{HostRun, RunsQuery};

use super::*;
use crate::MAX_NON_SUCCESSES;

fn all_of(task: TaskId) -> RunsQuery {
    RunsQuery { task, from: Time(i64::MIN), until: Time(i64::MAX), outcomes: vec![], limit: usize::MAX }
}

async fn runs(store: &SqliteStore, query: RunsQuery) -> Vec<RunRecord> {
    store.runs(query).await.expect("reads")
}

async fn dues(store: &SqliteStore, query: RunsQuery) -> Vec<i64> {
    runs(store, query).await.iter().map(|record| record.key.due.0 / 1_000_000_000).collect()
}

fn backfilled(second: i64, backfill: u32) -> RunRecord {
    let due = at(second);
    RunRecord { key: RunKey { due, backfill }, reason: Reason::Backfill, ..record(second, Outcome::Success) }
}

#[tokio::test]
async fn records_read_back_newest_first_after_a_crash() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(u64::MAX, "a")]).await.expect("added");
    let expected =
        [backfilled(90, 2), backfilled(90, 1), record(90, Outcome::Error), span(20, 80), record(10, Outcome::Missed)];
    for written in [&expected[2..4], &expected[4..], &expected[..2]] {
        store.record(Arc::new(records(u64::MAX, written.iter().cloned()))).await.expect("recorded");
    }
    store.record(Arc::new(records(1, [record(50, Outcome::Success)]))).await.expect("recorded");
    let copy = crashed(dir.path());
    let after = open(copy.path());
    assert_eq!(runs(&after, all_of(u64::MAX)).await, expected);
    close(store).await;
}

#[tokio::test]
async fn a_record_that_grows_is_written_over() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.record(Arc::new(records(1, [record(10, Outcome::Success)]))).await.expect("recorded");
    for last in 11..20 {
        store.record(Arc::new(records(1, [span(10, last)]))).await.expect("recorded");
    }
    // A backfill has records of its own.
    store.record(Arc::new(records(1, [backfilled(10, 1)]))).await.expect("recorded");
    assert_eq!(runs(&store, all_of(1)).await, [span(10, 19), backfilled(10, 1)]);
    close(store).await;
}

#[tokio::test]
async fn a_query_gets_what_stands_for_a_due_time_in_its_range() {
    let dir = temp_dir();
    let store = open(dir.path());
    let stored = [
        record(10, Outcome::Success),
        span(20, 29),
        record(30, Outcome::Error),
        record(40, Outcome::Skipped),
        span(50, 59),
    ];
    store.record(Arc::new(records(1, stored))).await.expect("recorded");
    let between = |from, until| RunsQuery { from: at(from), until: at(until), ..all_of(1) };
    assert_eq!(dues(&store, between(10, 51)).await, [59, 40, 30, 29, 10]);
    assert_eq!(dues(&store, between(11, 50)).await, [40, 30, 29]);
    assert_eq!(dues(&store, between(29, 30)).await, [29], "the last of a span");
    assert_eq!(dues(&store, between(25, 26)).await, [29], "the middle of a span");
    assert_eq!(dues(&store, between(30, 30)).await, Vec::<i64>::new());
    let of = |outcomes: &[Outcome]| RunsQuery { outcomes: outcomes.to_vec(), ..all_of(1) };
    assert_eq!(dues(&store, of(&[Outcome::Success])).await, [59, 29, 10]);
    assert_eq!(dues(&store, of(&[Outcome::Error, Outcome::Trapped])).await, [30]);
    assert_eq!(dues(&store, of(&[Outcome::Success, Outcome::Skipped])).await, [59, 40, 29, 10]);
    assert_eq!(dues(&store, RunsQuery { limit: 2, ..all_of(1) }).await, [59, 40]);
    let last_error = RunsQuery { limit: 1, until: at(40), ..of(&[Outcome::Error, Outcome::Skipped]) };
    assert_eq!(dues(&store, last_error).await, [30]);
    assert_eq!(dues(&store, all_of(2)).await, Vec::<i64>::new());
    close(store).await;
}

#[tokio::test]
async fn what_was_stored_before_a_restart_counts_among_what_is_kept() {
    let dir = temp_dir();
    let store = open(dir.path());
    let most = MAX_NON_SUCCESSES.cast_signed();
    store.commit(vec![add(1, "a")]).await.expect("added");
    store.record(Arc::new(records(1, (0..most).map(|second| record(second, Outcome::Error))))).await.expect("recorded");
    close(store).await;
    let store = open(dir.path());
    store.record(Arc::new(records(1, [record(most, Outcome::Error)]))).await.expect("recorded");
    assert_eq!(dues(&store, all_of(1)).await, (1..=most).rev().collect::<Vec<_>>());
    close(store).await;
}

#[tokio::test]
async fn a_refused_batch_does_not_count() {
    let dir = temp_dir();
    let store = open(dir.path());
    let most = MAX_NON_SUCCESSES.cast_signed();
    store.record(Arc::new(records(1, (1..most).map(|second| record(second, Outcome::Error))))).await.expect("recorded");
    let conn = Connection::open(dir.path().join("history.db")).expect("opens");
    conn.execute_batch("ALTER TABLE host_runs RENAME TO away").expect("breaks what is written last");
    let host = HostRun { started: at(1), seen: at(1), stopped: None, claimed: at(1) };
    let refused = HistoryBatch { host: Some(host), ..records(1, [record(most, Outcome::Error)]) };
    store.record(Arc::new(refused)).await.expect_err("broken");
    conn.execute_batch("ALTER TABLE away RENAME TO host_runs").expect("mends it");
    store.record(Arc::new(records(1, [record(most + 1, Outcome::Error)]))).await.expect("recorded");
    assert_eq!(dues(&store, all_of(1)).await.len() as i64, most);
    close(store).await;
}

#[tokio::test]
async fn records_that_cannot_be_read_are_left_out_and_told() {
    let dir = temp_dir();
    let store = open(dir.path());
    store
        .record(Arc::new(records(1, [record(10, Outcome::Error), record(20, Outcome::Success)])))
        .await
        .expect("recorded");
    let conn = Connection::open(dir.path().join("history.db")).expect("opens");
    conn.execute("UPDATE runs SET record = x'ff' WHERE outcome = 'error'", []).expect("updates");
    assert_eq!(dues(&store, all_of(1)).await, [20]);
    let faults = store.faults();
    assert!(
        faults.len() == 1 && faults[0].starts_with("records of task 0000000000000001 are left out: they can't be read"),
        "{faults:?}"
    );
    close(store).await;
}
