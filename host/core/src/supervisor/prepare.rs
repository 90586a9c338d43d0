//! Makes definitions ready to run.

use std::sync::Arc;

use super::{Job, Supervisor};
use crate::name::TaskName;
use crate::plugin::{PluginError, PluginRef, Sha256};
use crate::ports::{Clock, Engine, resolve};
use crate::spec::TaskSpec;

impl<E: Engine, C: Clock> Supervisor<E, C> {
    /// Makes a spec ready to run on the worker that it belongs to.
    pub(super) async fn prepare(&self, task: &TaskName, spec: Arc<TaskSpec>) -> Result<(Sha256, Job<E>), PluginError> {
        let plugin = resolve(&*self.inner.engine, &spec.plugin)?;
        if matches!(spec.plugin, PluginRef::Sha256(_)) && !self.has_plugin(plugin) {
            return Err(PluginError::NotFound(plugin.to_string()));
        }
        let job = self.inner.engine.prepare(self.worker_of(task), spec).await;
        if let Err(error @ PluginError::Damaged(_)) = &job {
            self.note_fault(plugin, error);
        }
        Ok((plugin, job?))
    }

    /// The same for a task of the store's, where nothing need be waited for.
    pub(super) fn prepare_at_hand(&self, worker: usize, spec: &Arc<TaskSpec>) -> Option<(Sha256, Job<E>)> {
        let plugin = resolve(&*self.inner.engine, &spec.plugin).ok()?;
        if matches!(spec.plugin, PluginRef::Sha256(_)) && !self.has_plugin(plugin) {
            return None;
        }
        Some((plugin, self.inner.engine.prepare_at_hand(worker, spec)?))
    }
}
