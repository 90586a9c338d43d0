//! Makes definitions ready to run.

use std::sync::Arc;

use super::plugin_use::BegunUse;
use super::{Job, Supervisor};
use crate::name::TaskName;
use crate::plugin::{PluginError, PluginRef, Sha256};
use crate::ports::{AtHand, Clock, Engine, resolve};
use crate::spec::TaskSpec;

/// A spec made ready to run.
pub(super) struct Prepared<J> {
    pub plugin: Sha256,
    pub job: J,
    /// Keeps the plugin until the task is registered; `None` for one that is built in, which nobody deletes.
    pub begun_use: Option<BegunUse>,
}

impl<E: Engine, C: Clock> Supervisor<E, C> {
    /// Makes a spec ready to run on the worker that it belongs to.
    pub(super) async fn prepare(&self, task: &TaskName, spec: Arc<TaskSpec>) -> Result<Prepared<Job<E>>, PluginError> {
        let plugin = resolve(&*self.inner.engine, &spec.plugin)?;
        let begun_use = match spec.plugin {
            PluginRef::Builtin(_) => None,
            PluginRef::Sha256(_) => {
                let begun = self.inner.plugin_uses.begin(plugin, task).filter(|_| self.has_plugin(plugin));
                Some(begun.ok_or_else(|| PluginError::NotFound(plugin.to_string()))?)
            }
        };
        let job = self.inner.engine.prepare(self.worker_of(task), spec).await;
        if let Err(error @ PluginError::Damaged(_)) = &job {
            self.note_fault(plugin, error);
        }
        Ok(Prepared { plugin, job: job?, begun_use })
    }

    /// The same for a task of the store's, as far as nothing need be waited for.
    pub(super) fn prepare_at_hand(&self, worker: usize, spec: &Arc<TaskSpec>) -> Option<(Sha256, AtHand<Job<E>>)> {
        let plugin = resolve(&*self.inner.engine, &spec.plugin).ok()?;
        if matches!(spec.plugin, PluginRef::Sha256(_)) && !self.has_plugin(plugin) {
            return None;
        }
        Some((plugin, self.inner.engine.prepare_at_hand(worker, spec)))
    }
}
