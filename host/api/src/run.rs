//! Runs and log lines on the wire.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plain::also_plain_name;
use crate::spec::is_false;

/// What became of one due time, or of several in a row that went alike.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Run {
    /// The idempotency key: the same for every attempt.
    pub run_id: String,
    /// The task's name.
    pub task: String,
    /// `schedule`, `manual`, `catch_up`, `backfill` or `triggered`.
    pub reason: String,
    /// Of a triggered run, the run that did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// How far it is.
    pub state: RunState,
    /// The due time; of a manual run, when it was asked for.
    pub due: Timestamp,
    /// When the last attempt began; absent when none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When the outcome was known; absent while the run is going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
    /// How it ended; absent while it is going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// More about the outcome: the message, the trap, which limit, why it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The exit code of a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Guest entry minus due time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lateness_ms: Option<f64>,
    /// How many attempts were made.
    pub attempts: u32,
    /// While it is `retrying`, when the next attempt begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<Timestamp>,
    /// The summary that the guest returned, at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The plugin that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_sha256: Option<String>,
    /// The revision of the task that ran.
    pub revision: u64,
    /// Of a record that stands for several due times in a row, what they are; the members of the run are those of the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It waits for another run of its task to end.
    Queued,
    /// An attempt is going on.
    Running,
    /// An attempt failed, and another one follows.
    Retrying,
    /// It has an outcome.
    Ended,
}

/// What triggered a run: the end of a run of another task.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Trigger {
    /// That task.
    pub task: String,
    pub run_id: String,
    pub outcome: String,
}

/// Due times in a row that went alike.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Span {
    /// The oldest of them.
    pub first_due: Timestamp,
    /// How many they are, the newest with them; 2 or more.
    pub times: u64,
    /// How long the last attempts took; 0 where nothing ran.
    pub took_mean_ms: f64,
    pub took_max_ms: f64,
    pub lateness_max_ms: f64,
}

/// The parameter of `TaskUnit.Run`: an object, or a plain name.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields, transform = crate::openrpc::or_plain_text)]
pub struct RunRequest {
    pub name: String,
    /// Whether the answer comes when the run has finished.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub wait: bool,
    /// What happens if a run is going on, in place of the task's own policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
}

also_plain_name!(RunRequest { wait: bool, overlap: Option<String> });

/// The answer of `TaskUnit.Run`.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Started {
    /// The run: ended if `wait` was asked for; it may be queued else.
    pub run: Run,
}

/// The parameter of `TaskUnit.Runs`: an object, or a plain name.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields, transform = crate::openrpc::or_plain_text)]
pub struct RunsRequest {
    pub name: String,
    /// At most this many, 1 to 1000; 20 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only runs with one of these outcomes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcomes: Option<Vec<String>>,
    /// Only runs with this outcome, beside `outcomes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Only due times from this one on (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Only due times before this one (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

also_plain_name!(RunsRequest {
    limit: Option<u32>,
    outcomes: Option<Vec<String>>,
    outcome: Option<String>,
    from: Option<String>,
    until: Option<String>,
});

/// The last runs of a task, newest first.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Runs {
    pub runs: Vec<Run>,
    /// How many records of the task were lost before they were stored, with a full disk, say.
    #[serde(default)]
    pub history_lost: u64,
}

/// The parameter of `TaskUnit.Logs`: an object, or a plain name.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields, transform = crate::openrpc::or_plain_text)]
pub struct LogsRequest {
    pub name: String,
    /// At most this many of the newest lines, 1 to 10000; 100 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Only lines after this one, by `seq`: to go on where a reader stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_seq: Option<u64>,
    /// Only lines of this level and above: `trace`, `debug`, `info`, `warn`, `error` or `critical`. Plain output counts as `info`,
    /// the host's own words as `warn`. `limit` counts what is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

also_plain_name!(LogsRequest { limit: Option<u32>, after_seq: Option<u64>, level: Option<String> });

/// Log lines of a task, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Logs {
    pub lines: Vec<LogLine>,
    /// How many lines of the task the host took and no longer has: over quota, or lost with a full disk.
    pub dropped: u64,
}

/// One line that a guest wrote.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct LogLine {
    /// Counts the task's lines from 1, over restarts.
    pub seq: u64,
    pub time: Timestamp,
    /// `stdout` or `stderr`; `log` for what came through `wasi:logging`; `host` for a word of the host's own.
    pub stream: String,
    /// Of `log`: `trace`, `debug`, `info`, `warn`, `error` or `critical`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Without its newline; bytes that are no UTF-8 are U+FFFD. May hold control characters.
    pub text: String,
    /// Whether the line was longer than the host keeps, and the rest of it is lost.
    #[serde(default, skip_serializing_if = "is_false")]
    pub truncated: bool,
}
