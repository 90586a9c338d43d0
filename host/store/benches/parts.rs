//! What the store does: with definitions for each call, with history once a second. Both on the disk where the build is.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use taskhost_core::name::TaskName;
use taskhost_core::outcome::{Counts, Outcome, Reason, RunKey, RunRecord, Span, TaskId};
use taskhost_core::patch::{Patch, Rest};
use taskhost_core::ports::{Actor, Change, ChangeKind, Definition, HistoryBatch, JournalEntry, Store, UnitState};
use taskhost_core::time::Time;
use taskhost_parts::Part;
use taskhost_store::SqliteStore;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const PARTS: &[Part] = &[
    Part { name: "group commit: an Add of 64", prepare: group_commit, operations: GROUP, counted_calls: 20 },
    Part { name: "journal: a patch of 10,000", prepare: journal, operations: PATCHES, counted_calls: 10 },
];

/// How many definitions share a commit: as many as one connection may have on the way.
const GROUP: u32 = 64;

/// How many ticks share a row of the journal.
const PATCHES: u32 = 10_000;

const START: Time = Time(1_700_000_000_000_000_000);

fn main() -> ExitCode {
    taskhost_parts::main("store", PARTS)
}

#[divan::bench(args = PARTS, min_time = 0.5)]
fn store(bencher: Bencher<'_, '_>, part: &Part) {
    part.time(bencher);
}

/// A store in a directory that goes with it, and who waits for its answers.
struct Bench {
    store: SqliteStore,
    runtime: Runtime,
    _dir: TempDir,
}

impl Bench {
    fn new() -> Self {
        // Not where temporary files are, which may be memory.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the build");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let store = SqliteStore::open(dir.path()).expect("a new store");
        store.load().expect("it is empty");
        Self { store, runtime, _dir: dir }
    }

    fn record(&self, batch: HistoryBatch) {
        self.runtime.block_on(self.store.record(Arc::new(batch))).expect("the disk is not full");
    }
}

/// Spread over all numbers, as random ids are.
fn id(number: u32) -> TaskId {
    u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1
}

fn add(number: u32) -> Change {
    let definition = Definition {
        id: id(number),
        name: TaskName::new(&format!("team/service-{number:06}")).expect("a name"),
        revision: 1,
        spec: Arc::default(),
        added_at: START,
        due_at_once: false,
        paused: None,
    };
    Change { kind: ChangeKind::Add(definition), at: START, by: Actor::Uid(1000) }
}

/// Tasks that are added at the same time: until all are durable.
fn group_commit() -> Box<dyn FnMut()> {
    let bench = Bench::new();
    let mut added = 0;
    Box::new(move || {
        let changes = (added..added + GROUP).map(|number| bench.store.commit(vec![add(number)]));
        let answers = bench.runtime.block_on(futures_util::future::join_all(changes));
        answers.into_iter().for_each(|answer| answer.expect("the disk is not full"));
        added += GROUP;
    })
}

/// The ticks of a second, from numbers to the file.
fn journal() -> Box<dyn FnMut()> {
    let bench = Bench::new();
    let mut counts = Counts::default();
    counts.add(Outcome::Success, 1);
    let state = UnitState { counts, last_runs: vec![record()], ..UnitState::default() };
    let states = (0..PATCHES).map(|number| (id(number), state.clone())).collect();
    bench.record(HistoryBatch { states, ..HistoryBatch::default() });
    let (mut second, mut start) = (1, 0);
    Box::new(move || {
        second += 1;
        let patch = patch(second);
        let mut patches = Vec::new();
        (0..PATCHES).for_each(|number| patch.encode(id(number), &mut patches));
        let entry = JournalEntry { start, patches: patches.into() };
        start += entry.patches.len() as u64;
        bench.record(HistoryBatch { journal: vec![entry], ..HistoryBatch::default() });
    })
}

/// Of the first success.
fn record() -> RunRecord {
    let span = Span { first_due: START, times: 1, took_total_us: 20, took_max_us: 20, lateness_max_us: 300 };
    RunRecord {
        key: RunKey::of(START),
        reason: Reason::Schedule,
        outcome: Outcome::Success,
        attempts: 1,
        revision: 1,
        lateness_us: Some(300),
        took_us: 20,
        span: Some(Box::new(span)),
        more: None,
    }
}

/// After so many successes, one each second.
fn patch(successes: u64) -> Patch {
    let due = START.saturating_add(Duration::from_secs(successes));
    Patch {
        due,
        lateness_us: Some(300),
        took_us: 20,
        times: successes,
        took_total_us: 20 * successes,
        took_max_us: 400,
        lateness_max_us: 2_000,
        successes,
        accounted: due,
        rest: Rest::Since(due.saturating_add(Duration::from_micros(350))),
        scheduled_runs: successes,
        log_seq: successes,
        log_lost: 0,
    }
}
