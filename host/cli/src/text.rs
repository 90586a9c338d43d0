//! Texts for people: what came over the wire made harmless, and times, sizes and names as they are read best.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use taskhost_api::{Dir, Measure, measure};

/// The most of a name that is repeated in an error, in characters. Names have at most 128 bytes.
const MAX_QUOTED_CHARS: usize = 128;

/// `text` with everything escaped that could move the cursor, change colours, reorder or hide what stands beside it.
///
/// Guests choose what they print and people choose names on other machines; neither may draw on this terminal. Tabs stay.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_dangerous) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\0'..='\x7f' if is_dangerous(letter) => {
                write!(escaped, "\\x{:02x}", letter as u32).expect("a string takes all")
            }
            _ if is_dangerous(letter) => write!(escaped, "\\u{{{:x}}}", letter as u32).expect("a string takes all"),
            _ => escaped.push(letter),
        }
    }
    Cow::Owned(escaped)
}

/// The same for JSON text, whose strings alone can hold such characters: the value stays what it is.
pub(crate) fn escape_json(json: &str) -> Cow<'_, str> {
    // JSON's own line breaks stand outside of strings, and are ours.
    let is_dangerous = |letter: char| letter != '\n' && is_dangerous(letter);
    if !json.contains(is_dangerous) {
        return Cow::Borrowed(json);
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for letter in json.chars() {
        if is_dangerous(letter) {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                write!(escaped, "\\u{unit:04x}").expect("a string takes all");
            }
        } else {
            escaped.push(letter);
        }
    }
    Cow::Owned(escaped)
}

/// Control characters but tab, line and paragraph separators, bidirectional controls, the byte order mark, and tags.
fn is_dangerous(letter: char) -> bool {
    match letter {
        '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => true,
        '\u{e0000}'..='\u{e007f}' => true,
        _ => letter.is_control(),
    }
}

/// A point in time, in UTC, to the second.
pub(crate) fn absolute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A point in time, in UTC, to the second where it is on the day of `now`, else to the minute.
pub(crate) fn clock(time: Timestamp, now: Timestamp) -> String {
    let of = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
    let (date, today) = (of(time), of(now));
    let format = if date == today {
        "%H:%M:%S"
    } else if date.year() == today.year() {
        "%m-%d %H:%M"
    } else {
        "%Y-%m-%d %H:%M"
    };
    time.strftime(format).to_string()
}

/// How far `time` is from `now`: `in 3s`, `2m ago`.
pub(crate) fn relative(time: Timestamp, now: Timestamp) -> String {
    let seconds = time.as_second() - now.as_second();
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {}", coarse(seconds.unsigned_abs())),
        _ => format!("{} ago", coarse(seconds.unsigned_abs())),
    }
}

/// From `start` to `end`, in its largest unit.
pub(crate) fn length(start: Timestamp, end: Timestamp) -> String {
    match end.duration_since(start).as_secs() {
        0 => took(start, end),
        seconds => coarse(seconds.unsigned_abs()),
    }
}

/// A length of time in its largest unit.
fn coarse(seconds: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match seconds {
        0..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => format!("{}m", seconds / MINUTE),
        HOUR..DAY => format!("{}h", seconds / HOUR),
        _ => format!("{}d", seconds / DAY),
    }
}

/// A measured length of time: `0.42ms`, `12ms`, `3.5s`, `2m5s`.
pub(crate) fn millis(ms: f64) -> String {
    const MS_PER_MINUTE: f64 = 60_000.0;
    match ms {
        ..0.995 => format!("{ms:.2}ms"),
        ..9.95 => format!("{ms:.1}ms"),
        ..999.5 => format!("{ms:.0}ms"),
        ..59_950.0 => format!("{:.1}s", ms / 1000.0),
        _ => format!("{:.0}m{:.0}s", (ms / MS_PER_MINUTE).floor(), ((ms % MS_PER_MINUTE) / 1000.0).floor()),
    }
}

/// From `start` to `end`, measured.
pub(crate) fn took(start: Timestamp, end: Timestamp) -> String {
    millis(end.duration_since(start).as_millis_f64())
}

/// A number of bytes in the unit that reads best: `512 B`, `1.5 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut amount = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if amount < 1024.0 {
            break;
        }
        amount /= 1024.0;
        unit = larger;
    }
    let amount = format!("{amount:.1}");
    format!("{} {unit}", amount.strip_suffix(".0").unwrap_or(&amount))
}

/// What a limit of this name is set to, exactly and as its flag has it: `64KiB`.
pub(crate) fn limit(name: &str, value: u64) -> String {
    const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match measure(name) {
        Measure::Millis if value.is_multiple_of(1000) => format!("{}s", value / 1000),
        Measure::Millis => format!("{value}ms"),
        Measure::Bytes => {
            let whole = UNITS.into_iter().find(|(_, shift)| value > 0 && value.trailing_zeros() >= *shift);
            whole.map_or(value.to_string(), |(unit, shift)| format!("{}{unit}", value >> shift))
        }
        Measure::Count => value.to_string(),
    }
}

/// A granted folder as its flag has it: `/srv/data::/data:ro`.
pub(crate) fn dir(Dir { host, guest, read_only }: &Dir) -> String {
    let end = if *read_only { ":ro" } else { "" };
    if host == guest { format!("{host}{end}") } else { format!("{host}::{guest}{end}") }
}

/// A name as it stands in a sentence. What nobody can have meant as one is not repeated in full.
pub(crate) fn quoted(name: &str) -> String {
    match name.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("`{}…`", &name[..end]),
        None => format!("`{name}`"),
    }
}

/// `text` as a string of TOML, with everything escaped that could draw on a terminal.
pub(crate) fn toml_string(text: &str) -> String {
    let mut string = String::with_capacity(text.len() + 2);
    string.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => string.extend(['\\', letter]),
            '\n' => string.push_str("\\n"),
            '\t' => string.push_str("\\t"),
            _ if is_dangerous(letter) => write!(string, "\\U{:08X}", letter as u32).expect("a string takes all"),
            _ => string.push(letter),
        }
    }
    string.push('"');
    string
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_a_guest_draws_on_the_terminal() {
        for (text, shown) in [
            ("plain ünïcödé 日本\ttab \\x1b", "plain ünïcödé 日本\ttab \\x1b"),
            ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
            ("a\rb\nc\0", "a\\rb\\nc\\x00"),
            ("\u{9b}31m\x7f", "\\u{9b}31m\\x7f"),
            ("abc\u{202e}fdp.exe\u{2066}\u{200f}", "abc\\u{202e}fdp.exe\\u{2066}\\u{200f}"),
            ("\u{feff}\u{e0041}", "\\u{feff}\\u{e0041}"),
        ] {
            assert_eq!(escape(text), shown);
        }
    }

    #[test]
    fn json_is_made_harmless_and_means_the_same() {
        let value = serde_json::json!({"text": "\x1b[31m \u{9b} \u{202e} \u{e0041} 日本\n"});
        let json = serde_json::to_string_pretty(&value).expect("plain values serialise");
        let escaped = escape_json(&json);
        assert!(escaped.lines().count() > 1 && !escaped.chars().any(|letter| letter != '\n' && is_dangerous(letter)));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).expect("still JSON"), value);
    }

    #[test]
    fn times_are_told_from_now() {
        let now: Timestamp = "2026-01-02T03:04:05.9Z".parse().expect("a time");
        for (time, told) in [
            ("2026-01-02T03:04:05Z", "now"),
            ("2026-01-02T03:04:08Z", "in 3s"),
            ("2026-01-02T03:02:04Z", "2m ago"),
            ("2026-01-02T08:04:05Z", "in 5h"),
            ("2025-12-30T03:04:05Z", "3d ago"),
        ] {
            assert_eq!(relative(time.parse().expect("a time"), now), told);
        }
        assert_eq!(absolute(now), "2026-01-02T03:04:05Z");
        for (time, told) in [
            ("2026-01-02T00:00:01Z", "00:00:01"),
            ("2026-01-01T23:59:59Z", "01-01 23:59"),
            ("2025-12-31T23:59:59Z", "2025-12-31 23:59"),
        ] {
            assert_eq!(clock(time.parse().expect("a time"), now), told);
        }
    }

    #[test]
    fn measures_are_told_in_the_unit_that_reads_best() {
        for (ms, told) in
            [(0.0, "0.00ms"), (0.999, "1.0ms"), (12.4, "12ms"), (999.6, "1.0s"), (3500.0, "3.5s"), (125_900.0, "2m5s")]
        {
            assert_eq!(millis(ms), told);
        }
        for (amount, told) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (128 << 20, "128 MiB")] {
            assert_eq!(bytes(amount), told);
        }
    }

    #[test]
    fn a_name_that_is_none_is_not_repeated_in_full() {
        assert_eq!(quoted("hello"), "`hello`");
        assert_eq!(quoted(&"ü".repeat(10_000)), format!("`{}…`", "ü".repeat(MAX_QUOTED_CHARS)));
    }
}
