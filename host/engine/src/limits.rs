//! What one attempt may have of everything. Each bound is here; the memory limit alone is the task's own.

use wasmtime::ResourceLimiter;

/// The bytes that a guest may hand to the host in one call.
pub(crate) const MAX_HOSTCALL_BYTES: usize = 16 << 20;
/// The resource handles that a component may hold.
pub(crate) const MAX_COMPONENT_HANDLES: usize = 10_000;
/// The host's objects (streams, pollables) that a guest may hold.
pub(crate) const MAX_HOST_RESOURCES: usize = 10_000;
/// The random bytes of one call.
pub(crate) const MAX_RANDOM_BYTES: u64 = 1 << 20;
/// The elements of one table; each is a pointer on the host.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 100_000;
/// The frames of a trap's backtrace.
pub(crate) const MAX_TRAP_FRAMES: usize = 8;

const MAX_INSTANCES: usize = 1_000;
const MAX_TABLES: usize = 1_000;
const MAX_MEMORIES: usize = 100;

/// Which limit was hit: the detail of `limit_exceeded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Memory,
    Table,
    KvBytes,
}

impl Limit {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Table => "table",
            Self::KvBytes => "kv_bytes",
        }
    }
}

/// Counts what an attempt has, and remembers what it was denied: a guest that is denied memory mostly traps a moment later,
/// and the trap alone would not say why.
pub(crate) struct Limits {
    /// The most bytes of all linear memories together.
    memory_bytes: usize,
    used_bytes: usize,
    /// What the growth that was allowed last adds, to be taken back if the allocator fails.
    growing_bytes: usize,
    denied: Option<Limit>,
}

impl Limits {
    pub(crate) fn new(memory_bytes: u64) -> Self {
        let memory_bytes = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        Self { memory_bytes, used_bytes: 0, growing_bytes: 0, denied: None }
    }

    /// The guest ran into a limit that is counted elsewhere.
    pub(crate) fn deny(&mut self, limit: Limit) {
        self.denied = Some(limit);
    }

    /// The limit that was hit last, if one was.
    pub(crate) fn denied(&self) -> Option<Limit> {
        self.denied
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The module's own maximum; no limit of ours.
            return Ok(false);
        }
        let more = desired.saturating_sub(current);
        let allowed = self.used_bytes.saturating_add(more) <= self.memory_bytes;
        if allowed {
            self.used_bytes += more;
            self.growing_bytes = more;
        } else {
            self.denied = Some(Limit::Memory);
        }
        Ok(allowed)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!("failed to grow a memory: {error:#}");
        self.used_bytes -= std::mem::take(&mut self.growing_bytes);
        Ok(())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // Ours first: a pool tells the same bound as the table's own maximum.
        if desired > MAX_TABLE_ELEMENTS {
            self.denied = Some(Limit::Table);
            return Ok(false);
        }
        Ok(maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_limit_is_over_all_memories_together() {
        let mut limits = Limits::new(100);
        assert!(limits.memory_growing(0, 60, None).expect("no trap"));
        assert!(!limits.memory_growing(0, 60, None).expect("no trap"));
        assert_eq!(limits.denied(), Some(Limit::Memory));
        assert!(limits.memory_growing(60, 100, None).expect("no trap"));
    }

    #[test]
    fn a_growth_that_the_allocator_failed_is_not_counted() {
        let mut limits = Limits::new(100);
        assert!(limits.memory_growing(0, 100, None).expect("no trap"));
        limits.memory_grow_failed(wasmtime::Error::msg("no memory")).expect("no trap");
        assert!(limits.memory_growing(0, 100, None).expect("no trap"));
    }

    #[test]
    fn a_table_past_our_bound_is_denied_even_where_a_pool_bounds_it_too() {
        let mut limits = Limits::new(100);
        let grown = limits.table_growing(0, MAX_TABLE_ELEMENTS + 1, Some(MAX_TABLE_ELEMENTS));
        assert!(!grown.expect("no trap"));
        assert_eq!(limits.denied(), Some(Limit::Table));
    }

    #[test]
    fn a_modules_own_maximum_is_no_limit_of_ours() {
        let mut limits = Limits::new(100);
        assert!(!limits.memory_growing(0, 60, Some(50)).expect("no trap"));
        assert_eq!(limits.denied(), None);
    }
}
