//! Not tests: measurements, printed. `cargo test -p taskhost-store -- --ignored --nocapture speed`

use std::fs::OpenOptions;
use std::io::{Seek, Write};
use std::time::{Duration, Instant};

use taskhost_core::log::LogChunk;
use taskhost_core::outcome::{Outcome, Reason, RunRecord};
use taskhost_core::ports::{HistoryBatch, Store, UnitState};
use tokio::task::JoinSet;

use super::*;

const TASKS: u64 = 10_000;

/// Spread over all numbers, as random ids are.
fn id(number: u64) -> TaskId {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn text(number: u64) -> String {
    format!("team/service-{number:06}")
}

async fn add_all(store: &SqliteStore) {
    let mut changes = JoinSet::new();
    for number in 0..TASKS {
        changes.spawn(store.commit(add(id(number), &text(number))));
    }
    while let Some(answer) = changes.join_next().await {
        answer.expect("no panic").expect("added");
    }
}

fn median(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

#[tokio::test]
#[ignore = "a measurement"]
async fn speed_of_commits() {
    let dir = temp_dir();
    let mut raw = OpenOptions::new().write(true).create_new(true).open(dir.path().join("raw")).expect("opens");
    raw.write_all(&vec![1; 1 << 20]).expect("writes");
    raw.sync_all().expect("syncs");
    let mut time_of = |sync: fn(&std::fs::File) -> std::io::Result<()>| {
        let once = |_| {
            let began = Instant::now();
            raw.rewind().expect("rewinds");
            raw.write_all(&[2; 12 << 10]).expect("writes");
            sync(&raw).expect("syncs");
            began.elapsed()
        };
        median((0..200).map(once).collect())
    };
    eprintln!(
        "this disk, 12 KiB over old ones (median, p99): fdatasync {:?}, fsync {:?}",
        time_of(|file| file.sync_data()),
        time_of(|file| file.sync_all())
    );

    let store = open(dir.path());
    let mut times = Vec::new();
    for number in 0..1000 {
        let began = Instant::now();
        store.commit(add(number, &text(number))).await.expect("added");
        times.push(began.elapsed());
    }
    eprintln!("one commit after the other (median, p99): {:?}", median(times));
    close(store).await;

    let dir = temp_dir();
    let store = open(dir.path());
    let began = Instant::now();
    add_all(&store).await;
    eprintln!("{TASKS} commits at once: {:?}", began.elapsed());
    close(store).await;
}

#[tokio::test]
#[ignore = "a measurement"]
async fn speed_of_a_restart_and_of_history() {
    let dir = temp_dir();
    let store = open(dir.path());
    add_all(&store).await;
    let record = |due| RunRecord {
        due: Time(due),
        reason: Reason::Schedule,
        outcome: Outcome::Success,
        attempts: 1,
        revision: 1,
        lateness_us: Some(100),
        took_us: 50,
        more: None,
    };
    for second in 1..=10 {
        let state = UnitState {
            last_runs: (0..20).map(|run| record(second * 1_000_000_000 + run)).collect(),
            ..UnitState::default()
        };
        let chunk = |number| LogChunk {
            task: id(number),
            first_seq: second.cast_unsigned(),
            lines: 1,
            first_time: Time(second),
            last_time: Time(second),
            failed: false,
            data: vec![7; 64],
        };
        let states = (0..TASKS).map(|number| (id(number), state.clone())).collect();
        let batch = HistoryBatch { states, logs: (0..TASKS).map(chunk).collect() };
        let began = Instant::now();
        store.record(batch).await.expect("recorded");
        eprintln!("a batch of {TASKS} states and {TASKS} chunks: {:?}", began.elapsed());
    }
    let copy = crashed(dir.path());
    close(store).await;
    for (words, dir) in [("a crash", copy.path()), ("closing", dir.path())] {
        let began = Instant::now();
        let store = open(dir);
        let opened = began.elapsed();
        assert_eq!(load(&store).tasks.len(), TASKS as usize);
        let loaded = began.elapsed();
        store.commit(add(1, "first")).await.expect("added");
        eprintln!(
            "after {words}: opened in {opened:?}, {TASKS} tasks in {loaded:?}, a first commit in {:?}",
            began.elapsed()
        );
        close(store).await;
    }
}
