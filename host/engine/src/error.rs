//! Why there is no engine. Errors of plugins are the core's `PluginError`; what goes wrong in a run is its outcome.

use std::io;
use std::path::PathBuf;

/// Why an engine can't be made.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("use the artefact cache {path}")]
    Cache {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("start the thread `{name}`")]
    Thread {
        name: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("start the compiler's threads")]
    Compiler(#[source] rayon::ThreadPoolBuildError),
    /// wasmtime refused the configuration, or the address space is too small even for one instance.
    #[error("set up wasmtime")]
    Wasmtime(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl EngineError {
    pub(crate) fn wasmtime(error: wasmtime::Error) -> Self {
        Self::Wasmtime(error.into())
    }
}
