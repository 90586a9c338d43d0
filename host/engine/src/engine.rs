//! The engine: the door for plugins, and what makes tasks ready to run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use taskhost_core::manifest::About;
use taskhost_core::plugin::{PluginError, PluginFacts, Sha256};
use taskhost_core::ports::{self, AtHand, BoxFuture, EngineStats, GrantFault, resolve};
use taskhost_core::spec::{Grants, InstancePolicy, TaskSpec};
use wasmtime::PoolingAllocationConfig;

use crate::artefact::Cache;
use crate::budget::Budget;
use crate::builtin::Builtins;
use crate::compile::Compiler;
use crate::config::EngineConfig;
use crate::epoch::{Beat, EpochClock};
use crate::error::EngineError;
use crate::grant;
use crate::job::Job;
use crate::kept::Kept;
use crate::lane::SlowLane;
use crate::limits::{Bounds, Hits};
use crate::linker::Linked;
use crate::plugins::Plugins;
use crate::pool::{Engines, MAX_OVERFLOW_INSTANCES, Reset};
use crate::program::{Programs, SeatOf};
use crate::residents::Residents;
use crate::room::Room;
use crate::runner::WasmRunner;
use crate::setup::{Services, Setups};
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
    plugins: Arc<Plugins>,
    setups: Arc<Setups>,
    services: Arc<Services>,
    /// The instances that are kept, by engine.
    kept: Vec<Arc<Kept>>,
    /// One for each worker.
    beats: Vec<Beat>,
    slow_lanes: Vec<Arc<SlowLane>>,
    slots: u32,
}

impl WasmEngine {
    /// Reserves the pools, opens the cache and starts the engine's threads. What only some plugin needs is made when it comes.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        let workers = config.workers.max(1);
        let engines = Engines::new(workers, config.pool_slots, Reset::default())?;
        let lanes = workers.div_ceil(WORKERS_PER_SLOW_LANE);

        let mut beats = EpochClock::start(engines.distinct(), workers + lanes)?;
        let slow_lanes = beats.drain(workers..).map(|beat| SlowLane::start(beat).map(Arc::new));
        let slow_lanes = slow_lanes.collect::<Result<_, _>>()?;

        let cache = config.cache_dir.map(|dir| Cache::open(&dir, &engines.overflow)).transpose()?;
        let compiler = Compiler::new(config.compiler, engines.slots > 0)?;
        let overflow_room = Room::new(MAX_OVERFLOW_INSTANCES);
        let time = config.virtual_time.as_ref();
        let linked = engines.workers.into_iter().map(|engine| {
            let pool_room = (engines.slots > 0).then(|| Room::new(engines.slots));
            Linked::new(engine, pool_room.unwrap_or_else(|| Arc::clone(&overflow_room)), time)
        });
        let linked: Vec<Linked> = linked.collect();
        let concurrent =
            config.wasi_0_3.then(|| Linked::concurrent(engines.concurrent, Arc::clone(&overflow_room), time));
        let mut kept = vec![Arc::clone(&overflow_room.kept)];
        if engines.slots > 0 {
            kept.extend(linked.iter().map(|linked| Arc::clone(&linked.room.kept)));
        }
        let plugins = Plugins {
            workers: linked,
            overflow: Linked::new(engines.overflow, overflow_room, time),
            concurrent,
            compiler,
            compiled: AtomicU64::new(0),
            cache,
            programs: Programs::new(workers),
            residents: Residents::new(config.most_loaded),
            builtins: Builtins::new(config.builtins),
            source: config.source,
        };
        let services = Services {
            key_values: config.key_values,
            secrets: config.secrets,
            own_dirs: config.own_dirs,
            own_addresses: config.own_addresses,
            budget: Budget::new(config.memory_budget_bytes, workers, kept.clone()),
            hits: Hits::default(),
            tls: Tls::default(),
            bounds: Arc::new(Bounds::of_most_tasks(&config.ceilings)),
            ceilings: config.ceilings,
            virtual_time: config.virtual_time,
            requests: config.requests,
            answers: config.answers,
        };
        let (plugins, services) = (Arc::new(plugins), Arc::new(services));
        Ok(Self { plugins, setups: Arc::default(), services, kept, beats, slow_lanes, slots: engines.slots })
    }
}

impl ports::Engine for WasmEngine {
    type Runner = WasmRunner;

    fn admit(&self, wasm: Bytes) -> BoxFuture<Result<PluginFacts, PluginError>> {
        let plugins = Arc::clone(&self.plugins);
        Box::pin(async move { plugins.admit(wasm).await })
    }

    fn about(&self, plugin: Sha256) -> BoxFuture<Result<Arc<About>, PluginError>> {
        let plugins = Arc::clone(&self.plugins);
        Box::pin(async move {
            let source = Arc::clone(&plugins.source);
            let wasm = blocking(move || source.read(plugin)).await??;
            let _place = plugins.compiler.queue(&wasm)?;
            Ok(plugins.compiler.look_at(wasm).await?.about.unwrap_or_default())
        })
    }

    fn builtin(&self, name: &str) -> Option<Sha256> {
        self.plugins.builtins.sha256(name)
    }

    fn builtins(&self) -> &[(String, PluginFacts)] {
        self.plugins.builtins.facts()
    }

    fn prepare(&self, worker: usize, spec: Arc<TaskSpec>) -> BoxFuture<Result<Job, PluginError>> {
        let plugin = resolve(self, &spec.plugin);
        let (plugins, setups, services) =
            (Arc::clone(&self.plugins), Arc::clone(&self.setups), Arc::clone(&self.services));
        Box::pin(async move {
            let program = plugins.programs.get(plugin?);
            let loaded = plugins.loaded(&program, worker).await?;
            if spec.instance() == InstancePolicy::Keep && !loaded.entry.can_be_kept() {
                return Err(command_is_kept());
            }
            let setup = setups.of(&spec, &services, worker);
            Ok(Job::new(plugins, program, loaded.big, setup))
        })
    }

    fn prepare_at_hand(&self, worker: usize, spec: &Arc<TaskSpec>) -> AtHand<Job> {
        let plugins = &self.plugins;
        let Ok(plugin) = resolve(self, &spec.plugin) else { return AtHand::Unloaded };
        let program = plugins.programs.get(plugin);
        let (big, is_compiled) = match plugins.residents.find(program.seat(SeatOf::Worker(worker)), Instant::now()) {
            Some(loaded) if spec.instance() == InstancePolicy::Keep && !loaded.entry.can_be_kept() => {
                return AtHand::Unloaded;
            }
            Some(loaded) => (loaded.big, true),
            // Whether its memory is big shows when it is loaded. That it can be kept, if it is to be, was seen when the task was added.
            None if !plugins.is_at_hand(&program) => (false, false),
            None if plugins.residents.count() < LOADED_AT_START => return AtHand::Unloaded,
            None => (false, true),
        };
        program.wanted.get_or_init(|| ());
        let setup = self.setups.of(spec, &self.services, worker);
        let job = Job::new(Arc::clone(plugins), program, big, setup);
        if is_compiled { AtHand::Ready(job) } else { AtHand::Uncompiled(job) }
    }

    fn check_grants(&self, grants: Grants) -> BoxFuture<Result<(), GrantFault>> {
        let services = Arc::clone(&self.services);
        Box::pin(async move {
            let checked = tokio::task::spawn_blocking(move || grant::check(&grants, &services)).await;
            checked.unwrap_or_else(|error| Err(GrantFault { message: error.to_string(), hint: HOST_LOG.to_owned() }))
        })
    }

    fn forget(&self, plugin: Sha256) {
        if self.plugins.builtins.wasm(plugin).is_some() {
            return;
        }
        self.plugins.forget(plugin);
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
            limits_hit: self.services.hits.counts(),
            guest_memory_bytes: self.services.budget.used_bytes(),
            memory_budget_bytes: self.services.budget.bytes(),
            waiting_for_memory: self.services.budget.waiting(),
            kept_instances: self.kept.iter().map(|kept| kept.count()).sum(),
            plugins_compiled: self.plugins.compiled.load(Ordering::Relaxed),
            plugins_loaded: self.plugins.residents.count(),
        }
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
