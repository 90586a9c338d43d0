//! What units did, on its way to the recorder.
//!
//! After a step that was a plain success, what it changed goes into the batch at once, as a patch: a copy of some numbers, while they
//! are at hand. Units of which more changed, or whose run goes on, wait in a queue and are handed over a few at a time, so that no
//! tick has to wait for many of them. The batch leaves once a second, or when it is full.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Slot, Worker};
use crate::outcome::{RunKey, RunRecord, TaskId};
use crate::patch::Patch;
use crate::ports::{Clock, Runner, UnitState};

/// How often what units did leaves for the recorder.
pub(super) const RECORD_INTERVAL: Duration = Duration::from_secs(1);

/// How often units that wait in the queue are put into the batch, while there are any.
pub(super) const GATHER_INTERVAL: Duration = Duration::from_millis(50);

/// How many of them at a time: whole states, which are 2,000 a second, and patches, which are less work.
const GATHERED_STATES: usize = 100;
const GATHERED_PATCHES: usize = 400;

/// A batch with so many bytes of patches leaves before the second is over: else those of many fast tasks would be megabytes, which the
/// store then writes in one go.
pub(super) const FULL_BATCH_PATCH_BYTES: usize = 256 << 10;

/// How much a batch takes while the recorder is behind, before units wait in the queue.
const MAX_BATCH_PATCH_BYTES: usize = 8 << 20;
const MAX_BATCH_STATES: usize = 4_000;

/// How many batches wait for the recorder before further ones are kept back.
const MAX_WAITING_BATCHES: usize = 4;

/// How many find room with those that are kept back by nothing, since somebody waits for them: as many as changes that go on at once.
pub(crate) const RECORD_QUEUE: usize = 4096;

/// What units did, on the way to the recorder.
#[derive(Default)]
pub(crate) struct UnitBatch {
    /// Each with how many bytes of `patches` are older: its place in the journal, once that is known of the batch.
    pub states: Vec<(TaskId, UnitState)>,
    pub records: Vec<(TaskId, RunRecord)>,
    pub ended: Vec<(TaskId, RunKey)>,
    /// Encoded by [`patch`](crate::patch).
    pub patches: Vec<u8>,
}

/// What a worker has for the recorder.
#[derive(Default)]
pub(super) struct Recording {
    /// Units that are marked dirty, those that have waited longest first, and some that are not any more.
    dirty: VecDeque<u32>,
    batch: UnitBatch,
    /// Which history the states that were handed over are in.
    histories: u64,
}

impl Recording {
    pub(super) fn has_units(&self) -> bool {
        !self.dirty.is_empty()
    }

    fn has_room(&self) -> bool {
        self.batch.patches.len() < MAX_BATCH_PATCH_BYTES && self.batch.states.len() < MAX_BATCH_STATES
    }

    pub(super) fn has_batch(&self) -> bool {
        !self.batch.states.is_empty() || !self.batch.patches.is_empty()
    }
}

impl<R: Runner, C: Clock> Worker<R, C> {
    /// What a unit did is to be written.
    pub(super) fn mark_dirty(&mut self, index: u32) {
        if let Some(slot) = self.slots[index as usize].as_mut()
            && !std::mem::replace(&mut slot.dirty, true)
        {
            self.recording.dirty.push_back(index);
        }
    }

    /// A step of a unit is done. This is on the tick path.
    pub(super) fn record_step(&mut self, index: u32) {
        let Some(slot) = self.slots[index as usize].as_mut() else { return };
        // A run that goes on is seldom worth a patch of its own: most have ended when its turn comes.
        let at_rest = slot.unit.running().is_empty() && self.recording.has_room();
        match slot.patch().filter(|_| at_rest) {
            Some(patch) => {
                patch.encode(slot.definition.id, &mut self.recording.batch.patches);
                slot.dirty = false;
                if self.recording.batch.patches.len() >= FULL_BATCH_PATCH_BYTES {
                    self.record_batch();
                }
            }
            None => self.mark_dirty(index),
        }
    }

    /// Puts units that waited in the queue into the batch, a few of them.
    pub(super) fn gather(&mut self) {
        if self.recording.has_room() {
            self.gather_some(GATHERED_STATES, GATHERED_PATCHES);
        }
    }

    fn gather_some(&mut self, mut states: usize, mut patches: usize) {
        while states > 0
            && patches > 0
            && let Some(index) = self.recording.dirty.pop_front()
        {
            let Some(slot) = self.slots[index as usize].as_mut().filter(|slot| slot.dirty) else { continue };
            if let Some(patch) = slot.patch() {
                patch.encode(slot.definition.id, &mut self.recording.batch.patches);
                slot.dirty = false;
                patches -= 1;
            } else {
                slot.take_state(&mut self.recording.batch);
                states -= 1;
            }
        }
    }

    /// Hands the batch to the recorder; if that is behind, it grows until the next time.
    pub(super) fn record_batch(&mut self) {
        self.hand_over_anew();
        let queue = &self.shared.states;
        if queue.max_capacity() - queue.capacity() < MAX_WAITING_BATCHES {
            self.send_batch();
        }
    }

    /// Hands over what a unit did, at once and after all that was handed over before. Answers whether that was so.
    pub(super) fn record_now(&mut self, index: u32) -> bool {
        if let Some(slot) = self.slots[index as usize].as_mut().filter(|slot| slot.dirty) {
            slot.take_state(&mut self.recording.batch);
        }
        self.send_batch()
    }

    /// Hands over what all units did that changed, for the last write.
    pub(crate) fn record_all(&mut self) {
        self.hand_over_anew();
        self.gather_some(usize::MAX, usize::MAX);
        if !self.send_batch() {
            tracing::error!("what tasks did last is not written");
        }
    }

    /// There is one way to the recorder, so that what is newer comes later. Without room, the batch stays.
    fn send_batch(&mut self) -> bool {
        let Ok(permit) = self.shared.states.try_reserve() else { return false };
        let patches = Vec::with_capacity(self.recording.batch.patches.len());
        // The next one will be about as large.
        permit.send(std::mem::replace(&mut self.recording.batch, UnitBatch { patches, ..UnitBatch::default() }));
        true
    }

    /// When the store has begun its history anew, patches have nothing to go on from: every unit is handed over whole.
    fn hand_over_anew(&mut self) {
        let histories = self.shared.claims.histories();
        if std::mem::replace(&mut self.recording.histories, histories) == histories {
            return;
        }
        for index in 0..self.slots.len() {
            if let Some(slot) = self.slots[index].as_mut() {
                slot.unit.forget_handed_over();
                self.mark_dirty(index as u32);
            }
        }
    }
}

impl<J> Slot<J> {
    /// What changed since the unit was handed over, if a patch can say it.
    fn patch(&self) -> Option<Patch> {
        let patch = self.unit.patch().filter(|_| self.rare.as_ref().is_none_or(|rare| rare.ended.is_empty()))?;
        let (log_seq, log_lost) = self.log.position();
        Some(Patch { log_seq, log_lost, ..patch })
    }

    /// Puts what the unit did into a batch.
    fn take_state(&mut self, batch: &mut UnitBatch) {
        self.dirty = false;
        let id = self.definition.id;
        let (log_seq, log_lost) = self.log.position();
        let plugins = self.old_plugins().to_vec();
        let journal = batch.patches.len() as u64;
        batch.states.push((id, UnitState { plugins, log_seq, log_lost, journal, ..self.unit.hand_over() }));
        batch.records.extend(self.unit.history.take_unwritten().into_iter().map(|record| (id, record)));
        batch.ended.extend(self.rare.iter_mut().flat_map(|rare| rare.ended.drain(..)).map(|key| (id, key)));
    }
}
