//! From what the store has to a host whose tasks run.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::{mpsc, oneshot};

use super::outbox::Outbox;
use super::prepare::Prepared;
use super::{Inner, Supervisor, SupervisorConfig};
use crate::claims::Claims;
use crate::events::EventBus;
use crate::log::LogSink;
use crate::name::TaskName;
use crate::plugin::{PluginError, Sha256};
use crate::ports::{AtHand, Clock, Engine, LoadedTask, Store, StoreError, resolve};
use crate::recorder::{MAX_URGENT, Recorder};
use crate::shard::SHARDS;
use crate::spec::{SharedSpecs, TaskSpec};
use crate::unit::Outage;
use crate::worker::{Answer, Commands, Known, MAX_WAITING_COMMANDS, MAX_WISHES, NewUnit, RECORD_QUEUE, Shared, Worker};

impl<E: Engine, C: Clock> Supervisor<E, C> {
    /// Loads every task from the store, starts the workers, and answers when all tasks are registered. A task whose plugin
    /// can't be used is registered too: its due times end as `host_error`. Plugins that must be compiled anew, as after a change of
    /// wasmtime, are so afterwards; runs that come before wait for them.
    ///
    /// # Errors
    /// If the store can't be read.
    pub async fn start(
        config: SupervisorConfig,
        engine: Arc<E>,
        store: Arc<dyn Store>,
        clock: C,
    ) -> Result<Self, StoreError> {
        let loaded = {
            let store = Arc::clone(&store);
            let load = tokio::task::spawn_blocking(move || store.load());
            load.await.map_err(|error| StoreError::Failed(error.to_string()))??
        };
        let plugins = store.plugins().await?.into_iter().map(|plugin| (plugin.facts.sha256, plugin)).collect();
        let bus = EventBus::new();
        let log_clock = clock.clone();
        let (logs, unwritten_logs) = LogSink::new(move || log_clock.now(), bus.clone());
        let (states, recorded_states) = mpsc::channel(RECORD_QUEUE);
        let (last_flush, last_flush_wanted) = oneshot::channel();
        let (wishes, wished) = mpsc::channel(MAX_WISHES);
        let (answers, answered) = mpsc::unbounded_channel();
        tokio::spawn(pass_on(answered));
        let claims = Arc::<Claims>::default();
        let shared = Shared {
            bus: bus.clone(),
            logs: Arc::clone(&logs),
            states,
            store: Arc::clone(&store),
            claims: Arc::clone(&claims),
            wishes,
            cancel_grace: config.cancel_grace,
            timer_slack: config.timer_slack,
            ceilings: Arc::new(config.ceilings.clone()),
            answers,
        };
        let (workers, threads): (Vec<_>, Vec<_>) =
            (0..config.workers.max(1)).map(|number| spawn_worker(number, &engine, &clock, &shared)).unzip();
        drop(shared);
        let (urgent, urgents) = mpsc::channel(MAX_URGENT);
        let recorder =
            Recorder::start(Arc::clone(&store), clock.clone(), Arc::clone(&claims), loaded.previous, loaded.journal)
                .await;
        let started = recorder.started();
        tokio::spawn(recorder.run(recorded_states, urgents, unwritten_logs, last_flush_wanted));
        let supervisor = Self {
            inner: Arc::new(Inner {
                engine,
                store,
                clock,
                zone: config.zone,
                specs: SharedSpecs::default(),
                ceilings: config.ceilings,
                gate: config.gate,
                claims,
                urgent,
                bus,
                logs,
                workers: workers.into_iter().map(Outbox::new).collect(),
                shards: (0..SHARDS).map(|_| Arc::default()).collect(),
                plugin_uses: Arc::default(),
                plugin_changes: tokio::sync::Mutex::default(),
                plugins: Mutex::new(plugins),
                unready: Mutex::default(),
                closing: AtomicBool::new(false),
                threads: Mutex::new(threads),
                last_flush: Mutex::new(Some(last_flush)),
            }),
        };
        let outage = Outage::after(loaded.previous, started);
        let uncompiled = supervisor.register_loaded(loaded.tasks, outage).await;
        tokio::spawn(supervisor.clone().compile(uncompiled));
        tokio::spawn(supervisor.clone().grant(wished));
        Ok(supervisor)
    }

    /// Registers what the store had, on all workers at the same time. Answers with what must be compiled.
    async fn register_loaded(&self, tasks: Vec<LoadedTask>, outage: Outage) -> Uncompiled {
        let workers = self.inner.workers.len();
        let mut by_worker: Vec<Vec<LoadedTask>> =
            (0..workers).map(|_| Vec::with_capacity(tasks.len() / workers)).collect();
        for task in tasks {
            by_worker[self.worker_of(&task.definition.name)].push(task);
        }
        let handle = tokio::runtime::Handle::current();
        let registering = by_worker.into_iter().enumerate().map(|(worker, tasks)| {
            let (this, handle) = (self.clone(), handle.clone());
            // On a thread for each: this one would make one task ready after the other.
            tokio::task::spawn_blocking(move || handle.block_on(this.register_on(worker, tasks, outage)))
        });
        let mut uncompiled = Uncompiled::new();
        for registered in futures_util::future::join_all(registering).await {
            match registered {
                Ok(on_worker) => uncompiled.extend(on_worker),
                Err(error) => tracing::error!(%error, "failed to register tasks"),
            }
        }
        uncompiled
    }

    async fn register_on(&self, worker: usize, tasks: Vec<LoadedTask>, outage: Outage) -> Uncompiled {
        let mut units = Vec::with_capacity(tasks.len());
        let mut uncompiled = Uncompiled::new();
        for LoadedTask { mut definition, state, starts } in tasks {
            definition.spec = self.inner.specs.share(definition.spec);
            let (name, spec) = (&definition.name, &definition.spec);
            let prepared = match self.prepare_at_hand(worker, spec) {
                Some((plugin, AtHand::Ready(job))) => Ok((plugin, job)),
                Some((plugin, AtHand::Uncompiled(job))) => {
                    uncompiled.entry(plugin).or_insert_with(|| (name.clone(), Arc::clone(spec)));
                    Ok((plugin, job))
                }
                Some((_, AtHand::Unloaded)) | None => {
                    self.prepare(name, Arc::clone(spec)).await.map(|Prepared { plugin, job, .. }| (plugin, job))
                }
            };
            let (plugin, job) = match prepared {
                Ok((plugin, job)) => (plugin, Ok(job)),
                Err(error) => {
                    tracing::error!(task = %name, %error, "failed to make the task ready; its due times end as host_error");
                    let plugin = resolve(&*self.inner.engine, &definition.spec.plugin).unwrap_or(Sha256([0; 32]));
                    self.unready().insert(plugin);
                    (plugin, Err(error.to_string().into()))
                }
            };
            units.push(NewUnit { definition, plugin, job, known: Some(Known { state, starts }) });
        }
        let registered = self.ask(worker, move |worker| {
            units.into_iter().for_each(|unit| worker.register(unit, &outage));
        });
        registered.await.ok();
        uncompiled
    }

    /// Compiles what the tasks of the store need and have not.
    async fn compile(self, uncompiled: Uncompiled) {
        if uncompiled.is_empty() {
            return;
        }
        tracing::info!(plugins = uncompiled.len(), "compiling plugins for this version of the host");
        let at_once = self.inner.workers.len();
        let compiled = stream::iter(uncompiled).for_each_concurrent(at_once, async |(plugin, (task, spec))| {
            match self.prepare(&task, Arc::clone(&spec)).await {
                Ok(_) => {}
                // Its tasks were deleted meanwhile, and so was it.
                Err(PluginError::NotFound(_)) if !self.has_plugin(plugin) => {}
                // The runs of its tasks try again.
                Err(error @ (PluginError::Host(_) | PluginError::Busy(_))) => {
                    tracing::warn!(%plugin, %error, "failed to compile a plugin");
                }
                Err(_) => self.give_up(plugin, &task, spec).await,
            }
        });
        compiled.await;
        tracing::info!("compiled what tasks use");
    }
}

/// Plugins that must be compiled, each with a task of it.
type Uncompiled = BTreeMap<Sha256, (TaskName, Arc<TaskSpec>)>;

/// Passes on the answers of workers, on the thread of those who wait for them.
async fn pass_on(mut answered: mpsc::UnboundedReceiver<Vec<Answer>>) {
    while let Some(answers) = answered.recv().await {
        answers.into_iter().for_each(|answer| answer());
    }
}

/// How long the end of a worker waits for what its guests left on blocking threads.
const BLOCKING_PATIENCE: Duration = Duration::from_secs(1);

fn spawn_worker<E: Engine, C: Clock>(
    number: usize,
    engine: &Arc<E>,
    clock: &C,
    shared: &Shared,
) -> (mpsc::Sender<Commands<E::Runner, C>>, JoinHandle<()>) {
    let (sender, commands) = mpsc::channel(MAX_WAITING_COMMANDS);
    let (engine, clock, shared) = (Arc::clone(engine), clock.clone(), shared.clone());
    let work = move || {
        // The default event interval of 61 gave honest tasks 64 ms of lateness beside one spinner.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(1).build();
        match runtime {
            Ok(runtime) => {
                runtime.block_on(Worker::new(engine.runner(number), clock, shared).work(commands));
                // Dropping it would wait for every call that blocks on a file or a name server.
                runtime.shutdown_timeout(BLOCKING_PATIENCE);
            }
            Err(error) => tracing::error!(%error, "failed to start a worker's runtime"),
        }
    };
    let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(work);
    (sender, thread.expect("the system has a thread to spare at start"))
}
