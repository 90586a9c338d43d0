//! A store in memory that keeps what `ports::Store` promises: a batch is atomic, a noted start and a claim are durable when they are
//! answered, and what was refused is the caller's to keep.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use taskhost_core::outcome::{RunKey, RunRecord, TaskId};
use taskhost_core::ports::{Definition, HostRun, OpenRun, UnitState};
use taskhost_core::time::Time;

use crate::check::{Check, Mark, ensure};

/// What a worker handed to the recorder, or the recorder keeps for the store.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) states: HashMap<TaskId, (Arc<UnitState>, Mark)>,
    pub(crate) records: Vec<(TaskId, RunRecord)>,
    pub(crate) ended: Vec<(TaskId, RunKey)>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }
}

#[derive(Default)]
pub(crate) struct Store {
    pub(crate) definitions: BTreeMap<TaskId, (usize, Definition)>,
    pub(crate) states: HashMap<TaskId, (Arc<UnitState>, Mark)>,
    pub(crate) starts: BTreeMap<(TaskId, RunKey), OpenRun>,
    records: BTreeMap<(TaskId, Time, u32), RunRecord>,
    pub(crate) host: Option<HostRun>,
}

impl Store {
    pub(crate) fn write(&mut self, batch: &mut Batch) {
        let Batch { states, records, ended } = std::mem::take(batch);
        self.states.extend(states);
        for (id, record) in records {
            self.records.insert((id, record.first_due(), record.key.backfill), record);
        }
        for (id, key) in ended {
            self.starts.remove(&(id, key));
        }
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
        let Some((state, _)) = self.states.get(&id) else { return Ok(()) };
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
