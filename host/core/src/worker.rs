//! One worker: many units on one thread, with their timers and their runs.
//!
//! The tick path is here: [`Worker::fire_due`] takes a due unit from the timers, its state machine says start, the runner is
//! polled once, and in most cases the run has ended and is folded in before the next unit's turn. Nothing on this path is
//! shared with another thread but the task's own log. Everybody else reaches a worker by sending it a closure.

mod slot;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::slot::{NewUnit, Slot};
use crate::events::{Event, EventBus, EventKind};
use crate::lateness::Lateness;
use crate::log::{LogSink, TaskLog};
use crate::name::TaskName;
use crate::outcome::{Counts, Outcome, Reason, Run, RunId, RunRecord, RunReport, TaskId};
use crate::plugin::Sha256;
use crate::ports::{Attempt, Clock, Definition, Runner, UnitState};
use crate::time::Time;
use crate::unit::{Action, Input, Unit};

/// How many due units fire before commands, finished runs and I/O get their turn.
const FIRE_BATCH: usize = 32;

/// How long a worker sleeps at most: tokio's clock stands still while the machine is suspended, and the wall clock, by which
/// tasks are due, may be set meanwhile.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// How many timers that mean nothing any more are kept, beyond one for each task, before they are cleared away.
const STALE_TIMERS: usize = 1024;

/// How many commands wait for a worker.
pub(crate) const MAX_COMMANDS: usize = 1024;

/// How often units that changed are handed to the recorder.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);

/// How many of them at a time, so that 100,000 busy tasks do not make a pause of it.
const RECORD_UNITS: usize = 2_000;

/// How many batches wait for the recorder before units stay dirty a second longer.
pub(crate) const MAX_RECORD_BATCHES: usize = 4;

/// What others send to a worker: done on its thread, between two ticks.
pub(crate) type Command<R, C> = Box<dyn FnOnce(&mut Worker<R, C>) + Send>;

/// What units did, on the way to the recorder.
pub(crate) type StateBatch = Vec<(TaskId, UnitState)>;

/// What all workers of a host share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub bus: EventBus,
    pub logs: Arc<LogSink>,
    pub states: mpsc::Sender<StateBatch>,
    pub cancel_grace: Duration,
}

/// Ordered by time, so that the heap's top is due first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Timer {
    at: Time,
    slot: u32,
    kind: TimerKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum TimerKind {
    /// The wake-up with this number.
    Wake(u64),
    /// The hard stop of the run with this due time.
    Stop(Time),
}

/// A run that did not end in its first poll.
struct InFlight<F> {
    slot: u32,
    began: Time,
    run: F,
}

impl<F: Future<Output = RunReport> + Unpin> Future for InFlight<F> {
    type Output = (u32, Time, RunReport);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let report = std::task::ready!(self.run.poll_unpin(cx));
        Poll::Ready((self.slot, self.began, report))
    }
}

/// The units of one thread.
pub(crate) struct Worker<R: Runner, C: Clock> {
    runner: R,
    clock: C,
    shared: Shared,
    slots: Vec<Option<Slot<R::Job>>>,
    free: Vec<u32>,
    by_name: BTreeMap<TaskName, u32>,
    /// Names of deleted tasks whose last run is still going on.
    leaving: HashSet<TaskName>,
    timers: BinaryHeap<Reverse<Timer>>,
    in_flight: FuturesUnordered<InFlight<R::Run>>,
    plugin_uses: HashMap<Sha256, u64>,
    dirty: VecDeque<u32>,
    counts: Counts,
    lateness: Lateness,
    /// Told when no run is going on, once the host stops.
    idle_waiters: Vec<oneshot::Sender<()>>,
    /// Reused by every step.
    actions: Vec<Action>,
    /// Counts wake-ups asked for, over all units, so that no two have the same number.
    wakes: u64,
    /// Nothing starts any more.
    halted: bool,
    quit: bool,
}

impl<R: Runner, C: Clock> Worker<R, C> {
    pub(crate) fn new(runner: R, clock: C, shared: Shared) -> Self {
        let now = clock.now();
        Self {
            runner,
            clock,
            shared,
            slots: Vec::new(),
            free: Vec::new(),
            by_name: BTreeMap::new(),
            leaving: HashSet::new(),
            timers: BinaryHeap::new(),
            in_flight: FuturesUnordered::new(),
            plugin_uses: HashMap::new(),
            dirty: VecDeque::new(),
            counts: Counts::default(),
            lateness: Lateness::new(now),
            idle_waiters: Vec::new(),
            actions: Vec::new(),
            wakes: 0,
            halted: false,
            quit: false,
        }
    }

    /// Works until told to quit, or until nobody can tell any more.
    pub(crate) async fn work(mut self, mut commands: mpsc::Receiver<Command<R, C>>) {
        let mut record = tokio::time::interval(RECORD_INTERVAL);
        record.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !self.quit {
            let more_due = self.fire_due();
            let next = self.timers.peek().map(|Reverse(timer)| timer.at);
            let wait = async {
                match next {
                    // Lets the runtime look at I/O and its timers, and comes straight back.
                    _ if more_due => tokio::task::yield_now().await,
                    Some(at) => tokio::time::sleep(at.since(self.clock.now()).min(MAX_SLEEP)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => command(&mut self),
                    None => self.quit = true,
                },
                Some((slot, began, report)) = self.in_flight.next() => self.finish(slot, began, report),
                _ = record.tick(), if !self.dirty.is_empty() => self.record_dirty(),
                () = wait => {}
            }
        }
    }

    /// Tells the worker to stop working.
    pub(crate) fn quit(&mut self) {
        self.quit = true;
    }

    /// Registers a task, and starts its clock.
    pub(crate) fn register(&mut self, new: NewUnit<R::Job>) {
        let now = self.clock.now();
        let NewUnit { definition, plugin, job, state } = new;
        let state_was_known = state.is_some();
        let state = state.unwrap_or_default();
        let sink = Arc::clone(&self.shared.logs);
        let name = definition.spec.name.clone();
        let log = TaskLog::new(definition.id, name.clone(), state.log_seq, state.log_lost, sink);
        let unit = if state_was_known {
            Unit::restored(&definition, state.counts, state.last_runs, state.last_success, now)
        } else {
            Unit::added(&definition)
        };
        let next_due = unit.next_due();
        let slot = Slot {
            unit,
            definition,
            plugin,
            job,
            old_plugins: state.plugins,
            log,
            control: Arc::default(),
            wake: 0,
            dirty: false,
            run_waiters: Vec::new(),
            gone_waiters: Vec::new(),
        };
        *self.plugin_uses.entry(plugin).or_default() += 1;
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = Some(slot);
                index
            }
            None => {
                self.slots.push(Some(slot));
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 tasks fit in memory")
            }
        };
        self.by_name.insert(name, index);
        if self.halted {
            self.step(index, Input::Halt);
        } else {
            self.wake_at(index, next_due);
        }
    }

    /// Puts a new definition in force. A run that is going on finishes on the old one.
    pub(crate) fn apply_edit(&mut self, definition: Definition, plugin: Sha256, job: R::Job) {
        let Some(&index) = self.by_name.get(definition.spec.name.as_str()) else { return };
        let Some(slot) = self.slots[index as usize].as_mut() else { return };
        if plugin != slot.plugin {
            slot.old_plugins.push((slot.definition.revision, slot.plugin));
            release(&mut self.plugin_uses, slot.plugin);
            *self.plugin_uses.entry(plugin).or_default() += 1;
            slot.plugin = plugin;
        }
        slot.job = Ok(job);
        let input = Input::Edited { schedule: definition.spec.schedule(), revision: definition.revision };
        slot.definition = definition;
        self.step(index, input);
    }

    /// Lets a task run that could not, unless it was edited, or deleted and added anew, meanwhile.
    pub(crate) fn revive(&mut self, definition: &Definition, job: R::Job) {
        let Some(&index) = self.by_name.get(definition.spec.name.as_str()) else { return };
        let is_same = |slot: &&mut Slot<R::Job>| {
            (slot.definition.id, slot.definition.revision) == (definition.id, definition.revision)
        };
        if let Some(slot) = self.slots[index as usize].as_mut().filter(is_same) {
            slot.job = Ok(job);
        }
    }

    /// Whether the last run of a deleted task of this name is still going on.
    pub(crate) fn is_leaving(&self, name: &TaskName) -> bool {
        self.leaving.contains(name)
    }

    /// Deletes a task. Answers when nothing of it goes on any more; until then, its name is taken.
    pub(crate) fn delete(&mut self, name: &TaskName, cancel: bool, gone: oneshot::Sender<()>) {
        let Some(index) = self.by_name.remove(name) else { return };
        let Some(slot) = self.slots[index as usize].as_mut() else { return };
        self.leaving.insert(name.clone());
        slot.gone_waiters.push(gone);
        slot.log.close();
        if cancel {
            self.step(index, Input::Cancel);
        }
        self.step(index, Input::Deleted);
    }

    /// Starts a manual run; `None` if there is no such task. Nothing is started any more once the host stops: what is
    /// `finished` is dropped.
    pub(crate) fn run_now(&mut self, name: &str, finished: Option<oneshot::Sender<Run>>) -> Option<Result<Run, RunId>> {
        let index = *self.by_name.get(name)?;
        let slot = self.slots[index as usize].as_mut()?;
        if let Some(running) = slot.unit.running() {
            return Some(Err(slot.unit.run_id(running.due)));
        }
        slot.run_waiters.extend(finished);
        self.step(index, Input::Run);
        let slot = self.slots[index as usize].as_mut()?;
        slot.run_waiters.retain(|_| slot.unit.running().is_some());
        slot.running_run().or_else(|| slot.last_run()).map(Ok)
    }

    /// Cancels the run that is going on, if it is `run` or `run` is `None`.
    pub(crate) fn cancel(&mut self, name: &str, run: Option<RunId>) -> Option<RunId> {
        let index = *self.by_name.get(name)?;
        let slot = self.slots[index as usize].as_ref()?;
        let running = slot.unit.run_id(slot.unit.running()?.due);
        if run.is_some_and(|run| run != running) {
            return None;
        }
        self.step(index, Input::Cancel);
        Some(running)
    }

    /// A task by name.
    pub(crate) fn slot(&self, name: &str) -> Option<&Slot<R::Job>> {
        self.slots[*self.by_name.get(name)? as usize].as_ref()
    }

    /// The tasks after a name, in order.
    pub(crate) fn slots_after(&self, after: Option<&str>) -> impl Iterator<Item = &Slot<R::Job>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let start = after.map_or(Unbounded, Excluded);
        self.by_name.range::<str, _>((start, Unbounded)).filter_map(|(_, index)| self.slots[*index as usize].as_ref())
    }

    pub(crate) fn plugin_uses(&self) -> &HashMap<Sha256, u64> {
        &self.plugin_uses
    }

    /// What this worker did and has to do.
    pub(crate) fn stats(&mut self) -> WorkerStats {
        let now = self.clock.now();
        WorkerStats {
            tasks: self.by_name.len() as u64,
            counts: self.counts,
            lateness: self.lateness.window(now),
            queue_depth: self.timers.iter().filter(|Reverse(timer)| timer.at <= now).count() as u64,
            running: self.in_flight.len() as u64,
        }
    }

    /// Starts nothing any more; answers when no run is going on.
    pub(crate) fn halt(&mut self, idle: oneshot::Sender<()>) {
        self.halted = true;
        self.idle_waiters.push(idle);
        self.step_all(|| Input::Halt);
        self.tell_if_idle();
    }

    /// Stops every run hard.
    pub(crate) fn stop_all(&mut self) {
        for slot in self.slots.iter().flatten().filter(|slot| slot.unit.running().is_some()) {
            slot.control.stop();
        }
    }

    /// What every unit that changed did, for the last write.
    pub(crate) fn take_dirty(&mut self) -> StateBatch {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().filter_map(|index| self.take_state(index)).collect()
    }

    /// Fires what is due, up to a batch. Answers whether more is due.
    fn fire_due(&mut self) -> bool {
        for _ in 0..FIRE_BATCH {
            let now = self.clock.now();
            match self.timers.peek() {
                Some(Reverse(timer)) if timer.at <= now => {}
                _ => return false,
            }
            let Some(Reverse(timer)) = self.timers.pop() else { return false };
            let Some(slot) = self.slots[timer.slot as usize].as_mut() else { continue };
            match timer.kind {
                TimerKind::Wake(number) if number == slot.wake => self.step(timer.slot, Input::Wake),
                TimerKind::Stop(due) if slot.unit.running().is_some_and(|run| run.due == due) => slot.control.stop(),
                TimerKind::Wake(_) | TimerKind::Stop(_) => {}
            }
        }
        true
    }

    fn finish(&mut self, slot: u32, began: Time, report: RunReport) {
        self.step(slot, Input::Finished { began, report });
        self.tell_if_idle();
    }

    fn step_all(&mut self, input: impl Fn() -> Input) {
        for index in 0..self.slots.len() {
            if self.slots[index].is_some() {
                self.step(index as u32, input());
            }
        }
    }

    /// One step of a unit's state machine, and what follows from it.
    fn step(&mut self, index: u32, input: Input) {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let Some(slot) = self.slots[index as usize].as_mut() else { return };
            let mut actions = std::mem::take(&mut self.actions);
            slot.unit.handle(input, self.clock.now(), &mut actions);
            for action in actions.drain(..) {
                if let Some((began, report)) = self.act(index, action) {
                    next = Some(Input::Finished { began, report });
                }
            }
            self.actions = actions;
        }
    }

    /// Carries out one action. Answers with a run's report if it has ended already.
    fn act(&mut self, index: u32, action: Action) -> Option<(Time, RunReport)> {
        match action {
            Action::Start { due, reason } => return self.start(index, due, reason),
            Action::Wake(at) => self.wake_at(index, at),
            Action::Cancel => self.cancel_run(index),
            Action::Record(record) => self.record(index, record),
            Action::Repeat { outcome, times } => {
                self.counts.add(outcome, times);
                self.mark_dirty(index);
            }
            Action::Gone => self.forget(index),
        }
        None
    }

    fn start(&mut self, index: u32, due: Time, reason: Reason) -> Option<(Time, RunReport)> {
        let slot = self.slots[index as usize].as_mut()?;
        let began = self.clock.now();
        let job = match &slot.job {
            Ok(job) => job,
            Err(why) => return Some((began, RunReport::of(Outcome::HostError).with_detail(why))),
        };
        if slot.control.is_cancelled() {
            slot.control = Arc::default();
        }
        let attempt = Attempt {
            task: slot.definition.spec.name.clone(),
            run_id: slot.unit.run_id(due),
            number: 1,
            since: slot.unit.last_success,
            reason,
            timeout: slot.definition.spec.timeout(),
            control: Arc::clone(&slot.control),
            log: Arc::clone(&slot.log),
        };
        let mut run = self.runner.run(job, attempt);
        // A run that does not end at once is polled again with a waker of its own as soon as it is in the set.
        match run.poll_unpin(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(report) => Some((began, report)),
            Poll::Pending => {
                self.in_flight.push(InFlight { slot: index, began, run });
                None
            }
        }
    }

    fn wake_at(&mut self, index: u32, at: Option<Time>) {
        let Some(slot) = self.slots[index as usize].as_mut() else { return };
        self.wakes += 1;
        slot.wake = self.wakes;
        if let Some(at) = at {
            self.timers.push(Reverse(Timer { at, slot: index, kind: TimerKind::Wake(self.wakes) }));
            self.clear_stale_timers();
        }
    }

    /// Edits and deletes leave timers behind whose time may be years away.
    fn clear_stale_timers(&mut self) {
        if self.timers.len() > 2 * self.slots.len() + STALE_TIMERS {
            let slots = &self.slots;
            self.timers.retain(|Reverse(timer)| match (timer.kind, &slots[timer.slot as usize]) {
                (TimerKind::Wake(number), Some(slot)) => number == slot.wake,
                (TimerKind::Stop(_), Some(_)) => true,
                (_, None) => false,
            });
        }
    }

    fn cancel_run(&mut self, index: u32) {
        let Some(slot) = self.slots[index as usize].as_ref() else { return };
        let Some(running) = slot.unit.running() else { return };
        if !slot.control.is_cancelled() {
            slot.control.cancel();
            let at = self.clock.now().saturating_add(self.shared.cancel_grace);
            self.timers.push(Reverse(Timer { at, slot: index, kind: TimerKind::Stop(running.due) }));
        }
    }

    fn record(&mut self, index: u32, record: RunRecord) {
        self.counts.add(record.outcome, 1 + record.more.as_ref().map_or(0, |more| more.further));
        let now = self.clock.now();
        if let Some(lateness_us) = record.lateness_us.filter(|_| record.reason == Reason::Schedule) {
            self.lateness.record(lateness_us, now);
        }
        self.mark_dirty(index);
        let Some(slot) = self.slots[index as usize].as_mut() else { return };
        if record.outcome != Outcome::Success && record.outcome.ran() {
            slot.log.mark_failed();
        }
        if record.outcome.ran() {
            let run = slot.run_of(&record);
            for waiter in slot.run_waiters.drain(..) {
                // Fails only if nobody waits any more.
                waiter.send(run.clone()).ok();
            }
        }
        let slot = &*slot;
        self.shared.bus.publish(|| Event { time: now, kind: EventKind::RunFinished(slot.run_of(&record)) });
    }

    fn mark_dirty(&mut self, index: u32) {
        if let Some(slot) = self.slots[index as usize].as_mut()
            && !std::mem::replace(&mut slot.dirty, true)
        {
            self.dirty.push_back(index);
        }
    }

    /// Hands the units that changed longest ago to the recorder; if it is behind, they stay for the next time.
    fn record_dirty(&mut self) {
        let Ok(permit) = self.shared.states.clone().try_reserve_owned() else { return };
        let count = self.dirty.len().min(RECORD_UNITS);
        let batch: Vec<u32> = self.dirty.drain(..count).collect();
        permit.send(batch.into_iter().filter_map(|index| self.take_state(index)).collect());
    }

    /// The state of a unit that changed; `None` if the one that did is gone.
    fn take_state(&mut self, index: u32) -> Option<(TaskId, UnitState)> {
        let slot = self.slots[index as usize].as_mut().filter(|slot| slot.dirty)?;
        slot.dirty = false;
        let oldest_revision = slot.unit.last_runs.iter().map(|run| run.revision).min().unwrap_or(u32::MAX);
        slot.old_plugins.retain(|(revision, _)| *revision >= oldest_revision);
        let (log_seq, log_lost) = slot.log.position();
        let state = UnitState {
            counts: slot.unit.counts,
            last_runs: slot.unit.last_runs.iter().cloned().collect(),
            last_success: slot.unit.last_success,
            plugins: slot.old_plugins.clone(),
            log_seq,
            log_lost,
        };
        Some((slot.definition.id, state))
    }

    fn forget(&mut self, index: u32) {
        let Some(slot) = self.slots[index as usize].take() else { return };
        self.leaving.remove(&slot.definition.spec.name);
        release(&mut self.plugin_uses, slot.plugin);
        self.free.push(index);
        for waiter in slot.gone_waiters {
            waiter.send(()).ok();
        }
    }

    fn tell_if_idle(&mut self) {
        if self.in_flight.is_empty() {
            for waiter in self.idle_waiters.drain(..) {
                waiter.send(()).ok();
            }
        }
    }
}

/// What a worker did and has to do.
pub(crate) struct WorkerStats {
    pub tasks: u64,
    pub counts: Counts,
    pub lateness: hdrhistogram::Histogram<u64>,
    pub queue_depth: u64,
    pub running: u64,
}

fn release(uses: &mut HashMap<Sha256, u64>, plugin: Sha256) {
    if let Some(count) = uses.get_mut(&plugin) {
        *count -= 1;
        if *count == 0 {
            uses.remove(&plugin);
        }
    }
}

#[cfg(test)]
mod tests;
