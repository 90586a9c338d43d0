//! What the supervisor is asked, and what it answers.

use std::sync::Arc;

use crate::label::Selector;
use crate::lateness::LatenessStats;
use crate::log::LogLine;
use crate::name::TaskName;
use crate::outcome::{Counts, Outcome, Run, RunId, RunOf, TaskId};
use crate::plugin::{PluginError, PluginFacts, Sha256};
use crate::ports::{EngineStats, GrantFault, Pause, StoreError};
use crate::spec::{SpecError, TaskSpec};
use crate::time::{Time, Told};
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
    RunNotFound { name: TaskName, run: RunOf },
    #[error("the pause would end at {}, and that has passed", Told(*.0))]
    PauseEnded(Time),
    #[error("{due_times} due times are too many for one backfill; at most {most} are allowed")]
    BackfillTooLong { due_times: u64, most: usize },
    #[error("a backfill goes from a time to a later one, and not beyond now; this one goes from {} to {}", Told(*.from), Told(*.until))]
    BackfillRange { from: Time, until: Time },
    #[error("task `{0}` has as many backfills waiting as it may")]
    BackfillsWait(TaskName),
    /// One of several changes can't be made, and so none is.
    #[error("task `{name}`: {error}")]
    Among { name: TaskName, error: Box<TaskError> },
    /// The same of several, each with its own reason.
    #[error("{}", told_together(.0))]
    Several(Vec<TaskError>),
    #[error("task `{0}` is given more than once")]
    Twice(TaskName),
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The host can't give it.
    #[error(transparent)]
    Grant(#[from] GrantFault),
    /// It is not this one's to give.
    #[error("{0}")]
    MayNotGrant(GrantFault),
    /// It is not what the task's plugin needs.
    #[error("{0}")]
    Manifest(GrantFault),
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error("plugin {plugin} is in use (tasks: {tasks}, `{example}` among them)")]
    PluginInUse { plugin: Sha256, tasks: u64, example: TaskName },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the host is shutting down")]
    ShuttingDown,
}

/// How many of several reasons are told.
const MAX_TOLD_REASONS: usize = 5;

fn told_together(errors: &[TaskError]) -> String {
    let told: Vec<String> = errors.iter().take(MAX_TOLD_REASONS).map(ToString::to_string).collect();
    let more = match errors.len().saturating_sub(MAX_TOLD_REASONS) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    told.join("; ") + &more
}

/// A task as readers get it.
#[derive(Clone, Debug)]
pub struct TaskView {
    pub name: TaskName,
    pub spec: Arc<TaskSpec>,
    pub revision: u32,
    pub running: bool,
    pub paused: Option<Pause>,
    pub added_at: Time,
    pub next_due: Option<Time>,
    /// How many runs in a row have failed.
    pub failures: u32,
    /// How many due times are still to be made up for.
    pub backlog: usize,
    /// The newest run that has ended.
    pub last_run: Option<Run>,
    pub counts: Counts,
    /// Why the task can't run, if it can't.
    pub fault: Option<String>,
}

impl TaskView {
    pub(crate) fn of<J>(slot: &Slot<J>) -> Self {
        Self {
            name: slot.definition.name.clone(),
            spec: Arc::clone(slot.spec()),
            revision: slot.definition.revision,
            running: !slot.unit.running().is_empty(),
            paused: slot.unit.paused().cloned(),
            added_at: slot.definition.added_at,
            next_due: slot.unit.next_due(),
            failures: slot.unit.failures(),
            backlog: slot.unit.backlog(),
            last_run: slot.last_run(),
            counts: slot.unit.history.counts(),
            fault: slot.job.as_ref().err().map(ToString::to_string),
        }
    }
}

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskState {
    Idle,
    /// A run is going on, or waits for its next attempt.
    Running,
    /// No run is going on, and none comes due.
    Paused,
}

impl TaskState {
    fn of<J>(slot: &Slot<J>) -> Self {
        Self::from(!slot.unit.running().is_empty(), slot.unit.paused().is_some())
    }

    fn from(running: bool, paused: bool) -> Self {
        match (running, paused) {
            (true, _) => Self::Running,
            (false, true) => Self::Paused,
            (false, false) => Self::Idle,
        }
    }
}

impl TaskView {
    pub fn state(&self) -> TaskState {
        TaskState::from(self.running, self.paused.is_some())
    }
}

/// Which tasks a list has.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    pub selector: Option<Selector>,
    pub state: Option<TaskState>,
    /// Of the newest run that has ended.
    pub last_outcome: Option<Outcome>,
    /// Only names after this one.
    pub after: Option<String>,
    pub limit: usize,
}

impl ListQuery {
    pub(crate) fn matches<J>(&self, slot: &Slot<J>) -> bool {
        let ended = || slot.unit.history.last_runs.iter().rev().find(|run| run.outcome.ran()).map(|run| run.outcome);
        self.state.is_none_or(|state| state == TaskState::of(slot))
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

/// Where a task's keys and values are.
#[derive(Clone, Debug)]
pub struct KeyValuesView {
    pub task: TaskId,
    pub name: TaskName,
    /// The limit in force.
    pub quota_bytes: u64,
    /// Whether its runs get at them.
    pub granted: bool,
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
    /// How many due times were in records that were lost before the store took them.
    pub lost_records: u64,
    pub engine: EngineStats,
    pub faults: Vec<String>,
}
