//! Plugins: admitted by the engine, kept by the store, deleted when no task uses them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, MutexGuard, PoisonError};

use bytes::Bytes;

use super::prepare::Prepared;
use super::{PluginView, Supervisor, TaskError, to_its_end};
use crate::name::TaskName;
use crate::plugin::{PluginError, PluginFacts, PluginRef, Sha256};
use crate::ports::{Clock, Engine, StoredPlugin};
use crate::spec::TaskSpec;

/// The shortest beginning of a sha256 that may stand for it, in digits.
const MIN_PREFIX_DIGITS: usize = 6;

impl<E: Engine, C: Clock> Supervisor<E, C> {
    /// Admits a plugin and stores it, durable when this answers. One that is stored already is written again only if its file
    /// is not whole. Tasks of it that could not be made ready when the host started are so then.
    ///
    /// # Errors
    /// [`TaskError::Plugin`] if the engine refuses it, [`TaskError::Store`] if it can't be stored.
    pub async fn put_plugin(&self, wasm: Bytes) -> Result<PluginView, TaskError> {
        let this = self.clone();
        to_its_end(async move { this.put_plugin_now(wasm).await }).await
    }

    async fn put_plugin_now(&self, wasm: Bytes) -> Result<PluginView, TaskError> {
        self.refuse_if_closing()?;
        // Before the lock, since it may take long, and harmless alone: what a prune forgets meanwhile is compiled again.
        let facts = self.inner.engine.admit(wasm.clone()).await?;
        let _change = self.inner.plugin_changes.lock().await;
        let sha256 = facts.sha256;
        let known = self.known().get(&sha256).is_some_and(|plugin| plugin.fault.is_none());
        if !known {
            let added_at = self.inner.clock.now();
            self.inner.store.put_plugin(facts.clone(), added_at, wasm).await?;
            self.known().insert(sha256, StoredPlugin { facts, added_at, fault: None });
        }
        // Where it was not the plugin's fault, its compiler may have been killed: that need not be so again.
        if self.unready().contains(&sha256) {
            self.revive(sha256).await?;
        }
        self.plugin(&sha256.to_string()).await
    }

    /// One plugin. `id` is a sha256, a unique beginning of one with at least 6 digits, or the name of a built-in one.
    ///
    /// # Errors
    /// [`PluginError::NotFound`] in [`TaskError::Plugin`].
    pub async fn plugin(&self, id: &str) -> Result<PluginView, TaskError> {
        let mut plugin = self.find_plugin(id).await?;
        if plugin.facts.about.is_none() {
            // What is known of it is told all the same.
            plugin.facts.about = self.about(plugin.facts.sha256).await.ok().flatten();
        }
        Ok(plugin)
    }

    async fn find_plugin(&self, id: &str) -> Result<PluginView, TaskError> {
        let plugins = self.plugins().await?;
        if let Some(builtin) = plugins.iter().find(|plugin| plugin.builtin.as_deref() == Some(id)) {
            return Ok(builtin.clone());
        }
        let long_enough = id.len() >= MIN_PREFIX_DIGITS;
        let mut found =
            plugins.into_iter().filter(|plugin| long_enough && plugin.facts.sha256.to_string().starts_with(id));
        let why = match (found.next(), found.next()) {
            (Some(plugin), None) => return Ok(plugin),
            (Some(_), Some(_)) => " alone (several begin like this)",
            (None, _) if long_enough => "",
            (None, _) => " (of a sha256, give at least the first 6 digits)",
        };
        Err(PluginError::NotFound(format!("`{}`{why}", crate::outcome::cut(id, 64).escape_debug())).into())
    }

    /// Every plugin: the built-in ones, then the stored ones in order of sha256.
    ///
    /// # Errors
    /// [`TaskError::ShuttingDown`].
    pub async fn plugins(&self) -> Result<Vec<PluginView>, TaskError> {
        let uses = self.plugin_uses().await?;
        let tasks = |plugin: &PluginFacts| uses.get(&plugin.sha256).copied().unwrap_or(0);
        let builtins = self.inner.engine.builtins().iter().map(|(name, facts)| PluginView {
            tasks: tasks(facts),
            facts: facts.clone(),
            builtin: Some(name.clone()),
            added_at: None,
            fault: None,
        });
        let known = self.known();
        let stored = known.values().map(|plugin| PluginView {
            tasks: tasks(&plugin.facts),
            facts: plugin.facts.clone(),
            builtin: None,
            added_at: Some(plugin.added_at),
            fault: plugin.fault.clone(),
        });
        Ok(builtins.chain(stored).collect())
    }

    /// Deletes a stored plugin that no task uses.
    ///
    /// # Errors
    /// [`TaskError::PluginInUse`], and others of [`TaskError`].
    pub async fn delete_plugin(&self, id: &str) -> Result<Sha256, TaskError> {
        let (this, id) = (self.clone(), id.to_owned());
        to_its_end(async move { this.delete_plugin_now(&id).await }).await
    }

    async fn delete_plugin_now(&self, id: &str) -> Result<Sha256, TaskError> {
        self.refuse_if_closing()?;
        let _change = self.inner.plugin_changes.lock().await;
        let plugin = self.find_plugin(id).await?;
        let sha256 = plugin.facts.sha256;
        if let Some(name) = plugin.builtin {
            let message = format!("`{name}` is built in and can't be deleted");
            return Err(PluginError::Invalid { message, hint: None }.into());
        }
        let in_use = |tasks, example| TaskError::PluginInUse { plugin: sha256, tasks, example };
        let deletion = self.inner.plugin_uses.delete(sha256);
        let _deletion = deletion.map_err(|example| match example {
            // By one that is being added, if by none yet.
            Some(example) => in_use(plugin.tasks.max(1), example),
            None => PluginError::NotFound(sha256.to_string()).into(),
        })?;
        if let Some(example) = self.user_of(sha256).await? {
            return Err(in_use(plugin.tasks, example));
        }
        self.remove_plugin(sha256).await?;
        Ok(sha256)
    }

    /// Deletes every stored plugin that no task uses. The second part is how many bytes that freed.
    ///
    /// # Errors
    /// [`TaskError::Store`]; what was deleted before stays deleted.
    pub async fn prune_plugins(&self) -> Result<(Vec<Sha256>, u64), TaskError> {
        let this = self.clone();
        to_its_end(async move { this.prune_plugins_now().await }).await
    }

    async fn prune_plugins_now(&self) -> Result<(Vec<Sha256>, u64), TaskError> {
        self.refuse_if_closing()?;
        let _change = self.inner.plugin_changes.lock().await;
        let mut pruned = Vec::new();
        let mut freed_bytes = 0;
        for plugin in self.plugins().await? {
            let sha256 = plugin.facts.sha256;
            if plugin.builtin.is_some() || plugin.tasks > 0 {
                continue;
            }
            // One that a change is about to use is in use. Its task may have been registered since the tasks were counted.
            let Ok(_deletion) = self.inner.plugin_uses.delete(sha256) else { continue };
            if !self.plugin_uses().await?.contains_key(&sha256) {
                self.remove_plugin(sha256).await?;
                pruned.push(sha256);
                freed_bytes += plugin.facts.size_bytes;
            }
        }
        Ok((pruned, freed_bytes))
    }

    pub(super) fn has_plugin(&self, plugin: Sha256) -> bool {
        self.known().contains_key(&plugin)
    }

    /// Remembers what was found to be wrong with a stored plugin, so that it is written again when it is put again.
    pub(super) fn note_fault(&self, plugin: Sha256, fault: &PluginError) {
        if let Some(stored) = self.known().get_mut(&plugin) {
            stored.fault = Some(fault.to_string());
        }
    }

    pub(super) fn unready(&self) -> MutexGuard<'_, BTreeSet<Sha256>> {
        self.inner.unready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the tasks ready that could not be when the host started.
    async fn revive(&self, plugin: Sha256) -> Result<(), TaskError> {
        let mut all_are_ready = true;
        for worker in 0..self.inner.workers.len() {
            let idle = self.ask(worker, move |worker| {
                let idle = worker.slots_after(None).filter(|slot| slot.plugin == plugin && slot.job.is_err());
                idle.map(|slot| slot.definition.clone()).collect::<Vec<_>>()
            });
            for definition in idle.await? {
                match self.prepare(&definition.name, Arc::clone(&definition.spec)).await {
                    Ok(Prepared { job, .. }) => self.ask(worker, move |worker| worker.revive(&definition, job)).await?,
                    Err(error) => {
                        all_are_ready = false;
                        tracing::warn!(task = %definition.name, %error, "the task still can't run");
                    }
                }
            }
        }
        if all_are_ready {
            self.unready().remove(&plugin);
        }
        Ok(())
    }

    /// Has all tasks of a plugin that turned out to be of no use end their due times as `host_error`, until it is put again.
    pub(super) async fn give_up(&self, plugin: Sha256, task: &TaskName, spec: Arc<TaskSpec>) {
        let _change = self.inner.plugin_changes.lock().await;
        // What is wrong with it is known, so this takes a moment; and it may have been put again meanwhile.
        let Err(error) = self.prepare(task, spec).await else { return };
        tracing::error!(%plugin, %error, "failed to compile; the due times of its tasks end as host_error");
        self.unready().insert(plugin);
        let fault: Arc<str> = error.to_string().into();
        for worker in 0..self.inner.workers.len() {
            let fault = Arc::clone(&fault);
            // A worker that is gone runs nothing.
            self.ask(worker, move |worker| worker.give_up(plugin, &fault)).await.ok();
        }
    }

    async fn remove_plugin(&self, plugin: Sha256) -> Result<(), TaskError> {
        self.inner.store.delete_plugin(plugin).await?;
        self.known().remove(&plugin);
        self.inner.engine.forget(plugin);
        Ok(())
    }

    /// How many tasks use each plugin.
    async fn plugin_uses(&self) -> Result<HashMap<Sha256, u64>, TaskError> {
        let mut uses = HashMap::new();
        for worker in 0..self.inner.workers.len() {
            for (plugin, tasks) in self.ask(worker, |worker| worker.plugin_uses().clone()).await? {
                *uses.entry(plugin).or_default() += tasks;
            }
        }
        Ok(uses)
    }

    /// A task that names this plugin by its sha256, if there is one.
    async fn user_of(&self, plugin: Sha256) -> Result<Option<TaskName>, TaskError> {
        for worker in 0..self.inner.workers.len() {
            let user = self.ask(worker, move |worker| {
                let mut slots = worker.slots_after(None);
                let user = slots.find(|slot| slot.spec().plugin == PluginRef::Sha256(plugin));
                user.map(|slot| slot.definition.name.clone())
            });
            if let Some(user) = user.await? {
                return Ok(Some(user));
            }
        }
        Ok(None)
    }

    pub(super) fn known(&self) -> MutexGuard<'_, BTreeMap<Sha256, StoredPlugin>> {
        self.inner.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
