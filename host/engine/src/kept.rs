//! Instances that are kept for the next run of their task (`instance = "keep"`).
//!
//! A task keeps one at most, in its job, so that an edit or a deletion drops it with the job. Here is who has one, by engine, the one
//! that was used longest ago first: those give way when runs need a place or memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// How many instances are kept on one engine at most. Each takes about five mappings, and Linux gives a process 65,530 by default: all
/// pools together have at most 8,000 slots, of which half may be kept, so that most is left for runs.
const MAX_KEPT_PER_ENGINE: usize = 500;

/// Of the places on an engine, kept instances take at most one in so many.
const PLACES_PER_KEPT: u32 = 2;

/// Who has a kept instance on one engine.
pub(crate) struct Kept {
    most: usize,
    /// Locked for moments, by runs of tasks that keep their instances and by those that find an engine full.
    uses: Mutex<Uses>,
}

#[derive(Default)]
struct Uses {
    /// By use, the oldest first.
    keepers: BTreeMap<u64, Weak<dyn Keeper>>,
    count: u64,
}

/// Who has an instance and can be asked to give it up: a job, of which nothing else is known here.
pub(crate) trait Keeper: Send + Sync {
    /// Drops its instance, if it is the one that was listed under this number. `false` if it is gone, or runs again.
    fn give_up(&self, number: u64) -> bool;
}

/// That a job has a kept instance; over when it is dropped.
pub(crate) struct Listed {
    kept: Arc<Kept>,
    number: u64,
}

impl Kept {
    /// For an engine with so many places.
    pub(crate) fn new(places: u32) -> Arc<Self> {
        let most = usize::try_from(places / PLACES_PER_KEPT).unwrap_or(usize::MAX).min(MAX_KEPT_PER_ENGINE);
        Arc::new(Self { most, uses: Mutex::default() })
    }

    pub(crate) fn count(&self) -> u64 {
        self.lock().keepers.len() as u64
    }

    /// Drops instances until one more may be kept. `false` where nothing may be.
    pub(crate) fn make_room(&self) -> bool {
        while self.is_full() && self.evict() {}
        self.most > 0
    }

    /// Lists a job as the one that was used last. Called with the job's instance locked, so that whoever finds it in the list finds the
    /// instance too.
    pub(crate) fn list(self: &Arc<Self>, job: Weak<dyn Keeper>) -> Listed {
        let mut uses = self.lock();
        uses.count += 1;
        let number = uses.count;
        uses.keepers.insert(number, job);
        Listed { kept: Arc::clone(self), number }
    }

    fn is_full(&self) -> bool {
        self.lock().keepers.len() >= self.most
    }

    /// Drops the instance that was used longest ago. `false` if none is kept.
    pub(crate) fn evict(&self) -> bool {
        loop {
            let oldest = self.lock().keepers.pop_first();
            let Some((number, job)) = oldest else { return false };
            // One that is gone, or runs again, gives way by itself.
            if job.upgrade().is_some_and(|job| job.give_up(number)) {
                return true;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listed {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.kept.lock().keepers.remove(&self.number);
    }
}
