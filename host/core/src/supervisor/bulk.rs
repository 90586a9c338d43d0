//! Changes of many tasks at once: all or none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::change::{Made, Ready, paused};
use super::{DeleteMode, Job, Supervisor, TaskError, task_name, to_its_end};
use crate::label::Selector;
use crate::name::TaskName;
use crate::plugin::PluginError;
use crate::ports::{Actor, Clock, Definition, Engine};
use crate::spec::{Overlap, SpecPatch, TaskSpec};

/// What is done to every task that a selector names.
#[derive(Clone, Debug)]
pub enum BulkAction {
    Edit(Box<SpecPatch>),
    /// With a note, and until an RFC 3339 time.
    Pause {
        note: Option<String>,
        until: Option<String>,
    },
    Resume,
    /// Subject to each task's overlap policy, or to this one.
    Run {
        overlap: Option<String>,
    },
    Delete(DeleteMode),
}

/// What became, or would become, of a task that was applied.
#[derive(Clone, Debug)]
pub struct Applied {
    pub task: TaskName,
    pub kind: AppliedKind,
    pub old: Option<Arc<TaskSpec>>,
    pub new: Option<Arc<TaskSpec>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppliedKind {
    Add,
    Edit,
    Delete,
    Unchanged,
}

impl<E: Engine, C: Clock> Supervisor<E, C> {
    /// Does something to every task that `selector` names, or to all tasks; to all of them or, if one refuses, to none. Answers with
    /// those tasks, in order of name, and with how many of them it changes. With `dry_run` all is checked, and nothing done.
    ///
    /// # Errors
    /// [`TaskError::Among`], and others of [`TaskError`]; whatever it is, nothing was changed.
    pub async fn bulk(
        &self,
        selector: Option<Selector>,
        action: BulkAction,
        dry_run: bool,
        by: Actor,
    ) -> Result<(Vec<TaskName>, usize), TaskError> {
        let this = self.clone();
        to_its_end(async move {
            let names = this.names(selector).await?;
            if let BulkAction::Run { overlap } = action {
                let tasks = this.run_all(names, overlap.as_deref(), dry_run).await?;
                let run = tasks.len();
                return Ok((tasks, run));
            }
            let changes = this.begin_changes(names.iter()).await?;
            let mut ready = Vec::new();
            let mut tasks = Vec::new();
            for (name, old) in this.definitions(names).await? {
                let change = this.ready_one(old, &action, by).await;
                ready.extend(change.map_err(|error| among(&name, error))?);
                tasks.push(name);
            }
            let changed = ready.len();
            if !dry_run {
                let Made { going, .. } = this.make(ready, by).await?;
                drop(changes);
                this.wait_until_gone(going).await;
            }
            Ok((tasks, changed))
        })
        .await
    }

    /// Makes the tasks exactly what is given: adds those that are not there, edits those that differ, and deletes the others that
    /// `prune` names (a selector, or all). All or none; with `dry_run` all is checked, and nothing done.
    ///
    /// # Errors
    /// [`TaskError::Among`] or [`TaskError::Several`], and others of [`TaskError`]; whatever it is, nothing was changed.
    pub async fn apply(
        &self,
        tasks: Vec<(String, SpecPatch)>,
        prune: Option<Option<Selector>>,
        dry_run: bool,
        by: Actor,
    ) -> Result<Vec<Applied>, TaskError> {
        let mut specs = BTreeMap::new();
        let mut refused = Vec::new();
        for (name, patch) in tasks {
            let name = task_name(&name)?;
            match self.new_spec(patch) {
                Ok(spec) => {
                    if specs.insert(name.clone(), spec).is_some() {
                        return Err(TaskError::Twice(name));
                    }
                }
                Err(error) => refused.push(among(&name, error)),
            }
        }
        none_refused(refused)?;
        let this = self.clone();
        to_its_end(async move { this.apply_specs(specs, prune, dry_run, by).await }).await
    }

    async fn apply_specs(
        &self,
        specs: BTreeMap<TaskName, TaskSpec>,
        prune: Option<Option<Selector>>,
        dry_run: bool,
        by: Actor,
    ) -> Result<Vec<Applied>, TaskError> {
        let prunable = match prune {
            Some(selector) => self.names(selector).await?,
            None => BTreeSet::new(),
        };
        let all: BTreeSet<TaskName> = specs.keys().cloned().chain(prunable).collect();
        let changes = self.begin_changes(all.iter()).await?;
        let leaving = self.leaving(&all).await?;
        let mut old = self.definitions(all).await?;
        let mut ready = Vec::new();
        let mut applied = Vec::new();
        let mut refused = Vec::new();
        for (task, spec) in specs {
            let spec = self.inner.specs.share(spec);
            let new = Some(Arc::clone(&spec));
            let before = old.remove(&task);
            let old = before.as_ref().map(|before| Arc::clone(&before.spec));
            let change = match before {
                Some(before) => self.ready_edit(before, spec, by).await,
                None if leaving.contains(&task) => Err(TaskError::Leaving(task.clone())),
                None => self.ready_add(task.clone(), spec, false, by).await.map(Some),
            };
            let kind = match &change {
                Ok(None) => AppliedKind::Unchanged,
                _ if old.is_none() => AppliedKind::Add,
                _ => AppliedKind::Edit,
            };
            match change {
                Ok(change) => ready.extend(change),
                // For a look at what would change, nobody need send the plugin.
                Err(TaskError::Plugin(PluginError::NotFound(_))) if dry_run => {}
                Err(error @ (TaskError::Store(_) | TaskError::ShuttingDown)) => return Err(error),
                Err(error) => refused.push(among(&task, error)),
            }
            applied.push(Applied { task, kind, old, new });
        }
        none_refused(refused)?;
        for (task, definition) in old {
            let spec = Some(Arc::clone(&definition.spec));
            ready.push(Ready::Delete { definition, mode: DeleteMode::Cancel });
            applied.push(Applied { task, kind: AppliedKind::Delete, old: spec, new: None });
        }
        if !dry_run {
            let Made { going, .. } = self.make(ready, by).await?;
            drop(changes);
            self.wait_until_gone(going).await;
        }
        Ok(applied)
    }

    async fn ready_one(
        &self,
        old: Definition,
        action: &BulkAction,
        by: Actor,
    ) -> Result<Option<Ready<Job<E>>>, TaskError> {
        match action {
            BulkAction::Edit(patch) => {
                let spec = TaskSpec::clone(&old.spec).patched(SpecPatch::clone(patch), &self.inner.zone)?;
                self.ready_edit(old, self.inner.specs.share(spec), by).await
            }
            BulkAction::Pause { note, until } => {
                let pause = self.new_pause(note.clone(), until.as_deref(), by)?;
                Ok(Some(Ready::Pause(paused(old, Some(pause)))))
            }
            BulkAction::Resume => {
                // One that paused itself may be so without its definition saying it: while that is written, or can't be.
                let is_paused =
                    old.paused.is_some() || self.read(old.name.as_str(), |slot| slot.unit.paused().is_some()).await?;
                Ok(is_paused.then(|| Ready::Resume(paused(old, None))))
            }
            BulkAction::Delete(mode) => Ok(Some(Ready::Delete { definition: old, mode: *mode })),
            // Changes no definition.
            BulkAction::Run { .. } => Ok(None),
        }
    }

    /// Runs every task, unless the run of one would be skipped.
    async fn run_all(
        &self,
        names: BTreeSet<TaskName>,
        overlap: Option<&str>,
        dry_run: bool,
    ) -> Result<Vec<TaskName>, TaskError> {
        let policy = overlap.map(Overlap::parse).transpose()?;
        for name in &names {
            let skipped =
                self.read(name.as_str(), move |slot| slot.unit.would_skip(policy).map(|key| slot.unit.run_id(key)));
            if let Some(run) = skipped.await? {
                return Err(among(name, TaskError::RunInProgress { name: name.clone(), run }));
            }
        }
        if !dry_run {
            for name in &names {
                match self.run(name.as_str(), false, overlap).await {
                    // One that began or went between the look and the run.
                    Ok(_) | Err(TaskError::RunInProgress { .. } | TaskError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(names.into_iter().collect())
    }

    /// The tasks that a selector names, or all.
    async fn names(&self, selector: Option<Selector>) -> Result<BTreeSet<TaskName>, TaskError> {
        let selector = Arc::new(selector);
        let mut names = BTreeSet::new();
        for worker in 0..self.inner.workers.len() {
            let selector = Arc::clone(&selector);
            let some = self.ask(worker, move |worker| {
                let meant = |labels| selector.as_ref().as_ref().is_none_or(|selector| selector.matches(labels));
                let slots = worker.slots_after(None).filter(|slot| meant(&slot.spec().labels));
                slots.map(|slot| slot.definition.name.clone()).collect::<Vec<_>>()
            });
            names.extend(some.await?);
        }
        Ok(names)
    }

    /// Those of the names whose deleted task's last run is still going on.
    async fn leaving(&self, names: &BTreeSet<TaskName>) -> Result<BTreeSet<TaskName>, TaskError> {
        let names = Arc::new(names.clone());
        let mut leaving = BTreeSet::new();
        for worker in 0..self.inner.workers.len() {
            let names = Arc::clone(&names);
            let some = self.ask(worker, move |worker| {
                names.iter().filter(|name| worker.is_leaving(name)).cloned().collect::<Vec<_>>()
            });
            leaving.extend(some.await?);
        }
        Ok(leaving)
    }

    /// The definitions of those tasks that exist.
    async fn definitions(&self, names: BTreeSet<TaskName>) -> Result<BTreeMap<TaskName, Definition>, TaskError> {
        let names = Arc::new(names);
        let mut definitions = BTreeMap::new();
        for worker in 0..self.inner.workers.len() {
            let names = Arc::clone(&names);
            let some = self.ask(worker, move |worker| {
                let slots = names.iter().filter_map(|name| worker.slot(name.as_str()));
                slots.map(|slot| (slot.definition.name.clone(), slot.definition.clone())).collect::<Vec<_>>()
            });
            definitions.extend(some.await?);
        }
        Ok(definitions)
    }
}

/// All that is wrong at once: who mends it need not come back for each.
fn none_refused(mut refused: Vec<TaskError>) -> Result<(), TaskError> {
    match refused.len() {
        0 => Ok(()),
        1 => Err(refused.remove(0)),
        _ => Err(TaskError::Several(refused)),
    }
}

fn among(name: &TaskName, error: TaskError) -> TaskError {
    match error {
        // They name it themselves, or concern all.
        TaskError::Exists(_)
        | TaskError::Leaving(_)
        | TaskError::RunInProgress { .. }
        | TaskError::Store(_)
        | TaskError::ShuttingDown => error,
        error => TaskError::Among { name: name.clone(), error: Box::new(error) },
    }
}
