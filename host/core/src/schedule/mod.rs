//! When a task is due: the rules that give due times, and what they come to.
//!
//! A [`Schedule`] is one rule; a task has a list of them, and [`Timetable`] is what the list comes to, within the bounds that the task
//! has. All here is a pure function of times: nothing is remembered, and nobody is asked what time it is. `docs/schedules.md`
//! tells the rules to users.

mod cron;
mod interval;
mod pattern;
mod timetable;
mod warnings;
mod zone;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::cron::{Cron, MAX_CRON_BYTES};
pub use self::interval::{Interval, MAX_INTERVAL, MIN_INTERVAL};
pub use self::timetable::{Gap, MAX_WALKED_SLOTS, Passed, Slot, Timetable};
pub use self::warnings::{WARNED_AHEAD, Warning};
pub use self::zone::Zone;
use crate::time::{DurationError, Time, format_duration, parse_duration};

/// The most schedules of a task.
pub const MAX_SCHEDULES: usize = 16;

/// One rule by which due times come.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// A fixed rate.
    Every(Every),
    /// So long after the end of the last run; first, after the time of adding.
    Delay(Interval),
    /// Wall-clock times by a cron expression.
    Cron(Cron),
    /// Once, at this time.
    At(Time),
    /// Never by itself.
    Manual,
}

/// A fixed rate: due at `anchor + phase + n × interval`, after the anchor. The anchor is the time of adding, so neither a restart nor
/// a slow run moves it; with `align` the count begins at the Unix epoch instead, so that due times stand on the wall clock (of UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Every {
    pub interval: Interval,
    /// Less than the interval.
    #[serde(default)]
    pub phase: Duration,
    #[serde(default)]
    pub align: bool,
}

/// A schedule as it was sent: exactly one of `every`, `delay`, `cron`, `at` and `manual` is set.
#[derive(Clone, Debug, Default)]
pub struct ScheduleText {
    pub every: Option<String>,
    /// With `every`.
    pub phase: Option<String>,
    /// With `every`.
    pub align: bool,
    pub delay: Option<String>,
    pub cron: Option<String>,
    /// With `cron`.
    pub timezone: Option<String>,
    pub at: Option<String>,
    pub manual: bool,
}

/// Why a text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("the interval {0}")]
    Duration(#[from] DurationError),
    #[error("the interval {} is out of range; it must be from {} to {}", format_duration(*.0), format_duration(MIN_INTERVAL), format_duration(MAX_INTERVAL))]
    IntervalRange(Duration),
    #[error("the phase {0}")]
    PhaseSyntax(DurationError),
    #[error("the phase {} is not shorter than the interval {}", format_duration(*.phase), format_duration(*.interval))]
    PhaseRange { phase: Duration, interval: Duration },
    #[error("a task has {0} schedules; at least 1 and at most {MAX_SCHEDULES} are allowed")]
    Count(usize),
    #[error(
        "a schedule has none of `every`, `delay`, `cron`, `at` and `manual`; give it one, as in {{\"every\": \"1s\"}}"
    )]
    Empty,
    #[error("a schedule has both `{0}` and `{1}`; give each a schedule of its own")]
    Several(&'static str, &'static str),
    #[error("`{member}` goes with `{with}` only")]
    Misplaced { member: &'static str, with: &'static str },
    #[error("`manual` stands beside other schedules; a task is due by itself, or it is not")]
    ManualAmong,
    #[error("the cron expression `{expression}` {problem}")]
    Cron { expression: String, problem: String },
    #[error("`{0}` is no time zone that this host knows; write it like `Europe/Berlin` or `UTC`")]
    Zone(String),
    #[error("`{0}` is no point in time; write it like `2027-01-31T03:00:00Z`")]
    Time(String),
    #[error(
        "`{text}` leaves open in which time zone; write it like `{civil}Z`, or with an offset from UTC like `{civil}+01:00`"
    )]
    TimeWithoutOffset { text: String, civil: String },
    #[error("`{0}` is out of range; it must be in the years 1678 to 2261")]
    TimeRange(String),
}

impl Schedule {
    /// Checks a schedule as it was sent. A cron expression without a time zone gets `zone`.
    pub fn parse(text: ScheduleText, zone: &Zone) -> Result<Self, ScheduleError> {
        let ScheduleText { every, phase, align, delay, cron, timezone, at, manual } = text;
        let kinds = [
            ("every", every.is_some()),
            ("delay", delay.is_some()),
            ("cron", cron.is_some()),
            ("at", at.is_some()),
            ("manual", manual),
        ];
        let mut given = kinds.into_iter().filter(|(_, given)| *given).map(|(name, _)| name);
        let kind = given.next().ok_or(ScheduleError::Empty)?;
        if let Some(other) = given.next() {
            return Err(ScheduleError::Several(kind, other));
        }
        let misplaced = |member, with| Err(ScheduleError::Misplaced { member, with });
        if phase.is_some() && kind != "every" {
            return misplaced("phase", "every");
        }
        if align && kind != "every" {
            return misplaced("align", "every");
        }
        if timezone.is_some() && kind != "cron" {
            return misplaced("timezone", "cron");
        }
        if let Some(every) = every {
            let interval = Interval::parse(&every)?;
            let phase = phase.as_deref().map(parse_duration).transpose().map_err(ScheduleError::PhaseSyntax)?;
            let phase = phase.unwrap_or_default();
            if phase >= interval.get() {
                return Err(ScheduleError::PhaseRange { phase, interval: interval.get() });
            }
            return Ok(Self::Every(Every { interval, phase, align }));
        }
        if let Some(delay) = delay {
            return Ok(Self::Delay(Interval::parse(&delay)?));
        }
        if let Some(expression) = cron {
            let zone = timezone.as_deref().map(Zone::parse).transpose()?.unwrap_or_else(|| zone.clone());
            return Ok(Self::Cron(Cron::parse(&expression, zone)?));
        }
        if let Some(at) = at {
            return Ok(Self::At(parse_time(&at)?));
        }
        Ok(Self::Manual)
    }

    /// Checks all schedules of a task.
    pub fn parse_all(texts: Vec<ScheduleText>, zone: &Zone) -> Result<Vec<Self>, ScheduleError> {
        if texts.is_empty() || texts.len() > MAX_SCHEDULES {
            return Err(ScheduleError::Count(texts.len()));
        }
        let schedules = texts.into_iter().map(|text| Self::parse(text, zone)).collect::<Result<Vec<_>, _>>()?;
        if schedules.len() > 1 && schedules.contains(&Self::Manual) {
            return Err(ScheduleError::ManualAmong);
        }
        Ok(schedules)
    }

    /// How it is written, as [`ScheduleText`] has it.
    pub fn to_text(&self) -> ScheduleText {
        match self {
            Self::Every(every) => ScheduleText {
                every: Some(format_duration(every.interval.get())),
                phase: (!every.phase.is_zero()).then(|| format_duration(every.phase)),
                align: every.align,
                ..ScheduleText::default()
            },
            Self::Delay(delay) => ScheduleText { delay: Some(format_duration(delay.get())), ..ScheduleText::default() },
            Self::Cron(cron) => ScheduleText {
                cron: Some(cron.expression().to_owned()),
                timezone: Some(cron.zone().name().to_owned()),
                ..ScheduleText::default()
            },
            Self::At(at) => ScheduleText { at: Some(at.to_string()), ..ScheduleText::default() },
            Self::Manual => ScheduleText { manual: true, ..ScheduleText::default() },
        }
    }
}

/// Reads an RFC 3339 time with an offset.
pub fn parse_time(text: &str) -> Result<Time, ScheduleError> {
    // Jiff would take a time zone in brackets too, and believe the offset.
    let timestamp = text.parse().ok().filter(|_| !text.contains('['));
    let Some(timestamp): Option<jiff::Timestamp> = timestamp else {
        let civil: Result<jiff::civil::DateTime, _> = text.parse();
        return Err(civil.map_or_else(
            |_| ScheduleError::Time(told(text)),
            |civil| ScheduleError::TimeWithoutOffset { text: told(text), civil: civil.to_string() },
        ));
    };
    let time = Time::from_timestamp(timestamp);
    if time.to_timestamp() == timestamp { Ok(time) } else { Err(ScheduleError::TimeRange(timestamp.to_string())) }
}

/// How much of a text an error repeats, in characters.
const TOLD_CHARS: usize = 80;

/// A text as an error repeats it: cut, and safe to print.
fn told(text: &str) -> String {
    let mut told: String = text.chars().take(TOLD_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(TOLD_CHARS).is_some() {
        told.push('…');
    }
    told
}

#[cfg(test)]
mod tests;
