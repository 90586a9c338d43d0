//! Takes note of what a plugin does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use taskhost_core::events::{Event, EventKind};
use taskhost_core::key_value::{
    KeyValue, KeyValueAnswer, KeyValueChange, KeyValueError, KeyValueUsage, MemoryKeyValue,
};
use taskhost_core::log::LogLine;
use taskhost_core::outcome::{RunReport, TaskId};
use taskhost_core::plugin::PluginFacts;
use taskhost_core::ports::{Attempt, BoxFuture};
use taskhost_engine::Requests;

use crate::data::Data;
use crate::record::{BUCKET, Handed, Line, Op, Operation, Plugin, RECORD_FORMAT, Record, Request, Tick};

/// How much is kept of lines and of keys and values, in bytes, over all ticks; of what comes after that it is counted how much there was.
const MAX_KEPT_BYTES: usize = 256 << 20;

/// What an entry takes beside its texts, in bytes, about.
const ENTRY_BYTES: usize = 64;

pub(crate) struct Recorder {
    requests: Arc<Requests>,
    store: Arc<WatchedStore>,
    ticks: Vec<Tick>,
}

impl Recorder {
    /// Watches these keys and values.
    pub(crate) fn new(inner: Arc<MemoryKeyValue>) -> Self {
        let store = Arc::new(WatchedStore { inner, noted: Arc::default() });
        Self { requests: Arc::default(), store, ticks: Vec::new() }
    }

    /// The guest's keys and values.
    pub(crate) fn store(&self) -> Arc<dyn KeyValue> {
        Arc::clone(&self.store) as Arc<dyn KeyValue>
    }

    /// Where the guest's requests are noted.
    pub(crate) fn requests(&self) -> Arc<Requests> {
        Arc::clone(&self.requests)
    }

    /// Sees every line that the guest writes.
    pub(crate) fn witness(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let noted = Arc::clone(&self.store.noted);
        move |event| {
            if let EventKind::Log { line, .. } = &event.kind {
                noted_lock(&noted).line(line);
            }
        }
    }

    /// A tick has ended: what was noted since the last one is its own.
    pub(crate) fn ended(&mut self, attempt: &Attempt, report: &RunReport, took: Duration) {
        let mut all = noted_lock(&self.store.noted);
        let (requests, lost) = self.requests.take();
        let http = requests.into_iter().map(|request| all.request(request)).collect();
        let noted = std::mem::take(&mut all.tick);
        drop(all);
        let due = attempt.run_id.key.due;
        self.ticks.push(Tick {
            tick: Handed {
                task: attempt.task.to_string(),
                run_id: attempt.run_id.to_string(),
                attempt: attempt.number,
                due: due.to_timestamp(),
                due_local: attempt.due_local.clone().unwrap_or_else(|| due.to_string()),
                since: attempt.since.map(|since| since.to_timestamp()),
                reason: attempt.reason,
            },
            outcome: report.outcome,
            detail: report.detail.as_deref().map(str::to_owned),
            permanent: report.permanent,
            retry_after_ms: report.retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            exit_code: report.exit_code,
            result: report.result.as_deref().map(str::to_owned),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            lines: noted.lines,
            kv: noted.key_values,
            http,
            lost: noted.lost + lost,
        });
    }

    /// All of it.
    pub(crate) async fn record(self, plugin: &PluginFacts, task: TaskId) -> Result<Record, KeyValueError> {
        let inner = &self.store.inner;
        let mut values = BTreeMap::new();
        for (key, _) in inner.list(task, None, usize::MAX).await? {
            if let Some(value) = inner.get(task, key.clone()).await? {
                values.insert(key, Data(value));
            }
        }
        let kv = if values.is_empty() { BTreeMap::new() } else { BTreeMap::from([(BUCKET.to_owned(), values)]) };
        Ok(Record { format: RECORD_FORMAT, plugin: Plugin::of(plugin), ticks: self.ticks, kv })
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
            self.tick.lines.push(Line::of(line));
        }
    }

    fn operation(&mut self, operation: Operation) {
        let value = operation.value.as_ref().map_or(0, |Data(value)| value.len());
        if self.keeps(operation.key.as_ref().map_or(0, String::len) + value) {
            self.tick.key_values.push(operation);
        }
    }

    fn request(&mut self, request: taskhost_engine::Request) -> Request {
        let taskhost_engine::Request { method, url, sent, is_cut, answer } = request;
        let (status, error) = match answer {
            Some(Ok(status)) => (Some(status), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, Some("the tick ended before it was answered".to_owned())),
        };
        let is_kept = !sent.is_empty() && self.keeps(sent.len());
        let truncated = is_cut || !sent.is_empty() && !is_kept;
        Request { method, url, body: is_kept.then(|| sent.into()), truncated, status, error }
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
    inner: Arc<MemoryKeyValue>,
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
                noted.operation(Operation { value: Some(Data(value)), ..of(Op::Set, key) });
            }
            for key in delete {
                noted.operation(of(Op::Delete, key));
            }
        }
        KeyValueChange::Increment { key, by } => {
            let value = match answer {
                Ok(KeyValueAnswer::Number(number)) => Some(Data(number.to_string().into())),
                _ => None,
            };
            noted.operation(Operation { value, by: Some(by), ..of(Op::Increment, key) });
        }
        KeyValueChange::Swap { key, value, .. } => {
            let swapped = answer.as_ref().ok().map(|answer| *answer == KeyValueAnswer::Swapped);
            noted.operation(Operation { value: Some(Data(value)), swapped, ..of(Op::Swap, key) });
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
                Ok(value) => (value.clone().map(Data), None),
                Err(error) => (None, Some(error.to_string())),
            };
            noted_lock(&noted).operation(Operation { value, error, ..Operation::of(Op::Get, Some(key)) });
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
        noted_lock(&self.noted).operation(Operation::of(Op::List, None));
        self.inner.list(task, after, limit)
    }

    fn usage(&self, task: TaskId) -> BoxFuture<Result<KeyValueUsage, KeyValueError>> {
        self.inner.usage(task)
    }
}

#[cfg(test)]
mod tests {
    use taskhost_core::log::Stream;
    use taskhost_core::time::Time;

    use super::*;

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
        noted.operation(Operation::of(Op::List, None));
        let kept: Vec<_> = noted.tick.lines.iter().map(|line| line.text.as_str()).collect();
        assert_eq!((kept, noted.tick.key_values.len(), noted.tick.lost), (vec!["hello"], 0, 2));
    }

    #[tokio::test]
    async fn what_a_guest_does_with_keys_and_values_is_noted_as_it_came_out() {
        let store = WatchedStore { inner: Arc::default(), noted: Arc::default() };
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
