//! Compiling in this process.

use std::sync::Arc;

use rayon::ThreadPool;
use taskhost_core::plugin::PluginError;
use wasmtime::Engine;

use crate::admit::{Admitted, Form};
use crate::error::EngineError;
use crate::pool::{Kind, compiling};
use crate::threads::lower_priority;

/// Compiles in this process.
#[derive(Clone)]
pub(crate) struct Here {
    plain: Engine,
    concurrent: Engine,
    threads: Arc<ThreadPool>,
}

impl Here {
    /// A compiler for engines that have pools or have none.
    pub(crate) fn new(for_pools: bool) -> Result<Self, EngineError> {
        let threads = rayon::ThreadPoolBuilder::new()
            .thread_name(|at| format!("compile-{at}"))
            .start_handler(|_| lower_priority())
            .build()
            .map_err(EngineError::Compiler)?;
        let engine = |kind| compiling(for_pools, kind).map_err(EngineError::wasmtime);
        let (plain, concurrent) = (engine(Kind::Plain)?, engine(Kind::Concurrent)?);
        Ok(Self { plain, concurrent, threads: Arc::new(threads) })
    }

    /// Compiles; blocks for as long as that takes.
    pub(crate) fn compile(&self, admitted: &Admitted) -> wasmtime::Result<Vec<u8>> {
        let engine = match admitted.engine() {
            Kind::Plain => &self.plain,
            Kind::Concurrent => &self.concurrent,
        };
        self.threads.install(|| compile(engine, admitted))
    }
}

/// Compiles for the engine that it is for.
pub(crate) fn compile(engine: &Engine, admitted: &Admitted) -> wasmtime::Result<Vec<u8>> {
    match admitted.form {
        Form::Component => engine.precompile_component(&admitted.binary),
        Form::Module => engine.precompile_module(&admitted.binary),
    }
}

/// A compiler refused it.
pub(crate) fn refusal(error: &wasmtime::Error) -> PluginError {
    PluginError::Invalid { message: format!("the plugin can't be compiled: {error:#}"), hint: None }
}
