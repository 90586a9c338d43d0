//! Runs that somebody asks for, and runs that nobody wants any more.

use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::{Supervisor, TaskError, task_name};
use crate::outcome::{Run, RunId, RunOf};
use crate::ports::{Clock, Engine};
use crate::spec::Overlap;

impl<E: Engine, C: Clock> Supervisor<E, C> {
    /// Starts a manual run beside the schedule, subject to the task's overlap policy or to the one given instead. With `wait`, answers
    /// when it has ended.
    ///
    /// # Errors
    /// [`TaskError::RunInProgress`] while a run is going on and the policy is `skip`, and others of [`TaskError`].
    pub async fn run(&self, name: &str, wait: bool, overlap: Option<&str>) -> Result<Run, TaskError> {
        self.refuse_if_closing()?;
        let name = task_name(name)?;
        let overlap = overlap.map(Overlap::parse).transpose()?;
        let (finished, is_finished) = oneshot::channel();
        let task = name.clone();
        let started =
            self.tell(&name, move |worker| worker.run_now(task.as_str(), overlap, wait.then_some(finished))).await?;
        match started {
            None => Err(TaskError::NotFound(name)),
            Some(_) if self.inner.closing.load(Ordering::Acquire) => Err(TaskError::ShuttingDown),
            Some(Err(run)) => Err(TaskError::RunInProgress { name, run }),
            Some(Ok(run)) if !wait => Ok(run),
            Some(Ok(_)) => is_finished.await.map_err(|_| match self.refuse_if_closing() {
                Err(closing) => closing,
                // It waited for its turn, and the task was deleted meanwhile.
                Ok(()) => TaskError::NotFound(name),
            }),
        }
    }

    /// Cancels `run`, or all runs that have not ended: tells the guest, and stops it hard after the cancel grace. Answers at once
    /// with the id of the run, or of the one that was begun first.
    ///
    /// # Errors
    /// [`TaskError::NotRunning`] or [`TaskError::RunNotFound`] if that run is not going on, and others of [`TaskError`].
    pub async fn cancel(&self, name: &str, run: Option<RunOf>) -> Result<RunId, TaskError> {
        let name = task_name(name)?;
        let task = name.clone();
        let cancelled = self.tell(&name, move |worker| {
            if worker.slot(task.as_str()).is_none() && !worker.is_leaving(&task) {
                return None;
            }
            Some(worker.cancel(task.as_str(), run))
        });
        match (cancelled.await?, run) {
            (None, _) => Err(TaskError::NotFound(name)),
            (Some(Some(run)), _) => Ok(run),
            (Some(None), Some(run)) => Err(TaskError::RunNotFound { name, run }),
            (Some(None), None) => Err(TaskError::NotRunning(name)),
        }
    }
}
