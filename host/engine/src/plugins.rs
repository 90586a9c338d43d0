//! The plugins of a host: where their artefacts come from, and the engines on which they are loaded.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use rustix::io::Errno;
use taskhost_core::plugin::{PluginError, PluginFacts, Sha256};
use taskhost_core::ports::PluginSource;

use crate::admit::{self, engine_for};
use crate::artefact::{Artefact, Cache, Place};
use crate::builtin::Builtins;
use crate::compile::Compiler;
use crate::inspect::sha256_of;
use crate::linker::Linked;
use crate::load::{Loaded, Unloaded};
use crate::pool::Kind;
use crate::program::{Program, Programs, SeatOf};
use crate::residents::Residents;
use crate::threads::blocking;

/// The plugins of a host.
pub(crate) struct Plugins {
    pub(crate) workers: Vec<Linked>,
    pub(crate) overflow: Linked,
    /// For plugins of WASI 0.3, where they are run.
    pub(crate) concurrent: Option<Linked>,
    pub(crate) compiler: Compiler,
    /// How many plugins were compiled since the start.
    pub(crate) compiled: AtomicU64,
    pub(crate) cache: Option<Cache>,
    pub(crate) programs: Programs,
    pub(crate) residents: Residents,
    pub(crate) builtins: Builtins,
    pub(crate) source: Arc<dyn PluginSource>,
}

impl Plugins {
    /// Lets a plugin in that somebody sends, compiled and seen to be linked, or says why not.
    pub(crate) async fn admit(self: Arc<Self>, wasm: Bytes) -> Result<PluginFacts, PluginError> {
        admit::check_size(&wasm)?;
        let _place = self.compiler.queue(&wasm)?;
        let (sha256, wasm) = blocking(move || (sha256_of(&wasm), wasm)).await?;
        let program = self.programs.to_admit(sha256);
        let admission = program.admission();
        // Those who send the same meanwhile get the same answer, a refusal too.
        let admitted = admission.get_or_try_init(async || settled(self.admit_now(&program, wasm).await));
        match admitted.await? {
            Ok(facts) => Ok(facts.clone()),
            Err(refused) => {
                // Who sends it again is answered anew.
                program.end_admission(&admission);
                if !program.is_wanted() && self.programs.remove_this(&program) {
                    self.remove_artefact(sha256);
                }
                Err(refused.clone())
            }
        }
    }

    async fn admit_now(self: &Arc<Self>, program: &Arc<Program>, wasm: Bytes) -> Result<PluginFacts, PluginError> {
        let sha256 = program.sha256;
        let facts = self.compiler.look_at(wasm.clone()).await?;
        if engine_for(&facts) == Kind::Concurrent && self.concurrent.is_none() {
            return Err(wasi_0_3_is_off());
        }
        self.artefact_of(program, async || {
            let plugins = Arc::clone(self);
            match blocking(move || plugins.cached(sha256)).await? {
                Some(artefact) => Ok(artefact),
                None => self.compile(sha256, Some(wasm.len() as u64), async || Ok(wasm)).await,
            }
        })
        .await?;
        // Names are checked at the door; whether the types agree shows when it is linked.
        self.load(program, SeatOf::Overflow).await?.map_err(refusal)?;
        // Which plugin it is, is what this process counted.
        Ok(PluginFacts { sha256, ..facts })
    }

    pub(crate) fn forget(&self, plugin: Sha256) {
        self.programs.remove(plugin);
        self.remove_artefact(plugin);
    }

    fn remove_artefact(&self, plugin: Sha256) {
        if let Some(cache) = &self.cache {
            cache.remove(plugin);
        }
    }

    /// The plugin on a worker's engine, or on the overflow engine if no pool can hold it. Loads it if it is not, or no more.
    pub(crate) async fn loaded(
        self: &Arc<Self>,
        program: &Arc<Program>,
        worker: usize,
    ) -> Result<Arc<Loaded>, PluginError> {
        program.wanted.get_or_init(|| ());
        self.seated(program, SeatOf::Worker(worker), async || {
            if program.too_big.get().is_some() {
                return self.overflow(program).await;
            }
            match self.load(program, SeatOf::Worker(worker)).await? {
                Err(Unloaded::TooBig(error)) => {
                    tracing::debug!("plugin {} does not fit into a pool: {error:#}", program.sha256);
                    program.too_big.get_or_init(|| ());
                    self.overflow(program).await
                }
                loaded => loaded.map(Arc::new).map_err(refusal),
            }
        })
        .await
    }

    /// The plugin on the engine without a pool.
    pub(crate) async fn overflow(self: &Arc<Self>, program: &Arc<Program>) -> Result<Arc<Loaded>, PluginError> {
        self.seated(program, SeatOf::Overflow, async || {
            self.load(program, SeatOf::Overflow).await?.map(Arc::new).map_err(refusal)
        })
        .await
    }

    /// What is loaded there. However many need it at once, it is loaded by one.
    async fn seated(
        &self,
        program: &Arc<Program>,
        at: SeatOf,
        load: impl AsyncFnOnce() -> Result<Arc<Loaded>, PluginError>,
    ) -> Result<Arc<Loaded>, PluginError> {
        let seat = program.seat(at);
        if let Some(loaded) = self.residents.find(seat, Instant::now()) {
            return Ok(loaded);
        }
        let _loading = seat.loading.lock().await;
        if let Some(loaded) = self.residents.find(seat, Instant::now()) {
            return Ok(loaded);
        }
        let loaded = load().await?;
        self.residents.seat(program, at, &loaded);
        Ok(loaded)
    }

    /// Loads a plugin on one of the engines. A file that went away since it was found, or is of no use here, is found or made again,
    /// under its old name.
    async fn load(self: &Arc<Self>, program: &Program, at: SeatOf) -> Result<Result<Loaded, Unloaded>, PluginError> {
        let sha256 = program.sha256;
        let artefact = self.artefact_of(program, || self.artefact(sha256)).await?;
        let is_file = matches!(artefact.place, Place::File(_));
        match self.load_artefact(artefact, at).await? {
            Err(Unloaded::Artefact(error)) if is_file => {
                tracing::warn!("failed to load the artefact of plugin {sha256}; looking for it again: {error:#}");
            }
            loaded => return Ok(loaded),
        }
        // Another worker may make it again already.
        let _remaking = program.remaking.lock().await;
        match self.load_artefact(self.artefact(sha256).await?, at).await? {
            Err(Unloaded::Artefact(error)) if !is_refused_by_the_system(&error) => {
                tracing::warn!("the artefact of plugin {sha256} is of no use here; compiling again: {error:#}");
                self.remove_artefact(sha256);
                self.load_artefact(self.artefact(sha256).await?, at).await
            }
            loaded => Ok(loaded),
        }
    }

    async fn load_artefact(
        self: &Arc<Self>,
        artefact: Artefact,
        at: SeatOf,
    ) -> Result<Result<Loaded, Unloaded>, PluginError> {
        // Nobody closes the semaphore.
        let _turn = self.residents.turns.acquire().await.ok();
        let plugins = Arc::clone(self);
        blocking(move || {
            let linked = match (artefact.engine, at) {
                (Kind::Concurrent, _) => plugins.concurrent.as_ref().ok_or_else(wasi_0_3_is_off)?,
                (Kind::Plain, SeatOf::Worker(worker)) => &plugins.workers[worker],
                (Kind::Plain, SeatOf::Overflow) => &plugins.overflow,
            };
            Ok(Loaded::new(linked, &artefact))
        })
        .await?
    }

    /// Whether a program need only be loaded, as far as one sees without a look into its artefact.
    pub(crate) fn is_at_hand(&self, program: &Program) -> bool {
        let is_there = || {
            let made = program.artefact.get().is_some_and(Result::is_ok);
            made || self.cache.as_ref().is_some_and(|cache| cache.has(program.sha256))
        };
        if program.at_hand.get().is_none() && is_there() {
            program.at_hand.get_or_init(|| ());
        }
        program.at_hand.get().is_some()
    }

    /// The artefact of a program, which is made once. That it can't be made of this plugin is remembered as well: ten thousand
    /// tasks of it would else wait for ten thousand compilers to come to the same limit.
    async fn artefact_of(
        &self,
        program: &Program,
        make: impl AsyncFnOnce() -> Result<Artefact, PluginError>,
    ) -> Result<Artefact, PluginError> {
        program.artefact.get_or_try_init(async || settled(make().await)).await?.clone()
    }

    /// The artefact of a plugin: of the cache, or compiled now.
    async fn artefact(self: &Arc<Self>, sha256: Sha256) -> Result<Artefact, PluginError> {
        let plugins = Arc::clone(self);
        let found = blocking(move || {
            let size_bytes = || match plugins.builtins.wasm(sha256) {
                Some(wasm) => Some(wasm.len() as u64),
                None => plugins.source.size_bytes(sha256),
            };
            plugins.cached(sha256).ok_or_else(size_bytes)
        });
        let size_bytes = match found.await? {
            Ok(artefact) => return Ok(artefact),
            Err(size_bytes) => size_bytes,
        };
        let plugins = Arc::clone(self);
        let read = move || plugins.builtins.wasm(sha256).map_or_else(|| plugins.source.read(sha256), Ok);
        self.compile(sha256, size_bytes, async || blocking(read).await?).await
    }

    fn cached(&self, sha256: Sha256) -> Option<Artefact> {
        self.cache.as_ref().and_then(|cache| cache.find(sha256))
    }

    /// Compiles a plugin, which is read when its turn has come: those that wait are not in memory.
    async fn compile(
        self: &Arc<Self>,
        sha256: Sha256,
        size_bytes: Option<u64>,
        read: impl AsyncFnOnce() -> Result<Bytes, PluginError>,
    ) -> Result<Artefact, PluginError> {
        let turn = self.compiler.turn(size_bytes).await;
        let (engine, code) = self.compiler.compile(&turn, read().await?).await?;
        self.compiled.fetch_add(1, Ordering::Relaxed);
        let plugins = Arc::clone(self);
        blocking(move || {
            if let Some(cache) = &plugins.cache {
                match cache.insert(sha256, engine, &code) {
                    Ok(artefact) => return artefact,
                    Err(error) => {
                        tracing::warn!("failed to keep a compiled plugin; it is compiled again next time: {error}")
                    }
                }
            }
            Artefact::in_memory(engine, code)
        })
        .await
    }
}

/// What is kept of a result: what the plugin is to blame for will not be otherwise next time; a failure of the host may pass.
fn settled<T>(result: Result<T, PluginError>) -> Result<Result<T, PluginError>, PluginError> {
    match result {
        Err(error @ (PluginError::Invalid { .. } | PluginError::Crashed(_))) => Ok(Err(error)),
        Err(error) => Err(error),
        Ok(value) => Ok(Ok(value)),
    }
}

fn refusal(unloaded: Unloaded) -> PluginError {
    match unloaded {
        Unloaded::Artefact(error) => PluginError::Host(format!("failed to load the compiled plugin: {error:#}")),
        Unloaded::TooBig(error) | Unloaded::Unfit(error) => PluginError::Invalid {
            message: format!("the plugin does not fit this host: {error:#}"),
            hint: Some("`taskhost inspect FILE` shows what it imports and exports".to_owned()),
        },
    }
}

/// Whether the kernel had no room for it, or no file. Everything else is between wasmtime and the file.
fn is_refused_by_the_system(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| cause.is::<io::Error>() || cause.is::<Errno>())
}

fn wasi_0_3_is_off() -> PluginError {
    PluginError::Invalid {
        message: "the plugin is of WASI 0.3, which this host does not run".to_owned(),
        hint: Some(
            "build it for WASI 0.2; or the host's administrator sets `wasi_0_3 = true`, and takes what is not finished yet".to_owned(),
        ),
    }
}
