//! What the core does for each tick, without an engine and a store.

#[path = "../../src/testing.rs"]
#[expect(dead_code, reason = "only the store in memory is of use here")]
mod testing;
mod worker;

/// `testing` looks for it here; the core keeps it to itself.
mod system_clock {
    pub(crate) const MAX_SLEEP: std::time::Duration = std::time::Duration::from_secs(1);
}

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use taskhost_core::benching::Timers;
use taskhost_core::log::{Stream, TaskLog};
use taskhost_core::name::TaskName;
use taskhost_core::outcome::{Outcome, RunKey, RunReport, TaskId};
use taskhost_core::patch::Patch;
use taskhost_core::ports::Definition;
use taskhost_core::time::Time;
use taskhost_core::unit::{Action, Input, Unit};
// What `testing` finds in its crate's root.
use taskhost_core::{log, manifest, outcome, patch, plugin, ports, spec, time};
use taskhost_parts::Part;

const PARTS: &[Part] = &[
    Part { name: "unit: a tick", prepare: unit, operations: 1, counted_calls: 10_000 },
    Part { name: "timers: one of 100,000", prepare: timers, operations: 1, counted_calls: 100_000 },
    Part { name: "patch: append", prepare: patch_append, operations: 1, counted_calls: 10_000 },
    Part { name: "patch: apply", prepare: patch_apply, operations: 1, counted_calls: 10_000 },
    Part { name: "log: append a line", prepare: log_line, operations: 1, counted_calls: 100_000 },
    Part {
        name: "worker: a tick, no engine",
        prepare: worker::ticks_of_few,
        operations: worker::FEW_DUE_AT_ONCE,
        counted_calls: 1_000,
    },
    Part {
        name: "worker: a tick of 100,000 tasks",
        prepare: worker::ticks_of_many,
        operations: worker::MANY_DUE_AT_ONCE,
        counted_calls: 0,
    },
];

/// What a guest writes with each tick.
const LINE: &[u8] = b"disk-usage: tick 1234567, due 2026-01-02T03:04:05Z";

/// How many patches stand behind each other before there is a new batch.
const PATCHES_OF_A_BATCH: u32 = 10_000;

const SECOND: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    taskhost_parts::main("core", PARTS)
}

#[divan::bench(args = PARTS, min_time = 0.5)]
fn core(bencher: Bencher<'_, '_>, part: &Part) {
    part.time(bencher);
}

/// A task that is due every second.
fn definition(id: TaskId, name: &str, added_at: Time) -> Definition {
    Definition {
        id,
        name: TaskName::new(name).expect("a name"),
        revision: 1,
        spec: Arc::default(),
        added_at,
        due_at_once: false,
        paused: None,
    }
}

fn success() -> RunReport {
    RunReport { entry_delay: Some(Duration::from_micros(7)), ..RunReport::of(Outcome::Success) }
}

/// The state machine of one task from its due time to the end of the run.
struct Ticking {
    unit: Unit,
    wake: Time,
    actions: Vec<Action>,
}

impl Ticking {
    fn new() -> Self {
        let unit = Unit::added(&definition(7, "disk-usage", testing::START));
        let wake = unit.first_wake().expect("it is due every second");
        Self { unit, wake, actions: Vec::new() }
    }

    fn tick(&mut self) {
        let began = self.wake.saturating_add(Duration::from_micros(300));
        self.unit.handle(Input::Wake, began, &mut self.actions);
        let mut started = None;
        for action in self.actions.drain(..) {
            match action {
                Action::Start { key, .. } => started = Some(key),
                Action::Wake(at) => self.wake = at.expect("it goes on"),
                _ => {}
            }
        }
        let (key, ended): (RunKey, _) = (started.expect("it is due"), began.saturating_add(Duration::from_micros(20)));
        self.unit.handle(Input::Finished { key, began, report: success() }, ended, &mut self.actions);
        black_box(self.actions.drain(..)).for_each(drop);
    }

    fn patch(&self) -> Patch {
        self.unit.patch().expect("it did nothing but succeed")
    }
}

fn unit() -> Box<dyn FnMut()> {
    let mut task = Ticking::new();
    Box::new(move || task.tick())
}

/// The first one of all goes, and comes again a second later.
fn timers() -> Box<dyn FnMut()> {
    const TASKS: u32 = 100_000;
    let between = SECOND / TASKS;
    let mut timers = Timers::default();
    let mut now = testing::START;
    for slot in 0..TASKS {
        // In no order, as tasks are added: each of the times once.
        let place = u64::from(slot) * 69_621 % u64::from(TASKS);
        timers.wake(slot, now.saturating_add(between * (place as u32 + 1)));
    }
    Box::new(move || {
        now = now.saturating_add(between);
        let slot = timers.pop(now).expect("one is due");
        black_box(timers.wake(slot, now.saturating_add(SECOND)));
    })
}

fn patch_append() -> Box<dyn FnMut()> {
    let mut task = Ticking::new();
    task.tick();
    let state = task.unit.hand_over();
    black_box(state);
    task.tick();
    let patch = task.patch();
    let (mut batch, mut count) = (Vec::new(), 0);
    Box::new(move || {
        black_box(&patch).encode(7, &mut batch);
        count += 1;
        if count % PATCHES_OF_A_BATCH == 0 {
            batch = Vec::with_capacity(black_box(batch.len()));
        }
    })
}

/// As a start does with what the journal has.
fn patch_apply() -> Box<dyn FnMut()> {
    let mut task = Ticking::new();
    task.tick();
    let mut state = task.unit.hand_over();
    task.tick();
    let mut encoded = Vec::new();
    task.patch().encode(7, &mut encoded);
    Box::new(move || {
        for patch in patch::Patches::of(black_box(&encoded)) {
            let (_, _, body) = patch.expect("it is whole");
            let applied = Patch::decode(body).is_some_and(|patch| patch.apply(&mut state));
            assert!(applied, "the patch is of this state");
        }
    })
}

fn log_line() -> Box<dyn FnMut()> {
    let log = TaskLog::detached(7, TaskName::new("disk-usage").expect("a name"));
    Box::new(move || log.push(Stream::Stdout, black_box(LINE), false))
}
