//! The wasmtime engines: one with a pool for each worker, and one without for what does not fit into a pool.
//!
//! Pools are where the speed is: an attempt takes a slot that is still warm from the last one. All engines share their
//! compile settings, so that one artefact serves them all. None of them has a compiler: who compiles makes an engine for it.
//!
//! Measured (µs per store, instance, call and drop of a realistic C guest): on demand 29, pool with wasmtime's defaults 21.5,
//! pool with these settings 5.2; on two threads 1.4 times as many with one engine, 1.75 times with one engine for each.

use std::num::NonZeroUsize;

use rustix::process::{Resource, getrlimit};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails, WasmFeatures,
};

use crate::error::EngineError;
use crate::limits::{MAX_TABLE_ELEMENTS, MAX_TRAP_FRAMES};

/// The address space that all pools together may reserve: of the 128 TiB there are, as much as mappings were measured to get.
const POOLED_ADDRESS_BYTES: u64 = 32 << 40;

/// What one linear memory reserves: all that 32 bits can address, so that compiled code needs no bounds checks.
const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;

/// What stands behind each memory, unmapped, for accesses with a constant offset.
const MEMORY_GUARD_BYTES: u64 = 32 << 20;

/// The address space that a slot takes.
const SLOT_BYTES: u64 = MEMORY_RESERVATION_BYTES + MEMORY_GUARD_BYTES;

/// A pool smaller than this is not worth having.
const MIN_POOL_SLOTS: u32 = 4;

/// How much of a slot's memory stays mapped when it is reset by copying instead of by system calls.
const MEMORY_KEEP_RESIDENT_BYTES: usize = 128 << 10;
const TABLE_KEEP_RESIDENT_BYTES: usize = 64 << 10;
const STACK_KEEP_RESIDENT_BYTES: usize = 64 << 10;

/// How many core instances and tables there are to a slot: a component often has a shim and an adapter beside its module. Where those run
/// out that have more, runs go without a pool. A table that waits costs 50 bytes.
const CORE_INSTANCES_PER_SLOT: u32 = 8;
const TABLES_PER_SLOT: u32 = 2;

/// What one module may take of a pool.
const TABLES_PER_MODULE: u32 = 4;

/// What one component may take of a pool, in slots' shares; one with more goes without a pool.
const SHARES_PER_COMPONENT: u32 = 4;

/// What no plugin may use, because nothing that we run needs it and a limit would not see it or a release not stand behind it: a
/// shared memory grows past every limiter; 64-bit memories have more than a task may; the others are experiments.
const FEATURES_OFF: WasmFeatures = WasmFeatures::THREADS
    .union(WasmFeatures::SHARED_EVERYTHING_THREADS)
    .union(WasmFeatures::MEMORY64)
    .union(WasmFeatures::CUSTOM_PAGE_SIZES)
    .union(WasmFeatures::STACK_SWITCHING)
    .union(WasmFeatures::WIDE_ARITHMETIC)
    .union(WasmFeatures::LEGACY_EXCEPTIONS)
    .union(WasmFeatures::CM64)
    .union(WasmFeatures::CM_GC)
    .union(WasmFeatures::CM_THREADING);

/// How many instances may live without a pool, over all workers. Each takes some six mappings, of the 65,530 that Linux gives a
/// process by default; past those, an allocation of the host's own would fail and end it.
pub(crate) const MAX_OVERFLOW_INSTANCES: u32 = 4_000;

/// What wasmtime's refusals to load say when a pool is what they are about; it has no type for them.
const POOL_REFUSAL: &str = "pooling allocator";

/// The most that one instance's own tables of functions, globals and such may take.
const MAX_INSTANCE_METADATA_BYTES: usize = 4 << 20;

/// How deep a guest may recurse, and what the host's functions get beyond it on the same stack.
const MAX_WASM_STACK_BYTES: usize = 512 << 10;
const HOST_STACK_BYTES: usize = 512 << 10;

/// How a slot is made as good as new. What is in force is the default; others are for a benchmark that shows what they cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Whether the kernel is asked which pages of a memory were written, where it can tell (Linux 6.7): only those are reset.
    pub pagemap_scan: bool,
    /// Up to how many bytes of a memory are reset by copying; what is beyond them by `madvise`.
    pub memory_bytes: usize,
}

impl Default for Reset {
    fn default() -> Self {
        Self { pagemap_scan: true, memory_bytes: MEMORY_KEEP_RESIDENT_BYTES }
    }
}

/// The engines of a host.
pub(crate) struct Engines {
    /// One for each worker.
    pub(crate) workers: Vec<Engine>,
    /// Without a pool, shared by all workers.
    pub(crate) overflow: Engine,
    /// For what is of WASI 0.3, without a pool as well.
    pub(crate) concurrent: Engine,
    /// How many slots each worker has; 0 if the address space is too small for pools.
    pub(crate) slots: u32,
}

impl Engines {
    /// Makes the engines, with the most slots that the process may have.
    pub(crate) fn new(workers: usize, most_slots: u32, reset: Reset) -> Result<Self, EngineError> {
        let address_limit = getrlimit(Resource::As).current;
        let mut slots = slots_for(workers, most_slots, address_limit);
        while slots >= MIN_POOL_SLOTS {
            match pooled(workers, slots, reset) {
                Ok(workers) => {
                    let overflow = unpooled(true, Kind::Plain)?;
                    let concurrent = unpooled(true, Kind::Concurrent)?;
                    return Ok(Self { workers, overflow, concurrent, slots });
                }
                Err(error) => tracing::debug!(slots, "no pools of this size: {error:#}"),
            }
            slots /= 2;
        }
        tracing::warn!("the address space is too small for pools; every run maps its own memory");
        let overflow = unpooled(false, Kind::Plain)?;
        let concurrent = unpooled(false, Kind::Concurrent)?;
        Ok(Self { workers: vec![overflow.clone(); workers], overflow, concurrent, slots: 0 })
    }

    /// Each engine once: without pools, the workers' are all the overflow engine.
    pub(crate) fn distinct(&self) -> Vec<Engine> {
        let pooled = if self.slots > 0 { &self.workers[..] } else { &[] };
        pooled.iter().chain([&self.overflow, &self.concurrent]).cloned().collect()
    }
}

/// What an engine's code can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    /// Component-model concurrency, which WASI 0.3 is made of. A store costs more to make with it.
    Concurrent,
}

/// An engine that compiles for engines that have pools or have none. It reserves no memory.
pub(crate) fn compiling(for_pools: bool, kind: Kind) -> wasmtime::Result<Engine> {
    Engine::new(config(reservation(for_pools), kind).enable_compiler(true))
}

/// An engine without a pool, beside engines that have some or have none.
fn unpooled(beside_pools: bool, kind: Kind) -> Result<Engine, EngineError> {
    Engine::new(&config(reservation(beside_pools), kind)).map_err(EngineError::wasmtime)
}

/// What the memories reserve of engines that have pools or have none.
fn reservation(pooled: bool) -> u64 {
    if pooled { MEMORY_RESERVATION_BYTES } else { 0 }
}

/// Whether a plugin was not loaded because it has more than a slot has room for.
pub(crate) fn is_too_big(error: &wasmtime::Error) -> bool {
    format!("{error:#}").contains(POOL_REFUSAL)
}

/// How many slots fit: a limit on the address space leaves half of it to everything else.
fn slots_for(workers: usize, most_slots: u32, address_limit: Option<u64>) -> u32 {
    let bytes = address_limit.map_or(POOLED_ADDRESS_BYTES, |limit| POOLED_ADDRESS_BYTES.min(limit / 2));
    let per_worker = bytes / workers.max(1) as u64 / SLOT_BYTES;
    most_slots.min(u32::try_from(per_worker).unwrap_or(u32::MAX))
}

fn pooled(workers: usize, slots: u32, reset: Reset) -> wasmtime::Result<Vec<Engine>> {
    let mut config = config(MEMORY_RESERVATION_BYTES, Kind::Plain);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(slots, reset)));
    (0..workers).map(|_| Engine::new(&config)).collect()
}

/// The settings that every engine shares; those that compiled code depends on are all here.
fn config(memory_reservation_bytes: u64, kind: Kind) -> Config {
    let mut config = Config::new();
    config
        .enable_compiler(false)
        .memory_reservation(memory_reservation_bytes)
        .gc_heap_reservation(memory_reservation_bytes)
        // A collector's heap begins empty; what it grows to is counted as the guest's memory.
        .gc_heap_initial_size(0)
        .memory_guard_size(MEMORY_GUARD_BYTES)
        .gc_heap_guard_size(MEMORY_GUARD_BYTES)
        .epoch_interruption(true)
        .concurrency_support(kind == Kind::Concurrent)
        .wasm_component_model_async(kind == Kind::Concurrent)
        .wasm_features(FEATURES_OFF, false)
        .shared_memory(false)
        // Uncaught exceptions of C++, Kotlin and others are traps.
        .wasm_exceptions(true)
        .max_wasm_stack(MAX_WASM_STACK_BYTES)
        .async_stack_size(MAX_WASM_STACK_BYTES + HOST_STACK_BYTES)
        // No guest reads a stack slot that it has not written; zeroing them all is for compilers that are not trusted in that.
        .async_stack_zeroing(false)
        // Faults of guests are caught by signals: checks in the code would cost each access.
        .signals_based_traps(true)
        .memory_init_cow(true)
        .table_lazy_init(true)
        // For native debuggers and profilers; backtraces of traps do without.
        .native_unwind_info(false)
        .debug_info(false)
        .wasm_backtrace_max_frames(NonZeroUsize::new(MAX_TRAP_FRAMES))
        // The default asks the environment.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config
}

fn pool(slots: u32, reset: Reset) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_memories(slots)
        .total_stacks(slots)
        .total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES_PER_SLOT))
        .total_tables(slots.saturating_mul(TABLES_PER_SLOT))
        // Each takes one of the memories too.
        .total_gc_heaps(slots)
        .max_memory_size(usize::try_from(MEMORY_RESERVATION_BYTES).unwrap_or(usize::MAX))
        .max_memories_per_module(1)
        .max_tables_per_module(TABLES_PER_MODULE)
        .max_memories_per_component(SHARES_PER_COMPONENT)
        .max_tables_per_component(SHARES_PER_COMPONENT * TABLES_PER_MODULE)
        .max_core_instances_per_component(SHARES_PER_COMPONENT * CORE_INSTANCES_PER_SLOT)
        .max_core_instance_size(MAX_INSTANCE_METADATA_BYTES)
        .max_component_instance_size(MAX_INSTANCE_METADATA_BYTES)
        .table_elements(MAX_TABLE_ELEMENTS)
        .linear_memory_keep_resident(reset.memory_bytes)
        .table_keep_resident(TABLE_KEEP_RESIDENT_BYTES)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT_BYTES)
        // `Yes` fails where the kernel lacks it.
        .pagemap_scan(if reset.pagemap_scan { Enabled::Auto } else { Enabled::No });
    pool
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artefact::Artefact;

    #[test]
    fn without_pools_all_workers_share_one_engine() {
        assert_eq!(Engines::new(3, 0, Reset::default()).expect("engines").distinct().len(), 2);
        assert_eq!(Engines::new(3, MIN_POOL_SLOTS, Reset::default()).expect("engines").distinct().len(), 5);
    }

    #[test]
    fn no_engine_of_a_host_compiles() {
        let engines = Engines::new(1, MIN_POOL_SLOTS, Reset::default()).expect("engines");
        for engine in engines.distinct() {
            assert!(engine.precompile_module(b"(module)").is_err());
        }
        assert!(compiling(true, Kind::Plain).expect("an engine").precompile_module(b"(module)").is_ok());
    }

    #[test]
    fn what_only_a_pool_refuses_is_too_big_and_what_is_no_artefact_is_not() {
        let engines = Engines::new(1, MIN_POOL_SLOTS, Reset::default()).expect("engines");
        let tables = format!("(module {})", "(table 1 funcref)".repeat(TABLES_PER_MODULE as usize + 1));
        let code = compiling(true, Kind::Plain).and_then(|engine| engine.precompile_module(tables.as_bytes()));
        let artefact = Artefact::in_memory(Kind::Plain, code.expect("it compiles"));
        let refused = artefact.load(&engines.workers[0]).err().expect("a slot has fewer tables");
        assert!(is_too_big(&refused), "{refused:#}");
        assert!(artefact.load(&engines.overflow).is_ok());
        let refused = Engine::detect_precompiled_file("/nowhere").expect_err("there is no such file");
        assert!(!is_too_big(&refused), "{refused:#}");
    }

    #[test]
    fn slots_shrink_with_the_address_space_and_with_more_workers() {
        assert_eq!(slots_for(2, 1000, None), 1000);
        assert_eq!(slots_for(64, 1000, None), 127);
        assert_eq!(slots_for(1, 1000, Some(64 << 30)), 7);
        assert_eq!(slots_for(1, 1000, Some(1 << 30)), 0);
        assert_eq!(slots_for(0, 10, None), 10);
    }
}
