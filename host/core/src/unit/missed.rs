//! Due times that nothing ran in time, and making up for them.

use std::collections::VecDeque;

use super::fault::{Fault, planted};
use super::slots::{MIN_TOLERANCE, Planned};
use super::{Action, Queued, Unit};
use crate::outcome::{Outcome, Reason, RunKey, RunMore, RunRecord, Span};
use crate::ports::Backlog;
use crate::schedule::Gap;
use crate::spec::Missed;
use crate::time::{Time, Told, format_duration};

impl Unit {
    /// Whether a due time, more than the least tolerance late, is too late to run in its turn: later than it may be, or with
    /// others after it that are late too.
    pub(super) fn is_missed(&self, planned: &Planned, now: Time) -> bool {
        let late = now.since(planned.at);
        let next_is_late = self.next_slot(planned.due).is_some_and(|next| self.late_until(now) >= next.due);
        next_is_late || late > self.tolerance(planned.due)
    }

    /// Due times up to here are late by more than the least tolerance, whatever their jitter.
    fn late_until(&self, now: Time) -> Time {
        Time(self.begun_until(now).0.saturating_sub(MIN_TOLERANCE.as_nanos() as i64))
    }

    /// Due times up to here were to begin by now, whatever their jitter.
    fn begun_until(&self, now: Time) -> Time {
        let jitter = self.spec.jitter.map_or(Default::default(), |jitter| jitter.max);
        Time(now.0.saturating_sub(jitter.as_nanos() as i64))
    }

    /// Takes all due times from this one on, which is too late, that have come since. The newest is left to run if it is late within its
    /// tolerance, and is what the unit wants to be woken for. To run those that are late within theirs too would keep a task as late as
    /// it is, and cost a host that has too much to do a record for each run.
    pub(super) fn take_missed(&mut self, planned: &Planned, now: Time, actions: &mut Vec<Action>) {
        let after = Time(planned.due.0 - 1);
        let mut until = self.begun_until(now).max(planned.due);
        if let Some(newest) = self.newest_slot(after, until).filter(|newest| *newest > planned.due)
            && now.since(self.begins_at(newest)) <= self.tolerance(newest)
        {
            until = Time(newest.0 - 1);
        }
        let detail = format!("the host was {} late", format_duration(rounded(now.since(planned.at))));
        self.pass_over_missed(after, until, &detail, now, actions);
    }

    /// Accounts for the due times after `after` and not after `until`, which nothing ran: some are made up for, as the task's
    /// policy says, and the others get a record.
    pub(super) fn pass_over_missed(
        &mut self,
        after: Time,
        until: Time,
        detail: &str,
        now: Time,
        actions: &mut Vec<Action>,
    ) {
        self.pass_over_stretch(after, until, true, detail, now, actions);
    }

    /// The same, with none made up for unless `made_up`.
    pub(super) fn pass_over_stretch(
        &mut self,
        after: Time,
        until: Time,
        made_up: bool,
        detail: &str,
        now: Time,
        actions: &mut Vec<Action>,
    ) {
        self.take_until(until);
        if self.exhausted() {
            return;
        }
        let passed = self.count_slots(after, until);
        self.pass_over_nonexistent(passed.nonexistent, until, actions);
        let make_up = if made_up { self.to_make_up(after, until, now) } else { VecDeque::new() };
        let missed = passed.due - (make_up.len() as u64).min(passed.due);
        if missed > 0
            && let Some(first) = self.first_due(after)
        {
            let before = make_up.front().map_or(until, |oldest| Time(oldest.0 - 1));
            let last = self.newest_slot(after, before).unwrap_or(first);
            self.pass_over(first, last, missed, Outcome::Missed, detail, actions);
        }
        self.make_up(make_up, actions);
    }

    /// A single due time that nothing ran, of a `delay` or of one that waited.
    pub(super) fn pass_over_one(&mut self, due: Time, detail: &str, now: Time, actions: &mut Vec<Action>) {
        let in_window = now.since(due) <= self.spec.catchup_window();
        if self.spec.missed() == Missed::Skip || !in_window || self.exhausted() {
            self.pass_over(due, due, 1, Outcome::Missed, detail, actions);
        } else {
            self.make_up(VecDeque::from([due]), actions);
        }
    }

    /// Which of the due times after `after` and not after `until` are made up for, oldest first.
    fn to_make_up(&self, after: Time, until: Time, now: Time) -> VecDeque<Time> {
        let most = match self.spec.missed() {
            Missed::Skip => 0,
            Missed::RunOnce => 1,
            Missed::RunAll => self.spec.max_catchup() as usize,
        };
        let window = i64::try_from(self.spec.catchup_window().as_nanos()).unwrap_or(i64::MAX);
        let window = if planted(Fault::WindowIgnored) { i64::MAX } else { window };
        let oldest = Time(now.0.saturating_sub(window).saturating_sub(1)).max(after);
        let mut chosen = VecDeque::new();
        let mut until = until;
        while chosen.len() < most
            && let Some(newest) = self.newest_slot(oldest, until)
        {
            chosen.push_front(newest);
            until = Time(newest.0 - 1);
        }
        chosen
    }

    /// Puts due times among those that are to be made up for already, of which none goes: it may have been begun before the host
    /// died. Of too many, the oldest that come are missed.
    pub(super) fn make_up(&mut self, mut due: VecDeque<Time>, actions: &mut Vec<Action>) {
        let excess = due.len().saturating_sub(self.room_to_make_up());
        for due in due.drain(..excess) {
            let detail = "more due times were missed than are made up for (`max_catchup`)";
            self.pass_over(due, due, 1, Outcome::Missed, detail, actions);
        }
        if due.is_empty() {
            return;
        }
        match self.backlogs.iter_mut().find(|backlog| backlog.reason == Reason::CatchUp) {
            Some(backlog) => {
                backlog.due.extend(due);
                // One that waited for its turn may be older than what was missed since.
                backlog.due.make_contiguous().sort_unstable();
            }
            None => self.backlogs.insert(0, Backlog { reason: Reason::CatchUp, backfill: 0, due }),
        }
    }

    /// How many more due times may be made up for.
    pub(super) fn room_to_make_up(&self) -> usize {
        (self.spec.max_catchup() as usize).saturating_sub(self.waiting_to_make_up())
    }

    /// How many are made up for already.
    pub(super) fn waiting_to_make_up(&self) -> usize {
        let backlogs = self.backlogs.iter().filter(|backlog| backlog.reason == Reason::CatchUp);
        backlogs.map(|backlog| backlog.due.len()).sum()
    }

    /// Due times that are made up for and lie ahead come again in their turn.
    pub(super) fn forget_made_up_after(&mut self, now: Time) {
        for backlog in self.backlogs.iter_mut().filter(|backlog| backlog.reason == Reason::CatchUp) {
            backlog.due.retain(|due| *due <= now);
        }
        self.backlogs.retain(|backlog| !backlog.due.is_empty());
        if self.backlogs.is_empty() && self.running.is_empty() && self.rested_since.is_none() {
            // One of a `delay` does so when that has passed again.
            self.rested_since = Some(now);
        }
    }

    /// There is room: begins the oldest run of the backlog, unless others go on.
    pub(super) fn catch_up(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.halted || self.paused.is_some() || !self.running.is_empty() || !self.queue.is_empty() {
            return;
        }
        let Some(backlog) = self.backlogs.first_mut() else { return };
        let (reason, backfill) = (backlog.reason, backlog.backfill);
        let due = backlog.due.pop_front();
        if backlog.due.is_empty() {
            self.backlogs.remove(0);
        }
        if let Some(due) = due {
            let run = Queued { key: RunKey { due, backfill }, reason, trigger: None };
            let overlap = self.spec.overlap();
            self.arrive(run, None, overlap, now, actions);
        }
    }

    /// While it is paused: accounts for the due times until now, or until the pause ended.
    pub(super) fn pass_over_pause(&mut self, until: Time, actions: &mut Vec<Action>) {
        let Some(pause) = &self.paused else { return };
        let detail = match &pause.note {
            Some(note) => format!("paused since {} by {}: {note}", Told(pause.since), pause.by),
            None => format!("paused since {} by {}", Told(pause.since), pause.by),
        };
        let after = self.cursor;
        self.take_until(until);
        if self.exhausted() {
            return;
        }
        let passed = self.count_slots(after, until);
        self.pass_over_nonexistent(passed.nonexistent, until, actions);
        if let Some(first) = self.first_due(after).filter(|_| passed.due > 0 && !planted(Fault::PauseNotAccounted)) {
            let last = self.newest_slot(after, until).unwrap_or(first);
            self.pass_over(first, last, passed.due, Outcome::Skipped, &detail, actions);
        }
        if let Some(due) = self.delay_due().filter(|due| *due <= until) {
            let key = self.delay_key(due, after);
            self.pass_over(key.due, key.due, 1, Outcome::Skipped, &detail, actions);
            self.rested_since = Some(until);
        }
    }

    /// The pause ended at a time: due times run again from then on.
    pub(super) fn end_pause(&mut self, until: Time, now: Time, actions: &mut Vec<Action>) {
        self.pass_over_pause(until.min(now), actions);
        if self.paused.take().is_some() {
            self.next = None;
            if !planted(Fault::PauseForgetsWake) {
                self.plan();
            }
        }
    }

    pub(super) fn pass_over_gap(&mut self, due: Time, gap: &Gap, actions: &mut Vec<Action>) {
        let detail = format!("{} does not exist in {}: the clock was set forward", gap.local, gap.zone.name());
        if !planted(Fault::GapNotRecorded) {
            self.pass_over(due, due, gap.times, Outcome::Skipped, &detail, actions);
        }
    }

    /// Accounts for local times that did not exist in a stretch of time up to `until`.
    pub(super) fn pass_over_nonexistent(&mut self, times: u64, until: Time, actions: &mut Vec<Action>) {
        if times == 0 {
            return;
        }
        let mut due = until;
        while self.is_slot(due) {
            due.0 -= 1;
        }
        let detail = "local times that did not exist: the clock was set forward";
        self.pass_over(due, due, times, Outcome::Skipped, detail, actions);
    }

    /// Accounts for `times` due times from `first` to `last` that nothing runs.
    pub(super) fn pass_over(
        &mut self,
        first: Time,
        last: Time,
        times: u64,
        outcome: Outcome,
        detail: &str,
        actions: &mut Vec<Action>,
    ) {
        let span = Span { first_due: first, times, took_total_us: 0, took_max_us: 0, lateness_max_us: 0 };
        let record = RunRecord {
            key: RunKey::of(last),
            reason: Reason::Schedule,
            outcome,
            attempts: 0,
            revision: self.revision,
            lateness_us: None,
            took_us: 0,
            span: (times > 1).then(|| Box::new(span)),
            more: Some(Box::new(RunMore { detail: Some(detail.into()), ..RunMore::default() })),
        };
        self.keep(record, None, false, actions);
    }
}

fn rounded(duration: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
