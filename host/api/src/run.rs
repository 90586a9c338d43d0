//! Runs and log lines on the wire.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::task::{also_plain_name, is_false};

/// What became of one due time.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Run {
    /// The idempotency key: the same for every attempt.
    pub run_id: String,
    /// The task's name.
    pub task: String,
    /// `schedule`, `manual`, `catch_up`, `backfill` or `triggered`.
    pub reason: String,
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
    /// The summary that the guest returned, at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The plugin that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_sha256: Option<String>,
    /// The revision of the task that ran.
    pub revision: u64,
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
}

also_plain_name!(RunRequest { wait: bool });

/// The answer of `TaskUnit.Run`.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Started {
    /// The run: finished if `wait` was asked for.
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
    /// Only runs with this outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

also_plain_name!(RunsRequest { limit: Option<u32>, outcome: Option<String> });

/// The last runs of a task, newest first.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Runs {
    pub runs: Vec<Run>,
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
}

also_plain_name!(LogsRequest { limit: Option<u32>, after_seq: Option<u64> });

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
    /// `stdout` or `stderr`; `host` for a word of the host's own.
    pub stream: String,
    /// Without its newline; bytes that are no UTF-8 are U+FFFD. May hold control characters.
    pub text: String,
    /// Whether the line was longer than the host keeps, and the rest of it is lost.
    #[serde(default, skip_serializing_if = "is_false")]
    pub truncated: bool,
}
