//! Commands that need no daemon: they look at one plugin file, run it, or make what one begins with.

pub(crate) mod inspect;
pub(crate) mod new;
pub(crate) mod pack;
pub(crate) mod run;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use taskhost_api::MAX_PLUGIN_BYTES;
use taskhost_core::key_value::MemoryKeyValue;
use taskhost_core::plugin::{PluginError, Sha256};
use taskhost_core::ports::PluginSource;
use taskhost_core::spec::Ceilings;
use taskhost_engine::{CompilerConfig, EngineConfig, EngineError, WasmEngine};

use crate::secrets::Secrets;

/// Reads a plugin's file, if it is no larger than a host accepts.
fn read_plugin(path: &Path) -> anyhow::Result<Bytes> {
    let mut wasm = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_PLUGIN_BYTES + 1).read_to_end(&mut wasm))
        .with_context(|| format!("failed to read {}", path.display()))?;
    anyhow::ensure!(
        wasm.len() as u64 <= MAX_PLUGIN_BYTES,
        "{} is larger than {MAX_PLUGIN_BYTES} bytes, the most that a host accepts",
        path.display()
    );
    Ok(wasm.into())
}

/// An engine for one plugin, which keeps nothing.
fn engine_for(wasm: Bytes, compiler: CompilerConfig, secrets_dir: Option<PathBuf>) -> Result<WasmEngine, EngineError> {
    WasmEngine::new(engine_config(wasm, compiler, secrets_dir))
}

/// What such an engine is made with.
fn engine_config(wasm: Bytes, compiler: CompilerConfig, secrets_dir: Option<PathBuf>) -> EngineConfig {
    let source = Arc::new(OneFile(wasm));
    EngineConfig {
        workers: 1,
        pool_slots: 1,
        cache_dir: None,
        compiler,
        most_loaded: None,
        builtins: Vec::new(),
        source,
        key_values: Arc::new(MemoryKeyValue::default()),
        secrets: Arc::new(Secrets::of_process(secrets_dir)),
        memory_budget_bytes: u64::MAX,
        ceilings: Ceilings::default(),
        own_dirs: Vec::new(),
        own_addresses: Vec::new(),
        wasi_0_3: true,
        virtual_time: None,
        requests: None,
    }
}

/// Where that engine finds the plugin.
struct OneFile(Bytes);

impl PluginSource for OneFile {
    fn read(&self, _plugin: Sha256) -> Result<Bytes, PluginError> {
        Ok(self.0.clone())
    }
}
