//! The rules of one task: what to do when its due time comes, a run ends, or somebody edits, pauses, cancels or deletes it.
//!
//! A state machine without I/O and without a clock: an input and the time go in, actions come out. The worker carries them
//! out; tests and the simulator drive the same code.
//!
//! Due times are taken in order, and each one exactly once: `cursor` is how far they were taken. One that was taken is started,
//! waits in `queue` (overlap), stands in `backlogs` (to be made up for), or got its record. Nothing else can become of it, and
//! after a crash `restore` gives a record to what was taken and can't be gone on with.

pub mod fault;
mod finish;
#[cfg(test)]
mod found_tests;
mod history;
mod missed;
mod overlap;
mod restore;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use thin_vec::ThinVec;

use self::fault::{Fault, planted};
pub use self::history::{History, LAST_RUNS};
pub use self::restore::{CLOCK_SET_BACK, Outage};
use self::slots::Planned;
use crate::name::TaskName;
use crate::outcome::{Outcome, Reason, RunId, RunKey, RunRecord, RunReport, TaskId, Trigger};
use crate::patch::{Patch, Rest};
use crate::ports::{Backlog, Definition, OpenRun, Pause, Progress, UnitState};
use crate::prefetch::{prefetch, prefetch_arc};
use crate::schedule::Schedule;
use crate::spec::{Overlap, TaskSpec};
use crate::time::Time;

/// How many due times one backfill may ask for.
pub const MAX_BACKFILL: usize = 10_000;

/// How many backlogs a task has at most: catching up, and backfills that wait.
const MAX_BACKLOGS: usize = 8;

/// What happens to a task.
#[derive(Clone, Debug)]
pub enum Input {
    /// The time last asked for by [`Action::Wake`] has come.
    Wake,
    /// Somebody, or another task's end, wants a run now. It is subject to the overlap policy, or to the one given instead: ask
    /// [`Unit::would_skip`] first.
    Run { overlap: Option<Overlap>, trigger: Option<Box<Trigger>> },
    /// There is room for a run of the backlog.
    CatchUp,
    /// Somebody wants these due times run again. At most [`MAX_BACKFILL`].
    Backfill { due: VecDeque<Time> },
    /// An attempt has ended. `began` is when the runner was called.
    Finished { key: RunKey, began: Time, report: RunReport },
    /// Take the next due time that has come, without its jitter: the definition is about to change.
    Settle,
    /// The definition changed; runs that are going on are not touched. What came due before was settled.
    Edited { spec: Arc<TaskSpec>, revision: u32 },
    /// The task is paused from now on. What came due before was settled.
    Paused { pause: Box<Pause>, revision: u32 },
    /// It is paused no more.
    Resumed { revision: u32 },
    /// The runs that are going on or wait are to end, or only the one.
    Cancel { key: Option<RunKey> },
    /// The task is deleted; a run that is going on ends by itself unless cancelled too.
    Deleted,
    /// The clock was set back.
    ClockSetBack,
    /// Nothing starts any more: the host stops.
    Halt,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Begin an attempt; answer with [`Input::Finished`]. With `noted`, the start is made durable first.
    Start { key: RunKey, attempt: u32, noted: bool },
    /// Call with [`Input::Wake`] at this time, and no longer at another.
    Wake(Option<Time>),
    /// Tell the guest of this run that it is cancelled, and stop it hard after the grace.
    Cancel(RunKey),
    /// Stop this run hard.
    Stop(RunKey),
    /// Due times have their outcome. `late_us` is how late the host was, where that was up to the host.
    Record { record: RunRecord, late_us: Option<u32> },
    /// A run whose start was noted has ended.
    Ended(RunKey),
    /// A run of the backlog wants to start: answer with [`Input::CatchUp`] when there is room.
    WantCatchUp,
    /// The task paused itself: make it durable.
    Pause(Pause),
    /// Run another task, because a run of this one ended so.
    Trigger { task: TaskName, key: RunKey, outcome: Outcome },
    /// The task is deleted and nothing of it goes on: forget it.
    Gone,
}

/// A run that was begun and has not ended.
#[derive(Clone, Debug)]
pub struct Running {
    pub key: RunKey,
    pub reason: Reason,
    pub trigger: Option<Box<Trigger>>,
    pub revision: u32,
    /// [`Progress::Started`] or [`Progress::Retrying`].
    pub progress: Progress,
    /// When it was to be begun, if that was up to the host: how late it is counts from here.
    planned: Option<Time>,
    /// Whether its start is in the store.
    noted: bool,
    /// Whether a success may share a record with others.
    joins: bool,
    cancelled: bool,
}

impl Running {
    /// The attempt that is going on or was the last, from 1.
    pub fn attempt(&self) -> u32 {
        match self.progress {
            Progress::Started { attempt } | Progress::Retrying { attempt, .. } => attempt,
            Progress::Queued => 0,
        }
    }

    /// Whether an attempt is going on.
    pub fn is_started(&self) -> bool {
        matches!(self.progress, Progress::Started { .. })
    }

    /// Whether this is the first attempt at a due time of a fast schedule, in its order.
    fn is_plain(&self) -> bool {
        let first = matches!(self.progress, Progress::Started { attempt: 1 });
        first && self.joins && self.key.backfill == 0 && self.reason == Reason::Schedule && self.trigger.is_none()
    }
}

/// A due time that waits for another run of its task to end.
#[derive(Clone, Debug)]
pub struct Queued {
    pub key: RunKey,
    pub reason: Reason,
    pub trigger: Option<Box<Trigger>>,
}

/// A task's state.
#[derive(Clone, Debug)]
pub struct Unit {
    id: TaskId,
    spec: Arc<TaskSpec>,
    anchor: Time,
    due_at_once: bool,
    revision: u32,
    paused: Option<Box<Pause>>,
    /// How far due times were taken.
    cursor: Time,
    /// The next one, unless it is a `delay`'s.
    next: Option<Planned>,
    /// When the last run ended, or the task was added: what a `delay` counts from. `None` while a run is going on.
    rested_since: Option<Time>,
    /// Each of these takes a pointer where there is nothing in it, as is so for most tasks at most times.
    running: ThinVec<Running>,
    queue: ThinVec<Queued>,
    backlogs: ThinVec<Backlog>,
    /// Whether the backlog has asked for room.
    wants_catch_up: bool,
    /// The newest due time that was made for a manual or triggered run, so that none is given twice.
    newest_own: Time,
    /// The wake-up that was asked for and has not come.
    wake: Option<Time>,
    halted: bool,
    deleted: bool,
    last_success: Option<Time>,
    scheduled_runs: u64,
    failures: u32,
    backfills: u32,
    /// Whether more changed since its state was last handed over than a patch can say.
    whole: bool,
    pub history: History,
}

impl Unit {
    /// A task that was just added. Its first wake-up is [`first_wake`](Self::first_wake).
    pub fn added(definition: &Definition) -> Self {
        let mut unit = Self::blank(definition);
        unit.plan();
        unit.wake = unit.wanted_wake();
        unit
    }

    /// A task that nothing is known of but its definition.
    fn blank(definition: &Definition) -> Self {
        let anchor = definition.added_at;
        Self {
            id: definition.id,
            spec: Arc::clone(&definition.spec),
            anchor,
            due_at_once: definition.due_at_once,
            revision: definition.revision,
            paused: definition.paused.clone(),
            cursor: if definition.due_at_once { Time(anchor.0.saturating_sub(1)) } else { anchor },
            next: None,
            rested_since: Some(anchor),
            running: ThinVec::new(),
            queue: ThinVec::new(),
            backlogs: ThinVec::new(),
            wants_catch_up: false,
            newest_own: Time(i64::MIN),
            wake: None,
            halted: false,
            deleted: false,
            last_success: None,
            scheduled_runs: 0,
            failures: 0,
            backfills: 0,
            whole: true,
            history: History::default(),
        }
    }

    /// Has the processor fetch what a tick reads: at depth 0 what the unit points to, at 1 what that does.
    pub(crate) fn prefetch(&self, depth: usize) {
        match depth {
            0 => prefetch_arc(&self.spec),
            1 => prefetch(self.spec.schedules()),
            _ => {}
        }
        self.history.prefetch(depth);
    }

    /// The wake-up that it waits for.
    pub fn first_wake(&self) -> Option<Time> {
        self.wake
    }

    /// The runs that were begun and have not ended, in the order in which they were begun.
    pub fn running(&self) -> &[Running] {
        &self.running
    }

    /// The due times that wait for another run to end, in order.
    pub fn queue(&self) -> impl Iterator<Item = &Queued> {
        self.queue.iter()
    }

    /// How many due times are still to be made up for.
    pub fn backlog(&self) -> usize {
        self.backlogs.iter().map(|backlog| backlog.due.len()).sum()
    }

    /// They, in the order in which they are made up for.
    pub fn backlogs(&self) -> impl Iterator<Item = &Backlog> {
        self.backlogs.iter()
    }

    /// How many runs the schedules have started: what `max_runs` counts.
    pub fn scheduled_runs(&self) -> u64 {
        self.scheduled_runs
    }

    pub fn paused(&self) -> Option<&Pause> {
        self.paused.as_deref()
    }

    /// The newest run that was asked for and not due by a schedule.
    pub fn newest_own(&self) -> RunKey {
        RunKey::of(self.newest_own)
    }

    /// How many backfills were asked for.
    pub fn backfills(&self) -> u32 {
        self.backfills
    }

    /// How many runs in a row have failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The due time of the last success.
    pub fn last_success(&self) -> Option<Time> {
        self.last_success
    }

    /// How far due times were taken: later ones have nothing yet.
    pub fn cursor(&self) -> Time {
        self.cursor
    }

    /// The next due time; `None` while nothing comes due.
    pub fn next_due(&self) -> Option<Time> {
        if self.halted || self.paused.is_some() {
            return None;
        }
        let next = self.next.as_ref().map(|planned| planned.due);
        [next, self.delay_due()].into_iter().flatten().min()
    }

    pub fn run_id(&self, key: RunKey) -> RunId {
        RunId { task: self.id, key }
    }

    /// Whether a due time has come that was not taken: to be settled before the definition changes.
    pub fn is_due(&self, now: Time) -> bool {
        self.next_due().is_some_and(|due| due <= now)
    }

    /// A run that was begun and has not ended.
    pub fn run(&self, key: RunKey) -> Option<&Running> {
        self.running.iter().find(|run| run.key == key)
    }

    /// A due time as RFC 3339 in the time zone of its schedule; `None` if none has a time zone.
    pub fn due_local(&self, due: Time) -> Option<String> {
        let has_zone = |schedule: &Schedule| matches!(schedule, Schedule::Cron(_));
        self.spec.schedules().iter().any(has_zone).then(|| self.timetable().local(due))
    }

    /// The run on whose account a manual run would be skipped, if it would be.
    pub fn would_skip(&self, overlap: Option<Overlap>) -> Option<RunKey> {
        match overlap.unwrap_or(self.spec.overlap()) {
            Overlap::Skip => self.running.first().map(|run| run.key),
            _ => None,
        }
    }

    /// What is kept of it over a restart, but its log.
    pub fn state(&self) -> UnitState {
        let running = self.running.iter().map(|run| OpenRun {
            key: run.key,
            reason: run.reason,
            trigger: run.trigger.clone(),
            revision: run.revision,
            progress: run.progress.clone(),
        });
        let queued = |key, reason, trigger| OpenRun {
            key,
            reason,
            trigger,
            revision: self.revision,
            progress: Progress::Queued,
        };
        let waiting = self.queue.iter().map(|run| queued(run.key, run.reason, run.trigger.clone()));
        UnitState {
            counts: self.history.counts(),
            last_runs: self.history.last_runs.iter().cloned().collect(),
            last_success: self.last_success,
            accounted: self.cursor,
            open: running.chain(waiting).collect(),
            backlogs: self.backlogs.iter().cloned().collect(),
            rested_since: self.rested_since,
            scheduled_runs: self.scheduled_runs,
            failures: self.failures,
            backfills: self.backfills,
            history_lost: self.history.lost,
            ..UnitState::default()
        }
    }

    /// The same, to be written. Patches go on from it.
    pub fn hand_over(&mut self) -> UnitState {
        self.whole = false;
        self.state()
    }

    /// What was handed over is lost.
    pub fn forget_handed_over(&mut self) {
        self.whole = true;
    }

    /// What changed since its state was handed over, if a patch can say it, but its log.
    ///
    /// Of a state, a patch says what successes change of the newest record, the cursor, and the first attempt of a run in its order.
    /// It says too that nothing waits and that the last run did not fail. Everything else changes only where `whole` is set.
    pub fn patch(&self) -> Option<Patch> {
        let newest = self.history.last_runs.last().filter(|newest| newest.outcome == Outcome::Success)?;
        let plain = !self.whole
            && self.queue.is_empty()
            && self.backlogs.is_empty()
            && self.failures == 0
            && newest.key.backfill == 0
            && self.last_success == Some(newest.key.due);
        if !plain {
            return None;
        }
        let rest = match (self.rested_since, self.running.as_slice()) {
            (Some(since), []) => Rest::Since(since),
            (None, [run]) if run.is_plain() && run.revision == newest.revision => Rest::Running(run.key.due),
            _ => return None,
        };
        let span = history::span_of(newest);
        Some(Patch {
            due: newest.key.due,
            lateness_us: newest.lateness_us,
            took_us: newest.took_us,
            times: span.times,
            took_total_us: span.took_total_us,
            took_max_us: span.took_max_us,
            lateness_max_us: span.lateness_max_us,
            successes: self.history.successes(),
            accounted: self.cursor,
            rest,
            scheduled_runs: self.scheduled_runs,
            log_seq: 0,
            log_lost: 0,
        })
    }

    /// One step. What is to be done is appended to `actions`, in order.
    pub fn handle(&mut self, input: Input, now: Time, actions: &mut Vec<Action>) {
        // Stopping changes nothing that is kept.
        self.whole |= !matches!(input, Input::Wake | Input::Finished { .. } | Input::Halt);
        match input {
            Input::Wake => {
                self.wake = None;
                self.wake_up(now, actions);
            }
            Input::Run { overlap, trigger } => self.run_now(overlap, trigger, now, actions),
            Input::CatchUp => {
                self.wants_catch_up = false;
                self.catch_up(now, actions);
            }
            Input::Backfill { due } => {
                if !due.is_empty() && self.backlogs.len() < MAX_BACKLOGS {
                    self.backfills += 1;
                    self.backlogs.push(Backlog { reason: Reason::Backfill, backfill: self.backfills, due });
                }
            }
            Input::Finished { key, began, report } => self.finished(key, began, report, now, actions),
            Input::Settle => self.settle(now, actions),
            Input::Edited { spec, revision } => self.edited(spec, revision, now, actions),
            Input::Paused { pause, revision } => {
                self.leave_behind(now, actions);
                self.revision = revision;
                self.next = None;
                self.paused = Some(pause);
            }
            Input::Resumed { revision } => {
                self.revision = revision;
                self.end_pause(now, now, actions);
            }
            Input::Cancel { key } => self.cancel(key, now, actions),
            Input::Deleted => self.deleted(now, actions),
            Input::ClockSetBack => self.clock_set_back(now),
            Input::Halt => self.halted = true,
        }
        self.want(actions);
    }

    /// Asks for what comes next: a wake-up at another time, room for the backlog.
    fn want(&mut self, actions: &mut Vec<Action>) {
        let wanted = self.wanted_wake();
        if wanted != self.wake {
            self.wake = wanted;
            actions.push(Action::Wake(wanted));
        }
        let ready = !self.backlogs.is_empty() && self.running.is_empty() && self.queue.is_empty();
        if ready && !self.wants_catch_up && !self.halted && self.paused.is_none() {
            self.wants_catch_up = true;
            actions.push(Action::WantCatchUp);
        }
        if self.deleted && self.running.is_empty() {
            actions.push(Action::Gone);
        }
    }

    /// When it has something to do by itself.
    fn wanted_wake(&self) -> Option<Time> {
        if self.halted {
            return None;
        }
        let retries = self.running.iter().filter_map(|run| match run.progress {
            Progress::Retrying { at, .. } => Some(at),
            _ => None,
        });
        let retry = retries.min();
        if let Some(pause) = &self.paused {
            return [retry, pause.until].into_iter().flatten().min();
        }
        let next = self.next.as_ref().map(|planned| planned.at);
        let delay = self.delay_due().map(|due| self.begins_at(due));
        [retry, next, delay].into_iter().flatten().min()
    }

    /// Does what is to be done at this time: retries, the end of a pause, and one due time, or all of those that are too late.
    fn wake_up(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.halted {
            return;
        }
        self.retry_due(now, actions);
        if let Some(until) = self.paused.as_ref().and_then(|pause| pause.until).filter(|until| *until <= now) {
            self.end_pause(until, now, actions);
        }
        if self.paused.is_none() {
            self.take_due(now, actions);
        }
    }

    fn run_now(
        &mut self,
        overlap: Option<Overlap>,
        trigger: Option<Box<Trigger>>,
        now: Time,
        actions: &mut Vec<Action>,
    ) {
        if self.halted || self.deleted {
            return;
        }
        let key = self.own_key(now);
        let reason = if trigger.is_some() { Reason::Triggered } else { Reason::Manual };
        let overlap = overlap.unwrap_or(self.spec.overlap());
        self.arrive(Queued { key, reason, trigger }, None, overlap, now, actions);
    }

    fn edited(&mut self, spec: Arc<TaskSpec>, revision: u32, now: Time, actions: &mut Vec<Action>) {
        let old_revision = std::mem::replace(&mut self.revision, revision);
        let old = std::mem::replace(&mut self.spec, spec);
        let timing =
            |spec: &TaskSpec| (spec.schedules().to_vec(), spec.starts_at, spec.expires_at, spec.jitter, spec.max_runs);
        if timing(&old) == timing(&self.spec) {
            return;
        }
        let new = std::mem::replace(&mut self.spec, old);
        self.revision = old_revision;
        self.leave_behind(now, actions);
        self.revision = revision;
        self.spec = new;
        self.next = None;
        self.plan();
    }

    /// Accounts for the due times until now by the definition that ends: those of a pause, or those that waited for their jitter
    /// and were too many to be settled.
    fn leave_behind(&mut self, now: Time, actions: &mut Vec<Action>) {
        if planted(Fault::EditForgetsDue) {
            self.take_until(now);
        } else if self.paused.is_some() {
            self.pass_over_pause(now, actions);
        } else {
            let detail = "the definition changed while they waited for their jitter";
            self.pass_over_missed(self.cursor, now, detail, now, actions);
        }
    }

    fn deleted(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.deleted = true;
        self.halted = true;
        self.queue.retain(|_| planted(Fault::DeletedBeginsQueued));
        self.backlogs.clear();
        self.end_retries(now, actions);
    }

    fn clock_set_back(&mut self, now: Time) {
        // A clock that was far ahead for a while must not keep the task from running until then.
        if self.cursor > now.saturating_add(CLOCK_SET_BACK) || planted(Fault::ClockSetBackRunsAgain) {
            self.cursor = now;
            self.forget_made_up_after(now);
            self.newest_own = self.newest_own.min(now);
            self.last_success = self.last_success.map(|last| last.min(now));
            // Nor is what comes next bound to come after what was planned then.
            self.next = None;
            self.plan();
        }
        let latest = |time: Time, wait: Duration| time.min(now.saturating_add(wait));
        self.rested_since = self.rested_since.map(|since| since.min(now));
        let longest = self.spec.retry().max_backoff;
        for run in &mut self.running {
            if let Progress::Retrying { at, .. } = &mut run.progress {
                *at = latest(*at, longest);
            }
        }
    }
}
