//! Definitions of which tasks share one: of a hundred thousand, most differ in their name only, and a worker that goes through them
//! has what they share at hand.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::TaskSpec;

/// How many that no task has any more are kept, beyond as many as tasks have.
const MAX_UNUSED: usize = 1024;

/// The definitions of a host's tasks, each once.
#[derive(Debug, Default)]
pub(crate) struct SharedSpecs(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    specs: HashSet<Arc<TaskSpec>>,
    /// How many there may be before those that no task has are let go.
    most: usize,
}

impl SharedSpecs {
    /// The one that is known already, if it is the same.
    pub(crate) fn share(&self, spec: impl Into<Arc<TaskSpec>>) -> Arc<TaskSpec> {
        let spec = spec.into();
        let known = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.specs.get(&spec) {
            return Arc::clone(same);
        }
        if known.specs.len() >= known.most {
            known.specs.retain(|spec| Arc::strong_count(spec) > 1);
            known.most = 2 * known.specs.len() + MAX_UNUSED;
        }
        known.specs.insert(Arc::clone(&spec));
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
    fn definitions_that_no_task_has_any_more_are_let_go() {
        let specs = SharedSpecs::default();
        let kept = specs.share(spec(0));
        for runs in 1..=5 * MAX_UNUSED as u64 {
            specs.share(spec(runs));
        }
        let known = specs.0.lock().expect("no panic").specs.len();
        assert!(known <= 2 + MAX_UNUSED, "{known}");
        assert!(Arc::ptr_eq(&kept, &specs.share(spec(0))));
    }
}
