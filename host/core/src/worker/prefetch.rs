//! What a tick reads of its task, fetched for all that come due together before the first of them begins.

use super::timers::Wake;
use super::{Slot, Worker};
use crate::ports::{Clock, Runner};
use crate::prefetch::{prefetch, prefetch_arc};

/// How far what a tick reads is from the worker's own list of tasks: so often one place tells of the next.
const DEPTH: usize = 4;

impl<R: Runner, C: Clock> Worker<R, C> {
    /// Goes from place to place for all of them at a time, so that of none is read what was not fetched while the others had their turn.
    pub(super) fn prefetch(&self, due: &[Wake]) {
        for depth in 0..DEPTH {
            for wake in due {
                let slot = &self.slots[wake.slot as usize];
                match (depth, slot) {
                    (0, slot) => prefetch(slot),
                    (_, None) => {}
                    (_, Some(slot)) => {
                        slot.prefetch(depth - 1);
                        if let Ok(job) = &slot.job {
                            self.runner.prefetch(job, depth - 1);
                        }
                    }
                }
            }
        }
    }
}

impl<J> Slot<J> {
    fn prefetch(&self, depth: usize) {
        self.unit.prefetch(depth);
        match depth {
            0 => {
                self.definition.name.prefetch();
                prefetch_arc(&self.log);
            }
            _ => self.log.prefetch(depth - 1),
        }
    }
}
