//! When a task is due.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{DurationError, Time, format_duration, parse_duration};

/// The shortest interval.
pub const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// The longest interval: ten years of 365 days.
pub const MAX_INTERVAL: Duration = Duration::from_secs(10 * 365 * 86_400);

/// One rule by which due times come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// A fixed rate: due at `anchor + n × interval`, n from 1. The anchor is the time of adding, so neither a restart nor a
    /// slow run moves it.
    Every(Interval),
}

/// The length of a fixed rate: 10 ms to 10 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Duration", into = "Duration")]
pub struct Interval(Duration);

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("the interval {0}")]
    Duration(#[from] DurationError),
    #[error("the interval {} is out of range; it must be from {} to {}", format_duration(*.0), format_duration(MIN_INTERVAL), format_duration(MAX_INTERVAL))]
    IntervalRange(Duration),
    #[error("a task has {0} schedules; exactly 1 is supported")]
    Count(usize),
    #[error("a schedule has no member; give it `every`, as in {{\"every\": \"1s\"}}")]
    Empty,
}

impl Interval {
    pub fn new(duration: Duration) -> Result<Self, ScheduleError> {
        if (MIN_INTERVAL..=MAX_INTERVAL).contains(&duration) {
            Ok(Self(duration))
        } else {
            Err(ScheduleError::IntervalRange(duration))
        }
    }

    /// Reads an interval like `1s` or `1h30m`.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        Self::new(parse_duration(text)?)
    }

    pub fn get(self) -> Duration {
        self.0
    }

    fn nanos(self) -> i64 {
        // In range by construction: ten years are 3.2e17.
        self.0.as_nanos() as i64
    }
}

impl TryFrom<Duration> for Interval {
    type Error = ScheduleError;

    fn try_from(duration: Duration) -> Result<Self, ScheduleError> {
        Self::new(duration)
    }
}

impl From<Interval> for Duration {
    fn from(interval: Interval) -> Self {
        interval.0
    }
}

impl Schedule {
    /// The first due time after both `after` and `anchor`; `None` if there is none.
    pub fn next_after(&self, anchor: Time, after: Time) -> Option<Time> {
        match self {
            Self::Every(interval) => {
                let step = interval.nanos();
                let past = after.0.saturating_sub(anchor.0).max(0);
                let due = (past / step + 1).checked_mul(step)?.checked_add(anchor.0)?;
                Some(Time(due))
            }
        }
    }

    /// How many due times lie after `from` and not after `to`.
    pub fn count_between(&self, anchor: Time, from: Time, to: Time) -> u64 {
        match self {
            Self::Every(interval) => {
                let step = interval.nanos();
                let passed = |until: Time| until.0.saturating_sub(anchor.0).max(0) / step;
                u64::try_from(passed(to) - passed(from)).unwrap_or(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn every(text: &str) -> Schedule {
        Schedule::Every(Interval::parse(text).expect("an interval"))
    }

    #[test]
    fn due_times_stand_on_the_anchor_and_not_on_now() {
        let anchor = Time(5 * SECOND + 7);
        let schedule = every("10s");
        for (after, due) in [(0, 15), (5, 15), (14, 15), (15, 15), (16, 25), (1_000, 1_005)] {
            assert_eq!(schedule.next_after(anchor, Time(after * SECOND)), Some(Time(due * SECOND + 7)), "{after}");
        }
        let due = Time(15 * SECOND + 7);
        assert_eq!(schedule.next_after(anchor, due), Some(Time(25 * SECOND + 7)), "a due time is not after itself");
    }

    #[test]
    fn due_times_are_counted_without_walking_over_them() {
        let schedule = every("10ms");
        let year = Time(365 * 86_400 * SECOND);
        assert_eq!(schedule.count_between(Time(0), Time(0), year), 365 * 86_400 * 100);
        assert_eq!(schedule.count_between(Time(0), year, Time(0)), 0);
    }

    #[test]
    fn the_end_of_time_is_no_due_time() {
        assert_eq!(every("10y").next_after(Time(0), Time(i64::MAX)), None);
    }

    #[test]
    fn an_interval_out_of_range_is_refused() {
        for text in ["0s", "1ns", "9ms", "11y"] {
            assert!(matches!(Interval::parse(text), Err(ScheduleError::IntervalRange(_))), "{text}");
        }
        for text in ["-1s", "1e400", ""] {
            assert!(matches!(Interval::parse(text), Err(ScheduleError::Duration(_))), "{text}");
        }
        assert!(Interval::parse("10ms").is_ok());
        assert!(Interval::parse("10y").is_ok());
    }

    #[test]
    fn what_is_wrong_with_an_interval_is_said_once() {
        for (text, message) in [
            ("1", "the interval `1` is no duration; write it like `500ms`, `90s`, `1h30m` or `7d`"),
            ("-5s", "the interval `-5s` is negative"),
            ("11y", "the interval 11y is out of range; it must be from 10ms to 10y"),
        ] {
            assert_eq!(Interval::parse(text).expect_err(text).to_string(), message);
        }
    }
}
