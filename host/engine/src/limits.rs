//! What one attempt may have of everything. Which bounds a task may have of its own are the core's [`LIMITS`]; those that are
//! the same for all tasks are constants.

use std::sync::atomic::{AtomicU64, Ordering};

use taskhost_core::log::PerMinute;
use taskhost_core::spec::{Ceilings, LIMITS, Limit, TaskSpec};

/// The bytes that a guest may hand to the host in one call.
pub(crate) const MAX_HOSTCALL_BYTES: usize = 16 << 20;
/// The random bytes of one call.
pub(crate) const MAX_RANDOM_BYTES: u64 = 1 << 20;
/// The elements of one table in a pool; no task's limit is higher.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 100_000;
/// The frames of a trap's backtrace: those that are told, behind those that a panic adds.
pub(crate) const MAX_TRAP_FRAMES: usize = 24;
/// How many of them are told.
pub(crate) const MAX_TOLD_FRAMES: usize = 8;

/// Every limit in force for a task; `u64::MAX` for none.
#[derive(PartialEq, Eq)]
pub(crate) struct Bounds([u64; LIMITS.len()]);

impl Bounds {
    /// Those in force for a task without limits of its own.
    pub(crate) fn of_most_tasks(ceilings: &Ceilings) -> Self {
        Self::of_task(&TaskSpec::default(), ceilings)
    }

    /// Those in force for a task.
    pub(crate) fn of_task(spec: &TaskSpec, ceilings: &Ceilings) -> Self {
        Self(LIMITS.map(|rule| ceilings.limit(spec, rule.limit).unwrap_or(u64::MAX)))
    }

    pub(crate) fn of(&self, limit: Limit) -> u64 {
        self.0[limit as usize]
    }

    /// What the task may log in a minute.
    pub(crate) fn per_minute(&self) -> PerMinute {
        PerMinute { lines: self.of(Limit::LogLinesPerMinute), bytes: self.of(Limit::LogBytesPerMinute) }
    }

    /// The same as a number of things in memory.
    pub(crate) fn count(&self, limit: Limit) -> usize {
        usize::try_from(self.of(limit)).unwrap_or(usize::MAX)
    }
}

/// How many attempts ran into each limit since the start. One that runs into it again and again counts once.
#[derive(Default)]
pub(crate) struct Hits([AtomicU64; LIMITS.len()]);

impl Hits {
    pub(crate) fn count(&self, limit: Limit) {
        self.0[limit as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Those that were hit.
    pub(crate) fn counts(&self) -> Vec<(Limit, u64)> {
        let counts = LIMITS.iter().zip(&self.0).map(|(rule, hits)| (rule.limit, hits.load(Ordering::Relaxed)));
        counts.filter(|(_, hits)| *hits > 0).collect()
    }
}
