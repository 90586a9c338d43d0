//! What `TaskUnit.Watch` sends.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{LogLine, Run};

/// The parameter of `TaskUnit.Watch`. An empty one asks for everything but log lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchRequest {
    /// Only this task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only these kinds; all but `log` by default. `lagged` and `shutdown` come in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Vec<EventKind>>,
    /// Of log lines only those of this level and above, as in `TaskUnit.Logs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A task was added.
    TaskAdded,
    /// A task was edited.
    TaskEdited,
    /// A task was paused, by somebody or after too many failures.
    TaskPaused,
    /// A paused task goes on.
    TaskResumed,
    /// A task was deleted.
    TaskDeleted,
    /// A due time got its outcome.
    RunFinished,
    /// A guest wrote a line.
    Log,
    /// The subscriber read too slowly; `lost` events are gone.
    Lagged,
    /// The host is shutting down; nothing follows.
    Shutdown,
}

/// One event. Which members are set follows from `kind`.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Event {
    pub kind: EventKind,
    pub time: Timestamp,
    /// The task, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// Of `task_added`, `task_edited`, `task_paused`, `task_resumed`: the revision that is now in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Of `run_finished`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// Of `log`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<LogLine>,
    /// Of `lagged`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
}
