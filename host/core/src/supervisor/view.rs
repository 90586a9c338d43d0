//! What the supervisor is asked, and what it answers.

use std::sync::Arc;

use crate::label::Selector;
use crate::lateness::LatenessStats;
use crate::log::LogLine;
use crate::name::TaskName;
use crate::outcome::{Counts, Outcome, Run, RunId};
use crate::plugin::{PluginError, PluginFacts, Sha256};
use crate::ports::{EngineStats, StoreError};
use crate::spec::{SpecError, TaskSpec};
use crate::time::Time;
use crate::worker::Slot;

/// What was asked can't be done. Nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TaskError {
    #[error("no task is named `{0}`")]
    NotFound(TaskName),
    #[error("a task named `{0}` exists")]
    Exists(TaskName),
    /// Its name is free when that has ended.
    #[error("the last run of the deleted task `{0}` is still going on")]
    Leaving(TaskName),
    #[error("task `{name}` has revision {actual}, not {expected}")]
    RevisionConflict { name: TaskName, expected: u64, actual: u64 },
    #[error("task `{name}` is running (run {run}), and its overlap policy is `skip`")]
    RunInProgress { name: TaskName, run: RunId },
    #[error("task `{0}` has no run in progress")]
    NotRunning(TaskName),
    #[error("run {run} of task `{name}` is not in progress")]
    RunNotFound { name: TaskName, run: RunId },
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error("plugin {plugin} is in use (tasks: {tasks}, `{example}` among them)")]
    PluginInUse { plugin: Sha256, tasks: u64, example: TaskName },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the host is shutting down")]
    ShuttingDown,
}

/// A task as readers get it.
#[derive(Clone, Debug)]
pub struct TaskView {
    pub spec: Arc<TaskSpec>,
    pub revision: u32,
    pub running: bool,
    pub added_at: Time,
    pub next_due: Option<Time>,
    /// The newest run that has ended.
    pub last_run: Option<Run>,
    pub counts: Counts,
    /// Why the task can't run, if it can't.
    pub fault: Option<String>,
}

impl TaskView {
    pub(crate) fn of<J>(slot: &Slot<J>) -> Self {
        Self {
            spec: Arc::clone(slot.spec()),
            revision: slot.definition.revision,
            running: slot.unit.running().is_some(),
            added_at: slot.definition.added_at,
            next_due: slot.unit.next_due(),
            last_run: slot.last_run(),
            counts: slot.unit.counts,
            fault: slot.job.as_ref().err().map(ToString::to_string),
        }
    }
}

/// Which tasks a list has.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    pub selector: Option<Selector>,
    pub running: Option<bool>,
    /// Of the newest run that has ended.
    pub last_outcome: Option<Outcome>,
    /// Only names after this one.
    pub after: Option<String>,
    pub limit: usize,
}

impl ListQuery {
    pub(crate) fn matches<J>(&self, slot: &Slot<J>) -> bool {
        let ended = || slot.unit.last_runs.iter().rev().find(|run| run.outcome.ran()).map(|run| run.outcome);
        self.running.is_none_or(|running| running == slot.unit.running().is_some())
            && self.selector.as_ref().is_none_or(|selector| selector.matches(&slot.spec().labels))
            && self.last_outcome.is_none_or(|outcome| ended() == Some(outcome))
    }
}

/// A plugin as readers get it.
#[derive(Clone, Debug)]
pub struct PluginView {
    pub facts: PluginFacts,
    pub builtin: Option<String>,
    /// `None` for a built-in one.
    pub added_at: Option<Time>,
    /// How many tasks use it.
    pub tasks: u64,
    /// Why it can't be used, if it can't.
    pub fault: Option<String>,
}

/// What becomes of a run in progress when its task is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteMode {
    /// It is cancelled: told, and stopped hard after the cancel grace.
    Cancel,
    /// It ends by itself, or at its deadline.
    Wait,
}

/// Log lines of a task, oldest first.
#[derive(Clone, Debug, Default)]
pub struct LogPage {
    pub lines: Vec<LogLine>,
    /// How many lines were lost before the store took them.
    pub dropped: u64,
}

/// How the host does.
#[derive(Clone, Debug)]
pub struct HostStats {
    pub workers: usize,
    pub tasks: u64,
    /// Due times since the host started, by outcome.
    pub runs: Counts,
    pub lateness: LatenessStats,
    /// How many due times have passed and wait for their worker.
    pub queue_depth: u64,
    /// How many runs are going on.
    pub running: u64,
    pub lost_log_lines: u64,
    pub engine: EngineStats,
    pub faults: Vec<String>,
}
