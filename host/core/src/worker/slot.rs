//! A task as its worker has it: the unit, its definition, and what it takes to run it.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::log::TaskLog;
use crate::outcome::{Outcome, Run, RunRecord};
use crate::plugin::Sha256;
use crate::ports::{Definition, RunControl, UnitState};
use crate::spec::TaskSpec;
use crate::unit::Unit;

/// A task on its way to a worker.
pub(crate) struct NewUnit<J> {
    pub definition: Definition,
    pub plugin: Sha256,
    /// The job, or why the task can't run.
    pub job: Result<J, Arc<str>>,
    /// What it did before, if the host knew it.
    pub state: Option<UnitState>,
}

/// A task as a worker has it.
pub(crate) struct Slot<J> {
    pub unit: Unit,
    pub definition: Definition,
    pub plugin: Sha256,
    pub job: Result<J, Arc<str>>,
    /// Which plugin ran up to which revision, oldest first, as far as kept runs need it.
    pub(super) old_plugins: Vec<(u32, Sha256)>,
    pub(super) log: Arc<TaskLog>,
    pub(super) control: Arc<RunControl>,
    /// The number of the wake-up that is meant; earlier ones are stale.
    pub(super) wake: u64,
    pub(super) dirty: bool,
    /// Who waits for the end of the run that is going on.
    pub(super) run_waiters: Vec<oneshot::Sender<Run>>,
    /// Who waits until the deleted task is gone.
    pub(super) gone_waiters: Vec<oneshot::Sender<()>>,
}

impl<J> Slot<J> {
    pub(crate) fn log(&self) -> &Arc<TaskLog> {
        &self.log
    }

    pub(crate) fn spec(&self) -> &Arc<TaskSpec> {
        &self.definition.spec
    }

    /// A kept record with the words that its revision gives it.
    pub(crate) fn run_of(&self, record: &RunRecord) -> Run {
        let old = self.old_plugins.iter().find(|(revision, _)| *revision >= record.revision);
        Run {
            id: self.unit.run_id(record.due),
            task: self.definition.spec.name.clone(),
            record: record.clone(),
            running: false,
            plugin: Some(old.map_or(self.plugin, |(_, plugin)| *plugin)),
        }
    }

    /// The run that is going on.
    pub(crate) fn running_run(&self) -> Option<Run> {
        let running = self.unit.running()?;
        let record = RunRecord {
            due: running.due,
            reason: running.reason,
            // Means nothing while `running` is set.
            outcome: Outcome::Success,
            attempts: running.attempt,
            revision: running.revision,
            lateness_us: None,
            took_us: 0,
            more: None,
        };
        Some(Run { running: true, ..self.run_of(&record) })
    }

    /// The newest run that has ended.
    pub(crate) fn last_run(&self) -> Option<Run> {
        self.unit.last_runs.iter().rev().find(|run| run.outcome.ran()).map(|record| self.run_of(record))
    }
}
