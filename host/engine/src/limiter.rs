//! Holds an attempt to its limits: what wasmtime asks before a guest's memory or table grows.

use taskhost_core::spec::{LIMITS, Limit};
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTableError;

use crate::held::Held;
use crate::report::Refusal;
use crate::setup::Setup;

/// What an element of a table takes of the host's memory.
const TABLE_ELEMENT_BYTES: u64 = size_of::<usize>() as u64;

/// What wasmtime says when a store has too many of something, and when it has too many handles: it has no types for these.
const TOO_MANY: [(&str, Limit); 3] = [
    ("resource limit exceeded: instance count", Limit::Instances),
    ("resource limit exceeded: memory count", Limit::Memories),
    ("resource limit exceeded: table count", Limit::Tables),
];
const TOO_MANY_HANDLES: &str = "store handle limit exceeded";

/// What a guest was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// More than its task may have.
    Limit(Limit),
    /// More than the host has left for all of them, which is no fault of the guest's.
    Budget,
}

/// Counts what an attempt has, and remembers what it was denied: a guest that is denied memory mostly traps a moment later,
/// and the trap alone would not say why.
pub(crate) struct Limits {
    /// What it has of the host's budget, at least what it uses.
    held: Held,
    memory_bytes: u64,
    table_bytes: u64,
    /// What the growth that was allowed last adds, to be taken back if the allocator fails.
    growing_bytes: u64,
    denied: Option<Denied>,
    /// The limits that were counted, a bit each.
    counted: u32,
}

const _: () = assert!(LIMITS.len() <= u32::BITS as usize);

impl Limits {
    pub(crate) fn new(held: Held) -> Self {
        Self { held, memory_bytes: 0, table_bytes: 0, growing_bytes: 0, denied: None, counted: 0 }
    }

    /// The attempt is the next one of its instance: what it has stays, what it was denied is forgotten.
    pub(crate) fn begin_again(&mut self) {
        self.denied = None;
        self.counted = 0;
    }

    /// What was denied last, if anything was: how a run that fails for it ends.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.denied.map(|denied| match denied {
            Denied::Limit(limit) => Refusal::Limit(limit),
            Denied::Budget => Refusal::Budget(self.setup().services.budget.used_up()),
        })
    }

    /// The guest was denied more than this limit: if it fails, it fails for that.
    pub(crate) fn deny(&mut self, limit: Limit) {
        self.denied = Some(Denied::Limit(limit));
        self.note(limit);
    }

    /// The guest ran into this limit without being told.
    pub(crate) fn note(&mut self, limit: Limit) {
        let bit = 1 << limit as u32;
        if self.counted & bit == 0 {
            self.counted |= bit;
            self.setup().services.hits.count(limit);
        }
    }

    /// Sees whether it was a limit that broke the attempt off: one of those that wasmtime keeps itself.
    pub(crate) fn blame(&mut self, error: &wasmtime::Error) {
        if let Some(limit) = broken_limit(error) {
            self.deny(limit);
        }
    }

    pub(crate) fn setup(&self) -> &Setup {
        self.held.setup()
    }

    /// Takes what is missing for so much of everything from the host's budget.
    fn hold(&mut self, bytes: u64) -> bool {
        let held = self.held.grow_to(bytes);
        if !held {
            self.denied = Some(Denied::Budget);
        }
        held
    }
}

/// The limit that is the reason for an error, if it is one that wasmtime keeps.
fn broken_limit(error: &wasmtime::Error) -> Option<Limit> {
    if matches!(error.downcast_ref(), Some(ResourceTableError::Full)) {
        return Some(Limit::Handles);
    }
    let cause = error.root_cause().to_string();
    if cause.ends_with(TOO_MANY_HANDLES) {
        return Some(Limit::Handles);
    }
    TOO_MANY.iter().find(|(text, _)| cause.starts_with(text)).map(|(_, limit)| *limit)
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // The module's own maximum; no limit of ours.
            return Ok(false);
        }
        let more = desired.saturating_sub(current) as u64;
        let memory_bytes = self.memory_bytes.saturating_add(more);
        if memory_bytes > self.setup().bounds.of(Limit::MemoryBytes) {
            self.deny(Limit::MemoryBytes);
            return Ok(false);
        }
        if !self.hold(memory_bytes.saturating_add(self.table_bytes)) {
            return Ok(false);
        }
        self.memory_bytes = memory_bytes;
        self.growing_bytes = more;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!("failed to grow a memory: {error:#}");
        self.memory_bytes -= std::mem::take(&mut self.growing_bytes);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // Ours first: a pool tells the same bound as the table's own maximum.
        if desired > self.setup().bounds.count(Limit::TableElements) {
            self.deny(Limit::TableElements);
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        // What a table fails to grow by is not given back before the end: it is little.
        let table_bytes = self.table_bytes + desired.saturating_sub(current) as u64 * TABLE_ELEMENT_BYTES;
        let allowed = self.hold(self.memory_bytes.saturating_add(table_bytes));
        if allowed {
            self.table_bytes = table_bytes;
        }
        Ok(allowed)
    }

    fn instances(&self) -> usize {
        self.setup().bounds.count(Limit::Instances)
    }

    fn tables(&self) -> usize {
        self.setup().bounds.count(Limit::Tables)
    }

    fn memories(&self) -> usize {
        self.setup().bounds.count(Limit::Memories)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use taskhost_core::spec::{MIN_MEMORY_BYTES, TaskSpec};
    use wasmtime::{Engine, Instance, Module, Store};

    use super::*;
    use crate::limits::MAX_TABLE_ELEMENTS;
    use crate::setup::Services;

    /// In pages of wasm.
    const PAGE: usize = MIN_MEMORY_BYTES as usize;

    fn limits(memory_bytes: usize, budget_bytes: u64) -> Limits {
        let spec = TaskSpec { memory_bytes: Some(memory_bytes as u64), ..TaskSpec::default() };
        let setup = Arc::new(Setup::new(Arc::new(spec), Arc::new(Services::detached(budget_bytes)), 0));
        Limits::new(Held::none(&setup))
    }

    #[test]
    fn the_memory_limit_is_over_all_memories_together() {
        let mut limits = limits(10 * PAGE, u64::MAX);
        assert!(limits.memory_growing(0, 6 * PAGE, None).expect("no trap"));
        assert!(!limits.memory_growing(0, 6 * PAGE, None).expect("no trap"));
        assert_eq!(limits.denied, Some(Denied::Limit(Limit::MemoryBytes)));
        assert!(limits.memory_growing(6 * PAGE, 10 * PAGE, None).expect("no trap"));
    }

    #[test]
    fn a_growth_that_the_allocator_failed_is_not_counted() {
        let mut limits = limits(PAGE, u64::MAX);
        assert!(limits.memory_growing(0, PAGE, None).expect("no trap"));
        limits.memory_grow_failed(wasmtime::Error::msg("no memory")).expect("no trap");
        assert!(limits.memory_growing(0, PAGE, None).expect("no trap"));
    }

    #[test]
    fn a_table_past_our_bound_is_denied_even_where_a_pool_bounds_it_too() {
        let mut limits = limits(PAGE, u64::MAX);
        let grown = limits.table_growing(0, MAX_TABLE_ELEMENTS + 1, Some(MAX_TABLE_ELEMENTS));
        assert!(!grown.expect("no trap"));
        assert_eq!(limits.denied, Some(Denied::Limit(Limit::TableElements)));
    }

    #[test]
    fn a_modules_own_maximum_is_no_limit_of_ours() {
        let mut limits = limits(PAGE, u64::MAX);
        assert!(!limits.memory_growing(0, 6, Some(5)).expect("no trap"));
        assert_eq!(limits.denied, None);
    }

    #[test]
    fn what_the_budget_denies_is_not_the_tasks_limit_and_hits_none() {
        let mut limits = limits(10 * PAGE, 2 * PAGE as u64);
        assert!(limits.memory_growing(0, 2 * PAGE, None).expect("no trap"));
        assert!(!limits.memory_growing(2 * PAGE, 3 * PAGE, None).expect("no trap"));
        assert_eq!(limits.denied, Some(Denied::Budget));
        assert!(!limits.table_growing(0, 1, None).expect("no trap"), "tables count too");
        assert_eq!(limits.setup().services.hits.counts(), []);
    }

    #[test]
    fn an_attempt_that_hits_a_limit_again_and_again_counts_once() {
        let mut limits = limits(PAGE, u64::MAX);
        for _ in 0..3 {
            assert!(!limits.memory_growing(0, 2 * PAGE, None).expect("no trap"));
        }
        assert_eq!(limits.setup().services.hits.counts(), [(Limit::MemoryBytes, 1)]);
        limits.begin_again();
        limits.deny(Limit::MemoryBytes);
        assert_eq!(limits.setup().services.hits.counts(), [(Limit::MemoryBytes, 2)]);
    }

    #[test]
    fn wasmtimes_own_words_for_too_many_are_understood() {
        struct None;
        impl ResourceLimiter for None {
            fn memory_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> wasmtime::Result<bool> {
                Ok(true)
            }
            fn table_growing(&mut self, _: usize, _: usize, _: Option<usize>) -> wasmtime::Result<bool> {
                Ok(true)
            }
            fn instances(&self) -> usize {
                1
            }
            fn tables(&self) -> usize {
                0
            }
            fn memories(&self) -> usize {
                0
            }
        }
        let engine = Engine::default();
        let refused = |text: &str| {
            let mut store = Store::new(&engine, None);
            store.limiter(|limits| limits);
            let module = Module::new(&engine, text).expect("a module");
            let made = Instance::new(&mut store, &module, &[]);
            made.and_then(|_| Instance::new(&mut store, &module, &[])).err().as_ref().and_then(broken_limit)
        };
        assert_eq!(refused("(module (memory 1))"), Some(Limit::Memories));
        assert_eq!(refused("(module (table 1 funcref))"), Some(Limit::Tables));
        assert_eq!(refused("(module)"), Some(Limit::Instances));
        assert_eq!(broken_limit(&wasmtime::Error::msg("no more")), Option::None);
    }
}
