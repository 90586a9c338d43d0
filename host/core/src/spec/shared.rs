//! Definitions of which tasks share one: of a hundred thousand, most differ in their name only, and a worker that goes through them
//! has what they share at hand.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::TaskSpec;

/// How many places of those that no task has any more are kept, beyond as many as tasks have.
const MAX_UNUSED: usize = 1024;

/// The definitions of a host's tasks, each once.
#[derive(Debug, Default)]
pub(crate) struct SharedSpecs {
    hashes: RandomState,
    /// Locked for a look, by who adds, edits or loads tasks.
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Those in use, and what is left of some that were. Of two that have one hash, only the later is shared.
    by_hash: HashMap<u64, Weak<TaskSpec>>,
    /// How many there may be before what is left of others is cleared away.
    most: usize,
}

impl SharedSpecs {
    /// The one that is known already, if it is the same.
    pub(crate) fn share(&self, spec: impl Into<Arc<TaskSpec>>) -> Arc<TaskSpec> {
        let spec = spec.into();
        let hash = self.hashes.hash_one(&*spec);
        let known = &mut *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.by_hash.get(&hash).and_then(Weak::upgrade).filter(|same| *same == spec) {
            return same;
        }
        if known.by_hash.len() >= known.most {
            known.by_hash.retain(|_, spec| spec.strong_count() > 0);
            known.most = 2 * known.by_hash.len() + MAX_UNUSED;
        }
        known.by_hash.insert(hash, Arc::downgrade(&spec));
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(max_runs: u64) -> TaskSpec {
        TaskSpec { max_runs: Some(max_runs), ..TaskSpec::default() }
    }

    #[test]
    fn equal_definitions_are_one() {
        let specs = SharedSpecs::default();
        let first = specs.share(spec(1));
        assert!(Arc::ptr_eq(&first, &specs.share(spec(1))));
        assert!(!Arc::ptr_eq(&first, &specs.share(spec(2))));
    }

    #[test]
    fn a_definition_that_no_task_has_any_more_is_let_go() {
        let specs = SharedSpecs::default();
        let kept = specs.share(spec(0));
        let gone = Arc::downgrade(&specs.share(spec(1)));
        assert!(gone.upgrade().is_none(), "nobody else holds it");
        for runs in 2..=5 * MAX_UNUSED as u64 {
            specs.share(spec(runs));
        }
        let known = specs.known.lock().expect("no panic").by_hash.len();
        assert!(known <= 2 + MAX_UNUSED, "{known}");
        assert!(Arc::ptr_eq(&kept, &specs.share(spec(0))));
    }
}
