//! The engine: the door for plugins, and what makes tasks ready to run.

use std::sync::Arc;

use bytes::Bytes;
use taskhost_core::plugin::{PluginError, PluginFacts, Sha256};
use taskhost_core::ports::{self, BoxFuture, EngineStats, GrantFault, PluginSource, resolve};
use taskhost_core::spec::{Grants, TaskSpec};
use wasmtime::PoolingAllocationConfig;

use crate::admit::{self, Admitted, admit, sha256_of};
use crate::artefact::{Artefact, Cache};
use crate::builtin::Builtins;
use crate::compile::Compiler;
use crate::config::EngineConfig;
use crate::epoch::{Beat, EpochClock};
use crate::error::EngineError;
use crate::grant;
use crate::grant::http::Tls;
use crate::lane::SlowLane;
use crate::linker::Linked;
use crate::load::{Loaded, Unloaded};
use crate::pool::{Engines, MAX_OVERFLOW_INSTANCES};
use crate::program::{Program, Programs};
use crate::room::Room;
use crate::runner::{Job, WasmRunner};
use crate::setup::{Services, Setup};
use crate::wit;

/// How many workers share a slow lane: what is slow gets at most half of the machine.
const WORKERS_PER_SLOW_LANE: usize = 2;

/// What to do about a failure of the host's own.
const HOST_LOG: &str = "the host's log has the cause";

/// wasmtime, with everything around it.
pub struct WasmEngine {
    shared: Arc<Shared>,
    /// One for each worker.
    beats: Vec<Beat>,
    slow_lanes: Vec<Arc<SlowLane>>,
    slots: u32,
}

/// What jobs and the engine share.
pub(crate) struct Shared {
    workers: Vec<Linked>,
    overflow: Linked,
    compiler: Compiler,
    cache: Option<Cache>,
    programs: Programs,
    builtins: Builtins,
    source: Arc<dyn PluginSource>,
    services: Arc<Services>,
}

impl WasmEngine {
    /// Reserves the pools, opens the cache, checks the built-in plugins and starts the engine's threads. Compiles nothing.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let workers = config.workers.max(1);
        let engines = Engines::new(workers, config.pool_slots)?;
        let lanes = workers.div_ceil(WORKERS_PER_SLOW_LANE);

        let mut beats = EpochClock::start(engines.distinct(), workers + lanes)?;
        let slow_lanes = beats.drain(workers..).map(|beat| SlowLane::start(beat).map(Arc::new));
        let slow_lanes = slow_lanes.collect::<Result<_, _>>()?;

        let cache = config.cache_dir.map(|dir| Cache::open(&dir, &engines.overflow)).transpose()?;
        let compiler = Compiler::new(engines.overflow.clone())?;
        let overflow_room = Arc::new(Room::new(MAX_OVERFLOW_INSTANCES));
        let linked = engines.workers.into_iter().map(|engine| {
            let pool_room = (engines.slots > 0).then(|| Arc::new(Room::new(engines.slots)));
            Linked::new(engine, pool_room.unwrap_or_else(|| Arc::clone(&overflow_room)))
        });
        let linked = linked.collect::<Result<_, _>>();
        let shared = Shared {
            workers: linked.map_err(EngineError::wasmtime)?,
            overflow: Linked::new(engines.overflow, overflow_room).map_err(EngineError::wasmtime)?,
            compiler,
            cache,
            programs: Programs::new(workers),
            builtins: Builtins::new(config.builtins)?,
            source: config.source,
            services: Arc::new(Services {
                key_values: config.key_values,
                secrets: config.secrets,
                ceilings: config.ceilings,
                own_dirs: config.own_dirs,
                tls: Tls::default(),
            }),
        };
        Ok(Self { shared: Arc::new(shared), beats, slow_lanes, slots: engines.slots })
    }
}

impl ports::Engine for WasmEngine {
    type Runner = WasmRunner;

    fn admit(&self, wasm: Bytes) -> BoxFuture<Result<PluginFacts, PluginError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.admit(wasm).await })
    }

    fn builtin(&self, name: &str) -> Option<Sha256> {
        let mut builtins = self.shared.builtins.iter();
        builtins.find(|builtin| builtin.name == name).map(|builtin| builtin.facts.sha256)
    }

    fn builtins(&self) -> Vec<(String, PluginFacts)> {
        self.shared.builtins.iter().map(|builtin| (builtin.name.clone(), builtin.facts.clone())).collect()
    }

    fn prepare(&self, worker: usize, spec: Arc<TaskSpec>) -> BoxFuture<Result<Job, PluginError>> {
        let plugin = resolve(self, &spec.plugin);
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let program = shared.programs.get(plugin?);
            let loaded = shared.loaded(&program, worker).await?;
            let setup = Arc::new(Setup::new(spec, Arc::clone(&shared.services)));
            Ok(Job::new(shared, program, loaded, setup))
        })
    }

    fn check_grants(&self, grants: Grants) -> BoxFuture<Result<(), GrantFault>> {
        let services = Arc::clone(&self.shared.services);
        Box::pin(async move {
            let checked = tokio::task::spawn_blocking(move || grant::check(&grants, &services)).await;
            checked.unwrap_or_else(|error| Err(GrantFault { message: error.to_string(), hint: HOST_LOG.to_owned() }))
        })
    }

    fn forget(&self, plugin: Sha256) {
        if self.shared.builtins.wasm(plugin).is_some() {
            return;
        }
        self.shared.forget(plugin);
    }

    fn runner(&self, worker: usize) -> WasmRunner {
        // Else the first attempt on this thread pays for it.
        wasmtime::Engine::tls_eager_initialize();
        let slow = Arc::clone(&self.slow_lanes[worker / WORKERS_PER_SLOW_LANE]);
        WasmRunner { beat: self.beats[worker].clone(), slow }
    }

    fn stats(&self) -> EngineStats {
        EngineStats {
            wit: wit::SERVED.iter().map(|&version| version.to_owned()).collect(),
            wasmtime: wasmtime_environ::VERSION.to_owned(),
            pagemap: self.slots > 0 && PoolingAllocationConfig::is_pagemap_scan_available(),
            pool_slots: u64::from(self.slots) * self.beats.len() as u64,
            slow_lane: self.slow_lanes.iter().map(|lane| lane.running()).sum(),
            ..EngineStats::default()
        }
    }
}

impl Shared {
    async fn admit(self: Arc<Self>, wasm: Bytes) -> Result<PluginFacts, PluginError> {
        admit::check_size(&wasm)?;
        let (sha256, wasm) = blocking(move || (sha256_of(&wasm), wasm)).await?;
        let program = self.programs.get(sha256);
        let facts = program.facts.get_or_try_init(async || {
            let admitted = blocking(move || admit(&wasm)).await??;
            let facts = admitted.facts.clone();
            let shared = Arc::clone(&self);
            let cached = blocking(move || shared.cached(sha256)).await?;
            let artefact = program.artefact.get_or_try_init(async || match cached {
                Some(artefact) => Ok(artefact),
                None => self.compile(admitted).await,
            });
            artefact.await?;
            // Names are checked at the door; whether the types agree shows when it is linked.
            self.load(&program, |shared| &shared.overflow).await?.map_err(refusal)?;
            Ok(facts)
        });
        match facts.await {
            Ok(facts) => Ok(facts.clone()),
            Err(error) => {
                // Any other failure is the host's and may pass.
                if matches!(error, PluginError::Invalid { .. }) && !program.is_loaded() {
                    self.forget(sha256);
                }
                Err(error)
            }
        }
    }

    fn forget(&self, plugin: Sha256) {
        self.programs.remove(plugin);
        if let Some(cache) = &self.cache {
            cache.remove(plugin);
        }
    }

    /// The plugin on a worker's engine, or on the overflow engine if no pool can hold it.
    async fn loaded(self: &Arc<Self>, program: &Program, worker: usize) -> Result<Arc<Loaded>, PluginError> {
        let loaded = program.workers[worker].get_or_try_init(async || {
            match self.load(program, move |shared| &shared.workers[worker]).await? {
                Err(Unloaded::TooBig(error)) => {
                    tracing::debug!("plugin {} does not fit into a pool: {error:#}", program.sha256);
                    self.overflow(program).await
                }
                loaded => loaded.map(Arc::new).map_err(refusal),
            }
        });
        loaded.await.cloned()
    }

    /// The plugin on the engine without a pool.
    pub(crate) async fn overflow(self: &Arc<Self>, program: &Program) -> Result<Arc<Loaded>, PluginError> {
        let loaded = program.overflow.get_or_try_init(async || {
            self.load(program, |shared| &shared.overflow).await?.map(Arc::new).map_err(refusal)
        });
        loaded.await.cloned()
    }

    /// Loads a plugin on one of the engines. A file that went away since it was found is found or made again, under its old name.
    async fn load(
        self: &Arc<Self>,
        program: &Program,
        on: impl Fn(&Shared) -> &Linked + Copy + Send + 'static,
    ) -> Result<Result<Loaded, Unloaded>, PluginError> {
        let new = |artefact| {
            let shared = Arc::clone(self);
            blocking(move || Loaded::new(on(&shared), &artefact))
        };
        let sha256 = program.sha256;
        let artefact = program.artefact.get_or_try_init(|| self.artefact(sha256)).await?.clone();
        let is_file = matches!(artefact, Artefact::File(_));
        match new(artefact).await? {
            Err(Unloaded::Artefact(error)) if is_file => {
                tracing::warn!("failed to load the artefact of plugin {sha256}; looking for it again: {error:#}");
                new(self.artefact(sha256).await?).await
            }
            loaded => Ok(loaded),
        }
    }

    /// The artefact of a plugin: of the cache, or compiled now.
    async fn artefact(self: &Arc<Self>, sha256: Sha256) -> Result<Artefact, PluginError> {
        let shared = Arc::clone(self);
        let found = blocking(move || match shared.cached(sha256) {
            Some(artefact) => Ok(Found::Artefact(artefact)),
            None => {
                let wasm = shared.builtins.wasm(sha256).map_or_else(|| shared.source.read(sha256), Ok)?;
                admit(&wasm).map(Found::Plugin)
            }
        });
        match found.await?? {
            Found::Artefact(artefact) => Ok(artefact),
            Found::Plugin(admitted) => self.compile(admitted).await,
        }
    }

    fn cached(&self, sha256: Sha256) -> Option<Artefact> {
        self.cache.as_ref().and_then(|cache| cache.find(sha256))
    }

    async fn compile(self: &Arc<Self>, admitted: Admitted) -> Result<Artefact, PluginError> {
        let _turn = self.compiler.turn().await;
        let shared = Arc::clone(self);
        blocking(move || {
            let code = shared.compiler.compile(&admitted).map_err(|error| PluginError::Invalid {
                message: format!("the plugin can't be compiled: {error:#}"),
                hint: None,
            })?;
            if let Some(cache) = &shared.cache {
                match cache.insert(admitted.facts.sha256, &code) {
                    Ok(artefact) => return Ok(artefact),
                    Err(error) => {
                        tracing::warn!("failed to keep a compiled plugin; it is compiled again next time: {error}")
                    }
                }
            }
            Ok(Artefact::Memory(code.into()))
        })
        .await?
    }
}

/// Where a plugin starts from when it is loaded first.
enum Found {
    Artefact(Artefact),
    Plugin(Admitted),
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

/// Runs what takes long off the workers' threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, PluginError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| PluginError::Host(format!("the engine failed: {error}")))
}
