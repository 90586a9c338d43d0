//! What plugins say that they need, held against what tasks are granted.

use std::sync::Arc;

use super::{Supervisor, TaskError};
use crate::manifest::{About, Manifest};
use crate::plugin::{PluginError, PluginRef, Sha256};
use crate::ports::{Clock, Engine, StoreError};
use crate::spec::TaskSpec;

impl<E: Engine, C: Clock> Supervisor<E, C> {
    /// Refuses a task that lacks what its plugin needs, or has settings that its plugin does not take. One that has the same
    /// plugin and grants as before stays as it is, whatever the plugin says.
    pub(super) async fn check_manifest(&self, spec: &Arc<TaskSpec>, old: Option<&TaskSpec>) -> Result<(), TaskError> {
        if old.is_some_and(|old| old.plugin == spec.plugin && old.grants == spec.grants) {
            return Ok(());
        }
        let manifest = match &spec.plugin {
            PluginRef::Builtin(name) => self.builtin_manifest(name),
            PluginRef::Sha256(sha256) => self.about(*sha256).await?.and_then(|about| about.manifest.clone()),
        };
        let Some(manifest) = manifest else { return Ok(()) };
        let spec = Arc::clone(spec);
        let checked = tokio::task::spawn_blocking(move || manifest.check(spec.grants())).await;
        checked.map_err(|error| StoreError::Failed(error.to_string()))?.map_err(TaskError::Manifest)
    }

    fn builtin_manifest(&self, name: &str) -> Option<Arc<Manifest>> {
        let (_, facts) = self.inner.engine.builtins().iter().find(|(builtin, _)| builtin == name)?;
        facts.about.as_ref()?.manifest.clone()
    }

    /// What a stored plugin says of itself; `None` if it is not stored, or its file can't be read. Of one that was stored before
    /// that was kept, it is read from its file, once.
    pub(super) async fn about(&self, plugin: Sha256) -> Result<Option<Arc<About>>, TaskError> {
        let kept = self.known().get(&plugin).map(|plugin| plugin.facts.about.clone());
        if let Some(kept) = kept.as_ref().and_then(Option::as_ref) {
            return Ok(Some(Arc::clone(kept)));
        }
        if kept.is_none() {
            return Ok(None);
        }
        let about = match self.inner.engine.about(plugin).await {
            Ok(about) => about,
            // Whoever needs the plugin itself hears of it.
            Err(PluginError::NotFound(_) | PluginError::Damaged(_)) => return Ok(None),
            // It was let in by other rules, and goes on to run.
            Err(PluginError::Invalid { .. } | PluginError::Crashed(_) | PluginError::TooLarge { .. }) => Arc::default(),
            Err(error) => return Err(error.into()),
        };
        if let Some(plugin) = self.known().get_mut(&plugin) {
            plugin.facts.about = Some(Arc::clone(&about));
        }
        Ok(Some(about))
    }
}
