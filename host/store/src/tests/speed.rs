//! Not tests: measurements, printed. `cargo test -p taskhost-store -- --ignored --nocapture speed`

use std::fs::OpenOptions;
use std::io::{Seek, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use taskhost_core::log::LogChunk;
use taskhost_core::outcome::{Outcome, Reason, RunKey, RunRecord};
use taskhost_core::ports::{HistoryBatch, HostRun, RunsQuery, Store, UnitState};
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
        changes.spawn(store.commit(vec![add(id(number), &text(number))]));
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
        store.commit(vec![add(number, &text(number))]).await.expect("added");
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
        key: RunKey::of(Time(due)),
        reason: Reason::Schedule,
        outcome: Outcome::Success,
        attempts: 1,
        revision: 1,
        lateness_us: Some(100),
        took_us: 50,
        span: None,
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
        let batch = HistoryBatch { states, logs: (0..TASKS).map(chunk).collect(), ..HistoryBatch::default() };
        let began = Instant::now();
        store.record(Arc::new(batch)).await.expect("recorded");
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
        store.commit(vec![add(1, "first")]).await.expect("added");
        eprintln!(
            "after {words}: opened in {opened:?}, {TASKS} tasks in {loaded:?}, a first commit in {:?}",
            began.elapsed()
        );
        close(store).await;
    }
}

#[tokio::test]
#[ignore = "a measurement"]
async fn speed_of_records_and_starts() {
    let dir = temp_dir();
    let store = open(dir.path());
    add_all(&store).await;
    let time = async |words: &str, each: u64, batches: Vec<HistoryBatch>| {
        let mut times = Vec::new();
        for batch in batches {
            let began = Instant::now();
            store.record(Arc::new(batch)).await.expect("recorded");
            times.push(began.elapsed());
        }
        let first = times[0];
        let (median, most) = median(times);
        eprintln!("{words}: first {first:?}, median {median:?} ({:?} each), p99 {most:?}", median / each as u32);
    };
    let of_all = |record: RunRecord| HistoryBatch {
        records: (0..TASKS).map(|number| (id(number), record.clone())).collect(),
        ..HistoryBatch::default()
    };
    let grown = (11..40).map(|last| of_all(span(10, last))).collect();
    time("a batch of 10,000 spans that grow", TASKS, grown).await;
    let failed = (50..80).map(|second| of_all(record(second, Outcome::Error))).collect();
    time("a batch of 10,000 new records of failures", TASKS, failed).await;
    let one = |range: std::ops::Range<i64>| records(id(1), range.map(|second| record(second, Outcome::Error)));
    time("a batch of 1,000 failures of one task", 1000, (1..5).map(|k| one(1000 * k..1000 * (k + 1))).collect()).await;
    let host = |seen| HistoryBatch {
        host: Some(HostRun { started: at(1), seen: at(seen), stopped: None, claimed: at(seen) }),
        ..HistoryBatch::default()
    };
    time("what is said of the host", 1, (0..500).map(host).collect()).await;

    let mut times = Vec::new();
    for number in 0..1000 {
        let began = Instant::now();
        store.record_starts(vec![start(id(number), 1)]).await.expect("recorded");
        times.push(began.elapsed());
    }
    eprintln!("one start after the other (median, p99): {:?}", median(times));
    for at_once in [100, 1000, 10_000] {
        let mut calls = JoinSet::new();
        let began = Instant::now();
        for number in 0..at_once {
            calls.spawn(store.record_starts(vec![start(id(number), 2)]));
        }
        while let Some(answer) = calls.join_next().await {
            answer.expect("no panic").expect("recorded");
        }
        eprintln!("{at_once} calls with a start at once: {:?}", began.elapsed());
    }
    let began = Instant::now();
    store.record_starts((0..TASKS).map(|number| start(id(number), 3)).collect()).await.expect("recorded");
    eprintln!("{TASKS} starts in one call: {:?}", began.elapsed());

    // Starts beside the batches of a busy host.
    let mut times = Vec::new();
    for second in 100..120 {
        let batch = tokio::spawn(store.record(Arc::new(of_all(span(90, second)))));
        for number in 0..50 {
            let began = Instant::now();
            store.record_starts(vec![start(id(number), second)]).await.expect("recorded");
            times.push(began.elapsed());
        }
        batch.await.expect("no panic").expect("recorded");
    }
    times.sort_unstable();
    let (middle, last) = (times[times.len() / 2], times[times.len() - 1]);
    eprintln!(
        "a start while spans are written: median {middle:?}, p95 {:?}, most {last:?}",
        times[times.len() * 95 / 100]
    );
    let began = Instant::now();
    let query = RunsQuery { task: id(1), from: at(0), until: at(i64::from(u32::MAX)), outcomes: vec![], limit: 100 };
    assert_eq!(store.runs(query).await.expect("reads").len(), 100);
    eprintln!("the newest 100 records of a task: {:?}", began.elapsed());
    close(store).await;
}

/// How many bytes this process has had written to disks.
fn written_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("the kernel tells");
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("a line of it");
    line.parse().expect("a number")
}

/// How long the thread that writes history has worked.
fn writer_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("threads").map(|thread| thread.expect("one").path());
    let name = |thread: &std::path::PathBuf| std::fs::read_to_string(thread.join("comm")).unwrap_or_default();
    let writer = threads.filter(|thread| name(thread).trim() == "store-history").last().expect("a writer");
    let stat = std::fs::read_to_string(writer.join("schedstat")).expect("the kernel tells");
    Duration::from_nanos(stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number"))
}

#[tokio::test]
#[ignore = "a measurement"]
async fn speed_of_ticks() {
    const TASKS: u64 = 100_000;
    const SECONDS: i64 = 120;
    let dir = tempfile::tempdir_in(std::env::current_dir().expect("a directory")).expect("a directory on the disk");
    let store = open(dir.path());
    let id = |number| id(number) >> 1;
    let mut counts = taskhost_core::outcome::Counts::default();
    counts.add(Outcome::Success, 2);
    let state = UnitState { counts, last_runs: vec![span(1, 2)], ..UnitState::default() };
    let states = (0..TASKS).map(|number| (id(number), state.clone())).collect();
    store.record(Arc::new(HistoryBatch { states, ..HistoryBatch::default() })).await.expect("recorded");
    let line = b"\0\0\x2fsomething that a task has to say, once a second  ";
    let mut place = 0;
    for logs in [false, true] {
        let (time, bytes) = (writer_time(), written_bytes());
        for second in 3..3 + SECONDS {
            let second = if logs { second + SECONDS } else { second };
            let times = second.cast_unsigned();
            let mut patches = Vec::new();
            for number in 0..TASKS {
                let patch = taskhost_core::patch::Patch {
                    due: at(second),
                    lateness_us: Some(300),
                    took_us: 20,
                    times,
                    took_total_us: 20 * times,
                    took_max_us: 400,
                    lateness_max_us: 2_000,
                    successes: times,
                    accounted: at(second),
                    rest: taskhost_core::patch::Rest::Since(at(second).saturating_add(Duration::from_micros(350))),
                    scheduled_runs: times,
                    log_seq: times,
                    log_lost: 0,
                };
                patch.encode(id(number), &mut patches);
            }
            let chunk = |number| LogChunk {
                task: id(number),
                first_seq: times,
                lines: 4,
                first_time: at(second),
                last_time: at(second + 4),
                failed: false,
                data: line.repeat(4),
            };
            let quarter = (0..TASKS).filter(|number| logs && number % 4 == times % 4);
            let chunks: Vec<_> = quarter.map(chunk).collect();
            let entry = taskhost_core::ports::JournalEntry { start: place, patches: patches.into() };
            place += entry.patches.len() as u64;
            for some in chunks.chunks(10_000) {
                store
                    .record(Arc::new(HistoryBatch { logs: some.to_vec(), ..HistoryBatch::default() }))
                    .await
                    .expect("recorded");
            }
            store
                .record(Arc::new(HistoryBatch { journal: vec![entry], ..HistoryBatch::default() }))
                .await
                .expect("recorded");
            // Time for what can wait.
            store.record_starts(vec![start(1, 1)]).await.expect("recorded");
        }
        let ticks = TASKS * SECONDS.cast_unsigned();
        eprintln!(
            "{} logs, each tick: {:?} of the writer, {} bytes written",
            if logs { "with" } else { "without" },
            (writer_time() - time) / u32::try_from(ticks).expect("not that many"),
            (written_bytes() - bytes) / ticks
        );
        let began = Instant::now();
        let chunks = store.read_logs(id(77), 0, 100).await.expect("reads");
        eprintln!("{} chunks of a task's newest lines: {:?}", chunks.len(), began.elapsed());
    }
    let began = Instant::now();
    load(&store);
    eprintln!("loaded in {:?}", began.elapsed());
    let database = std::fs::metadata(dir.path().join("history.db")).expect("a file").len();
    eprintln!("{} MiB of history.db", database >> 20);
    close(store).await;
}
