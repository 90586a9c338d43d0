//! Due times in order: which comes next, and when its run begins.

use std::time::Duration;

use super::fault::{Fault, planted};
use super::{Action, Queued, Unit};
use crate::outcome::{Reason, RunKey};
use crate::schedule::{Gap, Passed, Slot, Timetable};
use crate::time::Time;

/// How late a due time may be at least, and at most, before it counts as missed. Between them it is a tenth of the way to the
/// next one: who runs each day does not mind a minute.
pub(super) const MIN_TOLERANCE: Duration = Duration::from_secs(1);
const MAX_TOLERANCE: Duration = Duration::from_secs(60);

/// Schedules slower than this have each start noted before it; of faster ones the host claims stretches of time.
pub(super) const SLOW: Duration = Duration::from_secs(60);

/// A due time that comes next.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) due: Time,
    /// When its run begins: later by the jitter, and no earlier than the one before.
    pub(super) at: Time,
    pub(super) gap: Option<Box<Gap>>,
}

impl Unit {
    pub(super) fn timetable(&self) -> Timetable<'_> {
        self.spec.timetable(self.anchor)
    }

    /// Whether the schedules have started as many runs as they may.
    pub(super) fn exhausted(&self) -> bool {
        self.spec.max_runs.is_some_and(|most| self.scheduled_runs >= most + u64::from(planted(Fault::OneRunMore)))
    }

    /// Whether the time of adding is a due time after `after` and not after `until`.
    fn is_due_at_once(&self, after: Time, until: Time) -> bool {
        self.due_at_once && after < self.anchor && self.anchor <= until
    }

    /// The first place after `after`.
    pub(super) fn next_slot(&self, after: Time) -> Option<Slot> {
        let next = self.timetable().next_after(after);
        let first = next.as_ref().map_or(Time(i64::MAX), |slot| slot.due);
        if self.is_due_at_once(after, first) { Some(Slot { due: self.anchor, gap: None }) } else { next }
    }

    /// The newest due time after `after` and not after `until`.
    pub(super) fn newest_slot(&self, after: Time, until: Time) -> Option<Time> {
        // Due times of the clock on the wall may lie before the time of adding, if the clock was set back far.
        let at_once = self.is_due_at_once(after, until).then_some(self.anchor);
        self.timetable().newest_until(after, until).max(at_once)
    }

    /// How many places lie after `after` and not after `until`.
    pub(super) fn count_slots(&self, after: Time, until: Time) -> Passed {
        let mut passed = self.timetable().count_between(after, until);
        passed.due += u64::from(self.is_due_at_once(after, until));
        passed
    }

    /// The first due time after `after`.
    pub(super) fn first_due(&self, after: Time) -> Option<Time> {
        let mut slot = self.next_slot(after)?;
        while slot.gap.is_some() {
            slot = self.next_slot(slot.due)?;
        }
        Some(slot.due)
    }

    /// Whether this is a due time of the schedules.
    pub(super) fn is_slot(&self, due: Time) -> bool {
        self.next_slot(Time(due.0.saturating_sub(1))).is_some_and(|slot| slot.due == due)
    }

    /// When the run of a due time begins.
    pub(super) fn begins_at(&self, due: Time) -> Time {
        let jitter = self.spec.jitter.map_or(Duration::ZERO, |jitter| jitter.of(self.id, due));
        due.saturating_add(jitter)
    }

    /// When a `delay` is due.
    pub(super) fn delay_due(&self) -> Option<Time> {
        if self.exhausted() {
            return None;
        }
        let due = self.rested_since?.saturating_add(self.spec.delay()?);
        let due = self.spec.starts_at.map_or(due, |starts_at| due.max(starts_at));
        let expired = self.spec.expires_at.is_some_and(|expires_at| due >= expires_at);
        (!expired && due != Time(i64::MAX)).then_some(due)
    }

    /// Whether due times come so seldom that each start is noted: by the distance to the next one.
    pub(super) fn is_slow(&self, due: Time) -> bool {
        self.next_slot(due).is_none_or(|next| next.due.since(due) > SLOW)
    }

    /// Whether what it wakes for next may start a run that is not noted, but stands on the host's claim.
    pub fn needs_claim(&self) -> bool {
        match &self.paused {
            Some(pause) => pause.until.is_some(),
            None => self.next.as_ref().is_some_and(|next| next.gap.is_none() && !self.is_slow(next.due)),
        }
    }

    /// Takes up the first due time after those that were taken.
    pub(super) fn plan(&mut self) {
        let not_before = self.next.as_ref().map_or(Time(i64::MIN), |planned| planned.at);
        let slot = if self.exhausted() { None } else { self.next_slot(self.cursor) };
        self.next = slot.map(|Slot { due, gap }| Planned {
            due,
            at: if gap.is_some() || planted(Fault::JitterReorders) { due } else { self.begins_at(due).max(not_before) },
            gap: gap.map(Box::new),
        });
    }

    /// Due times up to here are nobody's any more.
    pub(super) fn take_until(&mut self, time: Time) {
        self.cursor = self.cursor.max(time);
    }

    /// Takes what is due: one due time, or all of those that are too late.
    pub(super) fn take_due(&mut self, now: Time, actions: &mut Vec<Action>) {
        let next = self.next.clone().filter(|planned| planned.at <= now);
        let delay = self.delay_due().filter(|due| self.begins_at(*due) <= now);
        self.take(next, delay, false, now, actions);
    }

    /// Takes the next due time that has come, even if it waits for its jitter. Nobody asked whether the host has claimed it: its
    /// start is noted.
    pub(super) fn settle(&mut self, now: Time, actions: &mut Vec<Action>) {
        if self.halted || self.paused.is_some() {
            return;
        }
        let next = self.next.clone().filter(|planned| planned.due <= now);
        let delay = self.delay_due().filter(|due| *due <= now);
        self.take(next, delay, true, now, actions);
    }

    /// Takes the earlier of the two.
    fn take(&mut self, next: Option<Planned>, delay: Option<Time>, noted: bool, now: Time, actions: &mut Vec<Action>) {
        match (next, delay) {
            (Some(planned), delay) if delay.is_none_or(|delay| planned.due <= delay) => {
                self.take_planned(&planned, noted, now, actions);
            }
            (_, Some(delay)) => self.take_delay(delay, now, actions),
            (_, None) => {}
        }
    }

    fn take_planned(&mut self, planned: &Planned, noted: bool, now: Time, actions: &mut Vec<Action>) {
        if let Some(gap) = &planned.gap {
            self.take_until(planned.due);
            self.pass_over_gap(planned.due, gap, actions);
        } else if now.since(planned.at) > MIN_TOLERANCE && self.is_missed(planned, now) {
            self.take_missed(planned, now, actions);
        } else {
            self.take_until(planned.due);
            self.plan();
            let slow = noted || self.next.as_ref().is_none_or(|next| next.due.since(planned.due) > SLOW);
            let run = Queued { key: RunKey::of(planned.due), reason: Reason::Schedule, trigger: None };
            let overlap = self.spec.overlap();
            self.arrive(run, Some((planned.at, slow)), overlap, now, actions);
            if self.exhausted() {
                self.next = None;
            }
            return;
        }
        self.plan();
    }

    /// What comes after the end of a run has no order that the host could claim: each start is noted.
    fn take_delay(&mut self, due: Time, now: Time, actions: &mut Vec<Action>) {
        let at = self.begins_at(due);
        self.rested_since = None;
        let key = self.delay_key(due, self.cursor);
        let run = Queued { key, reason: Reason::Schedule, trigger: None };
        let overlap = self.spec.overlap();
        self.arrive(run, Some((at, true)), overlap, now, actions);
    }

    /// The key of a `delay`'s due time: later than those that were taken, which an earlier timetable may have given.
    pub(super) fn delay_key(&mut self, due: Time, taken: Time) -> RunKey {
        self.own_key(due.max(Time(taken.0.saturating_add(1))))
    }

    /// The key of a due time that no timetable gives: none that another run has.
    pub(super) fn own_key(&mut self, due: Time) -> RunKey {
        let mut due = Time(due.0.max(self.newest_own.0.saturating_add(1)));
        while self.is_slot(due) {
            due.0 += 1;
        }
        self.newest_own = due;
        RunKey::of(due)
    }

    /// How late a due time may be before it counts as missed.
    pub(super) fn tolerance(&self, due: Time) -> Duration {
        let to_next = self.next_slot(due).map_or(Duration::MAX, |next| next.due.since(due));
        (to_next / 10).clamp(MIN_TOLERANCE, MAX_TOLERANCE)
    }
}
