//! A task as its worker has it: the unit, its definition, and what it takes to run it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use thin_vec::ThinVec;
use tokio::sync::oneshot;

use crate::log::TaskLog;
use crate::outcome::{Outcome, Reason, Run, RunKey, RunMore, RunPhase, RunRecord, Trigger};
use crate::plugin::Sha256;
use crate::ports::{Definition, OpenRun, Progress, RunControl, UnitState};
use crate::spec::TaskSpec;
use crate::unit::{Running, Unit};

/// How many changes of plugin are remembered, so that old runs can be told which one ran.
pub(super) const MAX_OLD_PLUGINS: usize = 32;

/// A task on its way to a worker.
pub(crate) struct NewUnit<J> {
    pub definition: Definition,
    pub plugin: Sha256,
    /// The job, or why the task can't run.
    pub job: Result<J, Arc<str>>,
    /// What it did before, if the host knew it.
    pub known: Option<Known>,
}

/// What the host knew of a task before it stopped.
pub(crate) struct Known {
    pub state: UnitState,
    pub starts: Vec<OpenRun>,
}

/// A task as a worker has it.
pub(crate) struct Slot<J> {
    pub unit: Unit,
    pub definition: Definition,
    pub plugin: Sha256,
    pub job: Result<J, Arc<str>>,
    pub(super) log: Arc<TaskLog>,
    /// How the runs that are going on are told to stop.
    pub(super) controls: ThinVec<(RunKey, Arc<RunControl>)>,
    /// The number of the wake-up that is meant; earlier ones are stale.
    pub(super) wake: u32,
    pub(super) dirty: bool,
    /// In a box, since most tasks have nothing of it.
    pub(super) rare: Option<Box<Rare>>,
}

/// What few tasks have, or seldom.
#[derive(Default)]
pub(super) struct Rare {
    /// Which plugin ran up to which revision, oldest first; at most [`MAX_OLD_PLUGINS`].
    pub(super) old_plugins: Vec<(u32, Sha256)>,
    /// Runs whose start was noted and that have ended, to be told to the store.
    pub(super) ended: Vec<RunKey>,
    /// Who waits for the end of which run.
    pub(super) run_waiters: Vec<(RunKey, oneshot::Sender<Run>)>,
    /// Who waits until the deleted task is gone.
    pub(super) gone_waiters: Vec<oneshot::Sender<()>>,
    /// There if somebody keeps what he was told of the task.
    pub(super) kept: Option<Kept>,
}

/// Tells who keeps something of a task when it is not so any more, be it that the task is no more.
#[derive(Default)]
pub(super) struct Kept {
    changed: Arc<AtomicBool>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.changed.store(true, Ordering::Release);
    }
}

/// Whether a task is as it was told: for who keeps that, so that he need not ask again while nothing happens.
#[derive(Clone, Debug)]
pub struct Unchanged {
    changed: Arc<AtomicBool>,
}

impl Unchanged {
    /// Once it says no, it says so for ever. It does before anybody hears of what has changed: whoever was answered after a change,
    /// or was told of it by an event, finds it.
    pub fn holds(&self) -> bool {
        !self.changed.load(Ordering::Acquire)
    }
}

impl Rare {
    fn is_empty(&self) -> bool {
        let Self { old_plugins, ended, run_waiters, gone_waiters, kept } = self;
        let nobody_waits = run_waiters.is_empty() && gone_waiters.is_empty();
        old_plugins.is_empty() && ended.is_empty() && nobody_waits && kept.is_none()
    }
}

impl<J> Slot<J> {
    pub(crate) fn log(&self) -> &Arc<TaskLog> {
        &self.log
    }

    pub(crate) fn spec(&self) -> &Arc<TaskSpec> {
        &self.definition.spec
    }

    /// What few tasks have, made now if it is not there.
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Will tell whether the task is still as it is now.
    pub(crate) fn unchanged(&mut self) -> Unchanged {
        Unchanged { changed: Arc::clone(&self.rare().kept.get_or_insert_default().changed) }
    }

    /// Something of the task changes: to be called before anybody can hear of it. This is on the tick path, where it finds nothing but
    /// for tasks that somebody asked for since they last did something.
    pub(super) fn changes(&mut self) {
        if let Some(rare) = &mut self.rare
            && rare.kept.take().is_some()
            && rare.is_empty()
        {
            self.rare = None;
        }
    }

    /// Which plugin ran up to which revision.
    pub(super) fn old_plugins(&self) -> &[(u32, Sha256)] {
        self.rare.as_ref().map_or(&[], |rare| &rare.old_plugins)
    }

    /// How a run that was begun is told to stop.
    pub(super) fn control(&self, key: RunKey) -> Option<&Arc<RunControl>> {
        self.controls.iter().find(|(other, _)| *other == key).map(|(_, control)| control)
    }

    /// Makes a control for a run that begins; one that goes on has its own.
    pub(super) fn admit(&mut self, key: RunKey) {
        if self.control(key).is_none() {
            // Most tasks never have more than one.
            self.controls.reserve_exact(1);
            self.controls.push((key, Arc::default()));
        }
    }

    /// A run has ended. A task that rests keeps no room for the next one.
    pub(super) fn release(&mut self, key: RunKey) {
        self.controls.retain(|(other, _)| *other != key);
        if self.controls.is_empty() {
            self.controls = ThinVec::new();
        }
    }

    pub(super) fn tell_waiters(&mut self, record: &RunRecord) {
        let is_it = |(key, _): &(RunKey, _)| *key == record.key;
        while let Some(rare) = &mut self.rare
            && let Some(at) = rare.run_waiters.iter().position(is_it)
        {
            let (_, waiter) = rare.run_waiters.swap_remove(at);
            // Fails only if nobody waits any more.
            waiter.send(self.run_of(record)).ok();
        }
    }

    /// A kept record with the words that its revision gives it.
    pub(crate) fn run_of(&self, record: &RunRecord) -> Run {
        let old_plugins = self.old_plugins();
        let old = old_plugins.iter().position(|(revision, _)| *revision >= record.revision);
        let plugin = match old {
            // It may be older than what is remembered.
            Some(0) if old_plugins.len() == MAX_OLD_PLUGINS => None,
            Some(at) => Some(old_plugins[at].1),
            None => Some(self.plugin),
        };
        Run {
            id: self.unit.run_id(record.key),
            task: self.definition.name.clone(),
            record: record.clone(),
            phase: RunPhase::Ended,
            plugin,
        }
    }

    /// The runs that have not ended: those that wait, then those that go on, the newest first.
    pub(crate) fn open_runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = self.unit.running().iter().map(|run| self.running_run(run)).collect();
        runs.extend(self.unit.queue().map(|run| {
            let record = open_record(run.key, run.reason, 0, self.definition.revision, run.trigger.as_deref());
            Run { phase: RunPhase::Queued, ..self.run_of(&record) }
        }));
        runs.reverse();
        runs
    }

    /// A run that is kept in memory.
    pub(crate) fn find(&self, key: RunKey) -> Option<Run> {
        let open = self.open_runs().into_iter().find(|run| run.id.key == key);
        let ended = || self.unit.history.last_runs.iter().rev().find(|run| run.key == key);
        open.or_else(|| ended().map(|record| self.run_of(record)))
    }

    /// Lets those go who wait for a run that will not be: one that was queued when its task was deleted.
    pub(super) fn drop_waiters_of_nothing(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.run_waiters.retain(|(key, _)| self.unit.running().iter().any(|run| run.key == *key));
        }
    }

    fn running_run(&self, run: &Running) -> Run {
        let mut record = open_record(run.key, run.reason, run.attempt(), run.revision, run.trigger.as_deref());
        let phase = match &run.progress {
            Progress::Retrying { at, outcome, detail, .. } => {
                let why =
                    detail.as_deref().map_or_else(|| outcome.to_string(), |detail| format!("{outcome}: {detail}"));
                record.more.get_or_insert_default().detail = Some(why.into());
                RunPhase::Retrying(*at)
            }
            Progress::Started { .. } | Progress::Queued => RunPhase::Running,
        };
        Run { phase, ..self.run_of(&record) }
    }

    /// The newest run that has ended.
    pub(crate) fn last_run(&self) -> Option<Run> {
        self.unit.history.last_runs.iter().rev().find(|run| run.outcome.ran()).map(|record| self.run_of(record))
    }
}

/// The record of a run that has not ended: its outcome means nothing.
fn open_record(key: RunKey, reason: Reason, attempts: u32, revision: u32, trigger: Option<&Trigger>) -> RunRecord {
    RunRecord {
        key,
        reason,
        outcome: Outcome::Success,
        attempts,
        revision,
        lateness_us: None,
        took_us: 0,
        span: None,
        more: trigger
            .map(|trigger| Box::new(RunMore { trigger: Some(Box::new(trigger.clone())), ..RunMore::default() })),
    }
}
