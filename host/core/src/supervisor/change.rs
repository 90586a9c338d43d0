//! Changes of definitions: checked under the locks of their names, made durable together, and then acted upon.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::{OwnedMutexGuard, oneshot};

use super::prepare::Prepared;
use super::{DeleteMode, Job, Supervisor, TaskError, TaskView, task_name, to_its_end};
use crate::events::EventKind;
use crate::name::TaskName;
use crate::outcome::TaskId;
use crate::ports::{Actor, Change, ChangeKind, Clock, Definition, Engine, Pause, StoreError};
use crate::recorder::Urgent;
use crate::schedule::{Schedule, parse_time};
use crate::shard::shard_of;
use crate::spec::{SpecError, SpecPatch, TaskSpec};
use crate::time::Time;
use crate::unit::Outage;
use crate::worker::{NewUnit, Worker};

/// A change that was checked and made ready, and waits to be committed.
pub(super) enum Ready<J> {
    Add { definition: Definition, prepared: Prepared<J> },
    Edit { definition: Definition, prepared: Prepared<J> },
    Pause(Definition),
    Resume(Definition),
    Delete { definition: Definition, mode: DeleteMode },
}

/// What there is of a name.
enum Standing {
    There(Definition),
    /// The last run of a deleted task is still going on.
    Leaving,
    Free,
}

/// What became of changes.
#[derive(Default)]
pub(super) struct Made {
    /// The tasks that are deleted, and who tells when they are gone.
    pub going: Vec<(TaskName, oneshot::Receiver<()>)>,
    /// The last one that was changed and not deleted, as it is since.
    pub last: Option<TaskView>,
}

impl<J> Ready<J> {
    fn kind(&self) -> ChangeKind {
        match self {
            Self::Add { definition, .. } => ChangeKind::Add(definition.clone()),
            Self::Edit { definition, .. } => ChangeKind::Edit(definition.clone()),
            Self::Pause(definition) => ChangeKind::Pause(definition.clone()),
            Self::Resume(definition) => ChangeKind::Resume(definition.clone()),
            Self::Delete { definition, .. } => ChangeKind::Delete {
                id: definition.id,
                name: definition.name.clone(),
                revision: definition.revision + 1,
            },
        }
    }
}

impl<E: Engine, C: Clock> Supervisor<E, C> {
    /// Adds a task: durable, and registered, when this answers. `patch` is applied to a definition of defaults. With `now`, the
    /// time of adding is itself a due time. With `replace`, a task of this name is edited to be exactly this.
    ///
    /// # Errors
    /// See [`TaskError`]; whatever it is, nothing was changed.
    pub async fn add(
        &self,
        name: &str,
        patch: SpecPatch,
        now: bool,
        replace: bool,
        by: Actor,
    ) -> Result<TaskView, TaskError> {
        let name = task_name(name)?;
        let spec = self.inner.specs.share(self.new_spec(patch)?);
        let this = self.clone();
        to_its_end(async move {
            let _change = this.begin_change(&name).await?;
            let ready = match this.standing(&name).await? {
                Standing::There(old) if replace => this.ready_edit(old, spec, by).await?,
                Standing::There(_) => return Err(TaskError::Exists(name)),
                Standing::Leaving => return Err(TaskError::Leaving(name)),
                Standing::Free => Some(this.ready_add(name.clone(), spec, now, by).await?),
            };
            this.make_one(&name, ready, by).await
        })
        .await
    }

    /// Changes what `patch` names. Phase and history stay, and a run that is going on finishes as it began.
    ///
    /// # Errors
    /// See [`TaskError`]; whatever it is, nothing was changed.
    pub async fn edit(
        &self,
        name: &str,
        patch: SpecPatch,
        if_revision: Option<u64>,
        by: Actor,
    ) -> Result<TaskView, TaskError> {
        let name = task_name(name)?;
        let this = self.clone();
        to_its_end(async move {
            let _change = this.begin_change(&name).await?;
            let old = this.definition(&name).await?;
            if let Some(expected) = if_revision.filter(|expected| *expected != u64::from(old.revision)) {
                return Err(TaskError::RevisionConflict { name, expected, actual: old.revision.into() });
            }
            let spec = this.inner.specs.share(TaskSpec::clone(&old.spec).patched(patch, &this.inner.zone)?);
            let ready = this.ready_edit(old, spec, by).await?;
            this.make_one(&name, ready, by).await
        })
        .await
    }

    /// Pauses a task: from now on no due time of it runs, until `until` (RFC 3339) or until it is resumed. Pausing a paused one
    /// again gives it the new note and end.
    ///
    /// # Errors
    /// See [`TaskError`]; whatever it is, nothing was changed.
    pub async fn pause(
        &self,
        name: &str,
        note: Option<String>,
        until: Option<&str>,
        by: Actor,
    ) -> Result<TaskView, TaskError> {
        let name = task_name(name)?;
        let pause = self.new_pause(note, until, by)?;
        let this = self.clone();
        to_its_end(async move {
            let _change = this.begin_change(&name).await?;
            let old = this.definition(&name).await?;
            this.make_one(&name, Some(Ready::Pause(paused(old, Some(pause)))), by).await
        })
        .await
    }

    /// Lets a paused task go on. One that is not paused stays as it is.
    ///
    /// # Errors
    /// See [`TaskError`]; whatever it is, nothing was changed.
    pub async fn resume(&self, name: &str, by: Actor) -> Result<TaskView, TaskError> {
        let name = task_name(name)?;
        let this = self.clone();
        to_its_end(async move {
            let _change = this.begin_change(&name).await?;
            let view = this.get(name.as_str()).await?;
            let old = this.definition(&name).await?;
            if old.paused.is_none() && view.paused.is_none() {
                return Ok(view);
            }
            this.make_one(&name, Some(Ready::Resume(paused(old, None))), by).await
        })
        .await
    }

    /// Deletes a task with its history and logs, and answers when nothing of it goes on any more.
    ///
    /// # Errors
    /// See [`TaskError`]; whatever it is, nothing was changed.
    pub async fn delete(&self, name: &str, mode: DeleteMode, by: Actor) -> Result<(), TaskError> {
        let name = task_name(name)?;
        let this = self.clone();
        to_its_end(async move {
            let change = this.begin_change(&name).await?;
            let definition = this.definition(&name).await?;
            let Made { going, .. } = this.make(vec![Ready::Delete { definition, mode }], by).await?;
            // Others of the shard need not wait for the last run; the worker keeps the name until it has ended.
            drop(change);
            this.wait_until_gone(going).await;
            Ok(())
        })
        .await
    }

    /// Makes the pause durable that a task has given itself, unless it was resumed meanwhile.
    pub(super) async fn pause_itself(&self, name: &TaskName, id: TaskId, pause: Pause) -> Result<(), TaskError> {
        let _change = self.begin_change(name).await?;
        let old = self.definition(name).await?;
        let given = pause.clone();
        let is_paused = self.read(name.as_str(), move |slot| slot.unit.paused() == Some(&given)).await?;
        if old.id == id && old.paused.is_none() && is_paused {
            self.make(vec![Ready::Pause(paused(old, Some(pause)))], Actor::Host).await?;
        }
        Ok(())
    }

    /// A definition of defaults, patched.
    pub(super) fn new_spec(&self, patch: SpecPatch) -> Result<TaskSpec, TaskError> {
        Ok(TaskSpec::default().patched(patch, &self.inner.zone)?)
    }

    pub(super) fn new_pause(&self, note: Option<String>, until: Option<&str>, by: Actor) -> Result<Pause, TaskError> {
        let since = self.inner.clock.now();
        let until = until.map(parse_time).transpose().map_err(SpecError::from)?;
        if let Some(until) = until.filter(|until| *until <= since) {
            return Err(TaskError::PauseEnded(until));
        }
        let note = note.map(|note| crate::outcome::cut(&note, crate::outcome::MAX_DETAIL_BYTES).to_owned());
        Ok(Pause { since, until, note, by })
    }

    /// Waits for the turn of several names.
    pub(super) async fn begin_changes(
        &self,
        names: impl Iterator<Item = &TaskName>,
    ) -> Result<Vec<OwnedMutexGuard<()>>, TaskError> {
        self.refuse_if_closing()?;
        // In one order for all, so that nobody waits in a circle.
        let shards: BTreeSet<usize> = names.map(|name| shard_of(name.as_str())).collect();
        let mut guards = Vec::with_capacity(shards.len());
        for shard in shards {
            guards.push(Arc::clone(&self.inner.shards[shard]).lock_owned().await);
        }
        self.refuse_if_closing()?;
        Ok(guards)
    }

    /// What there is of this name. Its turn has come.
    async fn standing(&self, name: &TaskName) -> Result<Standing, TaskError> {
        let task = name.clone();
        self.tell(name, move |worker| match worker.slot(task.as_str()) {
            Some(slot) => Standing::There(slot.definition.clone()),
            None if worker.is_leaving(&task) => Standing::Leaving,
            None => Standing::Free,
        })
        .await
    }

    /// Checks and prepares a new task. Its name's turn has come, and is free.
    pub(super) async fn ready_add(
        &self,
        name: TaskName,
        spec: Arc<TaskSpec>,
        due_at_once: bool,
        by: Actor,
    ) -> Result<Ready<Job<E>>, TaskError> {
        let added_at = self.inner.clock.now();
        if !due_at_once {
            refuse_if_never_due(&spec, added_at, added_at)?;
        }
        self.check_may_have(&spec, None, by).await?;
        self.check_manifest(&spec, None).await?;
        let prepared = self.prepare(&name, Arc::clone(&spec)).await?;
        let definition = Definition { id: new_task_id(), name, revision: 1, spec, added_at, due_at_once, paused: None };
        Ok(Ready::Add { definition, prepared })
    }

    /// Refuses limits past the host's ceilings, and grants that are not this one's to give or that the host can't give.
    async fn check_may_have(&self, spec: &Arc<TaskSpec>, old: Option<&TaskSpec>, by: Actor) -> Result<(), TaskError> {
        self.inner.ceilings.check(spec).map_err(SpecError::Limit)?;
        if spec.grants.is_none() {
            return Ok(());
        }
        // What another plugin does with old grants is as new as if they were.
        let deed = |spec: &TaskSpec| (spec.plugin.clone(), spec.args.clone(), spec.grants.clone());
        if old.is_none_or(|old| deed(old) != deed(spec)) {
            let (gate, spec) = (Arc::clone(&self.inner.gate), Arc::clone(spec));
            let checked = tokio::task::spawn_blocking(move || gate.check(by, spec.grants())).await;
            checked.map_err(|error| StoreError::Failed(error.to_string()))?.map_err(TaskError::MayNotGrant)?;
        }
        if old.is_none_or(|old| old.grants != spec.grants) {
            self.inner.engine.check_grants(spec.grants().clone()).await?;
        }
        Ok(())
    }

    /// Checks and prepares a changed task; `None` if nothing changes. Its name's turn has come.
    pub(super) async fn ready_edit(
        &self,
        old: Definition,
        spec: Arc<TaskSpec>,
        by: Actor,
    ) -> Result<Option<Ready<Job<E>>>, TaskError> {
        if old.spec == spec {
            return Ok(None);
        }
        let timing = |spec: &TaskSpec| (spec.schedules().to_vec(), spec.starts_at, spec.expires_at);
        if timing(&old.spec) != timing(&spec) {
            refuse_if_never_due(&spec, old.added_at, self.inner.clock.now())?;
        }
        self.check_may_have(&spec, Some(&old.spec), by).await?;
        self.check_manifest(&spec, Some(&old.spec)).await?;
        let prepared = self.prepare(&old.name, Arc::clone(&spec)).await?;
        let definition = Definition { revision: old.revision + 1, spec, ..old };
        Ok(Some(Ready::Edit { definition, prepared }))
    }

    /// Commits a change of a task, if there is one, and acts upon it. Answers with the task as it is then.
    async fn make_one(&self, name: &TaskName, ready: Option<Ready<Job<E>>>, by: Actor) -> Result<TaskView, TaskError> {
        match self.make(ready.into_iter().collect(), by).await?.last {
            Some(changed) => Ok(changed),
            None => self.get(name.as_str()).await,
        }
    }

    /// Commits changes, all or none, and acts upon them.
    pub(super) async fn make(&self, ready: Vec<Ready<Job<E>>>, by: Actor) -> Result<Made, TaskError> {
        let mut made = Made::default();
        if ready.is_empty() {
            return Ok(made);
        }
        let now = self.inner.clock.now();
        let changes = ready.iter().map(|ready| {
            // A task is not older than its first revision.
            let at = match ready {
                Ready::Add { definition, .. } => definition.added_at,
                _ => now,
            };
            Change { kind: ready.kind(), at, by }
        });
        self.inner.store.commit(changes.collect()).await?;
        let (mut changed, mut adding) = (Vec::new(), Vec::new());
        // Kept until their tasks are registered.
        let mut uses = Vec::new();
        for ready in ready {
            match ready {
                Ready::Add { definition, prepared: Prepared { plugin, job, begun_use } } => {
                    uses.extend(begun_use);
                    let unit = NewUnit { definition, plugin, job: Ok(job), known: None };
                    adding.push(self.register(unit, now));
                }
                Ready::Edit { definition, prepared: Prepared { plugin, job, begun_use } } => {
                    uses.extend(begun_use);
                    let (name, revision) = (definition.name.clone(), definition.revision);
                    let apply = move |worker: &mut Worker<E::Runner, C>| worker.apply_edit(definition, plugin, job);
                    made.last = self.change(&name, &mut changed, apply).await?;
                    self.publish(EventKind::TaskEdited { task: name, revision });
                }
                Ready::Pause(definition) => {
                    let (name, revision) = (definition.name.clone(), definition.revision);
                    made.last = self.change(&name, &mut changed, move |worker| worker.apply_pause(definition)).await?;
                    self.publish(EventKind::TaskPaused { task: name, revision });
                }
                Ready::Resume(definition) => {
                    let (name, revision) = (definition.name.clone(), definition.revision);
                    made.last = self.change(&name, &mut changed, move |worker| worker.apply_pause(definition)).await?;
                    self.publish(EventKind::TaskResumed { task: name, revision });
                }
                Ready::Delete { definition, mode } => {
                    let name = definition.name.clone();
                    let (gone, is_gone) = oneshot::channel();
                    let deleted = name.clone();
                    self.tell(&name, move |worker| worker.delete(&deleted, mode == DeleteMode::Cancel, gone)).await?;
                    made.going.push((name, is_gone));
                }
            }
        }
        // All at the same time: one after the other, each would wait for a turn of its worker.
        for added in join_all(adding).await {
            made.last = added?;
        }
        drop(uses);
        self.write_now(changed).await;
        Ok(made)
    }

    /// Has a new task registered by its worker; answers with it.
    async fn register(&self, unit: NewUnit<Job<E>>, now: Time) -> Result<Option<TaskView>, TaskError> {
        let (name, revision) = (unit.definition.name.clone(), unit.definition.revision);
        let task = name.clone();
        let added = self.tell(&name, move |worker| {
            worker.register(unit, &Outage::after(None, now));
            worker.slot(task.as_str()).map(TaskView::of)
        });
        let added = added.await?;
        self.publish(EventKind::TaskAdded { task: name, revision });
        Ok(added)
    }

    /// Has a change made by the worker of a name; answers with the task as it is then. What it did until then is handed over: `changed`
    /// gets its id.
    async fn change(
        &self,
        name: &TaskName,
        changed: &mut Vec<TaskId>,
        apply: impl FnOnce(&mut Worker<E::Runner, C>) + Send + 'static,
    ) -> Result<Option<TaskView>, TaskError> {
        let task = name.clone();
        let applied = self.tell(name, move |worker| {
            apply(worker);
            (worker.record_task(&task), worker.slot(task.as_str()).map(TaskView::of))
        });
        let (recorded, view) = applied.await?;
        changed.extend(recorded);
        Ok(view)
    }

    /// Has what tasks handed over written: under definitions that are in force no more, so that a crash does not judge it by the new ones.
    pub(super) async fn write_now(&self, tasks: Vec<TaskId>) {
        if tasks.is_empty() {
            return;
        }
        let (done, is_done) = oneshot::channel();
        if self.inner.urgent.send(Urgent { tasks, done }).await.is_ok() {
            is_done.await.ok();
        }
    }

    /// Waits for the last runs of deleted tasks.
    pub(super) async fn wait_until_gone(&self, going: Vec<(TaskName, oneshot::Receiver<()>)>) {
        for (task, is_gone) in going {
            is_gone.await.ok();
            self.publish(EventKind::TaskDeleted { task });
        }
    }
}

/// The same task, paused or not.
pub(super) fn paused(old: Definition, paused: Option<Pause>) -> Definition {
    Definition { revision: old.revision + 1, paused: paused.map(Box::new), ..old }
}

/// A task whose every due time has passed was not meant like that.
fn refuse_if_never_due(spec: &TaskSpec, anchor: Time, now: Time) -> Result<(), TaskError> {
    let by_itself = spec.schedules().iter().any(|schedule| !matches!(schedule, Schedule::Manual));
    let expired = spec.expires_at.is_some_and(|expires_at| expires_at <= now);
    if by_itself && (expired || (spec.delay().is_none() && spec.timetable(anchor).next_after(now).is_none())) {
        return Err(SpecError::NeverDue.into());
    }
    Ok(())
}

/// Random, so that the run ids of two hosts differ; of 63 bits, so that every store can hold it.
fn new_task_id() -> u64 {
    rand::random::<u64>() >> 1
}
