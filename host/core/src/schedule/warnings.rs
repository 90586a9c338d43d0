//! What a preview says about a timetable beside its due times: what may surprise whoever wrote it.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use jiff::civil::DateTime;

use super::zone::Shift;
use super::{Cron, Schedule, Timetable, Zone};
use crate::time::{Time, format_duration};

/// How far ahead changes of the clock are told: a bit more than a year, so that each change of a year is seen.
pub const WARNED_AHEAD: Duration = Duration::from_secs(400 * 86_400);

/// How many of the next due times are looked at for the shortest time between two.
const COMPARED_DUE_TIMES: usize = 1000;

/// What may surprise in a timetable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// It is due no more by itself; it was due last at this time.
    NothingLeft(Option<Time>),
    /// Local times that are due do not exist.
    Nonexistent(LocalTimes),
    /// Local times that are due exist twice.
    Twice(LocalTimes),
    /// Due times come faster than an attempt may take.
    Faster { apart: Duration, timeout: Duration },
}

/// Due times of one zone around a change of its clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalTimes {
    pub first: DateTime,
    pub last: DateTime,
    /// How many, with the first and the last.
    pub times: u64,
    pub zone: Zone,
}

impl Timetable<'_> {
    /// What may surprise from `now` on, for attempts that may take up to `timeout`. `delay` is how long after a run the task is due
    /// again, if it is.
    pub fn warnings(&self, now: Time, timeout: Duration, delay: Option<Duration>) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let by_itself = !self.schedules.contains(&Schedule::Manual);
        if by_itself && delay.is_none() && self.next_due_after(now).is_none() {
            warnings.push(Warning::NothingLeft(self.newest_until(Time(i64::MIN), now)));
        }
        for cron in self.crons() {
            for warning in self.warnings_of_zone(cron, now) {
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
        }
        if let Some(apart) = self.shortest_from(now).into_iter().chain(delay).min().filter(|apart| *apart < timeout) {
            warnings.push(Warning::Faster { apart, timeout });
        }
        warnings
    }

    fn warnings_of_zone(&self, cron: &Cron, now: Time) -> Vec<Warning> {
        let (after, until) = (self.no_earlier(now), self.no_later(now.saturating_add(WARNED_AHEAD)));
        let told = |shift: Shift| {
            let skipped = LocalTimes::of(cron, shift.skipped());
            let repeated = || LocalTimes::of(cron, shift.repeated());
            skipped.map(Warning::Nonexistent).or_else(|| repeated().map(Warning::Twice))
        };
        cron.zone().shifts(after, until).filter_map(told).collect()
    }

    /// The shortest time between two of the next due times.
    fn shortest_from(&self, now: Time) -> Option<Duration> {
        let due_times = std::iter::successors(self.next_due_after(now), |due| self.next_due_after(*due));
        let due_times: Vec<_> = due_times.take(COMPARED_DUE_TIMES).collect();
        due_times.windows(2).map(|pair| pair[1].since(pair[0])).min()
    }
}

impl LocalTimes {
    /// Those of a stretch of local time; `None` if nothing is due in it.
    fn of(cron: &Cron, range: Range<DateTime>) -> Option<Self> {
        let times = cron.pattern().count(range.clone());
        let first = cron.pattern().next_from(range.start).filter(|_| times > 0)?;
        let last = cron.pattern().last_before(range.end)?;
        Some(Self { first, last, times, zone: cron.zone().clone() })
    }

    fn show(&self, f: &mut fmt::Formatter<'_>, exist: [&str; 2]) -> fmt::Result {
        let clock = |time: DateTime| {
            let format = if time.second() == 0 { "%H:%M" } else { "%H:%M:%S" };
            time.strftime(format).to_string()
        };
        let Self { first, last, times, zone } = self;
        let (date, zone) = (first.date(), zone.name());
        if *times == 1 {
            write!(f, "{} {} on {date} in {zone}", clock(*first), exist[0])
        } else if last.date() == date {
            write!(f, "{} to {} {} on {date} in {zone}", clock(*first), clock(*last), exist[1])
        } else {
            write!(f, "{date} {} to {} {} {} in {zone}", clock(*first), last.date(), clock(*last), exist[1])
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NothingLeft(None) => f.write_str("it is never due: no due time is left, and none has been"),
            Self::NothingLeft(Some(last)) => write!(f, "it is due no more: the last due time was {last}"),
            Self::Nonexistent(times) => {
                times.show(f, ["does not exist", "do not exist"])?;
                match times.times {
                    1 => f.write_str(": that due time is skipped"),
                    count => write!(f, ": those {count} due times are skipped"),
                }
            }
            Self::Twice(times) => {
                times.show(f, ["exists twice", "exist twice"])?;
                match times.times {
                    1 => f.write_str(": it runs once, at the first"),
                    count => write!(f, ": those {count} due times run once, at the first"),
                }
            }
            Self::Faster { apart, timeout } => {
                let (apart, timeout) = (format_duration(*apart), format_duration(*timeout));
                write!(
                    f,
                    "due times are {apart} apart, and an attempt may take {timeout}: what comes during a run goes by `overlap`"
                )
            }
        }
    }
}
