//! Points in time and lengths of it.
//!
//! Inside, a point in time is nanoseconds since the Unix epoch in one `i64`: it is compared and added on every
//! tick. At the rims it is RFC 3339 and jiff's types.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::told::told;

/// A point in time, in nanoseconds since the Unix epoch: years 1678 to 2261.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub i64);

impl Time {
    /// Later by `duration`, and no later than the end of the range.
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero if it is before.
    pub fn since(self, earlier: Self) -> Duration {
        u64::try_from(self.0.saturating_sub(earlier.0)).map_or(Duration::ZERO, Duration::from_nanos)
    }

    /// As jiff has it.
    pub fn to_timestamp(self) -> jiff::Timestamp {
        jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(jiff::Timestamp::MAX)
    }

    /// The nearest point in range.
    pub fn from_timestamp(timestamp: jiff::Timestamp) -> Self {
        Self(i64::try_from(timestamp.as_nanosecond()).unwrap_or(if timestamp.as_second() < 0 {
            i64::MIN
        } else {
            i64::MAX
        }))
    }
}

/// A time as people are told of it: RFC 3339 in UTC, with milliseconds if it has any.
pub(crate) struct Told(pub(crate) Time);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = self.0.to_timestamp();
        if timestamp.subsec_nanosecond() < 1_000_000 {
            write!(f, "{timestamp:.0}")
        } else {
            write!(f, "{timestamp:.3}")
        }
    }
}

/// RFC 3339 in UTC.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_timestamp().fmt(f)
    }
}

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It does not read as one.
    #[error("`{0}` is no duration; write it like `500ms`, `90s`, `1h30m` or `7d`")]
    Syntax(String),
    /// It is below zero.
    #[error("`{0}` is negative")]
    Negative(String),
}

/// How much of a text an error repeats, in characters.
const TOLD_CHARS: usize = 40;

/// How long a year is taken to be.
const DAYS_PER_YEAR: u16 = 365;

/// Reads a duration like `500ms`, `90s`, `1h30m` or `7d`, as of jiff's friendly format. A day is 24 hours, a week
/// seven days, a year 365 days; months are refused.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let told = || told(text, TOLD_CHARS);
    let syntax = || DurationError::Syntax(told());
    // An ISO 8601 duration would parse too; one notation is enough to document.
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '.' | '-' | '+')) {
        return Err(syntax());
    }
    let span = jiff::Span::from_str(text).map_err(|_| syntax())?;
    if span.get_months() != 0 {
        return Err(syntax());
    }
    let days = i64::from(span.get_years()) * i64::from(DAYS_PER_YEAR);
    let span =
        span.try_years(0).and_then(|rest| rest.try_days(i64::from(span.get_days()) + days)).map_err(|_| syntax())?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| syntax())?;
    Duration::try_from(duration).map_err(|_| DurationError::Negative(told()))
}

/// Writes a duration as [`parse_duration`] reads it, exactly and shortest: `1h30m`, `500ms`, `7d`. Whole years are written
/// as years: `10y`.
pub fn format_duration(duration: Duration) -> String {
    const DAY_NANOS: u128 = 86_400_000_000_000;
    const YEAR_NANOS: u128 = DAYS_PER_YEAR as u128 * DAY_NANOS;
    const UNITS: [(&str, u128); 7] = [
        ("d", DAY_NANOS),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    let mut rest = duration.as_nanos();
    // A year and some days would leave open how long that year is.
    if rest > 0 && rest.is_multiple_of(YEAR_NANOS) {
        return format!("{}y", rest / YEAR_NANOS);
    }
    let mut text = String::new();
    for (unit, nanos) in UNITS {
        if rest >= nanos {
            text.push_str(&format!("{}{unit}", rest / nanos));
            rest %= nanos;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_times_to_the_millisecond() {
        for (nanos, told) in [
            (5_000_000_000, "1970-01-01T00:00:05Z"),
            (5_000_000_007, "1970-01-01T00:00:05Z"),
            (5_093_771_055, "1970-01-01T00:00:05.093Z"),
        ] {
            assert_eq!(Told(Time(nanos)).to_string(), told);
        }
    }

    #[test]
    fn durations_read_as_people_write_them() {
        for (text, nanos) in [
            ("1s", 1_000_000_000),
            ("10ms", 10_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            ("7d", 604_800_000_000_000),
            ("10y", 315_360_000_000_000_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "1", "s", "1e400", "1e400s", "PT1S", "1 parsec", "1mo", "99999999999999999999y", "\u{0}"] {
            assert!(matches!(parse_duration(text), Err(DurationError::Syntax(_))), "{text}");
        }
        assert_eq!(parse_duration("-1s"), Err(DurationError::Negative("-1s".into())));
    }

    #[test]
    fn the_message_about_a_bad_duration_is_short_and_safe_to_print() {
        for text in [format!("1{}", "\u{1b}[2J".repeat(10_000)), format!("-{}1s", "0".repeat(10_000))] {
            let message = parse_duration(&text).expect_err("no duration").to_string();
            assert!(message.len() < 500 && !message.contains('\u{1b}'), "{message}");
        }
    }

    #[test]
    fn a_written_duration_reads_back_the_same() {
        for nanos in
            [0, 1, 999, 10_000_000, 1_000_000_000, 5_400_000_000_000, 86_399_999_999_999, 315_360_000_000_000_000]
        {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration), "{}", format_duration(duration));
        }
    }

    #[test]
    fn only_whole_years_are_written_as_years() {
        for (days, text) in [(364, "364d"), (365, "1y"), (366, "366d"), (4015, "11y")] {
            assert_eq!(format_duration(Duration::from_secs(days * 86_400)), text);
        }
    }
}
