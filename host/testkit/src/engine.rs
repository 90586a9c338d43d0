//! An engine for one plugin.

use std::sync::Arc;

use bytes::Bytes;
use taskhost_core::key_value::MemoryKeyValue;
use taskhost_core::plugin::{PluginError, Sha256};
use taskhost_core::ports::{NoSecrets, PluginSource};
use taskhost_core::spec::Ceilings;
use taskhost_engine::{CompilerConfig, EngineConfig, EngineError, WasmEngine};

use crate::cache;

/// What an engine is made with that has this plugin only, in a process that is nobody's host.
pub fn engine_config(wasm: Bytes, compiler: CompilerConfig) -> EngineConfig {
    EngineConfig {
        workers: 1,
        pool_slots: 1,
        cache_dir: cache::of_user(),
        compiler,
        most_loaded: None,
        builtins: Vec::new(),
        source: Arc::new(OneFile(wasm)),
        key_values: Arc::new(MemoryKeyValue::default()),
        secrets: Arc::new(NoSecrets),
        memory_budget_bytes: u64::MAX,
        ceilings: Ceilings::default(),
        own_dirs: Vec::new(),
        own_addresses: Vec::new(),
        wasi_0_3: true,
        virtual_time: None,
        requests: None,
        answers: None,
    }
}

/// Such an engine; without its cache, if that is of no use.
pub fn engine(config: EngineConfig) -> Result<WasmEngine, EngineError> {
    match WasmEngine::new(config.clone()) {
        Err(EngineError::Cache { .. }) => WasmEngine::new(EngineConfig { cache_dir: None, ..config }),
        made => made,
    }
}

/// Where that engine finds the plugin.
struct OneFile(Bytes);

impl PluginSource for OneFile {
    fn read(&self, _plugin: Sha256) -> Result<Bytes, PluginError> {
        Ok(self.0.clone())
    }
}
