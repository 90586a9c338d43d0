//! Files of tasks, as `export` writes and `apply` reads them: TOML, a `[[task]]` table for each definition, member for member as the
//! wire has it. But `plugin = { wasm = … }` is the path of a file and not its bytes, and a time may stand without quotes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use taskhost_api::Spec;
use toml::de::{DeTable, DeValue};

use crate::cause::IoCause;
use crate::failure::{Failure, MAX_TASK_FILE_BYTES, TaskFileError};
use crate::text::toml_string;

/// The name of the standard input.
const STDIN: &str = "-";

/// What a file is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaskFile {
    #[serde(default, rename = "task")]
    tasks: Vec<Spec>,
}

/// Reads the tasks of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<Spec>, Failure> {
    let tasks = read_bounded(path).and_then(|text| parse(&text));
    tasks.map_err(|source| Failure::TaskFile { path: path.to_owned(), source })
}

fn read_bounded(path: &Path) -> Result<String, TaskFileError> {
    fn text_of(source: impl Read) -> io::Result<String> {
        let mut text = String::new();
        source.take(MAX_TASK_FILE_BYTES + 1).read_to_string(&mut text)?;
        Ok(text)
    }
    let text = if path == Path::new(STDIN) { text_of(io::stdin().lock()) } else { File::open(path).and_then(text_of) };
    let text = text.map_err(|error| TaskFileError::Io(IoCause(error)))?;
    if text.len() as u64 > MAX_TASK_FILE_BYTES { Err(TaskFileError::TooLarge) } else { Ok(text) }
}

fn parse(text: &str) -> Result<Vec<Spec>, TaskFileError> {
    let tasks = DeTable::parse(text).and_then(|mut table| {
        table.get_mut().iter_mut().for_each(|(_, value)| quote_times(value.get_mut()));
        TaskFile::deserialize(toml::Deserializer::from(table))
    });
    tasks.map(|file| file.tasks).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let message = error.message().trim_end().replace('\n', ", ");
        TaskFileError::Invalid { line: before.matches('\n').count() + 1, message }
    })
}

/// TOML has times of its own; the wire has text.
fn quote_times(value: &mut DeValue<'_>) {
    match value {
        DeValue::Datetime(time) => *value = DeValue::String(time.to_string().into()),
        DeValue::Array(items) => items.iter_mut().for_each(|item| quote_times(item.get_mut())),
        DeValue::Table(members) => members.iter_mut().for_each(|(_, member)| quote_times(member.get_mut())),
        _ => {}
    }
}

/// The text of a file with these tasks.
pub(crate) fn write(tasks: &[Spec]) -> String {
    let texts: Vec<_> = tasks.iter().map(write_task).collect();
    texts.join("\n")
}

fn write_task(task: &Spec) -> String {
    // What a reader looks for first comes first.
    const FIRST: [&str; 3] = ["name", "plugin", "schedules"];
    let Value::Object(members) = serde_json::to_value(task).expect("a definition has text for keys") else {
        unreachable!("a struct is an object")
    };
    let first = FIRST.into_iter().filter_map(|name| members.get_key_value(name));
    let rest = members.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
    let lines = first.chain(rest).map(|(name, value)| format!("{name} = {}\n", inline(value)));
    std::iter::once("[[task]]\n".to_owned()).chain(lines).collect()
}

/// A value on one line. There are no nulls in a definition.
fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => toml_string(text),
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{} = {}", key(name), inline(value)));
            format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn key(name: &str) -> String {
    let bare = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { toml_string(name) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_reads_back_the_same() {
        let tasks: Vec<Spec> = serde_json::from_value(json!([
            {"name": "plain"},
            {
                "name": "everything", "plugin": {"sha256": "0123456789abcdef"},
                "schedules": [
                    {"every": "5m", "phase": "10s", "align": true}, {"delay": "1s"},
                    {"cron": "0 3 * * *", "timezone": "Europe/Berlin"}, {"at": "2027-01-31T03:00:00Z"}, {"manual": true},
                ],
                "starts_at": "2027-01-01T00:00:00Z", "expires_at": "2028-01-01T00:00:00Z", "max_runs": u64::MAX,
                "jitter": {"max": "10s", "stable": true}, "timeout": "5s", "memory_bytes": 65536, "overlap": "buffer_all",
                "max_running": 2, "max_buffered": 3, "missed": "run_all", "catchup_window": "1h", "max_catchup": 4,
                "retry": {"attempts": 3, "backoff": "1s", "max_backoff": "1m", "on": ["error"]}, "pause_on_failure": 5,
                "on_failure": "b", "on_recovery": "c",
                "args": ["it's", "\"\\", "a\nb\r\tc", "\u{1b}[31m\u{202e}\u{7f}\u{e0041}", "日本", ""],
                "labels": {"team": "web", "a.b/c": "", "1": "x"},
                "grants": {
                    "env": {"A": "b", "with space": "\"\n"}, "hosts": ["*.example.com:443"], "config": {"mode": "fast"},
                    "dirs": [{"host": "/srv/ü", "guest": "/data", "read_only": true}, {"host": "/tmp", "guest": "/tmp"}],
                    "secrets": ["key"], "kv": true,
                },
                "limits": {"log_lines": 100, "response_bytes": 17_179_869_184_u64}, "instance": "keep",
            },
        ]))
        .expect("definitions");
        let text = write(&tasks);
        assert!(!text.chars().any(|letter| letter != '\n' && letter.is_control() || letter == '\u{202e}'), "{text}");
        assert_eq!(parse(&text).expect("what was written"), tasks, "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_time_may_stand_without_quotes() {
        let text =
            "[[task]]\nname = 'a'\nexpires_at = 2027-01-31T03:00:00Z\nschedules = [{ at = 2027-01-30T03:00:00+01:00 }]";
        let tasks = parse(text).expect("a file");
        assert_eq!(tasks[0].expires_at.as_deref(), Some("2027-01-31T03:00:00Z"));
        let at = tasks[0].schedules.as_ref().and_then(|schedules| schedules[0].at.clone());
        assert_eq!(at.as_deref(), Some("2027-01-30T03:00:00+01:00"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, told) in [
            ("[[task]]\nname = \"a\"\nevry = \"1s\"", "line 3: unknown field `evry`"),
            ("\n\n[[tsak]]\nname = \"a\"", "line 3: unknown field `tsak`"),
            ("[[task]]\nname = \"a\"\nschedules = [\n  { evry = \"1s\" },\n]", "line 4: unknown field `evry`"),
            ("[[task]]\nname = \"a\"\ngrants = { network = true }", "line 3: unknown field `network`"),
            ("[[task]]\nname = \"a\"\nlimits = { log_lines = -1 }", "line 3: invalid value: integer `-1`"),
            ("[[task]]\nname = \"a\"\nmax_runs = \"3\"", "line 3: invalid type: string \"3\", expected u64"),
            ("[[task]]\nname = \"a\"\n\n[[task]]\ntimeout = \"1s\"", "line 4: missing field `name`"),
            ("[[task]]\nname = \"a\"\nname = \"b\"", "line 3: duplicate key"),
            ("[[task]]\nname = \"a", "line 2: "),
            ("[[task]]\nname = \"a\"\nplugin = {}", "line 3: a plugin has exactly one of the members"),
        ] {
            let refusal = parse(text).expect_err(text).to_string();
            assert!(refusal.starts_with(told) && !refusal.contains('\n'), "{text}: {refusal}");
        }
        assert_eq!(parse("").expect("an empty file"), []);
    }
}
