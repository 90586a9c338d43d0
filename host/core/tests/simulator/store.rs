//! A store in memory that keeps what `ports::Store` promises: a batch is atomic, a noted start and a claim are durable when they are
//! answered, and what was refused is the caller's to keep.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use taskhost_core::outcome::{RunKey, RunRecord, TaskId};
use taskhost_core::patch::Patch;
use taskhost_core::ports::{Definition, HostRun, OpenRun, UnitState};
use taskhost_core::time::Time;

use crate::check::{Check, Mark, ensure};

/// How often the journal grows before it is folded.
const FOLD_WRITES: u32 = 5;

/// What a worker handed to the recorder, or the recorder keeps for the store.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) states: HashMap<TaskId, (Arc<UnitState>, Mark)>,
    pub(crate) records: Vec<(TaskId, RunRecord)>,
    pub(crate) ended: Vec<(TaskId, RunKey)>,
    /// Written after the rest.
    pub(crate) journal: Vec<JournalPatch>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.states.is_empty() && self.journal.is_empty()
    }
}

/// A patch in the journal.
pub(crate) struct JournalPatch {
    pub(crate) task: TaskId,
    pub(crate) place: u64,
    pub(crate) patch: Patch,
    pub(crate) mark: Mark,
}

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) definitions: BTreeMap<TaskId, (usize, Definition)>,
    states: HashMap<TaskId, (Arc<UnitState>, Mark)>,
    pub(crate) starts: BTreeMap<(TaskId, RunKey), OpenRun>,
    records: BTreeMap<(TaskId, Time, u32), RunRecord>,
    journal: Vec<JournalPatch>,
    journal_writes: u32,
    pub(crate) host: Option<HostRun>,
}

impl Store {
    /// Takes what goes before the journal.
    pub(crate) fn write(&mut self, batch: &mut Batch) {
        self.states.extend(batch.states.drain());
        for (id, record) in batch.records.drain(..) {
            self.records.insert((id, record.first_due(), record.key.backfill), record);
        }
        for (id, key) in batch.ended.drain(..) {
            self.starts.remove(&(id, key));
        }
    }

    /// Takes what goes into the journal, and puts it into the states now and then.
    pub(crate) fn write_journal(&mut self, batch: &mut Batch) -> Check {
        self.journal.append(&mut batch.journal);
        self.journal_writes += 1;
        if self.journal_writes.is_multiple_of(FOLD_WRITES) {
            for task in self.states.keys().copied().collect::<Vec<_>>() {
                let folded = self.state_of(task)?;
                self.states.extend(folded.map(|(state, mark)| (task, (Arc::new(state), mark))));
            }
            self.journal.clear();
        }
        Ok(())
    }

    /// A state brought up to date by the newest patch after it.
    pub(crate) fn state_of(&self, id: TaskId) -> Result<Option<(UnitState, Mark)>, String> {
        let Some((state, mark)) = self.states.get(&id) else { return Ok(None) };
        let mut state = (**state).clone();
        let newer = |patch: &&JournalPatch| patch.task == id && patch.place >= state.journal;
        let Some(newest) = self.journal.iter().rev().find(newer) else { return Ok(Some((state, *mark))) };
        let before = state.clone();
        ensure!(newest.patch.apply(&mut state), "the patch {:?} does not fit the state {before:?}", newest.patch);
        state.journal = newest.place + 1;
        Ok(Some((state, newest.mark)))
    }

    pub(crate) fn note(&mut self, starts: Vec<(TaskId, OpenRun)>) {
        self.starts.extend(starts.into_iter().map(|(id, run)| ((id, run.key), run)));
    }

    pub(crate) fn delete(&mut self, id: TaskId) {
        self.definitions.remove(&id);
    }

    pub(crate) fn starts_of(&self, id: TaskId) -> Vec<OpenRun> {
        self.starts.iter().filter(|((task, _), _)| *task == id).map(|(_, run)| run.clone()).collect()
    }

    /// The stored records and those in the state add up to the counts.
    pub(crate) fn adds_up(&self, id: TaskId) -> Check {
        let Some((state, _)) = self.state_of(id)? else { return Ok(()) };
        let mut times: BTreeMap<(Time, u32), u64> = BTreeMap::new();
        let of_task = (id, Time(i64::MIN), 0)..=(id, Time(i64::MAX), u32::MAX);
        let stored = self.records.range(of_task).map(|(_, record)| record);
        for record in stored.chain(&state.last_runs) {
            times.insert((record.first_due(), record.key.backfill), record.times());
        }
        let sum = times.values().sum::<u64>() + state.history_lost;
        let counted: u64 = state.counts.iter().map(|(_, times)| times).sum();
        ensure!(sum == counted, "the stored records stand for {sum} due times, and {counted} are counted");
        Ok(())
    }
}
