//! How things are said.

use std::time::Duration;

/// So many bytes in the largest unit that leaves a whole part, with one decimal: `4.1 KiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    // In whole numbers, since code that prints floating point is a large part of a small plugin.
    let mut unit_bytes = 1_u128;
    for unit in UNITS {
        unit_bytes *= 1024;
        let tenths = (u128::from(count) * 10 + unit_bytes / 2) / unit_bytes;
        // What would be 1024.0 is 1.0 of the next unit.
        if tenths < 10_240 {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{count} B")
}

/// A duration: `300ms`, `1m 30s`.
pub fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// A text in one line of at most so many characters: white space becomes single spaces, what can't be printed is left
/// out, and `…` says that there was more.
pub fn printable(text: &str, max_chars: usize) -> String {
    let mut line = String::new();
    let mut chars = 0;
    for word in text.split_whitespace() {
        for (index, letter) in word.chars().filter(|&letter| is_printable(letter)).enumerate() {
            let is_first = index == 0 && chars > 0;
            if chars + 1 + usize::from(is_first) > max_chars {
                line.push('…');
                return line;
            }
            if is_first {
                line.push(' ');
                chars += 1;
            }
            line.push(letter);
            chars += 1;
        }
    }
    line
}

/// Neither control characters nor those that change the direction of what stands after them.
fn is_printable(letter: char) -> bool {
    let is_hidden =
        matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    !letter.is_control() && !is_hidden && letter != char::REPLACEMENT_CHARACTER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_told_in_the_unit_that_fits() {
        for (count, told) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (4200, "4.1 KiB"),
            (1023 * 1024, "1023.0 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (13_002_342, "12.4 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), told);
        }
    }

    #[test]
    fn a_text_becomes_one_short_line_without_what_can_not_be_printed() {
        assert_eq!(printable("a\tb\r\n\x1b[31m c\u{202e}d ", 40), "a b [31m cd");
        assert_eq!(printable("abc def", 7), "abc def");
        assert_eq!(printable("abc def", 6), "abc de…");
        assert_eq!(printable("abc def", 4), "abc…");
        assert_eq!(printable("ééé", 2), "éé…");
        assert_eq!(printable(" \u{fffd}\0 ", 10), "");
    }
}
