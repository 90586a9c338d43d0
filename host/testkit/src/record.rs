//! What a plugin did, as one JSON document: how plugins are tested in any language. `docs/testing.md` tells what it has, so it is
//! a promise: members are added, and none changes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use taskhost_core::log;
use taskhost_core::outcome::{Outcome, Reason};
use taskhost_core::plugin::PluginFacts;

use crate::data::Data;

/// The version of the document's form.
pub const RECORD_FORMAT: u64 = 1;

/// The name of the only store of keys and values that a task has.
pub const BUCKET: &str = "default";

/// The document. One that a later version wrote may have more than is read here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`RECORD_FORMAT`].
    pub format: u64,
    pub plugin: Plugin,
    pub ticks: Vec<Tick>,
    /// All keys and values at the end, by bucket.
    pub kv: BTreeMap<String, BTreeMap<String, Data>>,
}

/// The plugin that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plugin {
    pub sha256: String,
    pub kind: String,
    /// As it calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A tick, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    pub tick: Handed,
    pub outcome: Outcome,
    /// Why it failed.
    pub detail: Option<String>,
    /// Whether the plugin said that trying again is of no use.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub permanent: bool,
    /// After how long the plugin asked to be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// A command's.
    pub exit_code: Option<i32>,
    /// The plugin's summary.
    pub result: Option<String>,
    /// How long it took, by virtual time if that is on.
    pub took_ms: u64,
    pub lines: Vec<Line>,
    pub kv: Vec<Operation>,
    pub http: Vec<Request>,
    /// How many more lines, operations and requests there were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
}

/// The tick as the plugin was handed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handed {
    pub task: String,
    pub run_id: String,
    pub attempt: u32,
    pub due: Timestamp,
    /// RFC 3339, with the offset of the schedule's time zone.
    pub due_local: String,
    /// The due time of the last success.
    pub since: Option<Timestamp>,
    pub reason: Reason,
}

/// A line that it wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub time: Timestamp,
    pub stream: Stream,
    /// Of those with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// Bytes that are no UTF-8 are U+FFFD.
    pub text: String,
    /// Whether it was longer than a line may be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// Where a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    Stdout,
    Stderr,
    /// `wasi:logging`, with a level.
    Log,
    /// A word of the host's, as of something denied.
    Host,
}

/// How much a line matters; as in `wasi:logging`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

/// What it did with a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    pub op: Op,
    pub bucket: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What was read or written; of an increment, what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Data>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swapped: Option<bool>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What can be done with keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    Get,
    Set,
    Delete,
    Increment,
    Swap,
    List,
}

/// An HTTP request of its.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub method: String,
    pub url: String,
    /// What was sent with it, if anything was and there was room for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Data>,
    /// Whether there was more of that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// Of the answer, if one came.
    pub status: Option<u16>,
    /// Why none came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why there is no such record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("failed to read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is no record", .path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{} has format {format}, and only {RECORD_FORMAT} is known here", .path.display())]
    Format { path: PathBuf, format: u64 },
}

/// What is read of one of any form.
#[derive(Deserialize)]
struct AnyRecord {
    format: u64,
}

impl Record {
    /// Reads one that `taskhost run --record` wrote.
    ///
    /// # Errors
    /// If it can't be read, or is none.
    pub fn of_file(path: impl AsRef<Path>) -> Result<Self, RecordError> {
        let path = path.as_ref();
        let failed = |source| RecordError::Read { path: path.to_owned(), source };
        let mut json = Vec::new();
        BufReader::new(File::open(path).map_err(failed)?).read_to_end(&mut json).map_err(failed)?;
        let shape = |source| RecordError::Json { path: path.to_owned(), source };
        let AnyRecord { format } = serde_json::from_slice(&json).map_err(shape)?;
        if format != RECORD_FORMAT {
            return Err(RecordError::Format { path: path.to_owned(), format });
        }
        serde_json::from_slice(&json).map_err(shape)
    }

    /// Writes it as `taskhost run --record` does.
    ///
    /// # Errors
    /// If it can't be written there.
    pub fn write_to(&self, mut writer: impl Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut writer, self)?;
        writer.write_all(b"\n")?;
        writer.flush()
    }

    /// All lines of all ticks, in order.
    pub fn texts(&self) -> Vec<&str> {
        self.ticks.iter().flat_map(Tick::texts).collect()
    }

    /// How its ticks ended, in order.
    pub fn outcomes(&self) -> Vec<Outcome> {
        self.ticks.iter().map(|tick| tick.outcome).collect()
    }

    /// What stands under a key at the end.
    pub fn value(&self, key: &str) -> Option<&Data> {
        self.kv.get(BUCKET)?.get(key)
    }

    /// Itself, if every tick succeeded.
    ///
    /// # Panics
    /// If one did not, with what it wrote.
    #[track_caller]
    pub fn expect_success(&self) -> &Self {
        for Tick { tick, outcome, detail, lines, .. } in &self.ticks {
            let why = detail.as_deref().unwrap_or("no word about why");
            let lines: Vec<_> = lines.iter().map(|line| format!("\n    {}", line.text)).collect();
            assert!(
                *outcome == Outcome::Success,
                "the tick due at {} ended as {outcome}: {why}{}",
                tick.due,
                lines.concat()
            );
        }
        self
    }
}

impl Tick {
    /// Its lines, in order.
    pub fn texts(&self) -> Vec<&str> {
        self.lines.iter().map(|line| line.text.as_str()).collect()
    }

    /// Those that it wrote to one stream.
    pub fn texts_of(&self, stream: Stream) -> Vec<&str> {
        self.lines.iter().filter(|line| line.stream == stream).map(|line| line.text.as_str()).collect()
    }
}

impl Plugin {
    pub(crate) fn of(facts: &PluginFacts) -> Self {
        let about = facts.about.as_ref();
        Self {
            sha256: facts.sha256.to_string(),
            kind: facts.kind.as_str().to_owned(),
            name: about.and_then(|about| about.name.clone()),
            version: about.and_then(|about| about.version.clone()),
        }
    }
}

impl Operation {
    pub(crate) fn of(op: Op, key: Option<String>) -> Self {
        Self { op, bucket: BUCKET.to_owned(), key, value: None, by: None, swapped: None, error: None }
    }
}

impl Line {
    pub(crate) fn of(line: &log::LogLine) -> Self {
        let (stream, level) = match line.stream {
            log::Stream::Stdout => (Stream::Stdout, None),
            log::Stream::Stderr => (Stream::Stderr, None),
            log::Stream::Host => (Stream::Host, None),
            log::Stream::Log(level) => (Stream::Log, Some(level.into())),
        };
        Self { time: line.time.to_timestamp(), stream, level, text: line.text.clone(), truncated: line.truncated }
    }
}

impl From<log::Level> for Level {
    fn from(level: log::Level) -> Self {
        match level {
            log::Level::Trace => Self::Trace,
            log::Level::Debug => Self::Debug,
            log::Level::Info => Self::Info,
            log::Level::Warn => Self::Warn,
            log::Level::Error => Self::Error,
            log::Level::Critical => Self::Critical,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Record, RecordError> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("record.json");
        std::fs::write(&path, json).expect("written");
        Record::of_file(&path)
    }

    #[test]
    fn a_record_reads_back_as_it_was_written_also_one_of_a_later_version_that_has_more() {
        let json = r#"{
  "format": 1,
  "plugin": {
    "sha256": "9f",
    "kind": "task component"
  },
  "ticks": [
    {
      "tick": {
        "task": "plugin",
        "run_id": "0000000000000000-18f6",
        "attempt": 1,
        "due": "2027-01-01T05:00:00Z",
        "due_local": "2027-01-01T06:00:00+01:00",
        "since": null,
        "reason": "schedule"
      },
      "outcome": "timed_out",
      "detail": "ran longer than 1m",
      "exit_code": null,
      "result": null,
      "took_ms": 3,
      "lines": [
        {
          "time": "2027-01-01T05:00:00.002Z",
          "stream": "log",
          "level": "info",
          "text": "checked"
        }
      ],
      "kv": [
        {
          "op": "increment",
          "bucket": "default",
          "key": "state",
          "value": "3",
          "by": 1
        }
      ],
      "http": [
        {
          "method": "POST",
          "url": "https://example.org/",
          "body": "{}",
          "status": 200
        }
      ]
    }
  ],
  "kv": {
    "default": {
      "raw": {
        "base64": "/wA="
      },
      "state": "3"
    }
  }
}
"#;
        let record = read(json).expect("a record");
        let mut written = Vec::new();
        record.write_to(&mut written).expect("written");
        assert_eq!(String::from_utf8(written).expect("UTF-8"), json);
        let later = json.replace(r#""took_ms": 3,"#, r#""took_ms": 3, "memory_bytes": 1,"#);
        assert_eq!(read(&later).expect("a record"), record);
        let refused = |json: &str| read(json).expect_err("refused").to_string();
        assert!(refused(&json.replace(r#""format": 1"#, r#""format": 2"#)).contains("has format 2"));
        assert!(refused("{}").contains("is no record"));
    }

    #[test]
    #[should_panic(expected = "ended as timed_out: ran longer than 1m\n    checked")]
    fn a_tick_that_failed_is_told_with_its_lines() {
        let tick = Handed {
            task: String::new(),
            run_id: String::new(),
            attempt: 1,
            due: Timestamp::UNIX_EPOCH,
            due_local: String::new(),
            since: None,
            reason: Reason::Manual,
        };
        let line = Line {
            time: Timestamp::UNIX_EPOCH,
            stream: Stream::Stdout,
            level: None,
            text: "checked".to_owned(),
            truncated: false,
        };
        let tick = Tick {
            tick,
            outcome: Outcome::TimedOut,
            detail: Some("ran longer than 1m".to_owned()),
            permanent: false,
            retry_after_ms: None,
            exit_code: None,
            result: None,
            took_ms: 0,
            lines: vec![line],
            kv: Vec::new(),
            http: Vec::new(),
            lost: 0,
        };
        let plugin = Plugin { sha256: String::new(), kind: String::new(), name: None, version: None };
        Record { format: RECORD_FORMAT, plugin, ticks: vec![tick], kv: BTreeMap::new() }.expect_success();
    }
}
