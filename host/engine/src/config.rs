//! What the engine is made with. Reading it from files and flags is the daemon's matter.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use taskhost_core::key_value::KeyValue;
use taskhost_core::ports::{PluginSource, SecretSource};
use taskhost_core::spec::Ceilings;

/// How many instances one worker can make from its pool at once by default, as far as the address space allows it.
pub const DEFAULT_POOL_SLOTS: u32 = 1000;

/// What an engine is made with.
#[derive(Clone)]
pub struct EngineConfig {
    /// How many workers run attempts; each gets an engine of its own.
    pub workers: usize,
    /// The most slots of one worker's pool; there are fewer where the address space is limited.
    pub pool_slots: u32,
    /// Where compiled plugins are kept over restarts; in memory only if `None`. Made if it is not there, readable for
    /// nobody else: what is in it is run as machine code.
    pub cache_dir: Option<PathBuf>,
    /// The plugins that the host brings along, by name.
    pub builtins: Vec<(String, Bytes)>,
    /// Where the others come from.
    pub source: Arc<dyn PluginSource>,
    /// The keys and values of tasks.
    pub key_values: Arc<dyn KeyValue>,
    /// Where secrets come from.
    pub secrets: Arc<dyn SecretSource>,
    /// The linear memory and tables that all guests together may have.
    pub memory_budget_bytes: u64,
    /// The most that tasks may have of each limit, whatever their definitions say.
    pub ceilings: Ceilings,
    /// The host's own folders: none is granted that holds one of them or stands in one.
    pub own_dirs: Vec<PathBuf>,
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let builtins: Vec<_> = self.builtins.iter().map(|(name, _)| name).collect();
        f.debug_struct("EngineConfig")
            .field("workers", &self.workers)
            .field("pool_slots", &self.pool_slots)
            .field("cache_dir", &self.cache_dir)
            .field("builtins", &builtins)
            .field("memory_budget_bytes", &self.memory_budget_bytes)
            .field("ceilings", &self.ceilings)
            .field("own_dirs", &self.own_dirs)
            .finish_non_exhaustive()
    }
}
