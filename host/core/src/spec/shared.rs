//! Definitions of which tasks share one: of a hundred thousand, most differ in their name only, and a worker that goes through them
//! has what they share at hand.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use super::TaskSpec;
use crate::weak_map::WeakMap;

/// The definitions of a host's tasks, each once.
#[derive(Debug, Default)]
pub(crate) struct SharedSpecs {
    hashes: RandomState,
    /// By their hashes; of two that have one, only the later is shared. Locked for a look, by who adds, edits or loads tasks.
    known: Mutex<WeakMap<u64, TaskSpec>>,
}

impl SharedSpecs {
    /// The one that is known already, if it is the same.
    pub(crate) fn share(&self, spec: impl Into<Arc<TaskSpec>>) -> Arc<TaskSpec> {
        let spec = spec.into();
        let hash = self.hashes.hash_one(&*spec);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.get(&hash).filter(|same| *same == spec) {
            return same;
        }
        known.insert(hash, &spec);
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_definitions_are_one() {
        let spec = |max_runs| TaskSpec { max_runs: Some(max_runs), ..TaskSpec::default() };
        let specs = SharedSpecs::default();
        let first = specs.share(spec(1));
        assert!(Arc::ptr_eq(&first, &specs.share(spec(1))));
        assert!(!Arc::ptr_eq(&first, &specs.share(spec(2))));
    }
}
