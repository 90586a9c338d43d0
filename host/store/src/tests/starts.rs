//! What must be known after a crash: which runs had started, and until when the host was up.

use std::fs;
use std::sync::Arc;

use rusqlite::Connection;
use taskhost_core::outcome::RunId;
use taskhost_core::outcome::Trigger;
use taskhost_core::ports::HostRun;
use tokio::task::JoinSet;

use super::*;
use crate::history::WAL_BYTES;

fn host(started: i64, seen: i64) -> HostRun {
    HostRun { started: at(started), seen: at(seen), stopped: None, claimed: at(seen + 1) }
}

fn hosts(host: HostRun) -> HistoryBatch {
    HistoryBatch { host: Some(host), ..HistoryBatch::default() }
}

fn ended(starts: &[&Start]) -> HistoryBatch {
    let ended = starts.iter().map(|start| (start.task, start.run.key)).collect();
    HistoryBatch { ended, ..HistoryBatch::default() }
}

fn starts(store: &SqliteStore) -> Vec<Start> {
    let of_task = |task: LoadedTask| task.starts.into_iter().map(move |run| Start { task: task.definition.id, run });
    load(store).tasks.into_iter().flat_map(of_task).collect()
}

#[tokio::test]
async fn starts_and_the_host_run_are_there_after_a_crash_until_they_ended() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "a"), add(u64::MAX, "b")]).await.expect("added");
    assert_eq!(load(&store).previous, None);
    let mut third = start(u64::MAX, 30);
    let trigger =
        Trigger { task: name("a"), run_id: RunId { task: 1, key: RunKey::of(at(30)) }, outcome: Outcome::Error };
    third.run = OpenRun { reason: Reason::Triggered, trigger: Some(Box::new(trigger)), ..third.run };
    let all = [start(1, 10), start(1, 20), third];
    store.record(Arc::new(hosts(host(5, 8)))).await.expect("recorded");
    store.record_starts(vec![all[2].clone(), all[1].clone()]).await.expect("recorded");
    store.record_starts(vec![all[0].clone()]).await.expect("recorded");
    let copy = crashed(dir.path());
    let after = open(copy.path());
    assert_eq!(starts(&after), all);
    assert_eq!(load(&after).previous, Some(host(5, 8)));

    store.record(Arc::new(ended(&[&all[0], &all[2]]))).await.expect("recorded");
    let copy = crashed(dir.path());
    assert_eq!(starts(&open(copy.path())), all[1..2]);
    close(store).await;
}

#[tokio::test]
async fn a_start_of_another_attempt_takes_the_place_of_the_one_before() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "a")]).await.expect("added");
    let mut again = start(1, 10);
    again.run.progress = Progress::Started { attempt: 2 };
    let mut backfilled = start(1, 10);
    backfilled.run.key.backfill = 1;
    store.record_starts(vec![start(1, 10), backfilled.clone()]).await.expect("recorded");
    store.record_starts(vec![again.clone()]).await.expect("recorded");
    assert_eq!(starts(&store), [again.clone(), backfilled.clone()]);
    store.record(Arc::new(ended(&[&again]))).await.expect("recorded");
    assert_eq!(starts(&store), [backfilled]);
    close(store).await;
}

#[tokio::test]
async fn thousands_of_starts_at_once_are_all_answered_and_kept() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "a")]).await.expect("added");
    let mut calls = JoinSet::new();
    for second in 0..3000 {
        calls.spawn(store.record_starts(vec![start(1, second)]));
    }
    while let Some(answer) = calls.join_next().await {
        answer.expect("no panic").expect("recorded");
    }
    let grown = fs::metadata(dir.path().join("history.db-wal")).expect("a log").len();
    assert!(grown >= WAL_BYTES, "{grown}");
    let copy = crashed(dir.path());
    assert_eq!(starts(&open(copy.path())), (0..3000).map(|second| start(1, second)).collect::<Vec<_>>());
    close(store).await;
}

#[tokio::test]
async fn starts_that_cannot_be_read_are_told_and_the_others_are_there() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "a")]).await.expect("added");
    store.record_starts(vec![start(1, 10), start(1, 20)]).await.expect("recorded");
    close(store).await;
    let conn = Connection::open(dir.path().join("history.db")).expect("opens");
    conn.execute("UPDATE starts SET run = x'ff' WHERE due = ?1", [at(10).0]).expect("updates");
    let store = open(dir.path());
    assert_eq!(starts(&store), [start(1, 20)]);
    let faults = store.faults();
    assert!(
        faults.len() == 1 && faults[0].starts_with("runs of task 0000000000000001 that had begun are not told:"),
        "{faults:?}"
    );
    close(store).await;
}

#[tokio::test]
async fn the_host_was_up_where_its_runs_say_so() {
    let dir = temp_dir();
    let store = open(dir.path());
    let crashed = host(10, 19);
    let stopped = HostRun { stopped: Some(at(39)), ..host(30, 38) };
    let running = host(50, 59);
    for run in [host(10, 11), running, crashed, host(30, 31), stopped] {
        store.record(Arc::new(hosts(run))).await.expect("recorded");
    }
    assert_eq!(load(&store).previous, Some(stopped), "the one that began last, whatever the clock said");
    let between = async |from, until| store.host_runs(at(from), at(until)).await.expect("reads");
    assert_eq!(between(0, 100).await, [crashed, stopped, running]);
    assert_eq!(between(19, 30).await, [crashed]);
    assert_eq!(between(20, 30).await, []);
    assert_eq!(between(39, 51).await, [stopped, running]);
    assert_eq!(between(40, 50).await, []);
    close(store).await;
    assert_eq!(load(&open(dir.path())).previous, Some(stopped));
}
