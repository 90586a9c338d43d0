//! Compiles plugins, off the workers' threads.
//!
//! Compiling uses threads of its own, of low priority, and one plugin is compiled at a time: it is bound by the processor, so two at once
//! would only both end later and take twice the memory.

use rayon::ThreadPool;
use tokio::sync::Semaphore;
use wasmtime::Engine;

use crate::admit::{Admitted, Form};
use crate::error::EngineError;
use crate::lane::lower_priority;

/// How many plugins are compiled at once.
const MAX_COMPILES: usize = 1;

pub(crate) struct Compiler {
    engine: Engine,
    threads: ThreadPool,
    turns: Semaphore,
}

impl Compiler {
    /// A compiler for artefacts that load on every engine with the settings of this one.
    pub(crate) fn new(engine: Engine) -> Result<Self, EngineError> {
        let threads = rayon::ThreadPoolBuilder::new()
            .thread_name(|at| format!("compile-{at}"))
            .start_handler(|_| lower_priority())
            .build()
            .map_err(EngineError::Compiler)?;
        Ok(Self { engine, threads, turns: Semaphore::new(MAX_COMPILES) })
    }

    /// Waits for its turn to compile.
    pub(crate) async fn turn(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.turns.acquire().await.expect("the semaphore is never closed")
    }

    /// Compiles; blocks for as long as that takes.
    pub(crate) fn compile(&self, admitted: &Admitted) -> wasmtime::Result<Vec<u8>> {
        self.threads.install(|| match admitted.form {
            Form::Component => self.engine.precompile_component(&admitted.binary),
            Form::Module => self.engine.precompile_module(&admitted.binary),
        })
    }
}
