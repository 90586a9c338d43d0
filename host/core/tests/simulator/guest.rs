//! How a guest goes: decided by the run alone, so that it goes the same whatever else is taken out of a plan.

use std::time::Duration;

use taskhost_core::outcome::{Outcome, RunKey, RunReport, TaskId};

use crate::random::{Random, hash};

/// One attempt of a guest.
pub(crate) struct Guest {
    pub(crate) length: Duration,
    pub(crate) report: RunReport,
    /// How long after it is told to end it does; `None` if it does not heed that.
    pub(crate) heeds: Option<Duration>,
}

/// Each task has its temper: how often its guests end at once, how long they take otherwise, how often they fail.
pub(crate) fn behave(seed: u64, task: TaskId, key: RunKey, attempt: u32) -> Guest {
    let mut temper = Random::of(hash(&[seed, task]));
    let at_once = temper.pick(&[100, 95, 80, 30, 0]);
    let longest = temper.duration(Duration::from_millis(2), Duration::from_secs(10_800));
    let fails = temper.pick(&[0, 5, 30, 80]);

    let due = key.due.0.cast_unsigned();
    let mut random = Random::of(hash(&[seed, task, due, key.backfill.into(), attempt.into()]));
    let length = match random.chance(at_once) {
        true => Duration::ZERO,
        false => random.duration(Duration::from_micros(10), longest),
    };
    let outcome = match random.chance(fails) {
        false => Outcome::Success,
        true => random.pick(&[
            Outcome::Error,
            Outcome::Error,
            Outcome::Trapped,
            Outcome::TimedOut,
            Outcome::LimitExceeded,
            Outcome::HostError,
        ]),
    };
    let mut report = RunReport { entry_delay: Some(Duration::ZERO), ..RunReport::of(outcome) };
    if outcome == Outcome::Error {
        report.permanent = random.chance(15);
        let wait = random.duration(Duration::from_millis(1), Duration::from_secs(3600));
        report.retry_after = random.chance(20).then_some(wait);
    }
    if outcome == Outcome::HostError {
        report.entry_delay = None;
    }
    let heeds = random.chance(60).then(|| random.duration(Duration::from_micros(10), Duration::from_secs(4)));
    Guest { length, report, heeds }
}
