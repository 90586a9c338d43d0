//! The values of flags that are read here and not by the host: numbers, sizes, labels, settings that can be reset, kinds of events.

use std::str::FromStr;

/// The value that gives a setting its default again.
const DEFAULT: &str = "default";

/// What `edit` makes of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Setting<T> {
    /// Its default again.
    Default,
    To(T),
}

impl<T> Setting<T> {
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

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SizeError {
    #[error("a size is a number of bytes, or of KiB, MiB or GiB, like 64MiB")]
    Syntax,
    #[error("the size is larger than any memory")]
    TooLarge,
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(SizeError::Syntax);
        }
        // As everywhere where memory is meant, a bare letter is binary; KB and MB would be read both ways.
        let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "ki" | "kib" => 10,
            "m" | "mi" | "mib" => 20,
            "g" | "gi" | "gib" => 30,
            _ => return Err(SizeError::Syntax),
        };
        let number: u64 = number.parse().map_err(|_| SizeError::TooLarge)?;
        number.checked_mul(1 << shift).map(Self).ok_or(SizeError::TooLarge)
    }
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
    use super::*;

    #[test]
    fn sizes_are_binary() {
        for (text, bytes) in [
            ("65536", 65_536),
            ("0", 0),
            ("64KiB", 64 << 10),
            ("64 MiB", 64 << 20),
            ("128M", 128 << 20),
            ("1g", 1 << 30),
            ("17179869183GiB", 17_179_869_183 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "MiB", "-1", "1.5GiB", "64MB", "1e9", "１"] {
            assert_eq!(text.parse::<Size>(), Err(SizeError::Syntax), "{text}");
        }
        for text in ["99999999999999999999", "17179869184GiB"] {
            assert_eq!(text.parse::<Size>(), Err(SizeError::TooLarge), "{text}");
        }
    }

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
    fn the_word_default_resets() {
        assert_eq!("default".parse(), Ok(Setting::<Size>::Default));
        assert_eq!("1k".parse(), Ok(Setting::To(Size(1024))));
        assert_eq!("5s".parse(), Ok(Setting::To("5s".to_owned())));
    }
}
