//! What the schedules of a task come to.

use std::cmp::Reverse;
use std::time::Duration;

use super::pattern::Pattern;
use super::zone::Shift;
use super::{Cron, Schedule, Zone};
use crate::time::Time;

/// How many due times of several schedules are looked at for whether another has them too, when they are counted. It takes some
/// milliseconds. The schedule with the most due times is not walked, so a rate of a second beside a daily time is exact for decades.
pub const MAX_WALKED_SLOTS: u64 = 10_000;

/// The schedules of a task within its bounds. `delay` is not here: when it is due depends on what ran, which the task's state
/// machine knows.
#[derive(Clone, Copy, Debug)]
pub struct Timetable<'a> {
    pub schedules: &'a [Schedule],
    /// The time of adding: the anchor of fixed rates.
    pub anchor: Time,
    /// No due time is before this one.
    pub starts_at: Option<Time>,
    /// Every due time is before this one.
    pub expires_at: Option<Time>,
}

/// A place in the order of due times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The due time. Of a gap, one nanosecond before the clock was set forward: cron's due times are whole seconds. Should a fixed
    /// rate be due at that very nanosecond, the place is that of the due time, and the gap has none.
    pub due: Time,
    /// Set if nothing is due: local times that do not exist on that day.
    pub gap: Option<Gap>,
}

/// Due times that do not exist, since the clock of their zone was set forward over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How many.
    pub times: u64,
    /// The first of them, like `2027-03-28T02:30:00`.
    pub local: String,
    pub zone: Zone,
}

/// How many places a stretch of time has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Due times.
    pub due: u64,
    /// Local times that do not exist.
    pub nonexistent: u64,
}

/// What comes next in one schedule: a due time, or the place of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Next {
    pub(super) due: Time,
    pub(super) gap: bool,
}

impl Timetable<'_> {
    /// The first place after `after`; `None` if there is none any more. What several schedules have in common is one place.
    pub fn next_after(&self, after: Time) -> Option<Slot> {
        let after = self.no_earlier(after);
        // Of a due time and a gap at the same place, the due time is first in their order.
        let next = self.schedules.iter().filter_map(|schedule| schedule.next_after(self.anchor, after)).min()?;
        if self.expires_at.is_some_and(|end| next.due >= end) {
            return None;
        }
        if !next.gap {
            return Some(Slot { due: next.due, gap: None });
        }
        match self.gap_at(next.due) {
            Some(gap) => Some(Slot { due: next.due, gap: Some(gap) }),
            None => self.next_after(next.due),
        }
    }

    /// The newest due time after `after` and not after `until`. Gaps are passed over.
    pub fn newest_until(&self, after: Time, until: Time) -> Option<Time> {
        let (after, until) = (self.no_earlier(after), self.no_later(until));
        self.schedules.iter().filter_map(|schedule| schedule.newest_until(self.anchor, after, until)).max()
    }

    /// How many places lie after `after` and not after `until`. No schedule is walked for its own count, which is exact. A due time that
    /// several schedules have counts once, as long as all but the one with the most have no more than [`MAX_WALKED_SLOTS`] together;
    /// past that it counts for each.
    pub fn count_between(&self, after: Time, until: Time) -> Passed {
        let (after, until) = (self.no_earlier(after), self.no_later(until));
        if until <= after {
            return Passed::default();
        }
        Passed { due: self.count_due(after, until), nonexistent: self.count_nonexistent(after, until) }
    }

    /// How long after a due time the next one comes.
    pub fn gap_to_next(&self, due: Time) -> Option<Duration> {
        self.next_due_after(due).map(|next| next.since(due))
    }

    /// A due time as RFC 3339 with the offset of the zone in which it is due: that of the first cron schedule which gives it, else
    /// UTC.
    pub fn local(&self, due: Time) -> String {
        let gives = |cron: &&Cron| cron.zone() != &Zone::utc() && is_due(due, |after| cron.next_after(after));
        self.crons().find(gives).map_or_else(|| due.to_string(), |cron| cron.zone().show(due))
    }

    /// The first due time after `after`, past all gaps.
    pub(super) fn next_due_after(&self, after: Time) -> Option<Time> {
        let after = self.no_earlier(after);
        let due = self.schedules.iter().filter_map(|schedule| schedule.next_due_after(self.anchor, after)).min()?;
        self.expires_at.is_none_or(|end| due < end).then_some(due)
    }

    pub(super) fn crons(&self) -> impl Iterator<Item = &Cron> {
        self.schedules.iter().filter_map(|schedule| match schedule {
            Schedule::Cron(cron) => Some(cron),
            _ => None,
        })
    }

    /// As a bound below which nothing is, and which itself is out.
    pub(super) fn no_earlier(&self, after: Time) -> Time {
        self.starts_at.map_or(after, |start| after.max(Time(start.0.saturating_sub(1))))
    }

    /// As a bound above which nothing is, and which itself is in.
    pub(super) fn no_later(&self, until: Time) -> Time {
        self.expires_at.map_or(until, |end| until.min(Time(end.0.saturating_sub(1))))
    }

    fn count_due(&self, after: Time, until: Time) -> u64 {
        let count = |schedule: &Schedule| schedule.count_between(self.anchor, after, until);
        let counted = self.schedules.iter().map(|schedule| (count(schedule), schedule));
        let mut counted: Vec<_> = counted.filter(|(count, _)| *count > 0).collect();
        counted.sort_by_key(|(count, _)| Reverse(*count));
        let rest = counted.iter().skip(1).fold(0_u64, |sum, (count, _)| sum.saturating_add(*count));
        let most = counted.first().map_or(0, |(count, _)| *count);
        let sum = most.saturating_add(rest);
        if rest > MAX_WALKED_SLOTS {
            return sum;
        }
        let mut shared = 0;
        for (index, (_, schedule)) in counted.iter().enumerate().skip(1) {
            let mut from = after;
            while let Some(due) = schedule.next_due_after(self.anchor, from).filter(|due| *due <= until) {
                let others = counted[..index].iter();
                shared += u64::from(others.into_iter().any(|(_, other)| other.is_due(self.anchor, due)));
                from = due;
            }
        }
        sum - shared
    }

    fn count_nonexistent(&self, after: Time, until: Time) -> u64 {
        let mut gaps: Vec<_> = self.crons().flat_map(|cron| cron.gaps_between(after, until)).collect();
        gaps.sort_unstable();
        gaps.dedup();
        gaps.retain(|gap| !self.schedules.iter().any(|schedule| schedule.is_due(self.anchor, *gap)));
        gaps.into_iter().filter_map(|gap| self.gap_at(gap)).map(|gap| gap.times).sum()
    }

    /// The local times that are skipped at one place. Those of several schedules count once if they are in the same zone.
    fn gap_at(&self, eve: Time) -> Option<Gap> {
        let skipped: Vec<(&Cron, Shift)> = self.crons().filter_map(|cron| Some((cron, cron.gap_at(eve)?))).collect();
        let (first, shift) = skipped.first()?;
        let in_zone = |zone: &Zone| -> Vec<&Pattern> {
            let those = skipped.iter().filter(|(cron, _)| cron.zone() == zone);
            those.map(|(cron, _)| cron.pattern()).collect()
        };
        let mut times = 0;
        for (index, (cron, shift)) in skipped.iter().enumerate() {
            if skipped[..index].iter().all(|(before, _)| before.zone() != cron.zone()) {
                times += Pattern::count_any(&in_zone(cron.zone()), shift.skipped());
            }
        }
        let local = Pattern::next_of_any(&in_zone(first.zone()), shift.skipped().start)?;
        Some(Gap { times, local: local.to_string(), zone: first.zone().clone() })
    }
}

impl Schedule {
    fn next_after(&self, anchor: Time, after: Time) -> Option<Next> {
        let due = match self {
            Self::Cron(cron) => return cron.next_after(after),
            Self::Every(every) => every.next_after(anchor, after),
            Self::At(at) => Some(*at).filter(|at| *at > after),
            Self::Delay(_) | Self::Manual => None,
        };
        due.map(|due| Next { due, gap: false })
    }

    fn next_due_after(&self, anchor: Time, mut after: Time) -> Option<Time> {
        loop {
            let next = self.next_after(anchor, after)?;
            if !next.gap {
                return Some(next.due);
            }
            after = next.due;
        }
    }

    fn newest_until(&self, anchor: Time, after: Time, until: Time) -> Option<Time> {
        match self {
            Self::Every(every) => every.newest_until(anchor, after, until),
            Self::Cron(cron) => cron.newest_until(after, until),
            Self::At(at) => Some(*at).filter(|at| after < *at && *at <= until),
            Self::Delay(_) | Self::Manual => None,
        }
    }

    fn count_between(&self, anchor: Time, after: Time, until: Time) -> u64 {
        match self {
            Self::Every(every) => every.count_between(anchor, after, until),
            Self::Cron(cron) => cron.count_between(after, until),
            Self::At(at) => u64::from(after < *at && *at <= until),
            Self::Delay(_) | Self::Manual => 0,
        }
    }

    fn is_due(&self, anchor: Time, time: Time) -> bool {
        is_due(time, |after| self.next_after(anchor, after))
    }
}

fn is_due(time: Time, next_after: impl Fn(Time) -> Option<Next>) -> bool {
    let before = time.0.checked_sub(1).map(Time);
    before.and_then(next_after) == Some(Next { due: time, gap: false })
}
