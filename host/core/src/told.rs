//! What an error repeats of a text that a stranger sent: cut, and safe to print.

use std::fmt::{self, Display, Write};

/// Writes at most `max_chars` characters of `text`, and `…` if it has more. Characters that could draw on a terminal, or deceive who
/// reads, are escaped; quotes and backslashes are not, as sentences have them too.
pub fn told(text: impl Display, max_chars: usize) -> String {
    let mut told = Told { text: String::new(), left: max_chars, keeps_lines: false };
    // Nothing more is written once it is full, so that a text of megabytes is not even made.
    match write!(told, "{text}") {
        Ok(()) => told.text,
        Err(fmt::Error) => told.text + "…",
    }
}

/// The same of a text of several lines, which stay lines.
pub fn told_lines(text: impl Display, max_chars: usize) -> String {
    let mut told = Told { text: String::new(), left: max_chars, keeps_lines: true };
    match write!(told, "{text}") {
        Ok(()) => told.text,
        Err(fmt::Error) => told.text + "…",
    }
}

struct Told {
    text: String,
    /// How many characters there is still room for, before they are escaped.
    left: usize,
    keeps_lines: bool,
}

impl Write for Told {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            match character {
                '"' | '\'' | '\\' => self.text.push(character),
                '\n' if self.keeps_lines => self.text.push(character),
                _ => self.text.extend(character.escape_debug()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_cut_and_safe_to_print() {
        assert_eq!(told("unknown field `é\"\\'`", 80), "unknown field `é\"\\'`");
        assert_eq!(told("\u{1b}[2J\n\u{202e}", 80), r"\u{1b}[2J\n\u{202e}");
        assert_eq!(told("abc", 3), "abc");
        assert_eq!(told("abcd", 3), "abc…");
        assert_eq!(told_lines("a\n\tb\r", 80), "a\n\\tb\\r");
    }
}
