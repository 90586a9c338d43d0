//! A task that the host knew before it stopped: what was going on then, and what was due meanwhile.

use std::collections::VecDeque;
use std::time::Duration;

use super::fault::{Fault, planted};
use super::history::History;
use super::slots::SLOW;
use super::{Action, Running, Unit};
use crate::outcome::{Outcome, Reason, RunMore, RunRecord};
use crate::ports::{Backlog, Definition, HostRun, OpenRun, Progress, UnitState};
use crate::schedule::Schedule;
use crate::spec::Missed;
use crate::time::{Time, Told};

/// By how much a clock is set back, at most, for due times that ran before to count as having run.
pub const CLOCK_SET_BACK: Duration = Duration::from_secs(86_400);

/// How many due times of the last moments before a crash are looked at one by one.
const MAX_LOOKED_AT: u64 = 10_000;

/// What happened between the host's last run and this one.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// The host's last sign of life; `None` if its history is lost.
    pub down_since: Option<Time>,
    /// Due times of fast schedules up to here may have run, if the host did not stop in good order.
    pub claimed: Option<Time>,
    /// When it was up again.
    pub up_at: Time,
}

impl Outage {
    /// After the host's run before this one.
    pub fn after(previous: Option<HostRun>, up_at: Time) -> Self {
        Self {
            down_since: previous.map(|run| run.stopped.unwrap_or(run.seen)),
            claimed: previous.filter(|run| run.stopped.is_none()).map(|run| run.claimed),
            up_at,
        }
    }

    /// How far due times may have run, unless the clock was far ahead then.
    fn claimed(&self) -> Option<Time> {
        // What ran within a day from now counts, and was claimed some seconds ahead.
        let believable = self.up_at.saturating_add(CLOCK_SET_BACK + SLOW);
        self.claimed
            .filter(|_| !planted(Fault::ClaimIgnored))
            .map(|claimed| if claimed > believable { claimed.min(self.up_at) } else { claimed })
    }

    fn detail(&self) -> String {
        match self.down_since {
            Some(since) => format!("the host was down from {} to {}", Told(since), Told(self.up_at)),
            None => format!("the host was down until {}", Told(self.up_at)),
        }
    }
}

impl Unit {
    /// Brings a task back. Runs that were going on are abandoned, what waited or was due meanwhile is made up for or missed, and
    /// waits for a next attempt go on. What is to be done first is appended to `actions`; its first wake-up is
    /// [`first_wake`](Self::first_wake).
    pub fn restored(
        definition: &Definition,
        state: UnitState,
        starts: Vec<OpenRun>,
        outage: &Outage,
        actions: &mut Vec<Action>,
    ) -> Self {
        let now = outage.up_at;
        let mut unit = Self::blank(definition);
        // The clock may have been set back while the host was down. But one that was wrong for a moment, years ahead, must not
        // keep the task from running until then.
        let believable = now.saturating_add(CLOCK_SET_BACK);
        let was_ahead = state.accounted > believable;
        unit.take_until(if was_ahead { now } else { state.accounted });
        let taken = unit.cursor;
        let is_own = |run: &&RunRecord| {
            // Of an earlier `delay` too; those that lie behind are no danger.
            let of_delay = unit.spec.delay().is_some() || run.key.due > now && !unit.is_slot(run.key.due);
            run.reason != Reason::Schedule || of_delay
        };
        let own = state.last_runs.iter().filter(is_own).map(|run| run.key.due);
        // Those that had not ended too, or a later run may be given the key of one that was begun.
        let going_on = state.open.iter().chain(&starts);
        let waiting = state.backlogs.iter().flat_map(|backlog| backlog.due.iter().copied());
        let own = own.chain(going_on.clone().map(|run| run.key.due)).chain(waiting).chain(state.last_success);
        let newest_own = own.filter(|due| *due <= believable).max();
        unit.newest_own = newest_own.unwrap_or(unit.newest_own);
        unit.history = History::restored(state.counts, state.last_runs, state.history_lost);
        unit.last_success = state.last_success.map(|last| if was_ahead { last.min(now) } else { last });
        unit.scheduled_runs = state.scheduled_runs;
        unit.failures = state.failures;
        // One whose runs were begun, and that is not in the state, has used up its number.
        unit.backfills = going_on.map(|run| run.key.backfill).max().unwrap_or(0).max(state.backfills);
        unit.backlogs = state.backlogs.into();
        if was_ahead {
            unit.forget_made_up_after(now);
        }
        unit.rested_since = if state.accounted == Time(i64::MIN) { Some(unit.anchor) } else { state.rested_since };

        let paused_since = unit.paused.as_ref().map_or(now, |pause| pause.since.min(now));
        // What is begun again anyway need not be so before its time.
        let may_have_run = if unit.retries_abandoned(1) { now } else { Time(i64::MAX) };
        let until_pause = unit.paused.as_ref().map_or(may_have_run, |pause| pause.since.min(may_have_run));
        // From here on it may pause itself.
        unit.reopen(state.open, starts, outage, actions);
        unit.pass_over_crash(until_pause, outage, actions);
        let after = unit.cursor;
        if after < paused_since {
            unit.pass_over_missed(after, paused_since, &outage.detail(), now, actions);
        }
        // A pause may have ended before the host died, even if the clock was set back since.
        let was_up_until = outage.claimed().map_or(now, |claimed| claimed.max(now));
        if let Some(until) = unit.paused.as_ref().and_then(|pause| pause.until).filter(|until| *until <= was_up_until) {
            unit.end_pause(until, was_up_until, actions);
            unit.pass_over_crash(may_have_run, outage, actions);
            let after = unit.cursor;
            unit.pass_over_missed(after, now, &outage.detail(), now, actions);
        }
        unit.pass_over_pause(now, actions);
        unit.rested_since = unit.rested_since.map(|since| since.min(now));
        unit.pass_over_delay(taken, outage, actions);
        unit.next = None;
        unit.plan();
        if unit.running.is_empty() && unit.rested_since.is_none() && unit.backlogs.is_empty() {
            unit.rested_since = Some(now);
        }
        unit.wake = unit.wanted_wake();
        // The wake-up is asked for by whoever registers it; the backlog asks for itself.
        unit.want(actions);
        unit
    }

    /// Takes up again what had not ended.
    fn reopen(&mut self, open: Vec<OpenRun>, starts: Vec<OpenRun>, outage: &Outage, actions: &mut Vec<Action>) {
        let now = outage.up_at;
        let attempt = |run: &OpenRun| match run.progress {
            Progress::Started { attempt } | Progress::Retrying { attempt, .. } => attempt,
            Progress::Queued => 0,
        };
        let is_new = |start: &&OpenRun| !open.iter().any(|run| run.key == start.key);
        let scheduled = |start: &&OpenRun| matches!(start.reason, Reason::Schedule | Reason::CatchUp);
        self.scheduled_runs += starts.iter().filter(is_new).filter(scheduled).count() as u64;
        // Of what the state has, before anything is added to it.
        if !planted(Fault::CatchUpTwice) {
            starts.iter().filter(is_new).for_each(|start| self.forget_backlog(start));
        }
        let mut runs = if planted(Fault::NotedStartIgnored) { Vec::new() } else { starts };
        for run in open {
            // The one that got further: a start is noted before it is in the state, and its end is not.
            match runs.iter_mut().find(|start| start.key == run.key) {
                Some(start) if attempt(start) > attempt(&run) => {}
                Some(start) => *start = run,
                None => runs.push(run),
            }
        }
        runs.sort_by_key(|run| run.key);
        for run in runs {
            // One that was noted and begun after the state was written was not taken yet.
            let ahead = run.key.due > now.saturating_add(CLOCK_SET_BACK);
            if run.key.backfill == 0 && run.key.due > self.cursor && !ahead && self.is_slot(run.key.due) {
                self.take_slots_before(&run, outage, actions);
            }
            match run.progress.clone() {
                Progress::Queued => self.requeue(&run, now, actions),
                Progress::Started { attempt } => self.abandon(&run, attempt, now, actions),
                Progress::Retrying { .. } => self.go_on(run),
            }
        }
    }

    /// The due times before one that was started were missed, or abandoned like it. If it made up for having been missed, those
    /// before it had been left out then, and are left out again.
    fn take_slots_before(&mut self, run: &OpenRun, outage: &Outage, actions: &mut Vec<Action>) {
        let before = Time(run.key.due.0 - 1);
        self.pass_over_crash(before, outage, actions);
        let after = self.cursor;
        if after < before {
            let made_up = run.reason == Reason::Schedule;
            self.pass_over_stretch(after, before, made_up, &outage.detail(), outage.up_at, actions);
        }
        self.take_until(run.key.due);
    }

    /// A run that was made up for after the state was written is not made up for again.
    fn forget_backlog(&mut self, run: &OpenRun) {
        let same = |backlog: &&mut Backlog| (backlog.reason, backlog.backfill) == (run.reason, run.key.backfill);
        for backlog in self.backlogs.iter_mut().filter(same) {
            // They begin in order: those before it have begun too.
            backlog.due.retain(|due| *due > run.key.due);
        }
        self.backlogs.retain(|backlog| !backlog.due.is_empty());
    }

    /// One that waited for its turn certainly did not begin, or its start would have been noted.
    fn requeue(&mut self, run: &OpenRun, now: Time, actions: &mut Vec<Action>) {
        let detail = "the host stopped while it waited for its turn";
        if run.reason == Reason::Schedule && self.spec.missed() != Missed::Skip {
            self.pass_over_one(run.key.due, detail, now, actions);
        } else {
            self.end_unrun(run.key, run.reason, Outcome::Missed, detail, actions);
        }
    }

    /// One that was going on may have done its work or not: it is not begun again, unless the task asks for that.
    fn abandon(&mut self, run: &OpenRun, attempt: u32, now: Time, actions: &mut Vec<Action>) {
        let detail: Box<str> = "started: the host died during it".into();
        if self.retries_abandoned(attempt) {
            let progress = Progress::Retrying { attempt, outcome: Outcome::Abandoned, detail: Some(detail), at: now };
            self.go_on(OpenRun { progress, ..run.clone() });
            return;
        }
        actions.push(Action::Ended(run.key));
        let record = RunRecord {
            key: run.key,
            reason: run.reason,
            outcome: Outcome::Abandoned,
            attempts: attempt,
            revision: run.revision,
            lateness_us: None,
            took_us: 0,
            span: None,
            more: Some(Box::new(RunMore { detail: Some(detail), trigger: run.trigger.clone(), ..RunMore::default() })),
        };
        self.ended(record, None, false, now, actions);
    }

    /// One that waits for its next attempt.
    fn go_on(&mut self, run: OpenRun) {
        self.rested_since = None;
        self.running.push(running(run));
    }

    fn retries_abandoned(&self, attempt: u32) -> bool {
        let retry = self.spec.retry.as_ref();
        planted(Fault::AbandonedRunsAgain)
            || retry.is_some_and(|retry| attempt < retry.attempts && retry.on.contains(&Outcome::Abandoned))
    }

    /// Due times of fast schedules that the host had claimed when it died may have run: they are abandoned. A slow one whose
    /// start was not noted did not run. Even those that are yet to come count, since the clock may have been set back.
    fn pass_over_crash(&mut self, until: Time, outage: &Outage, actions: &mut Vec<Action>) {
        let again = self.retries_abandoned(1);
        let Some(claimed) = outage.claimed() else { return };
        let until = until.min(claimed);
        if !again && self.is_evenly_fast() {
            return self.pass_over_all(until, actions);
        }
        self.pass_over_many(until, actions);
        let mut make_up = VecDeque::new();
        let mut looked_at = self.cursor;
        for _ in 0..MAX_LOOKED_AT {
            let to_run = (self.waiting_to_make_up() + make_up.len()) as u64;
            let left = self.spec.max_runs.is_none_or(|most| self.scheduled_runs + to_run < most);
            let slot = self.next_slot(looked_at).filter(|slot| left && slot.due <= until);
            let Some(slot) = slot.filter(|slot| slot.gap.is_some() || self.begins_at(slot.due) <= claimed) else {
                return self.retry_unknown(make_up, actions);
            };
            if slot.gap.is_none() && !self.is_slow(slot.due) {
                if looked_at > self.cursor {
                    let before = Time(slot.due.0 - 1);
                    self.pass_over_stretch(self.cursor, before, false, &outage.detail(), outage.up_at, actions);
                }
                self.take_until(slot.due);
                if again {
                    make_up.push_back(slot.due);
                } else {
                    self.pass_over_unknown(slot.due, slot.due, 1, actions);
                }
            }
            looked_at = slot.due;
        }
        self.retry_unknown(make_up, actions);
    }

    /// Whether all due times are as fast as another, and begin when they are due: none need be looked at. Of 100,000 tasks that tick, all
    /// have some in doubt after a crash.
    fn is_evenly_fast(&self) -> bool {
        let is_fast = matches!(self.spec.schedules(), [Schedule::Every(every)] if every.interval.get() <= SLOW);
        is_fast && self.spec.jitter.is_none() && self.spec.max_runs.is_none() && self.spec.expires_at.is_none()
    }

    /// Due times that may have run, all of them.
    fn pass_over_all(&mut self, until: Time, actions: &mut Vec<Action>) {
        let passed = self.count_slots(self.cursor, until);
        if let (Some(first), Some(last)) = (self.first_due(self.cursor), self.newest_slot(self.cursor, until)) {
            self.take_until(last);
            self.pass_over_unknown(first, last, passed.due, actions);
        }
    }

    /// Of very many due times, those that are not looked at one by one: the host died before it wrote what it did, and again after
    /// it had been down for long.
    fn pass_over_many(&mut self, until: Time, actions: &mut Vec<Action>) {
        let many = |unit: &Self, after| unit.count_slots(after, until).due > MAX_LOOKED_AT;
        let (mut low, mut high) = (self.cursor, until);
        if low >= high || !many(self, low) {
            return;
        }
        // After `low` there are too many, after `high` there are not.
        while high.0 - low.0 > 1 {
            let middle = Time(low.0 + (high.0 - low.0) / 2);
            *(if many(self, middle) { &mut low } else { &mut high }) = middle;
        }
        let passed = self.count_slots(self.cursor, high);
        if let Some(first) = self.first_due(self.cursor).filter(|_| !self.exhausted() && passed.due > 0) {
            let last = self.newest_slot(self.cursor, high).unwrap_or(first);
            self.take_until(high);
            self.pass_over_nonexistent(passed.nonexistent, high, actions);
            self.pass_over_unknown(first, last, passed.due, actions);
        }
    }

    /// Tries those again that may have run; of too many, the newest.
    fn retry_unknown(&mut self, mut due: VecDeque<Time>, actions: &mut Vec<Action>) {
        let excess = due.len().saturating_sub(self.room_to_make_up());
        for due in due.drain(..excess) {
            self.pass_over_unknown(due, due, 1, actions);
        }
        self.make_up(due, actions);
    }

    fn pass_over_unknown(&mut self, first: Time, last: Time, times: u64, actions: &mut Vec<Action>) {
        self.scheduled_runs += times;
        let detail = "unknown: the host died, and may have run it";
        self.pass_over(first, last, times, Outcome::Abandoned, detail, actions);
    }

    /// A `delay` that came due meanwhile. Due times up to `taken` had been taken before.
    fn pass_over_delay(&mut self, taken: Time, outage: &Outage, actions: &mut Vec<Action>) {
        let now = outage.up_at;
        if let Some(due) = self.delay_due().filter(|due| *due <= now && self.paused.is_none()) {
            let key = self.delay_key(due, taken);
            self.rested_since = Some(now);
            self.pass_over_one(key.due, &outage.detail(), now, actions);
            if !self.backlogs.is_empty() {
                self.rested_since = None;
            }
        }
    }
}

fn running(run: OpenRun) -> Running {
    let OpenRun { key, reason, trigger, revision, progress } = run;
    Running { key, reason, trigger, revision, progress, planned: None, noted: true, joins: false, cancelled: false }
}
