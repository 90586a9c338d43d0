//! Names of tasks.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark, is_nfc};
use unicode_security::MixedScript;

use crate::prefetch::prefetch_arc;

/// The longest name, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 128;

/// A valid name of a task: NFC, 1 to 128 bytes of letters, digits, `-_.:/` and inner spaces, with no leading `-`, no `.` or
/// `..` segment and no mixed scripts. It is a label for people and never used as a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TaskName(Arc<str>);

/// Why a text is no name. The text itself is quoted escaped and cut, since it may hold anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has no characters.
    #[error("a task's name is empty")]
    Empty,
    /// It is longer than 128 bytes.
    #[error("a task's name is {0} bytes long; at most {MAX_NAME_BYTES} are allowed")]
    TooLong(usize),
    /// It has a character that is not allowed anywhere in a name.
    #[error("the name `{name}` has the character U+{character:04X}; letters, digits, `-_.:/` and inner spaces are allowed", character = u32::from(*character))]
    Character { name: String, character: char },
    /// It begins with a `-`, and would read as an option.
    #[error("the name `{0}` begins with `-`")]
    LeadingHyphen(String),
    /// It begins or ends with a space.
    #[error("the name `{0}` begins or ends with a space")]
    OuterSpace(String),
    /// One of its segments between `/` is empty, `.` or `..`.
    #[error("the name `{0}` has an empty, `.` or `..` segment")]
    Segment(String),
    /// It mixes scripts, and could pass for another name.
    #[error("the name `{0}` mixes scripts, so that it could pass for another name")]
    MixedScripts(String),
}

impl TaskName {
    /// Has the processor fetch it, to be read soon.
    pub(crate) fn prefetch(&self) {
        prefetch_arc(&self.0);
    }

    /// Checks a name, after bringing it to NFC.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        // Before anything that costs time in its length.
        if text.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong(text.len()));
        }
        let name = if text.is_ascii() || is_nfc(text) { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) };
        if name.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong(name.len()));
        }
        // All that is said of scripts and marks is true of ASCII, and costs more than the rest together.
        let is_ascii = name.is_ascii();
        let quoted = || name.escape_debug().to_string();
        let mut after_letter = false;
        for character in name.chars() {
            let mark = !is_ascii && is_combining_mark(character) && after_letter;
            if !(character.is_alphanumeric() || matches!(character, '-' | '_' | '.' | ':' | '/' | ' ') || mark) {
                return Err(NameError::Character { name: quoted(), character });
            }
            after_letter = character.is_alphabetic() || mark;
        }
        if name.starts_with('-') {
            return Err(NameError::LeadingHyphen(quoted()));
        }
        if name.starts_with(' ') || name.ends_with(' ') {
            return Err(NameError::OuterSpace(quoted()));
        }
        if name.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(NameError::Segment(quoted()));
        }
        if !is_ascii && !name.is_single_script() {
            return Err(NameError::MixedScripts(quoted()));
        }
        Ok(Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::borrow::Borrow<str> for TaskName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TaskName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<TaskName> for String {
    fn from(name: TaskName) -> Self {
        name.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_people_use_are_accepted() {
        for name in [
            "a",
            "web-1",
            "eu/web/check.http",
            "über",
            "задача",
            "定時タスク",
            "nightly backup",
            "a:b_c",
            "हिन्दी",
            "1",
            "...",
        ] {
            assert_eq!(TaskName::new(name).map(String::from), Ok(name.to_owned()));
        }
    }

    #[test]
    fn a_name_is_brought_to_nfc_so_that_equal_names_are_equal() {
        assert_eq!(TaskName::new("u\u{308}ber"), TaskName::new("über"));
    }

    #[test]
    fn names_that_deceive_are_refused() {
        use NameError::*;
        type Expected = fn(&NameError) -> bool;
        let cases: [(&str, Expected); 15] = [
            ("", |e| matches!(e, Empty)),
            ("../x", |e| matches!(e, Segment(_))),
            ("a/./b", |e| matches!(e, Segment(_))),
            ("/a", |e| matches!(e, Segment(_))),
            ("a//b", |e| matches!(e, Segment(_))),
            ("..", |e| matches!(e, Segment(_))),
            ("-rf", |e| matches!(e, LeadingHyphen(_))),
            (" a", |e| matches!(e, OuterSpace(_))),
            ("a\0b", |e| matches!(e, Character { character: '\0', .. })),
            ("a\u{1b}[2J", |e| matches!(e, Character { .. })),
            ("a\nb", |e| matches!(e, Character { .. })),
            ("a\u{202e}b", |e| matches!(e, Character { .. })),
            ("a\u{200b}b", |e| matches!(e, Character { .. })),
            ("\u{301}a", |e| matches!(e, Character { .. })),
            ("p\u{430}ypal", |e| matches!(e, MixedScripts(_))),
        ];
        for (name, expected) in cases {
            let error = TaskName::new(name).expect_err(name);
            assert!(expected(&error), "{name:?}: {error:?}");
        }
        assert_eq!(TaskName::new(&"x".repeat(10_240)), Err(TooLong(10_240)));
    }

    #[test]
    fn the_message_about_a_bad_name_is_safe_to_print() {
        let message = TaskName::new("a\u{1b}[2J").expect_err("escape").to_string();
        assert!(!message.contains('\u{1b}'), "{message}");
    }
}
