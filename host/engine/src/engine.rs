//! The engine: the door for plugins, and what makes tasks ready to run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use taskhost_core::manifest::About;
use taskhost_core::plugin::{PluginError, PluginFacts, Sha256};
use taskhost_core::ports::{self, BoxFuture, EngineStats, GrantFault, PluginSource, resolve};
use taskhost_core::spec::{Grants, InstancePolicy, TaskSpec};
use wasmtime::PoolingAllocationConfig;

use crate::admit::{self, engine_for};
use crate::artefact::{Artefact, Cache, Place};
use crate::budget::Budget;
use crate::builtin::Builtins;
use crate::compile::Compiler;
use crate::config::EngineConfig;
use crate::epoch::{Beat, EpochClock};
use crate::error::EngineError;
use crate::grant;
use crate::inspect::sha256_of;
use crate::keep::Kept;
use crate::lane::SlowLane;
use crate::limits::{Bounds, Hits};
use crate::linker::Linked;
use crate::load::{Loaded, Unloaded};
use crate::pool::{Engines, Kind, MAX_OVERFLOW_INSTANCES, Reset};
use crate::program::{Program, Programs, SeatOf};
use crate::residents::Residents;
use crate::room::Room;
use crate::runner::{Job, WasmRunner};
use crate::setup::{Services, Setup};
use crate::threads::blocking;
use crate::tls::Tls;
use crate::wit::{self, v0_1_0};

/// How many workers share a slow lane: what is slow gets at most half of the machine.
const WORKERS_PER_SLOW_LANE: usize = 2;

/// How many plugins are loaded when the host starts; of a host with more, the others are when runs need them.
const LOADED_AT_START: u64 = 32;

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
    /// For plugins of WASI 0.3, where they are run.
    concurrent: Option<Linked>,
    compiler: Compiler,
    /// How many plugins were compiled since the start.
    compiled: AtomicU64,
    cache: Option<Cache>,
    programs: Programs,
    pub(crate) residents: Residents,
    builtins: Builtins,
    source: Arc<dyn PluginSource>,
    services: Arc<Services>,
    /// The instances that are kept, by engine.
    kept: Vec<Arc<Kept>>,
}

impl WasmEngine {
    /// Reserves the pools, opens the cache, checks the built-in plugins and starts the engine's threads. Compiles nothing.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let workers = config.workers.max(1);
        let engines = Engines::new(workers, config.pool_slots, Reset::default())?;
        let lanes = workers.div_ceil(WORKERS_PER_SLOW_LANE);

        let mut beats = EpochClock::start(engines.distinct(), workers + lanes)?;
        let slow_lanes = beats.drain(workers..).map(|beat| SlowLane::start(beat).map(Arc::new));
        let slow_lanes = slow_lanes.collect::<Result<_, _>>()?;

        let cache = config.cache_dir.map(|dir| Cache::open(&dir, &engines.overflow)).transpose()?;
        let compiler = Compiler::new(config.compiler, &engines)?;
        let overflow_room = Room::new(MAX_OVERFLOW_INSTANCES);
        let time = config.virtual_time.as_ref();
        let linked = engines.workers.into_iter().map(|engine| {
            let pool_room = (engines.slots > 0).then(|| Room::new(engines.slots));
            Linked::new(engine, pool_room.unwrap_or_else(|| Arc::clone(&overflow_room)), time)
        });
        let linked: Vec<Linked> = linked.collect::<Result<_, _>>().map_err(EngineError::wasmtime)?;
        let concurrent =
            config.wasi_0_3.then(|| Linked::concurrent(engines.concurrent, Arc::clone(&overflow_room), time));
        let mut kept = vec![Arc::clone(&overflow_room.kept)];
        if engines.slots > 0 {
            kept.extend(linked.iter().map(|linked| Arc::clone(&linked.room.kept)));
        }
        let shared = Shared {
            workers: linked,
            kept: kept.clone(),
            overflow: Linked::new(engines.overflow, overflow_room, time).map_err(EngineError::wasmtime)?,
            concurrent: concurrent.transpose().map_err(EngineError::wasmtime)?,
            compiler,
            compiled: AtomicU64::new(0),
            cache,
            programs: Programs::new(workers),
            residents: Residents::new(config.most_loaded),
            builtins: Builtins::new(config.builtins)?,
            source: config.source,
            services: Arc::new(Services {
                key_values: config.key_values,
                secrets: config.secrets,
                own_dirs: config.own_dirs,
                own_addresses: config.own_addresses,
                budget: Budget::new(config.memory_budget_bytes, workers, kept),
                hits: Hits::default(),
                tls: Tls::default(),
                bounds: Arc::new(Bounds::of_most_tasks(&config.ceilings)),
                ceilings: config.ceilings,
                virtual_time: config.virtual_time,
                requests: config.requests,
                answers: config.answers,
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

    fn about(&self, plugin: Sha256) -> BoxFuture<Result<Arc<About>, PluginError>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let source = Arc::clone(&shared.source);
            let wasm = blocking(move || source.read(plugin)).await??;
            let _place = shared.compiler.queue(&wasm)?;
            Ok(shared.compiler.look_at(wasm).await?.about.unwrap_or_default())
        })
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
            if spec.instance() == InstancePolicy::Keep && !loaded.entry.can_be_kept() {
                return Err(command_is_kept());
            }
            let setup = Setup::new(spec, Arc::clone(&shared.services), worker);
            Ok(Job::new(shared, program, loaded.big, setup))
        })
    }

    fn prepare_at_hand(&self, worker: usize, spec: &Arc<TaskSpec>) -> Option<Job> {
        let shared = &self.shared;
        let program = shared.programs.get(resolve(self, &spec.plugin).ok()?);
        let is_kept = spec.instance() == InstancePolicy::Keep;
        let big = match program.seat(SeatOf::Worker(worker)).get(&shared.residents, Instant::now()) {
            Some(loaded) if is_kept && !loaded.entry.can_be_kept() => return None,
            Some(loaded) => loaded.big,
            None if is_kept || shared.residents.count() < LOADED_AT_START || !shared.is_at_hand(&program) => {
                return None;
            }
            // When it is loaded, that shows.
            None => false,
        };
        program.wanted.get_or_init(|| ());
        let setup = Setup::new(Arc::clone(spec), Arc::clone(&shared.services), worker);
        Some(Job::new(Arc::clone(shared), program, big, setup))
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
        WasmRunner::new(self.beats[worker].clone(), slow)
    }

    fn stats(&self) -> EngineStats {
        EngineStats {
            wit: wit::SERVED.iter().map(|&version| version.to_owned()).collect(),
            wasmtime: wasmtime_environ::VERSION.to_owned(),
            pagemap: self.slots > 0 && PoolingAllocationConfig::is_pagemap_scan_available(),
            pool_slots: u64::from(self.slots) * self.beats.len() as u64,
            slow_lane: self.slow_lanes.iter().map(|lane| lane.running()).sum(),
            limits_hit: self.shared.services.hits.counts(),
            guest_memory_bytes: self.shared.services.budget.used_bytes(),
            memory_budget_bytes: self.shared.services.budget.bytes(),
            waiting_for_memory: self.shared.services.budget.waiting(),
            kept_instances: self.shared.kept.iter().map(|kept| kept.count()).sum(),
            plugins_compiled: self.shared.compiled.load(Ordering::Relaxed),
            plugins_loaded: self.shared.residents.count(),
        }
    }
}

impl Shared {
    async fn admit(self: Arc<Self>, wasm: Bytes) -> Result<PluginFacts, PluginError> {
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
            let shared = Arc::clone(self);
            match blocking(move || shared.cached(sha256)).await? {
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

    fn forget(&self, plugin: Sha256) {
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
        if let Some(loaded) = seat.get(&self.residents, Instant::now()) {
            return Ok(loaded);
        }
        let _loading = seat.loading.lock().await;
        if let Some(loaded) = seat.get(&self.residents, Instant::now()) {
            return Ok(loaded);
        }
        let loaded = load().await?;
        self.residents.seat(program, at, &loaded);
        Ok(loaded)
    }

    /// Loads a plugin on one of the engines. A file that went away since it was found is found or made again, under its old name.
    async fn load(self: &Arc<Self>, program: &Program, at: SeatOf) -> Result<Result<Loaded, Unloaded>, PluginError> {
        let sha256 = program.sha256;
        let artefact = self.artefact_of(program, || self.artefact(sha256)).await?;
        let is_file = matches!(artefact.place, Place::File(_));
        match self.load_artefact(artefact, at).await? {
            Err(Unloaded::Artefact(error)) if is_file => {
                tracing::warn!("failed to load the artefact of plugin {sha256}; looking for it again: {error:#}");
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
        let shared = Arc::clone(self);
        blocking(move || {
            let linked = match (artefact.engine, at) {
                (Kind::Concurrent, _) => shared.concurrent.as_ref().ok_or_else(wasi_0_3_is_off)?,
                (Kind::Plain, SeatOf::Worker(worker)) => &shared.workers[worker],
                (Kind::Plain, SeatOf::Overflow) => &shared.overflow,
            };
            Ok(Loaded::new(linked, &artefact))
        })
        .await?
    }

    /// Whether a program need only be loaded, as far as one sees without a look into its artefact.
    fn is_at_hand(&self, program: &Program) -> bool {
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
        let shared = Arc::clone(self);
        let found = blocking(move || {
            let size_bytes = || match shared.builtins.wasm(sha256) {
                Some(wasm) => Some(wasm.len() as u64),
                None => shared.source.size_bytes(sha256),
            };
            shared.cached(sha256).ok_or_else(size_bytes)
        });
        let size_bytes = match found.await? {
            Ok(artefact) => return Ok(artefact),
            Err(size_bytes) => size_bytes,
        };
        let shared = Arc::clone(self);
        let read = move || shared.builtins.wasm(sha256).map_or_else(|| shared.source.read(sha256), Ok);
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
        let shared = Arc::clone(self);
        blocking(move || {
            if let Some(cache) = &shared.cache {
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

fn wasi_0_3_is_off() -> PluginError {
    PluginError::Invalid {
        message: "the plugin is of WASI 0.3, which this host does not run".to_owned(),
        hint: Some(
            "build it for WASI 0.2; or the host's administrator sets `wasi_0_3 = true`, and takes what is not finished yet".to_owned(),
        ),
    }
}

fn command_is_kept() -> PluginError {
    PluginError::Invalid {
        message:
            "the plugin is a command, and those can't be entered twice: it can't be run with `instance = \"keep\"`"
                .to_owned(),
        hint: Some(format!("leave `instance` at `fresh`, or make the plugin one that exports `{}`", v0_1_0::GUEST)),
    }
}
