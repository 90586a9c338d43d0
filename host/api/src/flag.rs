//! How values are written on command lines and in configurations, where both programs take the same: sizes, pairs, granted folders,
//! limits, schedules, words of a shell. What a value may be, the host judges; here it is only read and written.

use std::borrow::Cow;
use std::str::FromStr;

use jiff::{Span, SpanRelativeTo};

use crate::spec::{Dir, Schedule};

/// The value that gives a limit its default again.
const DEFAULT: &str = "default";

/// A number of bytes: `65536`, or with a unit, `64KiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// Why a text is no size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
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

/// A name and its value: `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub key: String,
    pub value: String,
}

/// Why a text is no pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is written KEY=VALUE")]
pub struct PairError;

impl FromStr for Pair {
    type Err = PairError;

    fn from_str(text: &str) -> Result<Self, PairError> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self { key: key.to_owned(), value: value.to_owned() }),
            _ => Err(PairError),
        }
    }
}

/// A folder to grant: `HOST`, or `HOST::GUEST` where the guest has another name for it, with `:ro` if nothing in it is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirText {
    pub host: String,
    pub guest: Option<String>,
    pub read_only: bool,
}

/// Why a text is no folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a folder is written HOST or HOST::GUEST, and with :ro at the end where nothing in it may change")]
pub struct DirTextError;

impl FromStr for DirText {
    type Err = DirTextError;

    fn from_str(text: &str) -> Result<Self, DirTextError> {
        let (paths, read_only) = text.strip_suffix(":ro").map_or((text, false), |paths| (paths, true));
        let (host, guest) = match paths.split_once("::") {
            Some((host, guest)) => (host, Some(guest)),
            // Others write `HOST:GUEST`. A path with a colon can be given with its `::GUEST`.
            None if paths.contains(':') => return Err(DirTextError),
            None => (paths, None),
        };
        if host.is_empty() || guest == Some("") {
            return Err(DirTextError);
        }
        Ok(Self { host: host.to_owned(), guest: guest.map(ToOwned::to_owned), read_only })
    }
}

impl DirText {
    /// The grant, with a relative path on the host told from `base`, which is absolute. Without a name of its own, the guest has the
    /// one that was written.
    pub fn into_dir(self, base: &str) -> Dir {
        let Self { host, guest, read_only } = self;
        let guest = guest.unwrap_or_else(|| host.clone());
        let host = if host.starts_with('/') { host } else { below(base, &host) };
        Dir { host, guest, read_only }
    }
}

/// A relative path told from a base, without `.` and `..`.
fn below(base: &str, path: &str) -> String {
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A limit to set: `NAME=VALUE`, or with `default` for a value, to have its default again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitText {
    pub name: String,
    pub value: Option<u64>,
}

/// Why a text is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitTextError {
    #[error("a limit is written NAME=VALUE, like log_lines=100 or log_bytes=64KiB")]
    Syntax,
    #[error(transparent)]
    Size(#[from] SizeError),
    #[error("it is no length of time; write it like 500ms or 5s")]
    Millis,
    #[error("it is no whole number; write it like 100")]
    Number,
}

impl FromStr for LimitText {
    type Err = LimitTextError;

    fn from_str(text: &str) -> Result<Self, LimitTextError> {
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(LimitTextError::Syntax);
        };
        let value = if value == DEFAULT { None } else { Some(limit_value(name, value)?) };
        Ok(Self { name: name.to_owned(), value })
    }
}

/// Reads what a limit of this name is set to: a whole number, or where the name says what is counted, one with a unit: `5s` for
/// `cpu_ms`, `64KiB` for `log_bytes` and `log_bytes_per_minute`.
pub fn limit_value(name: &str, value: &str) -> Result<u64, LimitTextError> {
    if value.bytes().all(|digit| digit.is_ascii_digit()) && !value.is_empty() {
        return value.parse().map_err(|_| LimitTextError::Number);
    }
    match measure(name) {
        Measure::Millis => millis(value).ok_or(LimitTextError::Millis),
        Measure::Bytes => Ok(value.parse::<Size>()?.0),
        Measure::Count => Err(LimitTextError::Number),
    }
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    Bytes,
    Millis,
    Count,
}

/// What a limit of this name counts: its name says so.
pub fn measure(name: &str) -> Measure {
    if name.ends_with("_ms") {
        Measure::Millis
    } else if name.split('_').any(|word| word == "bytes") {
        Measure::Bytes
    } else {
        Measure::Count
    }
}

fn millis(text: &str) -> Option<u64> {
    // A length of time has another notation and a sign of its own; one way to write it is enough to document.
    let span: Span = text.starts_with(|first: char| first.is_ascii_digit()).then(|| text.parse().ok())??;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    let whole = duration.subsec_nanos() % 1_000_000 == 0;
    u64::try_from(duration.as_millis()).ok().filter(|_| whole)
}

impl Schedule {
    /// The flags of `taskctl add` and `edit` that give it, as a shell takes them.
    pub fn flags(&self) -> String {
        let Self { every, phase, align, delay, cron, timezone, at, manual } = self;
        let valued = [
            ("--every", every),
            ("--phase", phase),
            ("--delay", delay),
            ("--cron", cron),
            ("--timezone", timezone),
            ("--at", at),
        ];
        let valued = valued.into_iter().filter_map(|(flag, value)| Some((flag, value.as_ref()?)));
        let mut flags: Vec<_> = valued.map(|(flag, value)| format!("{flag} {}", shell_word(value))).collect();
        flags.extend(align.then(|| "--align".to_owned()));
        flags.extend(manual.then(|| "--manual".to_owned()));
        flags.join(" ")
    }
}

/// `text` as one word of a command line.
pub fn shell_word(text: &str) -> Cow<'_, str> {
    let plain = |letter: char| letter.is_alphanumeric() || "-_.:/@%+=,".contains(letter);
    if !text.is_empty() && text.chars().all(plain) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
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
    fn a_pair_is_split_at_its_first_sign() {
        let pair = |key: &str, value: &str| Pair { key: key.into(), value: value.into() };
        assert_eq!("query=a=b-".parse(), Ok(pair("query", "a=b-")));
        assert_eq!("empty=".parse(), Ok(pair("empty", "")));
        for text in ["", "team", "=web", "team-"] {
            assert_eq!(text.parse::<Pair>(), Err(PairError), "{text}");
        }
    }

    #[test]
    fn a_folder_has_the_guests_name_if_one_is_given_and_is_told_from_the_working_folder() {
        for (text, host, guest, read_only) in [
            ("/srv/data", "/srv/data", "/srv/data", false),
            ("/srv/data:ro", "/srv/data", "/srv/data", true),
            ("/srv/data::/data", "/srv/data", "/data", false),
            ("/srv/data::/data:ro", "/srv/data", "/data", true),
            ("data", "/home/a/data", "data", false),
            (".", "/home/a", ".", false),
            ("./data//x/::/data", "/home/a/data/x", "/data", false),
            ("../b/c/../d::/data", "/home/b/d", "/data", false),
            ("../../../..::/data", "/", "/data", false),
            ("/a:b::/data", "/a:b", "/data", false),
            ("/a/../b", "/a/../b", "/a/../b", false),
        ] {
            let dir = text.parse::<DirText>().expect(text).into_dir("/home/a");
            assert_eq!(dir, Dir { host: host.into(), guest: guest.into(), read_only }, "{text}");
        }
        for text in ["", ":ro", "::/data", "/srv::", "/srv:/data", "/srv:rw"] {
            assert_eq!(text.parse::<DirText>(), Err(DirTextError), "{text}");
        }
    }

    #[test]
    fn a_limit_has_a_unit_where_its_name_says_what_it_counts() {
        let limit = |text: &str| text.parse::<LimitText>().map(|limit| limit.value);
        assert_eq!(limit("cpu_ms=5s"), Ok(Some(5000)));
        assert_eq!(limit("cpu_ms=1m30s"), Ok(Some(90_000)));
        assert_eq!(limit("cpu_ms=250"), Ok(Some(250)));
        assert_eq!(limit("log_bytes=64KiB"), Ok(Some(64 << 10)));
        assert_eq!(limit("log_bytes_per_minute=1MiB"), Ok(Some(1 << 20)));
        assert_eq!(limit("log_lines=100"), Ok(Some(100)));
        assert_eq!(limit("log_lines=default"), Ok(None));
        assert_eq!(limit("of_the_future=7"), Ok(Some(7)), "the host judges names");
        assert_eq!(limit("log_lines=64KiB"), Err(LimitTextError::Number));
        assert_eq!(limit("log_lines="), Err(LimitTextError::Number));
        assert_eq!(limit("log_lines=99999999999999999999"), Err(LimitTextError::Number));
        assert_eq!(limit("log_bytes=5s"), Err(LimitTextError::Size(SizeError::Syntax)));
        for text in ["cpu_ms=64KiB", "cpu_ms=-5s", "cpu_ms=5us", "cpu_ms=PT5S"] {
            assert_eq!(limit(text), Err(LimitTextError::Millis), "{text}");
        }
        for text in ["", "log_lines", "=5", "default"] {
            assert_eq!(limit(text), Err(LimitTextError::Syntax), "{text}");
        }
    }

    #[test]
    fn a_schedule_is_told_as_flags() {
        let flags = |json: &str| serde_json::from_str::<Schedule>(json).expect("a schedule").flags();
        assert_eq!(flags(r#"{"every": "5m", "align": true}"#), "--every 5m --align");
        assert_eq!(
            flags(r#"{"cron": "0 3 * * *", "timezone": "Europe/Berlin"}"#),
            "--cron '0 3 * * *' --timezone Europe/Berlin"
        );
        assert_eq!(flags(r#"{"manual": true}"#), "--manual");
    }

    #[test]
    fn a_name_is_one_word_of_a_command_line() {
        assert_eq!(shell_word("web/backup-1"), "web/backup-1");
        assert_eq!(shell_word("it's late"), r"'it'\''s late'");
        assert_eq!(shell_word(""), "''");
    }
}
