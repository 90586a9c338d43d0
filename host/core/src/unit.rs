//! The rules of one task: what to do when its due time comes, a run ends, or somebody edits, cancels or deletes it.
//!
//! A state machine without I/O and without a clock: an input and the time go in, actions come out. The worker carries them
//! out; tests and simulations drive the same code.

use std::collections::VecDeque;
use std::time::Duration;

use crate::outcome::{Counts, Outcome, Reason, RunId, RunMore, RunRecord, RunReport, TaskId};
use crate::ports::Definition;
use crate::schedule::Schedule;
use crate::time::Time;

/// How many runs are kept with a task.
pub const LAST_RUNS: usize = 20;

/// How many of them may be successes when others would have to go.
const LAST_SUCCESSES: usize = 10;

/// How late a due time may be, in nanoseconds, and still run when a later one has passed too. Short hiccups delay runs; a
/// host that stood still does not make up for them in a burst.
const LATE_TOLERANCE_NANOS: i64 = 1_000_000_000;

/// By how much a clock is set back at a restart, at most, for what ran before to count as having run.
const CLOCK_SET_BACK: Duration = Duration::from_secs(86_400);

/// What happens to a task.
#[derive(Clone, Debug)]
pub enum Input {
    /// The time last asked for by [`Action::Wake`] has come.
    Wake,
    /// Somebody wants a run now. Ignored while one is going on: ask [`Unit::running`] first.
    Run,
    /// The run that is going on has ended. `began` is when the runner was called.
    Finished { began: Time, report: RunReport },
    /// The definition changed; a run that is going on is not touched.
    Edited { schedule: Schedule, revision: u32 },
    /// The run that is going on is to end.
    Cancel,
    /// The task is deleted; a run that is going on ends by itself unless cancelled too.
    Deleted,
    /// Nothing starts any more: the host stops.
    Halt,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Begin a run; answer with [`Input::Finished`].
    Start { due: Time, reason: Reason },
    /// Call with [`Input::Wake`] at this time, and no longer at another.
    Wake(Option<Time>),
    /// Tell the guest that it is cancelled, and stop it hard after the grace.
    Cancel,
    /// A due time has its outcome.
    Record(RunRecord),
    /// A due time was passed over and is counted in the newest record: `times` more.
    Repeat { outcome: Outcome, times: u64 },
    /// The task is deleted and nothing of it goes on: forget it.
    Gone,
}

/// A run that is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    pub due: Time,
    pub reason: Reason,
    pub revision: u32,
    /// The attempt that is going on, from 1.
    pub attempt: u32,
}

/// A task's state.
#[derive(Clone, Debug)]
pub struct Unit {
    id: TaskId,
    schedule: Schedule,
    anchor: Time,
    revision: u32,
    next_due: Option<Time>,
    running: Option<Running>,
    /// The newest due time that got a run id, so that none is given twice.
    newest_due: Time,
    halted: bool,
    deleted: bool,
    pub last_success: Option<Time>,
    pub counts: Counts,
    /// Newest last; at most [`LAST_RUNS`].
    pub last_runs: VecDeque<RunRecord>,
}

impl Unit {
    /// A task that was just added.
    pub fn added(definition: &Definition) -> Self {
        let anchor = definition.added_at;
        let schedule = definition.spec.schedule();
        let next_due = if definition.due_at_once { Some(anchor) } else { schedule.next_after(anchor, anchor) };
        Self {
            id: definition.id,
            schedule,
            anchor,
            revision: definition.revision,
            next_due,
            running: None,
            newest_due: Time(i64::MIN),
            halted: false,
            deleted: false,
            last_success: None,
            counts: Counts::default(),
            last_runs: VecDeque::new(),
        }
    }

    /// A task that the host knew before it stopped. Its phase is the old one; what was due meanwhile is passed over.
    pub fn restored(
        definition: &Definition,
        counts: Counts,
        last_runs: Vec<RunRecord>,
        last_success: Option<Time>,
        now: Time,
    ) -> Self {
        let mut unit = Self::added(definition);
        // Not `now` alone: the clock may have been set back while the host was down. But one that was wrong for a moment, years
        // ahead, must not keep the task from running until then.
        let believable = now.saturating_add(CLOCK_SET_BACK);
        let dues = last_runs.iter().map(|run| run.due).filter(|due| *due <= believable);
        unit.newest_due = dues.max().unwrap_or(unit.newest_due);
        unit.next_due = unit.schedule.next_after(unit.anchor, now.max(unit.newest_due));
        unit.counts = counts;
        unit.last_runs = last_runs.into();
        unit.last_success = last_success;
        unit
    }

    pub fn running(&self) -> Option<Running> {
        self.running
    }

    pub fn next_due(&self) -> Option<Time> {
        self.next_due.filter(|_| !self.halted)
    }

    pub fn run_id(&self, due: Time) -> RunId {
        RunId { task: self.id, due }
    }

    /// One step. What is to be done is appended to `actions`, in order.
    pub fn handle(&mut self, input: Input, now: Time, actions: &mut Vec<Action>) {
        match input {
            Input::Wake => self.wake(now, actions),
            Input::Run => {
                // A due time of its own, so that its run id is no other's.
                let mut due = Time(now.0.max(self.newest_due.0.saturating_add(1)));
                if self.next_due == Some(due) {
                    due.0 += 1;
                }
                if self.running.is_none() && !self.halted {
                    self.start(due, Reason::Manual, actions);
                }
            }
            Input::Finished { began, report } => self.finished(began, report, now, actions),
            Input::Edited { schedule, revision } => {
                self.revision = revision;
                if schedule != self.schedule {
                    self.schedule = schedule;
                    // What has come due under the old schedule and waits for its turn is not lost.
                    let waits = self.next_due.is_some_and(|due| due <= now);
                    if !waits {
                        self.next_due = self.schedule.next_after(self.anchor, now.max(self.newest_due));
                    }
                    actions.push(Action::Wake(self.next_due()));
                }
            }
            Input::Cancel => {
                if self.running.is_some() {
                    actions.push(Action::Cancel);
                }
            }
            Input::Deleted => {
                self.deleted = true;
                self.halt(actions);
                if self.running.is_none() {
                    actions.push(Action::Gone);
                }
            }
            Input::Halt => self.halt(actions),
        }
    }

    fn wake(&mut self, now: Time, actions: &mut Vec<Action>) {
        let Some(mut due) = self.next_due().filter(|due| *due <= now) else {
            // Early, or of an earlier wish: the timer is set anew.
            actions.push(Action::Wake(self.next_due()));
            return;
        };
        if now.0.saturating_sub(due.0) > LATE_TOLERANCE_NANOS {
            let passed = self.schedule.count_between(self.anchor, due, now);
            if passed > 0 {
                self.pass_over(due, Outcome::Missed, passed, "the host stood still", actions);
                due = self.newest_before(now).unwrap_or(due);
            }
        }
        self.next_due = self.schedule.next_after(self.anchor, due);
        match self.running {
            None => self.start(due, Reason::Schedule, actions),
            Some(running) => {
                let detail = format!("the run due at {} was still going on", running.due);
                self.pass_over(due, Outcome::Skipped, 1, &detail, actions);
            }
        }
        actions.push(Action::Wake(self.next_due()));
    }

    /// The newest due time that is not after `now`.
    fn newest_before(&self, now: Time) -> Option<Time> {
        match &self.schedule {
            Schedule::Every(interval) => {
                let next = self.schedule.next_after(self.anchor, now)?;
                i64::try_from(interval.get().as_nanos()).ok().map(|step| Time(next.0 - step))
            }
        }
    }

    fn start(&mut self, due: Time, reason: Reason, actions: &mut Vec<Action>) {
        self.newest_due = self.newest_due.max(due);
        self.running = Some(Running { due, reason, revision: self.revision, attempt: 1 });
        actions.push(Action::Start { due, reason });
    }

    fn finished(&mut self, began: Time, report: RunReport, now: Time, actions: &mut Vec<Action>) {
        let Some(run) = self.running.take() else { return };
        let entered = report.entry_delay.map(|delay| began.saturating_add(delay));
        let micros = |duration: Duration| u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
        if report.outcome == Outcome::Success {
            self.last_success = Some(run.due);
        }
        let has_more = report.detail.is_some() || report.result.is_some() || report.exit_code.is_some();
        let more = has_more.then(|| {
            Box::new(RunMore { detail: report.detail, result: report.result, exit_code: report.exit_code, further: 0 })
        });
        let record = RunRecord {
            due: run.due,
            reason: run.reason,
            outcome: report.outcome,
            attempts: run.attempt,
            revision: run.revision,
            lateness_us: entered.map(|entered| micros(entered.since(run.due))),
            took_us: micros(now.since(entered.unwrap_or(began))),
            more,
        };
        self.counts.add(record.outcome, 1);
        self.keep(record.clone());
        actions.push(Action::Record(record));
        if self.deleted {
            actions.push(Action::Gone);
        }
    }

    /// Accounts for `times` due times from `due` on that do not run. Like ones in a row share a record.
    fn pass_over(&mut self, due: Time, outcome: Outcome, times: u64, detail: &str, actions: &mut Vec<Action>) {
        self.counts.add(outcome, times);
        if let Some(newest) = self.last_runs.back_mut()
            && newest.outcome == outcome
            && let Some(more) = &mut newest.more
            && more.detail.as_deref() == Some(detail)
        {
            more.further += times;
            actions.push(Action::Repeat { outcome, times });
            return;
        }
        let record = RunRecord {
            due,
            reason: Reason::Schedule,
            outcome,
            attempts: 0,
            revision: self.revision,
            lateness_us: None,
            took_us: 0,
            more: Some(Box::new(RunMore { detail: Some(detail.into()), further: times - 1, ..RunMore::default() })),
        };
        self.keep(record.clone());
        actions.push(Action::Record(record));
    }

    /// Keeps a record; of the old ones, successes go first while there are enough of them.
    fn keep(&mut self, record: RunRecord) {
        if self.last_runs.len() == LAST_RUNS {
            let successes = self.last_runs.iter().filter(|run| run.outcome == Outcome::Success).count();
            let first_success = self.last_runs.iter().position(|run| run.outcome == Outcome::Success);
            let victim = first_success.filter(|_| successes >= LAST_SUCCESSES).unwrap_or(0);
            self.last_runs.remove(victim);
        }
        self.last_runs.push_back(record);
    }

    fn halt(&mut self, actions: &mut Vec<Action>) {
        self.halted = true;
        actions.push(Action::Wake(None));
    }
}

#[cfg(test)]
mod tests;
