//! What goes over the wire: the method names (a jsonrpsee trait), the types of their parameters and
//! answers, and the one table of error codes.
//!
//! Shared by the daemon and every Rust client. No domain rules live here: a duration is a string until
//! `taskhost-core` has parsed it, so that a client never refuses what a newer host would accept.
//!
//! Conventions of the wire: times are RFC 3339 in UTC, durations are strings like `"1h30m"`, measures
//! carry their unit as a suffix (`_ms`, `_bytes`, `_s`). Every method takes exactly one parameter, which
//! may be sent bare (`"params": {…}`), or as the only element of an array (`"params": [{…}]`).
//!
//! Beside the wire, [`LimitText`] and its like read what people write of it on the command lines of both programs.

mod change;
mod due;
mod error;
mod event;
mod flag;
mod host;
mod key_value;
mod methods;
pub mod openrpc;
mod plain;
mod plugin;
mod run;
mod spec;
mod task;

pub use change::{
    Applied, ApplyRequest, BulkAction, BulkDone, BulkRequest, Change, ChangeKind, Changes, ChangesRequest, Difference,
    PauseRequest, ResumeRequest, TaskChange, TaskChangeKind,
};
pub use due::{BackfillRequest, Backfilled, Explanation, NextDue, NextRequest, WhyRequest};
pub use error::{ErrorCode, ErrorData};
pub use event::{Event, EventKind, WatchRequest};
pub use flag::{
    DirText, DirTextError, LimitText, LimitTextError, Measure, Pair, PairError, Size, SizeError, limit_value, measure,
    shell_word,
};
pub use host::{HostInfo, LatenessMs};
pub use key_value::{
    KeyInfo, KeyValueEntry, KeyValueGetRequest, KeyValueList, KeyValueListRequest, KeyValueRemoveRequest,
    KeyValueRemoved, KeyValueSetRequest, KeyValueUsage,
};
pub use methods::{
    HostApiClient, HostApiServer, KeyValueApiClient, KeyValueApiServer, PluginApiClient, PluginApiServer,
    TaskUnitApiClient, TaskUnitApiServer,
};
pub use plugin::{
    PluginChunk, PluginChunkReceived, PluginDeleted, PluginHas, PluginInfo, PluginList, PluginManifest, PluginNeed,
    PluginNeeds, PluginPruned, PluginRef, PluginSelector,
};
pub use run::{LogLine, Logs, LogsRequest, Run, RunRequest, RunState, Runs, RunsRequest, Span, Started, Trigger};
pub use spec::{AddRequest, Dir, EditRequest, Grants, Jitter, Limits, Patch, Retry, Schedule, Spec};
pub use task::{
    Accepted, AddTask, CancelRequest, Cancelled, DeleteMode, DeleteRequest, DeleteTask, Deleted, GetRequest,
    ListRequest, ListSort, Paused, Task, TaskList,
};

/// The TCP port of a host when nothing else is configured: that of the original Go demo.
pub const DEFAULT_PORT: u16 = 3333;

/// The largest JSON message that a host reads, in bytes. Larger plugins travel by `PUT` or `Plugin.Put`.
pub const MAX_MESSAGE_BYTES: usize = 2 * 1024 * 1024;

/// The largest plugin that a host accepts, in bytes.
pub const MAX_PLUGIN_BYTES: u64 = 64 * 1024 * 1024;

/// The largest piece of a plugin in one `Plugin.Put`, in bytes before base64.
pub const MAX_CHUNK_BYTES: usize = 1024 * 1024;

/// The most tasks in one answer of `TaskUnit.List`.
pub const MAX_LIST_LIMIT: u32 = 1000;

/// The most tasks in one `TaskUnit.Apply`.
pub const MAX_APPLIED_TASKS: usize = 10_000;

/// The most due times in one answer of `TaskUnit.Next`.
pub const MAX_NEXT_LIMIT: u32 = 1000;

/// The most changes in one answer of `TaskUnit.Changes`.
pub const MAX_CHANGES_LIMIT: u32 = 1000;

/// The most calls in one JSON-RPC batch.
pub const MAX_BATCH_CALLS: usize = 1000;
