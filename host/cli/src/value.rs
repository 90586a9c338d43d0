//! The values of flags that are read here and not by the host: numbers, labels, settings that can be reset, times that are
//! told from now.

use std::str::FromStr;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// The value that gives a setting its default again.
const DEFAULT: &str = "default";

/// The value that is the present time.
const NOW: &str = "now";

/// What `edit` makes of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Setting<T> {
    /// Its default again.
    Default,
    To(T),
}

impl<T> Setting<T> {
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Setting<U> {
        match self {
            Self::Default => Setting::Default,
            Self::To(value) => Setting::To(change(value)),
        }
    }

    /// As a patch has it: `null` resets.
    pub(crate) fn into_patch(self) -> Option<T> {
        match self {
            Self::Default => None,
            Self::To(value) => Some(value),
        }
    }
}

impl<T: FromStr> FromStr for Setting<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == DEFAULT { Ok(Self::Default) } else { text.parse().map(Self::To) }
    }
}

/// Why a text is no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no whole number; write it like 20")]
pub(crate) struct NumberError;

/// Reads a count or the like; its range is the host's to judge.
pub(crate) fn number<T: FromStr>(text: &str) -> Result<T, NumberError> {
    text.parse().map_err(|_| NumberError)
}

/// What [`number`] is for a setting.
pub(crate) fn number_setting<T: FromStr>(text: &str) -> Result<Setting<T>, NumberError> {
    if text == DEFAULT { Ok(Setting::Default) } else { number(text).map(Setting::To) }
}

/// A point in time as the host reads it. `now`, and a length of time ago or ahead like `-10m` and `+1h`, are told from `now`; all
/// else is the host's to judge.
pub(crate) fn when(text: &str, now: Timestamp) -> String {
    let told = if text == NOW { Some(now) } else { shifted(text, now) };
    told.map_or_else(|| text.to_owned(), |time| time.to_string())
}

fn shifted(text: &str, now: Timestamp) -> Option<Timestamp> {
    let (ago, length) = match text.split_at_checked(1)? {
        ("-", length) => (true, length),
        ("+", length) => (false, length),
        _ => return None,
    };
    // A length has another notation and a sign of its own; one way to write it is enough to document.
    let span: Span = length.starts_with(|first: char| first.is_ascii_digit()).then(|| length.parse().ok())??;
    // A year, too, is one of the calendar there.
    let now = now.to_zoned(TimeZone::UTC);
    let shifted = if ago { now.checked_sub(span) } else { now.checked_add(span) };
    shifted.ok().map(|shifted| shifted.timestamp())
}

/// A label to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// Why a text is no label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LabelError {
    #[error("a label is written KEY=VALUE")]
    Syntax,
    #[error("a label is written KEY=VALUE, or KEY- to take it away")]
    ChangeSyntax,
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self { key: key.to_owned(), value: value.to_owned() }),
            _ => Err(LabelError::Syntax),
        }
    }
}

/// A label to set, or to take away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabelChange {
    pub(crate) key: String,
    pub(crate) value: Option<String>,
}

impl FromStr for LabelChange {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        if let Ok(Label { key, value }) = text.parse() {
            return Ok(Self { key, value: Some(value) });
        }
        match text.strip_suffix('-') {
            Some(key) if !key.is_empty() && !key.contains('=') => Ok(Self { key: key.to_owned(), value: None }),
            _ => Err(LabelError::ChangeSyntax),
        }
    }
}

#[cfg(test)]
mod tests {
    use taskhost_api::Size;

    use super::*;

    #[test]
    fn a_label_is_set_or_taken_away() {
        let change = |key: &str, value: Option<&str>| LabelChange { key: key.into(), value: value.map(Into::into) };
        assert_eq!("team=web".parse(), Ok(change("team", Some("web"))));
        assert_eq!("query=a=b-".parse(), Ok(change("query", Some("a=b-"))));
        assert_eq!("empty=".parse(), Ok(change("empty", Some(""))));
        assert_eq!("team-".parse(), Ok(change("team", None)));
        for text in ["", "-", "team", "=web", "=web-"] {
            assert_eq!(text.parse::<LabelChange>(), Err(LabelError::ChangeSyntax), "{text}");
        }
        assert_eq!("team-".parse::<Label>(), Err(LabelError::Syntax));
    }

    #[test]
    fn times_are_told_from_now_or_left_to_the_host() {
        let now = crate::testing::time("2026-01-02T03:04:05Z");
        for (text, told) in [
            ("now", "2026-01-02T03:04:05Z"),
            ("-10m", "2026-01-02T02:54:05Z"),
            ("-1y", "2025-01-02T03:04:05Z"),
            ("+1mo2d", "2026-02-04T03:04:05Z"),
            ("+1h30m", "2026-01-02T04:34:05Z"),
            ("-2d", "2025-12-31T03:04:05Z"),
            ("2027-01-31T03:00:00+01:00", "2027-01-31T03:00:00+01:00"),
            ("10m", "10m"),
            ("--10m", "--10m"),
            ("-PT1H", "-PT1H"),
            ("+", "+"),
            ("+99999999999h", "+99999999999h"),
            ("tomorrow", "tomorrow"),
            ("", ""),
            ("ü1h", "ü1h"),
        ] {
            assert_eq!(when(text, now), told, "{text}");
        }
    }

    #[test]
    fn the_word_default_resets() {
        assert_eq!(number_setting("default"), Ok(Setting::<u32>::Default));
        assert_eq!(number_setting("3"), Ok(Setting::To(3)));
        assert_eq!(number_setting::<u32>("-3"), Err(NumberError));
        assert_eq!("default".parse(), Ok(Setting::<Size>::Default));
        assert_eq!("1k".parse(), Ok(Setting::To(Size(1024))));
        assert_eq!("5s".parse(), Ok(Setting::To("5s".to_owned())));
    }
}
