//! The traits through which the core reaches the world. Each has two implementations: the real one, and the one
//! that tests and the simulator hand in.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::alarm::SystemAlarm;
use crate::log::{LogChunk, TaskLog};
use crate::manifest::About;
use crate::name::TaskName;
use crate::outcome::{Counts, Outcome, Reason, RunId, RunKey, RunRecord, RunReport, TaskId, Trigger};
use crate::plugin::{PluginError, PluginFacts, PluginRef, Sha256};
use crate::spec::{Grants, Limit, TaskSpec};
use crate::time::Time;

/// A future in a box that any thread may drive.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What time it is, and the means to wait for another.
pub trait Clock: Clone + Send + Sync + 'static {
    type Alarm: Alarm;

    fn now(&self) -> Time;

    /// Made inside the runtime that waits by it.
    fn alarm(&self) -> Self::Alarm;
}

/// Waits for times, one at a time.
pub trait Alarm {
    /// Comes back when it is this time, and perhaps earlier, when the clock was set, say: who waits looks at it again.
    fn until(&mut self, time: Time) -> impl Future<Output = ()>;
}

/// The system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    type Alarm = SystemAlarm;

    fn alarm(&self) -> SystemAlarm {
        SystemAlarm::new()
    }

    fn now(&self) -> Time {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Time::default().saturating_add(since_epoch)
    }
}

/// Admits plugins and makes the runners that run them. One for the host, shared by all threads.
pub trait Engine: Send + Sync + 'static {
    type Runner: Runner;

    /// Checks, compiles and caches a plugin, off the workers' threads. Stores nothing but the artefact.
    fn admit(&self, wasm: Bytes) -> BoxFuture<Result<PluginFacts, PluginError>>;

    /// What a stored plugin says of itself, read from its file: for those of which it was not kept.
    fn about(&self, plugin: Sha256) -> BoxFuture<Result<Arc<About>, PluginError>>;

    /// The sha256 of a built-in plugin; `None` if the host has none of this name.
    fn builtin(&self, name: &str) -> Option<Sha256>;

    /// The names of all built-in plugins with what was found in them.
    fn builtins(&self) -> Vec<(String, PluginFacts)>;

    /// Makes one task ready to run on one worker: loads its plugin there if no other task has, and fixes its limits and
    /// arguments. Fast where the plugin is loaded already.
    fn prepare(
        &self,
        worker: usize,
        spec: Arc<TaskSpec>,
    ) -> BoxFuture<Result<<Self::Runner as Runner>::Job, PluginError>>;

    /// The same for a task that the host knew before it stopped, if its plugin is at hand, loaded or not: what is found wrong with it
    /// when it is loaded, its runs tell. `None` where [`prepare`](Self::prepare) must be waited for.
    fn prepare_at_hand(&self, worker: usize, spec: &Arc<TaskSpec>) -> Option<<Self::Runner as Runner>::Job>;

    /// Refuses grants that the host can't give: a folder that is not there, a secret that it does not have. Asked when a task is
    /// added or edited, and never for one that is there already: its runs fail one by one until the host has it again.
    fn check_grants(&self, grants: Grants) -> BoxFuture<Result<(), GrantFault>>;

    /// Lets go of what is kept in memory of a plugin that no task uses any more, and of its artefact on disk.
    fn forget(&self, plugin: Sha256);

    /// The runner of one worker; called once each, on the worker's own thread inside its runtime.
    fn runner(&self, worker: usize) -> Self::Runner;

    /// How the engine does, for `Host.Info`.
    fn stats(&self) -> EngineStats;
}

/// How the engine does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// The plugin contracts that it serves, like `taskhost:plugin@0.1.0`.
    pub wit: Vec<String>,
    pub wasmtime: String,
    /// Whether PAGEMAP_SCAN resets instances.
    pub pagemap: bool,
    /// How many instances can be made from pools at once, over all workers.
    pub pool_slots: u64,
    /// How many attempts are in the slow lane.
    pub slow_lane: u64,
    /// How often each limit was hit since the start; those that were not are absent.
    pub limits_hit: Vec<(Limit, u64)>,
    /// The linear memory that guests have now, and the most that all of them together may have.
    pub guest_memory_bytes: u64,
    pub memory_budget_bytes: u64,
    /// How many attempts wait for memory of the budget.
    pub waiting_for_memory: u64,
    /// How many instances are kept for next runs.
    pub kept_instances: u64,
    /// How many plugins were compiled since the start.
    pub plugins_compiled: u64,
    /// How many plugins are loaded, each counted on every engine that has it.
    pub plugins_loaded: u64,
}

/// A grant that the host can't give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GrantFault {
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// Runs attempts on one worker's thread.
pub trait Runner: 'static {
    /// A task made ready by [`Engine::prepare`]: kept in its unit, dropped at edit and delete.
    type Job: Send + 'static;
    /// Ends by itself, at the attempt's deadline, or soon after its [`RunControl`] says stop. It is never dropped before its end
    /// but when the process ends.
    type Run: Future<Output = RunReport> + Unpin + 'static;

    /// Begins one attempt. The future is polled once at once, on the worker's thread, and most attempts end in that
    /// poll: this is the tick path.
    fn run(&self, job: &Self::Job, attempt: Attempt) -> Self::Run;
}

/// One attempt at a run: what a runner is handed.
#[derive(Clone)]
pub struct Attempt {
    pub task: TaskName,
    pub run_id: RunId,
    /// From 1.
    pub number: u32,
    /// The due time of the last success.
    pub since: Option<Time>,
    pub reason: Reason,
    /// What triggered the run, where that is the reason.
    pub trigger: Option<Trigger>,
    /// The due time as RFC 3339 with the offset of the schedule's time zone; `None` if it has none.
    pub due_local: Option<String>,
    /// How long the attempt may take from now.
    pub timeout: Duration,
    /// How it is told to stop.
    pub control: Arc<RunControl>,
    /// Where the guest's lines go.
    pub log: Arc<TaskLog>,
}

/// How a run in progress is told to stop. Belongs to a unit and is used again for its next run unless it was touched.
#[derive(Default)]
pub struct RunControl {
    cancelled: AtomicBool,
    stopped: AtomicBool,
    wake: Notify,
}

impl RunControl {
    /// Tells the guest, which sees it in `context.cancelled`.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Release);
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Stops the guest hard: it is never resumed, and the attempt ends as `cancelled`.
    pub fn stop(&self) {
        self.cancel();
        self.stopped.store(true, Ordering::Release);
        self.wake.notify_waiters();
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Waits until [`stop`](Self::stop) is called, or was.
    pub async fn stopped(&self) {
        let notified = self.wake.notified();
        tokio::pin!(notified);
        notified.as_mut().enable();
        if !self.is_stopped() {
            notified.await;
        }
    }
}

/// Where the bytes of plugins come from when they must be compiled again. Blocking; never called on a worker's thread.
pub trait PluginSource: Send + Sync + 'static {
    /// The whole plugin, checked against its sha256: [`PluginError::NotFound`] or [`PluginError::Damaged`] otherwise.
    fn read(&self, plugin: Sha256) -> Result<Bytes, PluginError>;

    /// How large the plugin is, as far as one sees without reading it. `None` if that is not known.
    fn size_bytes(&self, _plugin: Sha256) -> Option<u64> {
        None
    }
}

/// Tells who may grant what. It is asked for what a change gives a task, and for all that a task is granted where a change has something
/// else done with it: another plugin, other arguments.
pub trait GrantGate: fmt::Debug + Send + Sync + 'static {
    /// Refuses grants that are not this one's to give. Blocking; never called on a worker's thread.
    fn check(&self, by: Actor, grants: &Grants) -> Result<(), GrantFault>;
}

/// A host whose every user may grant anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoGate;

impl GrantGate for NoGate {
    fn check(&self, _by: Actor, _grants: &Grants) -> Result<(), GrantFault> {
        Ok(())
    }
}

/// Where the values of secrets come from. Blocking; never called on a worker's thread.
pub trait SecretSource: Send + Sync + 'static {
    /// The value of a secret as it is now; `None` if there is none of this name.
    fn read(&self, name: &str) -> Result<Option<Bytes>, StoreError>;

    /// Where a secret of this name would be looked for, in words for who must put it there.
    fn places(&self, name: &str) -> String;
}

/// A host without secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSecrets;

impl SecretSource for NoSecrets {
    fn read(&self, _name: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }

    fn places(&self, _name: &str) -> String {
        "another host: this one keeps no secrets".to_owned()
    }
}

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
    /// When it stopped in good order; `None` of one that crashed or is going on.
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

/// The most of a name that an error repeats, in bytes.
const MAX_TOLD_NAME_BYTES: usize = 64;

/// Which plugin a spec's reference means.
pub fn resolve<E: Engine>(engine: &E, plugin: &PluginRef) -> Result<Sha256, PluginError> {
    match plugin {
        PluginRef::Builtin(name) => engine.builtin(name).ok_or_else(|| {
            let known: Vec<_> = engine.builtins().into_iter().map(|(name, _)| format!("`{name}`")).collect();
            let name = crate::outcome::cut(name, MAX_TOLD_NAME_BYTES).escape_debug().to_string();
            PluginError::NotBuiltin { name, known: known.join(", ") }
        }),
        PluginRef::Sha256(sha256) => Ok(*sha256),
    }
}
