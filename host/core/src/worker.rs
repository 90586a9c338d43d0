//! One worker: many units on one thread, with their timers and their runs.
//!
//! The tick path begins here: [`Worker::fire_due`] takes a due unit from the timers, its state machine says start (`act`), the
//! runner is polled once, and in most cases the run has ended and is folded in before the next unit's turn. Nothing on this path
//! is shared with another thread but the task's own log. Everybody else reaches a worker by sending it a closure.

mod act;
mod catch_up;
mod commands;
mod failures;
mod slot;
mod starts;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};

use self::failures::FailureLog;
pub(crate) use self::slot::{Known, NewUnit, Slot};
use self::starts::{Noted, NotedStarts};
use crate::events::EventBus;
use crate::lateness::Lateness;
use crate::log::LogSink;
use crate::name::TaskName;
use crate::outcome::{Counts, RunKey, RunRecord, RunReport, TaskId, Trigger};
use crate::plugin::Sha256;
use crate::ports::{Clock, Pause, Runner, Store, UnitState};
use crate::recorder::Claims;
use crate::spec::Ceilings;
use crate::time::Time;
use crate::unit::{Action, Input};

/// How many due units fire before commands, finished runs and I/O get their turn.
const FIRE_BATCH: usize = 32;

/// How long a worker sleeps at most: tokio's clock stands still while the machine is suspended, and the wall clock, by which
/// tasks are due, may be set meanwhile.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// How long a worker waits for the claim to be extended before it looks again.
const CLAIM_PATIENCE: Duration = Duration::from_millis(5);

/// By how much the clock may go back unnoticed: what keeps clocks in step moves them by less.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// How many timers that mean nothing any more are kept, beyond one for each task, before they are cleared away.
const STALE_TIMERS: usize = 1024;

/// How many commands wait for a worker.
pub(crate) const MAX_COMMANDS: usize = 1024;

/// How many wishes wait for the supervisor.
pub(crate) const MAX_WISHES: usize = 4096;

/// How often units that changed are handed to the recorder.
const RECORD_INTERVAL: Duration = Duration::from_secs(1);

/// How many of them at a time, so that 100,000 busy tasks do not make a pause of it.
const RECORD_UNITS: usize = 2_000;

/// How many batches wait for the recorder before units stay dirty a second longer.
pub(crate) const MAX_RECORD_BATCHES: usize = 4;

/// What others send to a worker: done on its thread, between two ticks.
pub(crate) type Command<R, C> = Box<dyn FnOnce(&mut Worker<R, C>) + Send>;

/// What units did, on the way to the recorder.
#[derive(Default)]
pub(crate) struct UnitBatch {
    pub states: Vec<(TaskId, UnitState)>,
    pub records: Vec<(TaskId, RunRecord)>,
    pub ended: Vec<(TaskId, RunKey)>,
}

impl UnitBatch {
    pub(crate) fn extend(&mut self, more: Self) {
        self.states.extend(more.states);
        self.records.extend(more.records);
        self.ended.extend(more.ended);
    }
}

/// What a task asks for beyond its worker.
#[derive(Debug)]
pub(crate) enum Wish {
    /// It paused itself: make that durable.
    Pause { task: TaskName, id: TaskId, pause: Pause },
    /// Run another task.
    Trigger { task: TaskName, trigger: Trigger },
}

impl std::fmt::Display for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pause { task, .. } => write!(f, "pausing `{task}`"),
            Self::Trigger { task, trigger } => write!(f, "the run of `{task}` that `{}` triggers", trigger.task),
        }
    }
}

/// What all workers of a host share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub bus: EventBus,
    pub logs: Arc<LogSink>,
    pub states: mpsc::Sender<UnitBatch>,
    pub store: Arc<dyn Store>,
    /// How far due times may run without their starts being noted.
    pub claims: Arc<Claims>,
    pub wishes: mpsc::Sender<Wish>,
    pub cancel_grace: Duration,
    pub ceilings: Arc<Ceilings>,
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
    /// The hard stop of a run.
    Stop(RunKey),
}

/// A run that did not end in its first poll.
struct InFlight<F> {
    slot: u32,
    key: RunKey,
    began: Time,
    run: F,
}

impl<F: Future<Output = RunReport> + Unpin> Future for InFlight<F> {
    type Output = (u32, RunKey, Time, RunReport);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let report = std::task::ready!(self.run.poll_unpin(cx));
        Poll::Ready((self.slot, self.key, self.began, report))
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
    /// Starts that wait to be noted together, and those that are being noted.
    to_note: Vec<Noted>,
    noting: FuturesUnordered<NotedStarts>,
    /// Units with due times to make up for, in the order in which they asked, and when the next one may.
    catch_ups: VecDeque<u32>,
    next_catch_up: Time,
    /// How many such runs are going on.
    catching_up: usize,
    /// What time it was when last looked at: less later, and the clock was set back.
    last_now: Time,
    plugin_uses: HashMap<Sha256, u64>,
    dirty: VecDeque<u32>,
    counts: Counts,
    lateness: Lateness,
    failures: FailureLog,
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
            to_note: Vec::new(),
            noting: FuturesUnordered::new(),
            catch_ups: VecDeque::new(),
            next_catch_up: now,
            catching_up: 0,
            last_now: now,
            plugin_uses: HashMap::new(),
            dirty: VecDeque::new(),
            counts: Counts::default(),
            lateness: Lateness::new(now),
            failures: FailureLog::default(),
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
            self.look_at_clock();
            let more_due = self.fire_due();
            let next_catch_up = self.catch_up();
            self.note_starts();
            let next = self.timers.peek().map(|Reverse(timer)| timer.at).into_iter().chain(next_catch_up).min();
            let wait = async {
                match next {
                    // Lets the runtime look at I/O and its timers, and comes straight back.
                    _ if more_due => tokio::task::yield_now().await,
                    Some(at) => {
                        let now = self.clock.now();
                        // What is due and was not fired waits for the claim to be extended.
                        let wait = if at <= now { CLAIM_PATIENCE } else { at.since(now) };
                        tokio::time::sleep(wait.min(MAX_SLEEP)).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => command(&mut self),
                    None => self.quit = true,
                },
                Some((slot, key, began, report)) = self.in_flight.next() => self.finish(slot, key, began, report),
                Some(noted) = self.noting.next() => self.begin_noted(noted),
                _ = record.tick(), if !self.dirty.is_empty() => self.record_dirty(),
                () = wait => {}
            }
        }
    }

    /// Tells the units if the clock was set back.
    fn look_at_clock(&mut self) {
        let now = self.clock.now();
        let last = std::mem::replace(&mut self.last_now, now);
        if last.since(now) > CLOCK_TOLERANCE {
            tracing::warn!("the clock was set back from {last} to {now}; due times that have run do not run again");
            self.step_all(|| Input::ClockSetBack);
        }
    }

    /// Tells the worker to stop working.
    pub(crate) fn quit(&mut self) {
        self.quit = true;
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
        for (_, control) in self.slots.iter().flatten().flat_map(|slot| &slot.controls) {
            control.stop();
        }
    }

    /// What every unit that changed did, for the last write.
    pub(crate) fn take_dirty(&mut self) -> UnitBatch {
        let mut batch = UnitBatch::default();
        for index in std::mem::take(&mut self.dirty) {
            self.take_state(index, &mut batch);
        }
        batch
    }

    /// Fires what is due, up to a batch. Answers whether more is due.
    fn fire_due(&mut self) -> bool {
        for _ in 0..FIRE_BATCH {
            let now = self.clock.now();
            match self.timers.peek() {
                Some(Reverse(timer)) if timer.at <= now && self.may_fire(timer) => {}
                _ => return false,
            }
            let Some(Reverse(timer)) = self.timers.pop() else { return false };
            let Some(slot) = self.slots[timer.slot as usize].as_mut() else { continue };
            match timer.kind {
                TimerKind::Wake(number) if number == slot.wake => self.step(timer.slot, Input::Wake),
                TimerKind::Stop(key) => slot.control(key).into_iter().for_each(|control| control.stop()),
                TimerKind::Wake(_) => {}
            }
        }
        true
    }

    /// Whether a timer is within the claim, or what it is for needs none. Else the recorder is asked for one.
    fn may_fire(&self, timer: &Timer) -> bool {
        if timer.at <= self.shared.claims.until() {
            return true;
        }
        let slot = self.slots[timer.slot as usize].as_ref();
        let needs_claim = slot.is_some_and(|slot| slot.unit.needs_claim());
        if needs_claim {
            self.shared.claims.want();
        }
        !needs_claim
    }

    fn step_all(&mut self, input: impl Fn() -> Input) {
        for index in 0..self.slots.len() {
            if self.slots[index].is_some() {
                self.step(index as u32, input());
            }
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
        let indexes: Vec<u32> = self.dirty.drain(..count).collect();
        let mut batch = UnitBatch::default();
        for index in indexes {
            self.take_state(index, &mut batch);
        }
        permit.send(batch);
    }

    /// Puts what a unit that changed did into a batch.
    fn take_state(&mut self, index: u32, batch: &mut UnitBatch) {
        let Some(slot) = self.slots[index as usize].as_mut().filter(|slot| slot.dirty) else { return };
        slot.dirty = false;
        let id = slot.definition.id;
        let (log_seq, log_lost) = slot.log.position();
        batch
            .states
            .push((id, UnitState { plugins: slot.old_plugins.clone(), log_seq, log_lost, ..slot.unit.state() }));
        batch.records.extend(slot.unit.history.take_unwritten().into_iter().map(|record| (id, record)));
        batch.ended.extend(slot.ended.drain(..).map(|key| (id, key)));
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
        if self.in_flight.is_empty() && self.to_note.is_empty() && self.noting.is_empty() {
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
