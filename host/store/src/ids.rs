//! Maps by task, for as many tasks as there may be.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use taskhost_core::outcome::TaskId;

/// A map by task that is cheap to ask.
pub(crate) type TaskMap<V> = HashMap<TaskId, V, BuildHasherDefault<IdHasher>>;

/// How many tasks something is kept in mind of that can be asked for again.
pub(crate) const MAX_KNOWN_TASKS: usize = 1 << 18;

/// Ids of tasks are random, so little is left to do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u64(&mut self, id: u64) {
        // By the golden ratio, which spreads what is not random over all bits.
        self.0 = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}
