//! What a worker is told to do with a task: register it, change it, run it, cancel it, delete it.

use std::collections::VecDeque;
use std::sync::Arc;

use thin_vec::ThinVec;
use tokio::sync::oneshot;

use super::slot::{MAX_OLD_PLUGINS, Rare};
use super::{Known, NewUnit, Slot, Worker, release};
use crate::log::TaskLog;
use crate::name::TaskName;
use crate::outcome::{Run, RunId, RunOf, RunPhase, TaskId, Trigger};
use crate::plugin::Sha256;
use crate::ports::{Clock, Definition, Runner};
use crate::spec::Overlap;
use crate::time::Time;
use crate::unit::{Input, Outage, Unit};

/// How many due times that wait for their jitter begin at once when the definition changes.
const MAX_SETTLED: usize = 100;

/// How many more places are made where there are none: one for so many tasks, since a `Vec` left to itself would keep as many empty
/// as there are tasks; and at least so many.
const SPARE_SLOTS: usize = 8;
const MIN_SPARE_SLOTS: usize = 256;

impl<R: Runner, C: Clock> Worker<R, C> {
    /// Registers a task, and starts its clock. `outage` tells of the time since the host last ran it.
    pub(crate) fn register(&mut self, new: NewUnit<R::Job>, outage: &Outage) {
        let NewUnit { definition, plugin, job, known } = new;
        let bounded = Definition { spec: self.shared.ceilings.bounded(&definition.spec), ..definition.clone() };
        let sink = Arc::clone(&self.shared.logs);
        let name = definition.name.clone();
        let mut actions = Vec::new();
        let is_new = known.is_none();
        let (log_seq, log_lost, old_plugins, unit) = match known {
            Some(Known { state, starts }) => {
                let (log_seq, log_lost, plugins) = (state.log_seq, state.log_lost, state.plugins.clone());
                let unit = Unit::restored(&bounded, state, starts, outage, &mut actions);
                (log_seq, log_lost, plugins, unit)
            }
            None => (0, 0, Vec::new(), Unit::added(&bounded)),
        };
        let log = TaskLog::new(definition.id, name.clone(), log_seq, log_lost, sink);
        let first_wake = unit.first_wake();
        if is_new && first_wake.is_some_and(|at| at > self.shared.claims.until()) && unit.needs_claim() {
            // So that its first due time need not wait for one.
            self.shared.claims.want();
        }
        let slot = Slot {
            unit,
            definition,
            plugin,
            job,
            log,
            controls: ThinVec::new(),
            wake: 0,
            dirty: false,
            rare: (!old_plugins.is_empty()).then(|| Box::new(Rare { old_plugins, ..Rare::default() })),
        };
        *self.plugin_uses.entry(plugin).or_default() += 1;
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = Some(slot);
                index
            }
            None => {
                if self.slots.len() == self.slots.capacity() {
                    self.slots.reserve_exact(self.slots.len() / SPARE_SLOTS + MIN_SPARE_SLOTS);
                }
                self.slots.push(Some(slot));
                u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 tasks fit in memory")
            }
        };
        self.by_name.insert(name, index);
        self.mark_dirty(index);
        self.wake_at(index, first_wake);
        let now = self.clock.now();
        for action in actions {
            self.act(index, action, now);
        }
        if self.halted {
            self.step(index, Input::Halt);
        }
    }

    /// Puts a new definition in force. What has come due runs on the old one, and so does what is going on.
    pub(crate) fn apply_edit(&mut self, definition: Definition, plugin: Sha256, job: R::Job) {
        let Some(index) = self.settle(&definition) else { return };
        let Some(slot) = self.slots[index as usize].as_mut() else { return };
        if plugin != slot.plugin {
            let old = (slot.definition.revision, slot.plugin);
            let old_plugins = &mut slot.rare().old_plugins;
            if old_plugins.len() == MAX_OLD_PLUGINS {
                old_plugins.remove(0);
            }
            old_plugins.push(old);
            release(&mut self.plugin_uses, slot.plugin);
            *self.plugin_uses.entry(plugin).or_default() += 1;
            slot.plugin = plugin;
        }
        slot.job = Ok(job);
        let spec = self.shared.ceilings.bounded(&definition.spec);
        let input = Input::Edited { spec, revision: definition.revision };
        slot.definition = definition;
        self.step(index, input);
    }

    /// Pauses a task, or lets it go on, as its new definition says.
    pub(crate) fn apply_pause(&mut self, definition: Definition) {
        let Some(index) = self.settle(&definition) else { return };
        let Some(slot) = self.slots[index as usize].as_mut() else { return };
        let revision = definition.revision;
        let input = match definition.paused.clone() {
            Some(pause) => Input::Paused { pause, revision },
            None => Input::Resumed { revision },
        };
        slot.definition = definition;
        self.step(index, input);
    }

    /// Lets all begin that has come due, before the definition of a task changes.
    fn settle(&mut self, definition: &Definition) -> Option<u32> {
        let index = *self.by_name.get(definition.name.as_str())?;
        // Each step takes one, and few come within the moment that a worker is late; of many, the rest is taken as missed.
        for _ in 0..MAX_SETTLED {
            let now = self.clock.now();
            if !self.slots[index as usize].as_ref()?.unit.is_due(now) {
                break;
            }
            self.step(index, Input::Settle);
        }
        Some(index)
    }

    /// Hands over what a task did, to be written at once: after a change of its definition, what came before belongs to the old one.
    /// Answers with its id if it was handed over.
    pub(crate) fn record_task(&mut self, name: &TaskName) -> Option<TaskId> {
        let index = *self.by_name.get(name.as_str())?;
        let id = self.slots[index as usize].as_ref()?.definition.id;
        self.record_now(index).then_some(id)
    }

    /// Keeps all tasks of a plugin from running, for this reason.
    pub(crate) fn give_up(&mut self, plugin: Sha256, fault: &Arc<str>) {
        for slot in self.slots.iter_mut().flatten().filter(|slot| slot.plugin == plugin) {
            slot.changes();
            slot.job = Err(Arc::clone(fault));
        }
    }

    /// Lets a task run that could not, unless it was edited, or deleted and added anew, meanwhile.
    pub(crate) fn revive(&mut self, definition: &Definition, job: R::Job) {
        let Some(&index) = self.by_name.get(definition.name.as_str()) else { return };
        let is_same = |slot: &&mut Slot<R::Job>| {
            (slot.definition.id, slot.definition.revision) == (definition.id, definition.revision)
        };
        if let Some(slot) = self.slots[index as usize].as_mut().filter(is_same) {
            slot.changes();
            slot.job = Ok(job);
        }
    }

    /// Whether the last run of a deleted task of this name is still going on.
    pub(crate) fn is_leaving(&self, name: &TaskName) -> bool {
        self.leaving.contains_key(name)
    }

    /// Deletes a task. Answers when nothing of it goes on any more; until then, its name is taken.
    pub(crate) fn delete(&mut self, name: &TaskName, cancel: bool, gone: oneshot::Sender<()>) {
        let Some(index) = self.by_name.remove(name) else { return };
        let Some(slot) = self.slots[index as usize].as_mut() else { return };
        self.leaving.insert(name.clone(), index);
        slot.rare().gone_waiters.push(gone);
        slot.log.close();
        if cancel {
            self.step(index, Input::Cancel { key: None });
        }
        self.step(index, Input::Deleted);
        if let Some(slot) = self.slots[index as usize].as_mut() {
            slot.drop_waiters_of_nothing();
        }
    }

    /// Starts a manual run; `None` if there is no such task. Nothing is started any more once the host stops: what is
    /// `finished` is dropped.
    pub(crate) fn run_now(
        &mut self,
        name: &str,
        overlap: Option<Overlap>,
        finished: Option<oneshot::Sender<Run>>,
    ) -> Option<Result<Run, RunId>> {
        let index = *self.by_name.get(name)?;
        let slot = self.slots[index as usize].as_mut()?;
        if let Some(key) = slot.unit.would_skip(overlap) {
            return Some(Err(slot.unit.run_id(key)));
        }
        self.step(index, Input::Run { overlap, trigger: None });
        let slot = self.slots[index as usize].as_mut()?;
        let run = slot.find(slot.unit.newest_own())?;
        match finished {
            Some(finished) if run.phase == RunPhase::Ended => drop(finished.send(run.clone())),
            Some(finished) => slot.rare().run_waiters.push((run.id.key, finished)),
            None => {}
        }
        Some(Ok(run))
    }

    /// Runs a task because another's run ended. Answers whether there is such a task.
    pub(crate) fn trigger(&mut self, name: &str, trigger: Trigger) -> bool {
        let Some(&index) = self.by_name.get(name) else { return false };
        self.step(index, Input::Run { overlap: None, trigger: Some(Box::new(trigger)) });
        true
    }

    /// Asks for due times to be run again; answers with the number of the backfill, or `None` if too many wait already.
    pub(crate) fn backfill(&mut self, name: &str, due: VecDeque<Time>) -> Option<Option<u32>> {
        let index = *self.by_name.get(name)?;
        let before = self.slots[index as usize].as_ref()?.unit.backfills();
        self.step(index, Input::Backfill { due });
        let after = self.slots[index as usize].as_ref()?.unit.backfills();
        Some((after > before).then_some(after))
    }

    /// Cancels the runs that have not ended, or only the one, also of a task that was deleted since. Answers with the one that was begun
    /// first.
    pub(crate) fn cancel(&mut self, name: &str, run: Option<RunOf>) -> Option<RunId> {
        let index = *self.by_name.get(name).or_else(|| self.leaving.get(name))?;
        let slot = self.slots[index as usize].as_ref()?;
        let open = slot.open_runs();
        let meant = match run {
            Some(run) => open.iter().find(|other| run.is(other.id))?,
            // The one that was begun first.
            None => open.last()?,
        };
        let id = meant.id;
        self.step(index, Input::Cancel { key: run.map(|run| run.key) });
        Some(id)
    }
}
