//! Who runs plugins, and where their bytes come from.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::future::BoxFuture;
use crate::log::TaskLog;
use crate::manifest::About;
use crate::name::TaskName;
use crate::outcome::{Reason, RunId, RunReport, Trigger};
use crate::plugin::{PluginError, PluginFacts, PluginRef, Sha256};
use crate::spec::{GrantFault, Grants, Limit, TaskSpec};
use crate::time::Time;

/// Admits plugins and makes the runners that run them. One for the host, shared by all threads.
pub trait Engine: Send + Sync + 'static {
    type Runner: Runner;

    /// Checks, compiles and caches a plugin, off the workers' threads. Stores nothing but the artefact.
    fn admit(&self, wasm: Bytes) -> BoxFuture<Result<PluginFacts, PluginError>>;

    /// What a stored plugin says of itself, read from its file: for those of which it was not kept.
    fn about(&self, plugin: Sha256) -> BoxFuture<Result<Arc<About>, PluginError>>;

    /// The sha256 of a built-in plugin; `None` if the host has none of this name.
    fn builtin(&self, name: &str) -> Option<Sha256>;

    /// The names of all built-in plugins with what is found in them. Who asks first waits for a millisecond or a few.
    fn builtins(&self) -> &[(String, PluginFacts)];

    /// Makes one task ready to run on one worker: loads its plugin there if no other task has, and fixes its limits and
    /// arguments. Fast where the plugin is loaded already.
    fn prepare(
        &self,
        worker: usize,
        spec: Arc<TaskSpec>,
    ) -> BoxFuture<Result<<Self::Runner as Runner>::Job, PluginError>>;

    /// The same, as far as that goes at once, for a task that the host knew before it stopped.
    fn prepare_at_hand(&self, worker: usize, spec: &Arc<TaskSpec>) -> AtHand<<Self::Runner as Runner>::Job>;

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

/// How far a task is made ready that the host knew before it stopped.
pub enum AtHand<J> {
    /// Its plugin is loaded, or will be in a moment when the task first runs. What is found wrong with it then, its runs tell.
    Ready(J),
    /// The same, but its plugin must be compiled, which takes long, and which its first run waits for unless
    /// [`prepare`](Engine::prepare) was waited for before.
    Uncompiled(J),
    /// [`prepare`](Engine::prepare) must be waited for, a moment.
    Unloaded,
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

    /// Has the processor [prefetch](crate::prefetch) what [`run`](Self::run) reads of a job: at depth 0 what the job points to, at 1 what
    /// that points to, and so on. It is called for all jobs that are to run at one depth, and then for all at the next.
    fn prefetch(&self, _job: &Self::Job, _depth: usize) {}
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

/// The most of a name that an error repeats, in bytes.
const MAX_TOLD_NAME_BYTES: usize = 64;

/// Which plugin a spec's reference means.
pub fn resolve<E: Engine>(engine: &E, plugin: &PluginRef) -> Result<Sha256, PluginError> {
    match plugin {
        PluginRef::Builtin(name) => engine.builtin(name).ok_or_else(|| {
            let known: Vec<_> = engine.builtins().iter().map(|(name, _)| format!("`{name}`")).collect();
            let name = crate::outcome::cut(name, MAX_TOLD_NAME_BYTES).escape_debug().to_string();
            PluginError::NotBuiltin { name, known: known.join(", ") }
        }),
        PluginRef::Sha256(sha256) => Ok(*sha256),
    }
}
