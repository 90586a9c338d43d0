//! Who keeps definitions, plugins, history and logs.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::future::BoxFuture;
use crate::log::LogChunk;
use crate::name::TaskName;
use crate::outcome::{Counts, Outcome, Reason, RunKey, RunRecord, TaskId, Trigger};
use crate::plugin::{PluginFacts, Sha256};
use crate::spec::TaskSpec;
use crate::time::Time;

/// Keeps definitions, plugins, history and logs over restarts.
pub trait Store: Send + Sync + 'static {
    /// Everything that tasks are made of, at start. Blocking.
    fn load(&self) -> Result<Loaded, StoreError>;

    /// Makes changes of the definitions durable, all or none of them: when it has answered, they survive a power cut. Calls that
    /// come at the same time share one commit; order between them is the caller's matter.
    fn commit(&self, changes: Vec<Change>) -> BoxFuture<Result<(), StoreError>>;

    /// Writes history and logs, batched, durable within a second or so; with a [`HostRun`], durable when it answers. The
    /// caller keeps what was refused and tries again.
    fn record(&self, batch: Arc<HistoryBatch>) -> BoxFuture<Result<(), StoreError>>;

    /// Notes that runs are about to start, durable when it answers. They are noted until a batch says that they ended.
    fn record_starts(&self, starts: Vec<Start>) -> BoxFuture<Result<(), StoreError>>;

    /// The stored records of a task that a query asks for, newest first. Those of the last seconds may still be on their way.
    fn runs(&self, query: RunsQuery) -> BoxFuture<Result<Vec<RunRecord>, StoreError>>;

    /// The newest revisions of a task, newest first.
    fn revisions(&self, task: TaskId, limit: usize) -> BoxFuture<Result<Vec<Revision>, StoreError>>;

    /// When the host was up, as far as that touches the time from `from` to `until`, oldest first.
    fn host_runs(&self, from: Time, until: Time) -> BoxFuture<Result<Vec<HostRun>, StoreError>>;

    /// The newest stored chunks of a task's log that hold at least `lines` lines with `seq > after_seq`, oldest first.
    fn read_logs(&self, task: TaskId, after_seq: u64, lines: usize) -> BoxFuture<Result<Vec<LogChunk>, StoreError>>;

    /// Writes a plugin's file, durable, and its row. Writing one that is there is no error, and mends a damaged file.
    fn put_plugin(&self, facts: PluginFacts, added_at: Time, wasm: Bytes) -> BoxFuture<Result<(), StoreError>>;

    /// Every stored plugin, in order of sha256.
    fn plugins(&self) -> BoxFuture<Result<Vec<StoredPlugin>, StoreError>>;

    /// Deletes a plugin's row and file. One that is not there is no error. That no task uses it is the caller's matter.
    fn delete_plugin(&self, plugin: Sha256) -> BoxFuture<Result<(), StoreError>>;

    /// How often history was begun anew since the start, because what was there was damaged: patches say nothing without the states
    /// that went with it.
    fn histories(&self) -> u64;

    /// What is wrong with the store, in words for the operator: files set aside as damaged, a full disk. Empty if nothing is.
    fn faults(&self) -> Vec<String>;

    /// Flushes and stops: nothing is taken afterwards.
    fn close(&self) -> BoxFuture<Result<(), StoreError>>;
}

/// Why the store did not do it. Nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk or quota is full. Taken again as soon as there is room.
    #[error("the disk is full ({0})")]
    Full(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// What the store has at start.
#[derive(Debug, Default)]
pub struct Loaded {
    /// In order of name.
    pub tasks: Vec<LoadedTask>,
    /// The host's run before this one; `None` if there was none, or its history is lost.
    pub previous: Option<HostRun>,
    /// Where the journal goes on.
    pub journal: u64,
}

/// A task as it was stored.
#[derive(Debug)]
pub struct LoadedTask {
    pub definition: Definition,
    /// What it did; empty if it did nothing yet, or its history is lost.
    pub state: UnitState,
    /// Runs that were noted to start and not to end.
    pub starts: Vec<OpenRun>,
}

/// The stored definition of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub id: TaskId,
    pub name: TaskName,
    pub revision: u32,
    pub spec: Arc<TaskSpec>,
    /// When it was added: the anchor of its `every` schedules.
    pub added_at: Time,
    /// Whether `added_at` is itself a due time (`add --now`).
    pub due_at_once: bool,
    /// Whether it is paused, since when and why. In a box, since most are not.
    pub paused: Option<Box<Pause>>,
}

/// Why a task is paused: no due time of it runs meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    pub since: Time,
    /// When it goes on by itself; `None` if only `resume` ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    pub by: Actor,
}

/// A change of the definitions, made by somebody at a time: each is kept as a revision.
#[derive(Clone, Debug)]
pub struct Change {
    pub kind: ChangeKind,
    pub at: Time,
    pub by: Actor,
}

/// What changes.
#[derive(Clone, Debug)]
pub enum ChangeKind {
    /// A task of a name that no other has.
    Add(Definition),
    /// The same task with a new spec and the next revision.
    Edit(Definition),
    /// The same task with the next revision, and paused.
    Pause(Definition),
    /// The same task with the next revision, and paused no more.
    Resume(Definition),
    /// Away with it, its history and its logs.
    Delete { id: TaskId, name: TaskName, revision: u32 },
}

/// What kind of change made a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevisionKind {
    Add,
    Edit,
    Pause,
    Resume,
    Delete,
}

impl RevisionKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Edit => "edit",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Delete => "delete",
        }
    }
}

/// A revision of a task as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    pub revision: u32,
    pub at: Time,
    pub by: Actor,
    pub kind: RevisionKind,
    /// The definition from then on; `None` of a deletion.
    pub spec: Option<Arc<TaskSpec>>,
    /// Of a pause, what it is.
    pub paused: Option<Pause>,
}

/// Who asked for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The user with this uid, on the same machine.
    Uid(u32),
    /// The host itself.
    Host,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::Host => f.write_str("the host"),
        }
    }
}

/// What a task did, as far as it is kept with the task itself: written whole where more changed than a
/// [`Patch`](crate::patch::Patch) can say, so that a lost write loses nothing but itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitState {
    pub counts: Counts,
    /// Newest last.
    pub last_runs: Vec<RunRecord>,
    pub last_success: Option<Time>,
    /// Which plugin ran up to which revision, oldest first, as far as `last_runs` needs it.
    pub plugins: Vec<(u32, Sha256)>,
    /// The `seq` of the newest log line that was taken.
    pub log_seq: u64,
    /// How many log lines were taken and lost before they were stored.
    pub log_lost: u64,
    /// Every due time up to here has a record, is in `open`, or stands in `backlogs`; later ones have nothing yet.
    pub accounted: Time,
    /// Runs that have not ended.
    pub open: Vec<OpenRun>,
    /// Due times that are still to be made up for.
    pub backlogs: Vec<Backlog>,
    /// When the last run ended, or the task was added: what a `delay` counts from. `None` while a run is going on.
    pub rested_since: Option<Time>,
    /// How many runs the schedules have started: what `max_runs` counts.
    pub scheduled_runs: u64,
    /// How many runs in a row have failed.
    pub failures: u32,
    /// How many backfills were asked for.
    pub backfills: u32,
    /// How many records were lost before they were stored.
    pub history_lost: u64,
    /// The place in the journal up to which this state has what patches say. Stored beside it.
    #[serde(skip)]
    pub journal: u64,
}

impl Default for UnitState {
    fn default() -> Self {
        Self {
            counts: Counts::default(),
            last_runs: Vec::new(),
            last_success: None,
            plugins: Vec::new(),
            log_seq: 0,
            log_lost: 0,
            accounted: Time(i64::MIN),
            open: Vec::new(),
            backlogs: Vec::new(),
            rested_since: None,
            scheduled_runs: 0,
            failures: 0,
            backfills: 0,
            history_lost: 0,
            journal: 0,
        }
    }
}

/// A run that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenRun {
    pub key: RunKey,
    pub reason: Reason,
    pub trigger: Option<Box<Trigger>>,
    pub revision: u32,
    pub progress: Progress,
}

/// How far a run is that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Progress {
    /// It waits for another run of its task to end.
    Queued,
    /// This attempt was begun, or is about to.
    Started { attempt: u32 },
    /// This attempt failed like this, and the next one begins at a time.
    Retrying { attempt: u32, outcome: Outcome, detail: Option<Box<str>>, at: Time },
}

/// Due times that are still to be made up for, or asked for again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backlog {
    /// [`Reason::CatchUp`] or [`Reason::Backfill`].
    pub reason: Reason,
    /// The number of the backfill; 0 for catching up.
    pub backfill: u32,
    /// Oldest first; never empty.
    pub due: VecDeque<Time>,
}

/// A run that is about to start.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    pub task: TaskId,
    /// Its progress is [`Progress::Started`].
    pub run: OpenRun,
}

/// One run of the host itself: from one start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostRun {
    pub started: Time,
    /// When it last said that it was alive.
    pub seen: Time,
    /// From when on it began nothing any more, of one that stopped in good order: it may have waited for its last runs after that. `None`
    /// of one that crashed or is going on.
    pub stopped: Option<Time>,
    /// Due times of fast schedules up to here may have run.
    pub claimed: Time,
}

/// A stretch of the journal: what patches say that go on from stored states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Its place: how many bytes of patches there were before it, over all entries.
    pub start: u64,
    /// The patches, encoded by [`patch`](crate::patch).
    pub patches: Bytes,
}

/// What is written in one go.
#[derive(Clone, Debug, Default)]
pub struct HistoryBatch {
    pub states: Vec<(TaskId, UnitState)>,
    /// Patches of states that were written before, or are in this batch. A state is brought up to date by those of its task that
    /// stand in the journal after its place.
    pub journal: Vec<JournalEntry>,
    /// Records that changed or are new. One that is stored with the same `(task, first_due, backfill)` is replaced.
    pub records: Vec<(TaskId, RunRecord)>,
    /// Runs that were noted by [`Store::record_starts`] and have ended, or wait to be tried again.
    pub ended: Vec<(TaskId, RunKey)>,
    pub logs: Vec<LogChunk>,
    /// This run of the host, whose `started` is its identity. Makes the batch durable before it is answered.
    pub host: Option<HostRun>,
}

/// Which records of a task are asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct RunsQuery {
    pub task: TaskId,
    /// Only what stands for a due time at or after this one,
    pub from: Time,
    /// and before this one.
    pub until: Time,
    /// Only these outcomes; all if empty.
    pub outcomes: Vec<Outcome>,
    /// At most so many records.
    pub limit: usize,
}

/// A plugin as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPlugin {
    pub facts: PluginFacts,
    pub added_at: Time,
    /// Why its file can't be used, if it can't: missing, of another size. (Its sha256 is checked when it is compiled.)
    pub fault: Option<String>,
}
