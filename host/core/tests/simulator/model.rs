//! The world of a run of the simulator: a worker and a recorder that do to units what the real ones do, one small step at a time,
//! on a clock that only the simulator moves. A crash may come after any step.

mod life;
mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use taskhost_core::outcome::{Counts, Outcome, Reason, RunId, RunKey, RunReport, TaskId, Trigger};
use taskhost_core::patch::{Patch, Patches};
use taskhost_core::ports::{Actor, Definition, HostRun, OpenRun, Pause, Progress, UnitState};
use taskhost_core::time::Time;
use taskhost_core::unit::{Action, Input, MAX_BACKFILL, Outage, Unit};

use crate::check::{Check, MAX_NOTING, Seen, Truth, ensure};
use crate::guest::Guest;
use crate::oracle::Oracle;
use crate::plan::{Event, Plan, name};
use crate::random::Random;
use crate::store::{Batch, JournalPatch, Store};

// As in the worker and the recorder.
const CLAIM_AHEAD: Duration = Duration::from_secs(2);
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);
const MAX_SETTLED: usize = 100;
const CATCH_UPS_AT_ONCE: usize = 4;
const CATCH_UP_SPACING: Duration = Duration::from_micros(500);
const CANCEL_GRACE: Duration = Duration::from_secs(5);
const SHUTDOWN_GRACE: i64 = 10 * SECOND;

const SECOND: i64 = 1_000_000_000;

/// How often a unit may be woken at one instant without anything coming of it.
const MAX_IDLE_WAKES: u32 = 3;

/// How far from the year 2027 the clock is set at most.
const YEARS: i64 = 20 * 365 * 86_400 * SECOND;

/// A task as the worker has it.
struct Live {
    unit: Unit,
    seen: Seen,
    definition: Definition,
    /// By which rules its due times come; behind the definition for a moment.
    oracle: Oracle,
    dirty: bool,
    /// What the store will have of it when all is written that was handed over.
    handed_over: UnitState,
    ended: Vec<RunKey>,
    deleted: bool,
    idle_wakes: u32,
}

/// A run that is going on. Times of `mono` are of a clock that nobody sets.
struct Flight {
    task: usize,
    key: RunKey,
    began: Time,
    ends: i64,
    guest: Guest,
}

/// A run that was told to end.
struct Cancelled {
    stop_at: Time,
    stopped: bool,
}

/// What a task asks for beyond its worker.
enum Wish {
    Pause { task: usize, id: TaskId, pause: Pause },
    Trigger { task: usize, trigger: Trigger },
}

#[derive(Clone, Copy)]
struct Noted {
    task: usize,
    id: TaskId,
    key: RunKey,
    attempt: u32,
}

/// Starts that share a write.
struct Noting {
    ready: i64,
    durable: bool,
    starts: Vec<(TaskId, OpenRun)>,
    noted: Vec<Noted>,
}

pub(crate) struct World {
    seed: u64,
    random: Random,
    mono: i64,
    offset: i64,
    life: u32,
    started: Time,
    tasks: BTreeMap<usize, Live>,
    /// The wake-up that each asked for, by number.
    wakes: Vec<Option<Time>>,
    /// Those that were not looked at since their last step.
    restless: Vec<usize>,
    /// Whether any changed since the recorder was last told.
    dirty: bool,
    truths: BTreeMap<TaskId, Truth>,
    store: Store,
    /// What stands in the worker's batch, and what the recorder has.
    journal: Vec<JournalPatch>,
    waiting: Batch,
    /// The place in the journal of the next patch.
    place: u64,
    refuse: u32,
    claimed: Time,
    /// When the recorder works next, and how far it is with it.
    tick: i64,
    tick_stage: u8,
    flights: Vec<Flight>,
    cancelled: BTreeMap<(usize, RunKey), Cancelled>,
    to_note: Vec<Noted>,
    noting: VecDeque<Noting>,
    wishes: VecDeque<Wish>,
    catch_ups: VecDeque<usize>,
    next_catch_up: Time,
    last_now: Time,
    /// When the clock was set last, by the one that nobody sets.
    clock_set: i64,
    /// Since when the worker is idle and on time.
    on_time: Time,
    halted: bool,
    tasks_made: u64,
    pub(crate) steps: u64,
    /// What happened, told only when it is asked for.
    pub(crate) story: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut world = Self {
            seed: plan.seed,
            random: Random::of(plan.seed ^ 0x77),
            mono: 0,
            offset: plan.start.0,
            life: 0,
            started: plan.start,
            tasks: BTreeMap::new(),
            wakes: Vec::new(),
            restless: Vec::new(),
            dirty: false,
            truths: BTreeMap::new(),
            store: Store::default(),
            journal: Vec::new(),
            waiting: Batch::default(),
            place: 0,
            refuse: 0,
            claimed: Time(i64::MIN),
            tick: 0,
            tick_stage: 0,
            flights: Vec::new(),
            cancelled: BTreeMap::new(),
            to_note: Vec::new(),
            noting: VecDeque::new(),
            wishes: VecDeque::new(),
            catch_ups: VecDeque::new(),
            next_catch_up: plan.start,
            last_now: plan.start,
            clock_set: -SECOND,
            on_time: plan.start,
            halted: false,
            tasks_made: 0,
            steps: 0,
            story: None,
        };
        world.claim();
        world.claimed = world.now().saturating_add(CLAIM_AHEAD);
        world.tick = SECOND;
        world
    }

    fn now(&self) -> Time {
        Time(self.mono + self.offset)
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        let now = self.now();
        if let Some(story) = &mut self.story {
            story.push(format!("    {now}: {}", what()));
        }
    }

    /// Does what a plan says.
    pub(crate) fn live(&mut self, plan: &Plan) -> Check {
        for event in &plan.events {
            if let Some(story) = &mut self.story {
                story.push(event.to_string());
            }
            self.mono += 1 + self.random.below(1_000) as i64;
            self.happen(event)?;
        }
        self.store_adds_up()
    }

    /// How often each outcome was told, over all tasks.
    pub(crate) fn counts(&self) -> Counts {
        let mut all = Counts::default();
        self.truths.values().for_each(|truth| all.merge(&truth.counts));
        all
    }

    /// What is stored of each task adds up, but where due times came a second time.
    fn store_adds_up(&self) -> Check {
        let strict = self.truths.iter().filter(|(_, truth)| !truth.loose).map(|(id, _)| *id);
        strict.into_iter().try_for_each(|id| self.store.adds_up(id))
    }

    pub(crate) fn happen(&mut self, event: &Event) -> Check {
        match event {
            Event::Add { task, spec, now } => {
                if self.tasks.contains_key(task) {
                    return Ok(());
                }
                self.tasks_made += 1;
                let id = crate::random::hash(&[self.seed, self.tasks_made]) >> 1;
                let definition = Definition {
                    id,
                    name: name(*task),
                    revision: 1,
                    spec: Arc::new((**spec).clone()),
                    added_at: self.now(),
                    due_at_once: *now,
                    paused: None,
                };
                self.store.definitions.insert(id, (*task, definition.clone()));
                let mut truth = Truth::default();
                truth.allow(spec);
                self.truths.insert(id, truth);
                let unit = Unit::added(&definition);
                self.register(*task, definition, unit, false)?;
            }
            Event::Edit { task, spec } => {
                let Some(live) = self.present(*task) else { return Ok(()) };
                let spec = Arc::new((**spec).clone());
                if live.definition.spec == spec {
                    return Ok(());
                }
                let definition = Definition { revision: live.definition.revision + 1, spec, ..live.definition.clone() };
                self.commit(*task, &definition);
                self.truth(*task).allow(&definition.spec);
                self.settle(*task)?;
                let input = Input::Edited { spec: Arc::clone(&definition.spec), revision: definition.revision };
                self.change(*task, definition, input, true)?;
            }
            Event::Pause { task, until } => {
                let now = self.now();
                let until = until.map(|until| now.saturating_add(until));
                let pause = Pause { since: now, until, note: None, by: Actor::Uid(1000) };
                if let Some(live) = self.present(*task) {
                    let id = live.definition.id;
                    // Should the host die before it has written what ran by the clock as it was, the pause is all that is known of then.
                    self.truths.entry(id).and_modify(|truth| truth.loose |= truth.began_after(now));
                }
                self.pause(*task, Some(pause))?;
            }
            Event::Resume { task } => {
                let Some(live) = self.present(*task) else { return Ok(()) };
                if live.definition.paused.is_some() || live.unit.paused().is_some() {
                    self.pause(*task, None)?;
                }
            }
            Event::Run { task, overlap } => {
                let Some(live) = self.present(*task) else { return Ok(()) };
                if live.unit.would_skip(*overlap).is_none() {
                    self.step(*task, Input::Run { overlap: *overlap, trigger: None })?;
                }
            }
            Event::Backfill { task, past } => {
                let Some(live) = self.present(*task) else { return Ok(()) };
                let now = self.now();
                let timetable = live.definition.spec.timetable(live.definition.added_at);
                let mut from = Time(now.0 - past.as_nanos() as i64);
                let count = timetable.count_between(from, now).due;
                if count == 0 || count > MAX_BACKFILL.min(100) as u64 {
                    return Ok(());
                }
                let mut due = VecDeque::new();
                while let Some(slot) = timetable.next_after(from).filter(|slot| slot.due <= now) {
                    from = slot.due;
                    if slot.gap.is_none() {
                        due.push_back(slot.due);
                    }
                }
                self.step(*task, Input::Backfill { due })?;
                self.mark_dirty(*task);
            }
            Event::Cancel { task, all } => {
                let Some(live) = self.present(*task) else { return Ok(()) };
                let first = live.unit.running().first().map(|run| run.key);
                let Some(key) = first.or(live.unit.queue().next().map(|run| run.key)) else { return Ok(()) };
                self.step(*task, Input::Cancel { key: (!all).then_some(key) })?;
            }
            Event::Delete { task, cancel } => {
                let Some(live) = self.present(*task) else { return Ok(()) };
                let id = live.definition.id;
                self.store.delete(id);
                if let Some(live) = self.tasks.get_mut(task) {
                    live.deleted = true;
                }
                if *cancel {
                    self.step(*task, Input::Cancel { key: None })?;
                }
                self.step(*task, Input::Deleted)?;
            }
            Event::Pass { time, steps } => self.pass(*time, *steps)?,
            Event::Stall { time } => {
                self.mono += time.as_nanos() as i64;
                self.on_time = self.on_time.max(self.now().saturating_add(CLAIM_AHEAD));
            }
            Event::SetClock { by } => {
                self.set_clock(*by);
                self.clock_set = self.mono;
                self.on_time = Time(i64::MAX);
                self.look_at_clock()?;
                self.on_time = self.now().max(self.claimed).saturating_add(CLAIM_AHEAD);
            }
            Event::Refuse { batches } => self.refuse = *batches,
            Event::Restart { down, by } => {
                let is_durable = self.stop()?;
                self.go_down(is_durable, *down, *by)?;
            }
            Event::Crash { steps, down, by } => {
                self.pass(Duration::from_secs(30), *steps)?;
                self.go_down(false, *down, *by)?;
            }
        }
        Ok(())
    }

    /// A task that can be changed.
    fn present(&self, task: usize) -> Option<&Live> {
        self.tasks.get(&task).filter(|live| !live.deleted)
    }

    fn truth(&mut self, task: usize) -> &mut Truth {
        let id = self.tasks[&task].definition.id;
        self.truths.entry(id).or_default()
    }

    fn set_clock(&mut self, by: i64) {
        // Between the years that a time can have.
        let by = if (-YEARS..YEARS).contains(&(self.offset + by - 1_800_000_000 * SECOND)) { by } else { 0 };
        self.offset += by;
    }

    fn commit(&mut self, task: usize, definition: &Definition) {
        self.store.definitions.insert(definition.id, (task, definition.clone()));
    }

    fn pause(&mut self, task: usize, pause: Option<Pause>) -> Check {
        let Some(live) = self.present(task) else { return Ok(()) };
        let definition = Definition {
            revision: live.definition.revision + 1,
            paused: pause.map(Box::new),
            ..live.definition.clone()
        };
        self.commit(task, &definition);
        self.settle(task)?;
        let revision = definition.revision;
        let (input, flush) = match definition.paused.clone() {
            Some(pause) => (Input::Paused { pause, revision }, false),
            None => (Input::Resumed { revision }, true),
        };
        self.change(task, definition, input, flush)
    }

    /// Lets all begin that has come due, before the definition of a task changes.
    fn settle(&mut self, task: usize) -> Check {
        for _ in 0..MAX_SETTLED {
            let now = self.now();
            if !self.present(task).is_some_and(|live| live.unit.is_due(now)) {
                break;
            }
            self.step(task, Input::Settle)?;
        }
        Ok(())
    }

    /// With `flush`, the state is durable with the change: see docs/simulator.md, "What is assumed".
    fn change(&mut self, task: usize, definition: Definition, input: Input, flush: bool) -> Check {
        let oracle = Oracle::of(&definition);
        // What a shorter `delay` has already is late for no fault of the worker's.
        self.on_time = self.on_time.max(self.now());
        if let Some(live) = self.tasks.get_mut(&task) {
            live.definition = definition;
        }
        self.step(task, input)?;
        if let Some(live) = self.tasks.get_mut(&task) {
            live.oracle = oracle;
        }
        self.mark_dirty(task);
        if flush {
            self.take_state(task)?;
            self.waiting.journal.append(&mut self.journal);
            self.store.write(&mut self.waiting);
        }
        Ok(())
    }

    fn register(&mut self, task: usize, definition: Definition, unit: Unit, restored: bool) -> Check {
        let oracle = Oracle::of(&definition);
        let loose = self.truths.get(&definition.id).is_some_and(|truth| truth.loose);
        let seen = Seen::of(&unit, loose)?;
        let wake = unit.first_wake();
        let live = Live {
            unit,
            seen,
            definition,
            oracle,
            // A crash that comes soon must not find what was before the last one.
            dirty: restored,
            handed_over: UnitState::default(),
            ended: Vec::new(),
            deleted: false,
            idle_wakes: 0,
        };
        self.wakes.resize(self.wakes.len().max(task + 1), None);
        self.wakes[task] = wake;
        self.dirty |= restored;
        self.restless.push(task);
        self.tasks.insert(task, live);
        Ok(())
    }

    /// One step of a unit, what follows from it, and what must hold after it.
    fn step(&mut self, task: usize, input: Input) -> Check {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.now();
            let Some(live) = self.tasks.get_mut(&task) else { return Ok(()) };
            let mut actions = Vec::new();
            live.unit.handle(input.clone(), now, &mut actions);
            live.dirty |= !matches!(input, Input::Halt);
            self.dirty = true;
            if !self.restless.contains(&task) {
                self.restless.push(task);
            }
            self.steps += 1;
            self.tell(|| format!("t{task} {input:?} -> {actions:?}"));
            let Some(live) = self.tasks.get_mut(&task) else { return Ok(()) };
            let starts = actions.iter().any(|action| matches!(action, Action::Start { .. }));
            let stopped = live.deleted && !matches!(input, Input::Cancel { .. }) || self.halted;
            ensure!(
                !(starts && stopped),
                "t{task}, {}: a run begins though the task is deleted or the host stops",
                name_of(&input)
            );
            let truth = self.truths.entry(live.definition.id).or_default();
            let seen = truth.step(&live.oracle, &live.seen, Some(&input), &actions, &live.unit, now);
            live.seen = seen.map_err(|why| format!("t{task}, {}: {why}", name_of(&input)))?;
            for action in actions {
                if let Some((key, began, report)) = self.act(task, action)? {
                    inputs.push_back(Input::Finished { key, began, report });
                }
            }
        }
        // As in the worker: a run that goes on waits for its turn in the queue.
        if self.tasks.get(&task).is_some_and(|live| live.dirty && live.unit.running().is_empty()) {
            self.take_patch(task)?;
        }
        Ok(())
    }

    fn act(&mut self, task: usize, action: Action) -> Result<Option<(RunKey, Time, RunReport)>, String> {
        let Some(live) = self.tasks.get_mut(&task) else { return Ok(None) };
        match action {
            Action::Start { key, attempt, noted: true } => {
                self.to_note.push(Noted { task, id: live.definition.id, key, attempt });
            }
            Action::Start { key, attempt, noted: false } => return self.begin(task, key, attempt),
            Action::Wake(at) => self.wakes[task] = at,
            Action::Cancel(key) => self.cancel(task, key),
            Action::Stop(key) => {
                self.cancel(task, key);
                self.stop_run(task, key);
            }
            Action::Record { record, .. } => {
                live.dirty = true;
                self.dirty = true;
                self.cancelled.remove(&(task, record.key));
            }
            Action::Ended(key) => live.ended.push(key),
            Action::WantCatchUp => self.catch_ups.push_back(task),
            Action::Pause(pause) => {
                let id = live.definition.id;
                self.wishes.push_back(Wish::Pause { task, id, pause });
            }
            Action::Trigger { task: other, key, outcome } => {
                let run_id = RunId { task: live.definition.id, key };
                let trigger = Trigger { task: live.definition.name.clone(), run_id, outcome };
                let task = other.as_str().trim_start_matches('t').parse().unwrap_or(usize::MAX);
                self.wishes.push_back(Wish::Trigger { task, trigger });
            }
            Action::Gone => {
                ensure!(live.deleted, "a task that was not deleted is gone");
                ensure!(live.unit.running().is_empty(), "a task is gone whose runs go on");
                self.tasks.remove(&task);
                self.wakes[task] = None;
                self.catch_ups.retain(|other| *other != task);
            }
        }
        Ok(None)
    }
}

fn name_of(input: &Input) -> String {
    let text = format!("{input:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}
