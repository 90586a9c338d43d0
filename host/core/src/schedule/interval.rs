//! Lengths of time between due times, and fixed rates.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Every, ScheduleError};
use crate::time::{Time, parse_duration};

/// The shortest interval.
pub const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// The longest interval: ten years of 365 days.
pub const MAX_INTERVAL: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The length of a fixed rate or a delay: 10 ms to 10 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Duration", into = "Duration")]
pub struct Interval(Duration);

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
}

impl Every {
    /// The rate from the time of adding on.
    pub fn of(interval: Interval) -> Self {
        Self { interval, phase: Duration::ZERO, align: false }
    }

    /// The first due time after `after`.
    pub(super) fn next_after(&self, anchor: Time, after: Time) -> Option<Time> {
        self.due(anchor, self.steps_until(anchor, after.max(anchor)) + 1)
    }

    /// The last due time after `after` and not after `until`.
    pub(super) fn newest_until(&self, anchor: Time, after: Time, until: Time) -> Option<Time> {
        self.due(anchor, self.steps_until(anchor, until)).filter(|due| *due > after.max(anchor))
    }

    /// How many due times there are after `after` and not after `until`.
    pub(super) fn count_between(&self, anchor: Time, after: Time, until: Time) -> u64 {
        let after = after.max(anchor);
        let steps = self.steps_until(anchor, until.max(after)) - self.steps_until(anchor, after);
        u64::try_from(steps).unwrap_or(0)
    }

    // In 128 bits, since the distance of two times may not fit 64.

    fn step(&self) -> i128 {
        self.interval.get().as_nanos() as i128
    }

    /// Where the count of steps begins.
    fn origin(&self, anchor: Time) -> i128 {
        let origin = if self.align { 0 } else { i128::from(anchor.0) };
        origin + self.phase.as_nanos() as i128
    }

    fn steps_until(&self, anchor: Time, time: Time) -> i128 {
        (i128::from(time.0) - self.origin(anchor)).div_euclid(self.step())
    }

    fn due(&self, anchor: Time, steps: i128) -> Option<Time> {
        i64::try_from(self.origin(anchor) + steps * self.step()).ok().map(Time)
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
