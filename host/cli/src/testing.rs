//! What several tests share: answers of a host, a host that gives them, and a terminal that remembers.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use jsonrpsee::core::client::Client;
use serde::Serialize;
use serde_json::{Value, json};
use taskhost_api::{
    ErrorCode, Event, EventKind, HostInfo, LatenessMs, LogLine, PluginInfo, PluginManifest, PluginNeed, PluginNeeds,
    Run, Schedule, Task,
};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};

use crate::output::{Format, Output};

/// What relative times are relative to.
pub(crate) const NOW: &str = "2026-01-02T03:04:05Z";

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// An output, and all that was written to it.
pub(crate) struct Shown {
    pub(crate) output: Output,
    out: Buffer,
    err: Buffer,
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Shown {
    pub(crate) fn new() -> Self {
        Self::of_format(Format::Table)
    }

    pub(crate) fn of_format(format: Format) -> Self {
        let (out, err) = (Buffer::default(), Buffer::default());
        let output = Output::of_test(format, Box::new(out.clone()), Box::new(err.clone()));
        Self { output, out, err }
    }

    pub(crate) fn out(&self) -> String {
        self.out.text()
    }

    pub(crate) fn err(&self) -> String {
        self.err.text()
    }
}

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no test panics with it").clone()).expect("text")
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics with it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A call as the fake host gets it.
pub(crate) struct Call {
    pub(crate) method: String,
    /// The one parameter.
    pub(crate) request: Value,
    id: Value,
}

impl Call {
    /// The line that answers it.
    pub(crate) fn answer(&self, result: impl Serialize) -> String {
        json!({"jsonrpc": "2.0", "id": self.id, "result": result}).to_string()
    }

    /// The line that refuses it.
    pub(crate) fn refuse(&self, code: ErrorCode, message: &str, hint: Option<&str>) -> String {
        let error = code.to_error(message, hint.map(ToOwned::to_owned));
        json!({"jsonrpc": "2.0", "id": self.id, "error": error}).to_string()
    }
}

/// The line that brings an event to subscription 1.
pub(crate) fn notification(event: &Event) -> String {
    let params = json!({"subscription": 1, "result": event});
    json!({"jsonrpc": "2.0", "method": "TaskUnit.Watch", "params": params}).to_string()
}

/// A client of a host that answers each call with the lines that `host` gives, and closes the connection when it gives none.
pub(crate) fn client_of(host: impl FnMut(&Call) -> Vec<String> + Send + 'static) -> Client {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    tokio::spawn(serve(theirs, host));
    crate::client::over(ours)
}

/// Serves one connection so.
pub(crate) async fn serve(stream: impl AsyncRead + AsyncWrite, mut host: impl FnMut(&Call) -> Vec<String>) {
    let (reader, mut writer) = tokio::io::split(stream);
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await.expect("a line") {
        let value: Value = serde_json::from_str(&line).expect("JSON");
        let method = value["method"].as_str().expect("a method").to_owned();
        let call = Call { method, request: value["params"][0].clone(), id: value["id"].clone() };
        let answers = host(&call);
        if answers.is_empty() {
            return;
        }
        // At once, so that a reader finds as much as a busy host would give it.
        writer.write_all(format!("{}\n", answers.join("\n")).as_bytes()).await.expect("the client reads");
    }
}

/// Three tasks: one in trouble, one that does well, one that waits.
pub(crate) fn tasks() -> Vec<Task> {
    let plain = json!({
        "spec": {"name": "hello", "plugin": {"builtin": "ticker"}},
        "revision": 1,
        "state": "running",
        "added_at": "2026-01-01T00:00:00Z",
        "next_due": "2026-01-02T03:04:06Z",
        "last_run": run("success", None, Some("ticked")),
        "counts": {"success": 1000, "skipped": 2},
    });
    let mut troubled = plain.clone();
    troubled["spec"] = json!({
        "name": "backup/of/everything/that/matters:\u{202e}nightly",
        "plugin": {"sha256": "0123456789abcdef".repeat(4)},
        "schedules": [{"every": "1h30m"}],
        "timeout": "10m",
        "memory_bytes": 64 << 20,
        "overlap": "skip",
        "labels": {"team": "storage", "tier": ""},
        "args": ["--target", "/data dir"],
    });
    troubled["revision"] = json!(7);
    troubled["state"] = json!("idle");
    troubled["next_due"] = json!("2026-01-02T04:30:00Z");
    troubled["last_run"] = run("limit_exceeded", Some("memory: grew past 64 MiB"), None);
    troubled["last_run"]["finished"] = json!("2026-01-02T03:02:04.5Z");
    troubled["last_run"]["lateness_ms"] = json!(1234.5);
    troubled["counts"] = json!({"success": 12, "limit_exceeded": 3, "cancelled": 1});
    troubled["fault"] = json!("its plugin's file is damaged");
    let waiting = json!({
        "spec": {"name": "paused"},
        "revision": 2,
        "state": "paused",
        "paused": {
            "since": "2026-01-02T03:04:01Z", "until": "2026-01-02T06:00:00Z", "note": "the disk is being replaced",
            "by": "uid 1000",
        },
        "added_at": "2026-01-02T03:04:00Z",
        "counts": {},
    });
    [troubled, plain, waiting].map(|task| serde_json::from_value(task).expect("a task")).into()
}

fn run(outcome: &str, detail: Option<&str>, result: Option<&str>) -> Value {
    json!({
        "run_id": "00c0ffee00c0ffee-18866d1a2b3c4d5e",
        "task": "hello",
        "reason": "schedule",
        "state": "ended",
        "due": "2026-01-02T03:02:00Z",
        "started": "2026-01-02T03:02:00.001Z",
        "finished": "2026-01-02T03:02:04.512Z",
        "outcome": outcome,
        "detail": detail,
        "lateness_ms": 0.42,
        "attempts": 1,
        "result": result,
        "revision": 1,
    })
}

/// A run that ended so.
pub(crate) fn a_run(outcome: &str, detail: Option<&str>, result: Option<&str>) -> Run {
    serde_json::from_value(run(outcome, detail, result)).expect("a run")
}

/// One run of every kind: on its way, in trouble, and those that stand for several.
pub(crate) fn runs() -> Vec<Run> {
    let change = |changes: Value| {
        let mut run = run("success", None, None);
        let members = run.as_object_mut().expect("an object");
        let changes = changes.as_object().expect("an object").clone();
        members.extend(changes);
        members.retain(|_, value| !value.is_null());
        serde_json::from_value(run).expect("a run")
    };
    let span = json!({
        "first_due": "2026-01-02T02:52:02Z", "times": 599, "took_mean_ms": 0.42, "took_max_ms": 12.5, "lateness_max_ms": 2.1,
    });
    let passed_over = json!({
        "first_due": "2025-12-31T20:00:00Z", "times": 12, "took_mean_ms": 0.0, "took_max_ms": 0.0, "lateness_max_ms": 0.0,
    });
    vec![
        change(json!({"state": "queued", "outcome": null, "started": null, "finished": null})),
        change(json!({"state": "running", "outcome": null, "finished": null})),
        change(json!({
            "state": "retrying", "outcome": null, "finished": null, "attempts": 2, "next_attempt": "2026-01-02T03:04:12Z",
        })),
        change(json!({"run_id": "00c0ffee00c0ffee-18866d1a2b3c4d5e-b12", "reason": "backfill"})),
        change(json!({"span": span})),
        change(json!({
            "outcome": "missed", "due": "2026-01-01T23:00:00Z", "started": null, "finished": null, "span": passed_over,
        })),
        a_run("limit_exceeded", Some("memory: grew past 64 MiB"), None),
    ]
}

/// The line that a guest printed as its `seq`th.
pub(crate) fn log_line(seq: u64, text: &str) -> LogLine {
    LogLine { seq, time: time(NOW), stream: "stdout".to_owned(), level: None, text: text.to_owned(), truncated: false }
}

pub(crate) fn event(kind: EventKind) -> Event {
    Event { kind, time: time(NOW), task: Some("hello".to_owned()), revision: None, run: None, line: None, lost: None }
}

/// One event of every kind.
pub(crate) fn events() -> Vec<Event> {
    vec![
        Event { revision: Some(1), ..event(EventKind::TaskAdded) },
        Event { revision: Some(2), ..event(EventKind::TaskEdited) },
        Event { run: Some(a_run("success", None, Some("ticked"))), ..event(EventKind::RunFinished) },
        Event { run: Some(a_run("error", Some("exit code 3"), None)), ..event(EventKind::RunFinished) },
        Event { line: Some(log_line(1, "a line with \x1b[31mcolour")), ..event(EventKind::Log) },
        Event { revision: Some(3), ..event(EventKind::TaskPaused) },
        Event { revision: Some(4), ..event(EventKind::TaskResumed) },
        event(EventKind::TaskDeleted),
        Event { lost: Some(12), task: None, ..event(EventKind::Lagged) },
        Event { task: None, ..event(EventKind::Shutdown) },
    ]
}

pub(crate) fn plugins() -> Vec<PluginInfo> {
    let stored = PluginInfo {
        sha256: "0123456789abcdef".repeat(4),
        builtin: None,
        kind: "preview-1 command".to_owned(),
        size_bytes: 1_572_864,
        added_at: Some(time(NOW)),
        tasks: 3,
        imports: vec!["wasi_snapshot_preview1.fd_write".to_owned(), "wasi_snapshot_preview1.proc_exit".to_owned()],
        exports: vec!["_start".to_owned()],
        name: Some("feed-check".to_owned()),
        version: Some("1.2.0".to_owned()),
        description: Some("Tells when a feed has something new".to_owned()),
        authors: None,
        licenses: Some("MIT OR Apache-2.0".to_owned()),
        source: Some("https://example.com/feed-check".to_owned()),
        homepage: None,
        revision: None,
        toolchain: vec!["Rust".to_owned(), "rustc 1.95.0".to_owned()],
        manifest: Some(PluginManifest {
            config: Some(json!({ "type": "object", "required": ["feed"] })),
            grants: PluginNeeds {
                required: vec![PluginNeed {
                    kind: "host".to_owned(),
                    value: Some("*.example.com:443".to_owned()),
                    why: Some("to fetch the feed".to_owned()),
                    flag: "--allow-host '*.example.com:443'".to_owned(),
                }],
                optional: vec![PluginNeed { kind: "kv".to_owned(), value: None, why: None, flag: "--kv".to_owned() }],
            },
            schedule: Some(Schedule { every: Some("15m".to_owned()), ..Schedule::default() }),
            limits: BTreeMap::from([("cpu_ms".to_owned(), 500)]),
        }),
        fault: Some("its file is damaged".to_owned()),
    };
    let builtin = PluginInfo {
        sha256: "fedcba9876543210".repeat(4),
        builtin: Some("ticker".to_owned()),
        kind: "task component".to_owned(),
        size_bytes: 40_000,
        added_at: None,
        imports: Vec::new(),
        exports: vec!["taskhost:plugin/guest@0.1.0".to_owned()],
        name: None,
        version: None,
        description: None,
        licenses: None,
        source: None,
        toolchain: Vec::new(),
        manifest: None,
        fault: None,
        ..stored.clone()
    };
    vec![stored, builtin]
}

pub(crate) fn host_info() -> HostInfo {
    HostInfo {
        version: "0.1.0".to_owned(),
        wit: vec!["taskhost:plugin@0.1.0".to_owned()],
        wasmtime: "48.0.8".to_owned(),
        started_at: time("2026-01-01T00:00:00Z"),
        listen: vec!["127.0.0.1:3333".to_owned(), "unix:/run/user/1000/taskhost.sock".to_owned()],
        workers: 2,
        tasks: 10_000,
        runs: BTreeMap::from([("success".to_owned(), 123_456), ("error".to_owned(), 3)]),
        lateness_ms: LatenessMs { window_s: 60, count: 600_000, p50: 0.21, p99: 2.06, max: 12.5 },
        queue_depth: 0,
        running: 5,
        slow_lane: 1,
        memory_bytes: 300 << 20,
        guest_memory_bytes: 40 << 20,
        memory_budget_bytes: 12 << 30,
        waiting_for_memory: 2,
        limits_hit: BTreeMap::from([("cpu_ms".to_owned(), 1), ("memory_bytes".to_owned(), 7)]),
        kept_instances: 3,
        plugins_compiled: 2,
        plugins_loaded: 9,
        pagemap: true,
        pool_slots: 2000,
        lost_log_lines: 17,
        lost_records: 0,
        faults: vec!["the disk is full".to_owned()],
    }
}
