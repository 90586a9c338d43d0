//! What a guest did, as one JSON document: how plugins are tested in any language. `docs/testing.md` tells what it has, so it is
//! a promise: members are added, and none changes.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use taskhost_core::events::{Event, EventKind};
use taskhost_core::key_value::{
    KeyValue, KeyValueAnswer, KeyValueChange, KeyValueError, KeyValueUsage, MemoryKeyValue,
};
use taskhost_core::log::{LogLine, Stream};
use taskhost_core::outcome::{RunReport, TaskId};
use taskhost_core::plugin::PluginFacts;
use taskhost_core::ports::{Attempt, BoxFuture};
use taskhost_engine::Requests;
use tempfile::NamedTempFile;

/// The version of the document's form.
const FORMAT: u32 = 1;

/// The name of the only store of keys and values that a task has.
const BUCKET: &str = "default";

/// How much is kept of lines and of keys and values, in bytes, over all ticks; of what comes after that it is counted how much there was.
const MAX_KEPT_BYTES: usize = 256 << 20;

/// What an entry takes beside its texts, in bytes, about.
const ENTRY_BYTES: usize = 64;

/// Anybody may read it whom the process's mask lets.
const MODE: u32 = 0o666;

/// Where the document goes.
pub(super) struct Target {
    path: PathBuf,
    folder: PathBuf,
}

impl Target {
    /// Sees whether it can be written there.
    pub(super) fn check(path: &Path) -> anyhow::Result<Self> {
        let failed = || format!("failed to write {}", path.display());
        let path = match path.canonicalize() {
            // What a link leads to is written, and not the link.
            Ok(found) => {
                anyhow::ensure!(found.is_file(), "failed to write {}: it is no regular file", path.display());
                found
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(error).with_context(failed),
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let target = Self { path, folder };
        target.beside().with_context(failed)?;
        Ok(target)
    }

    /// Puts the document there, whole or not at all.
    fn write(&self, document: &Document<'_>) -> io::Result<()> {
        let mut file = self.beside()?;
        let mut writer = BufWriter::new(&mut file);
        serde_json::to_writer_pretty(&mut writer, document)?;
        writer.write_all(b"\n")?;
        writer.flush()?;
        drop(writer);
        file.persist(&self.path)?;
        Ok(())
    }

    /// A file beside it, that is gone unless it takes its place.
    fn beside(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(".taskhost-record-")
            .permissions(Permissions::from_mode(MODE))
            .tempfile_in(&self.folder)
    }
}

/// Takes note of what a guest does.
pub(super) struct Recorder {
    target: Target,
    requests: Arc<Requests>,
    store: Arc<WatchedStore>,
    ticks: Vec<Tick>,
}

impl Recorder {
    pub(super) fn new(target: Target) -> Self {
        let store = Arc::new(WatchedStore { inner: MemoryKeyValue::default(), noted: Arc::default() });
        Self { target, requests: Arc::default(), store, ticks: Vec::new() }
    }

    /// The guest's keys and values.
    pub(super) fn store(&self) -> Arc<dyn KeyValue> {
        Arc::clone(&self.store) as Arc<dyn KeyValue>
    }

    /// Where the guest's requests are noted.
    pub(super) fn requests(&self) -> Arc<Requests> {
        Arc::clone(&self.requests)
    }

    /// Sees every line that the guest writes.
    pub(super) fn witness(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let noted = Arc::clone(&self.store.noted);
        move |event| {
            if let EventKind::Log { line, .. } = &event.kind {
                noted_lock(&noted).line(line);
            }
        }
    }

    /// A tick has ended: what was noted since the last one is its own.
    pub(super) fn ended(&mut self, attempt: &Attempt, report: &RunReport, took: Duration) {
        let noted = std::mem::take(&mut noted_lock(&self.store.noted).tick);
        let (requests, lost) = self.requests.take();
        let http = requests.into_iter().map(|request| {
            let (status, error) = match request.answer {
                Some(Ok(status)) => (Some(status), None),
                Some(Err(error)) => (None, Some(error)),
                None => (None, Some("the tick ended before it was answered".to_owned())),
            };
            Http { method: request.method, url: request.url, status, error }
        });
        self.ticks.push(Tick {
            tick: Handed {
                task: attempt.task.to_string(),
                run_id: attempt.run_id.to_string(),
                attempt: attempt.number,
                due: attempt.run_id.key.due.to_string(),
                due_local: attempt.due_local.clone().unwrap_or_else(|| attempt.run_id.key.due.to_string()),
                since: attempt.since.map(|since| since.to_string()),
                reason: attempt.reason.as_str(),
            },
            outcome: report.outcome.as_str(),
            detail: report.detail.clone(),
            exit_code: report.exit_code,
            result: report.result.clone(),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            lines: noted.lines,
            kv: noted.key_values,
            http: http.collect(),
            lost: noted.lost + lost,
        });
    }

    /// Writes it all down.
    pub(super) async fn write(self, plugin: &PluginFacts, task: TaskId) -> anyhow::Result<()> {
        let mut values = BTreeMap::new();
        for (key, _) in self.store.inner.list(task, None, usize::MAX).await? {
            if let Some(value) = self.store.inner.get(task, key.clone()).await? {
                values.insert(key, Text(value));
            }
        }
        let kv = if values.is_empty() { BTreeMap::new() } else { BTreeMap::from([(BUCKET, values)]) };
        let plugin = Plugin { sha256: plugin.sha256.to_string(), kind: plugin.kind.as_str() };
        let document = Document { format: FORMAT, plugin, ticks: &self.ticks, kv };
        self.target.write(&document).with_context(|| format!("failed to write {}", self.target.path.display()))
    }
}

/// What was noted, and not put down to a tick.
#[derive(Default)]
struct Noted {
    tick: NotedOfTick,
    /// Over all ticks.
    kept_bytes: usize,
}

#[derive(Default)]
struct NotedOfTick {
    lines: Vec<Line>,
    key_values: Vec<Operation>,
    lost: u64,
}

fn noted_lock(noted: &Mutex<Noted>) -> MutexGuard<'_, Noted> {
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Noted {
    fn line(&mut self, line: &LogLine) {
        if self.keeps(line.text.len()) {
            let level = match line.stream {
                Stream::Log(level) => Some(level.as_str()),
                Stream::Stdout | Stream::Stderr | Stream::Host => None,
            };
            self.tick.lines.push(Line {
                time: line.time.to_string(),
                stream: line.stream.as_str(),
                level,
                text: line.text.clone(),
                truncated: line.truncated,
            });
        }
    }

    fn operation(&mut self, operation: Operation) {
        if self.keeps(operation.bytes()) {
            self.tick.key_values.push(operation);
        }
    }

    /// Whether there is room for so much more.
    fn keeps(&mut self, bytes: usize) -> bool {
        let kept_bytes = self.kept_bytes.saturating_add(bytes + ENTRY_BYTES);
        let keeps = kept_bytes <= MAX_KEPT_BYTES;
        if keeps {
            self.kept_bytes = kept_bytes;
        } else {
            self.tick.lost += 1;
        }
        keeps
    }
}

/// Keys and values in memory, with a note of what is done with them.
struct WatchedStore {
    inner: MemoryKeyValue,
    /// Locked for moments, by the thread that runs the guest and, between ticks, by the recorder.
    noted: Arc<Mutex<Noted>>,
}

/// Notes what a change was, an operation for each key.
fn note_change(noted: &Mutex<Noted>, change: KeyValueChange, answer: &Result<KeyValueAnswer, KeyValueError>) {
    let error = answer.as_ref().err().map(ToString::to_string);
    let of = |op, key| Operation { error: error.clone(), ..Operation::of(op, Some(key)) };
    let mut noted = noted_lock(noted);
    match change {
        KeyValueChange::Write { set, delete } => {
            for (key, value) in set {
                noted.operation(Operation { value: Some(Text(value)), ..of("set", key) });
            }
            for key in delete {
                noted.operation(of("delete", key));
            }
        }
        KeyValueChange::Increment { key, by } => {
            let value = match answer {
                Ok(KeyValueAnswer::Number(number)) => Some(Text(number.to_string().into())),
                _ => None,
            };
            noted.operation(Operation { value, by: Some(by), ..of("increment", key) });
        }
        KeyValueChange::Swap { key, value, .. } => {
            let swapped = answer.as_ref().ok().map(|answer| *answer == KeyValueAnswer::Swapped);
            noted.operation(Operation { value: Some(Text(value)), swapped, ..of("swap", key) });
        }
        // No guest can.
        KeyValueChange::Clear => {}
    }
}

impl KeyValue for WatchedStore {
    fn get(&self, task: TaskId, key: String) -> BoxFuture<Result<Option<Bytes>, KeyValueError>> {
        let (got, noted) = (self.inner.get(task, key.clone()), Arc::clone(&self.noted));
        Box::pin(async move {
            let got = got.await;
            let (value, error) = match &got {
                Ok(value) => (value.clone().map(Text), None),
                Err(error) => (None, Some(error.to_string())),
            };
            noted_lock(&noted).operation(Operation { value, error, ..Operation::of("get", Some(key)) });
            got
        })
    }

    fn change(
        &self,
        task: TaskId,
        change: KeyValueChange,
        quota_bytes: u64,
    ) -> BoxFuture<Result<KeyValueAnswer, KeyValueError>> {
        let (answer, noted) = (self.inner.change(task, change.clone(), quota_bytes), Arc::clone(&self.noted));
        Box::pin(async move {
            let answer = answer.await;
            note_change(&noted, change, &answer);
            answer
        })
    }

    fn list(
        &self,
        task: TaskId,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<Result<Vec<(String, u64)>, KeyValueError>> {
        noted_lock(&self.noted).operation(Operation::of("list", None));
        self.inner.list(task, after, limit)
    }

    fn usage(&self, task: TaskId) -> BoxFuture<Result<KeyValueUsage, KeyValueError>> {
        self.inner.usage(task)
    }
}

#[derive(Serialize)]
struct Document<'a> {
    format: u32,
    plugin: Plugin,
    ticks: &'a [Tick],
    kv: BTreeMap<&'static str, BTreeMap<String, Text>>,
}

#[derive(Serialize)]
struct Plugin {
    sha256: String,
    kind: &'static str,
}

#[derive(Serialize)]
struct Tick {
    tick: Handed,
    outcome: &'static str,
    detail: Option<Box<str>>,
    exit_code: Option<i32>,
    result: Option<Box<str>>,
    took_ms: u64,
    lines: Vec<Line>,
    kv: Vec<Operation>,
    http: Vec<Http>,
    /// How many more lines, operations and requests there were.
    #[serde(skip_serializing_if = "is_zero")]
    lost: u64,
}

/// The tick as the guest was handed it.
#[derive(Serialize)]
struct Handed {
    task: String,
    run_id: String,
    attempt: u32,
    due: String,
    due_local: String,
    since: Option<String>,
    reason: &'static str,
}

#[derive(Serialize)]
struct Line {
    time: String,
    stream: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'static str>,
    text: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

#[derive(Serialize)]
struct Operation {
    op: &'static str,
    bucket: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// What was read or written; of an increment, what came of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swapped: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Operation {
    fn of(op: &'static str, key: Option<String>) -> Self {
        Self { op, bucket: BUCKET, key, value: None, by: None, swapped: None, error: None }
    }

    fn bytes(&self) -> usize {
        let value = self.value.as_ref().map_or(0, |Text(value)| value.len());
        self.key.as_ref().map_or(0, String::len) + value
    }
}

#[derive(Serialize)]
struct Http {
    method: String,
    url: String,
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Bytes as a text where they are one, and as `{"base64": …}` else.
struct Text(Bytes);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &STANDARD.encode(&self.0))?;
                map.end()
            }
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use taskhost_core::time::Time;

    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_base64() {
        let shown = |bytes: &'static [u8]| serde_json::to_string(&Text(bytes.into())).expect("JSON");
        assert_eq!(shown("é\"".as_bytes()), r#""é\"""#);
        assert_eq!(shown(&[0xff, 0]), r#"{"base64":"/wA="}"#);
    }

    #[test]
    fn what_is_too_much_to_be_kept_is_counted() {
        let mut noted = Noted { kept_bytes: MAX_KEPT_BYTES - ENTRY_BYTES - 5, ..Noted::default() };
        let line = |text: &str| LogLine {
            seq: 1,
            time: Time(0),
            stream: Stream::Stdout,
            text: text.to_owned(),
            truncated: false,
        };
        noted.line(&line("hello!"));
        noted.line(&line("hello"));
        noted.operation(Operation::of("list", None));
        let kept: Vec<_> = noted.tick.lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!((kept, noted.tick.key_values.len(), noted.tick.lost), (vec!["hello"], 0, 2));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told_before_anything_runs_and_nothing_is_left_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let refused = |path: &Path| Target::check(path).err().map(|error| format!("{error:#}")).expect("refused");
        assert!(refused(&dir.path().join("no/such.json")).contains("No such file"), "no folder");
        assert!(refused(dir.path()).contains("no regular file"), "a folder");
        assert!(refused(Path::new("/dev/null")).contains("no regular file"), "a device");
        Target::check(&dir.path().join("record.json")).expect("it can be written");
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0);
    }

    #[tokio::test]
    async fn what_a_guest_does_with_keys_and_values_is_noted_as_it_came_out() {
        let store = WatchedStore { inner: MemoryKeyValue::default(), noted: Arc::default() };
        let write = |key: &str, value: &'static [u8]| KeyValueChange::Write {
            set: vec![(key.to_owned(), value.into())],
            delete: vec!["old".to_owned()],
        };
        let (expected, value) = (Some(Bytes::from_static(b"y")), Bytes::from_static(b"z"));
        for change in [
            write("a", b"x"),
            KeyValueChange::Increment { key: "n".to_owned(), by: 2 },
            KeyValueChange::Increment { key: "a".to_owned(), by: 2 },
            KeyValueChange::Swap { key: "a".to_owned(), expected, value },
        ] {
            drop(store.change(1, change, 100).await);
        }
        for key in ["a", "none"] {
            store.get(1, key.to_owned()).await.expect("an answer");
        }
        store.list(1, None, 10).await.expect("an answer");
        let noted = noted_lock(&store.noted);
        let lines: Vec<_> =
            noted.tick.key_values.iter().map(|done| serde_json::to_string(done).expect("JSON")).collect();
        insta::assert_snapshot!("key-value-operations", lines.join("\n"));
    }
}
