//! One worker: many units on one thread, with their timers and their runs.
//!
//! The tick path begins here: [`Worker::fire_due`] takes the units that are due from the timers and has what they read fetched into
//! the caches; then the state machine of each says start (`act`), the runner is polled once, and in most cases the run has ended and
//! is folded in before the next unit's turn. Nothing on this path is shared with another thread but the task's own log. Everybody
//! else reaches a worker by sending it a closure.

mod act;
pub mod benching;
mod catch_up;
mod commands;
mod failures;
mod prefetch;
mod record;
mod slot;
mod starts;
mod timers;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};

use self::failures::FailureLog;
use self::record::{GATHER_INTERVAL, RECORD_INTERVAL, Recording};
pub(crate) use self::record::{RECORD_QUEUE, UnitBatch};
pub use self::slot::Unchanged;
pub(crate) use self::slot::{Known, NewUnit, Slot};
use self::starts::{Noted, NotedStarts};
use self::timers::{Timers, Wake};
use crate::claims::Claims;
use crate::events::EventBus;
use crate::lateness::Lateness;
use crate::log::LogSink;
use crate::name::TaskName;
use crate::outcome::{Counts, RunKey, RunReport, TaskId, Trigger};
use crate::plugin::Sha256;
use crate::ports::{Alarm, Clock, Pause, Runner, Store};
use crate::spec::Ceilings;
use crate::time::Time;
use crate::unit::{Action, Input};

/// How many due units fire before commands, finished runs and I/O get their turn.
const FIRE_BATCH: usize = 32;

/// How long a worker lets what is due and was not fired wait before it looks again: half of the shortest interval.
const PATIENCE: Duration = Duration::from_millis(5);

/// By how much the clock may go back unnoticed: what keeps clocks in step moves them by less.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// How many pieces of commands wait for a worker.
pub(crate) const MAX_WAITING_COMMANDS: usize = 64;

/// How long commands are obeyed one after the other before the worker looks what is due.
const COMMAND_PATIENCE: Duration = Duration::from_micros(100);

/// How many wishes wait for the supervisor.
pub(crate) const MAX_WISHES: usize = 4096;

/// What others send to a worker: done on its thread, between two ticks.
pub(crate) type Command<R, C> = Box<dyn FnOnce(&mut Worker<R, C>) + Send>;

/// Those that came together.
pub(crate) type Commands<R, C> = Vec<Command<R, C>>;

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
    /// How long a worker rests at least between what came due and what comes due next.
    pub timer_slack: Duration,
    pub ceilings: Arc<Ceilings>,
    /// Where commands are answered. To wake somebody from another thread takes a system call for each, so all that were done together
    /// go there in one piece. There are never more than callers wait.
    pub answers: mpsc::UnboundedSender<Vec<Answer>>,
}

/// Tells a caller that his command was done.
pub(crate) type Answer = Box<dyn FnOnce() + Send>;

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
    /// Deleted tasks whose last run is still going on.
    leaving: HashMap<TaskName, u32>,
    timers: Timers,
    /// Reused for what comes due together.
    due: Vec<Wake>,
    /// When something last came due.
    last_due: Time,
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
    recording: Recording,
    counts: Counts,
    lateness: Lateness,
    failures: FailureLog,
    /// To commands that were done and are not answered yet.
    answers: Vec<Answer>,
    /// Told when no run is going on, once the host stops.
    idle_waiters: Vec<oneshot::Sender<()>>,
    /// Reused by every step.
    actions: Vec<Action>,
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
            leaving: HashMap::new(),
            timers: Timers::default(),
            due: Vec::with_capacity(FIRE_BATCH),
            last_due: now,
            in_flight: FuturesUnordered::new(),
            to_note: Vec::new(),
            noting: FuturesUnordered::new(),
            catch_ups: VecDeque::new(),
            next_catch_up: now,
            catching_up: 0,
            last_now: now,
            plugin_uses: HashMap::new(),
            recording: Recording::default(),
            counts: Counts::default(),
            lateness: Lateness::new(now),
            failures: FailureLog::default(),
            answers: Vec::new(),
            idle_waiters: Vec::new(),
            actions: Vec::new(),
            halted: false,
            quit: false,
        }
    }

    /// Works until told to quit, or until nobody can tell any more.
    pub(crate) async fn work(mut self, mut commands: mpsc::Receiver<Commands<R, C>>) {
        let mut record = tokio::time::interval(RECORD_INTERVAL);
        record.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut gather = tokio::time::interval(GATHER_INTERVAL);
        gather.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut alarm = self.clock.alarm();
        while !self.quit {
            self.look_at_clock();
            let more_due = self.fire_due();
            let next_catch_up = self.catch_up();
            self.note_starts();
            let next = self.next_look(next_catch_up);
            let wait = async {
                match next {
                    // Lets the runtime look at I/O and its timers, and comes straight back.
                    _ if more_due => tokio::task::yield_now().await,
                    Some(time) => alarm.until(time).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                sent = commands.recv() => match sent {
                    Some(sent) => self.obey(sent, &mut commands),
                    None => self.quit = true,
                },
                Some((slot, key, began, report)) = self.in_flight.next() => self.finish(slot, key, began, report),
                Some(noted) = self.noting.next() => self.begin_noted(noted),
                _ = gather.tick(), if self.recording.has_units() => self.gather(),
                _ = record.tick(), if self.recording.has_batch() => self.record_batch(),
                () = wait => {}
            }
        }
    }

    /// When there is something to do.
    fn next_look(&self, next_catch_up: Option<Time>) -> Option<Time> {
        let next_wake = self.timers.next_wake().map(|at| {
            if at <= self.last_now {
                // It waits for the claim to be extended, or its unit has just been woken for an earlier due time. However long the worker
                // rests, a unit that is due more often than that must not get behind.
                self.last_now.saturating_add(PATIENCE)
            } else {
                at.max(rests_until(self.last_due, self.last_now, self.shared.timer_slack))
            }
        });
        [next_wake, self.timers.next_stop(), next_catch_up].into_iter().flatten().min()
    }

    /// Does what others want, and what they have sent meanwhile: not for long, as something may come due. All are answered together.
    fn obey(&mut self, sent: Commands<R, C>, commands: &mut mpsc::Receiver<Commands<R, C>>) {
        let began = std::time::Instant::now();
        let mut next = Some(sent);
        while let Some(sent) = next {
            sent.into_iter().for_each(|command| command(self));
            next = if !self.quit && began.elapsed() < COMMAND_PATIENCE { commands.try_recv().ok() } else { None };
        }
        if !self.answers.is_empty() {
            // Nobody waits any more if nobody takes them.
            self.shared.answers.send(std::mem::take(&mut self.answers)).ok();
        }
    }

    /// Answers a command when those that came with it are done too.
    pub(crate) fn answer_soon(&mut self, answer: impl FnOnce() + Send + 'static) {
        self.answers.push(Box::new(answer));
    }

    /// Tells the units if the clock was set back.
    fn look_at_clock(&mut self) {
        let now = self.clock.now();
        let last = std::mem::replace(&mut self.last_now, now);
        if last.since(now) > CLOCK_TOLERANCE {
            tracing::warn!("the clock was set back from {last} to {now}; due times that have run do not run again");
            self.step_all(|| Input::ClockSetBack);
            self.timers.hasten_stops(now.saturating_add(self.shared.cancel_grace));
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

    /// The same to be changed.
    pub(crate) fn slot_mut(&mut self, name: &str) -> Option<&mut Slot<R::Job>> {
        self.slots[*self.by_name.get(name)? as usize].as_mut()
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
            queue_depth: self.timers.due(now) as u64,
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

    /// Fires what is due, up to a batch. Answers whether more is due.
    fn fire_due(&mut self) -> bool {
        let now = self.clock.now();
        let mut due = std::mem::take(&mut self.due);
        due.clear();
        let may_wake = |at, slot: u32| may_wake(&self.shared.claims, at, || self.slots[slot as usize].as_ref());
        while due.len() < FIRE_BATCH
            && let Some(wake) = self.timers.pop_wake(now, may_wake)
        {
            due.push(wake);
        }
        self.prefetch(&due);
        for &Wake { slot, number, .. } in &due {
            self.stop_due();
            if self.slots[slot as usize].as_ref().is_some_and(|slot| slot.wake == number) {
                self.step(slot, Input::Wake);
            }
        }
        self.stop_due();
        if !due.is_empty() {
            self.last_due = self.clock.now();
        }
        let more = due.len() == FIRE_BATCH;
        self.due = due;
        more
    }

    /// Whether a unit may be woken for this time, as of claims. Else one is asked for.
    fn may_wake(&self, at: Time, index: u32) -> bool {
        may_wake(&self.shared.claims, at, || self.slots[index as usize].as_ref())
    }

    /// Stops the runs whose time for it has come, which waits for no ticks of others.
    fn stop_due(&mut self) {
        while let Some((slot, key)) = self.timers.pop_stop(|| self.clock.now()) {
            let control = self.slots[slot as usize].as_ref().and_then(|slot| slot.control(key));
            control.into_iter().for_each(|control| control.stop());
        }
    }

    fn step_all(&mut self, input: impl Fn() -> Input) {
        for index in 0..self.slots.len() {
            if self.slots[index].is_some() {
                self.step(index as u32, input());
            }
        }
    }

    fn forget(&mut self, index: u32) {
        let Some(slot) = self.slots[index as usize].take() else { return };
        self.leaving.remove(&slot.definition.name);
        release(&mut self.plugin_uses, slot.plugin);
        self.free.push(index);
        for waiter in slot.rare.into_iter().flat_map(|rare| rare.gone_waiters) {
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

/// Until when a worker rests, after something came due. If the clock was set back, that seems to be still to come.
fn rests_until(last_due: Time, now: Time, slack: Duration) -> Time {
    last_due.min(now).saturating_add(slack)
}

/// Whether a wake-up is within the claim, or what it is for needs none. Else the recorder is asked for one.
fn may_wake<'s, J: 's>(claims: &Claims, at: Time, slot: impl FnOnce() -> Option<&'s Slot<J>>) -> bool {
    if at <= claims.until() {
        return true;
    }
    let needs_claim = slot().is_some_and(|slot| slot.unit.needs_claim());
    if needs_claim {
        claims.want();
    }
    !needs_claim
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
