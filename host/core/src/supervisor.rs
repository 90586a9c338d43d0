//! The door to the tasks for everybody outside the core.
//!
//! Every change goes the same way: under the lock of the name's shard it is checked against the task as its worker has it,
//! the plugin is made ready, the store makes the change durable, and only then the worker acts on it and the caller is
//! answered. So a change that was answered is never lost, and one that was refused never happened. A change is a task of its own:
//! a caller that goes away in the middle leaves no store and worker that disagree.

mod bulk;
mod change;
mod history;
mod manifest;
mod outbox;
mod plugins;
mod view;
mod why;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use self::bulk::{Applied, AppliedKind, BulkAction};
pub use self::history::{NextQuery, NextView, RunsFilter, RunsPage};
use self::outbox::Outbox;
pub use self::view::{
    DeleteMode, HostStats, KeyValuesView, ListQuery, LogPage, PluginView, TaskError, TaskState, TaskView,
};
pub use self::why::WhyView;
use crate::claims::Claims;
use crate::events::{Event, EventBus, EventKind, EventStream};
use crate::lateness::LatenessStats;
use crate::log::{Level, LogSink};
use crate::manifest::Manifest;
use crate::name::TaskName;
use crate::outcome::{Counts, Run, RunId};
use crate::plugin::{PluginError, Sha256};
use crate::ports::{
    Clock, Definition, Engine, GrantGate, LoadedTask, Runner, Store, StoreError, StoredPlugin, resolve,
};
use crate::recorder::{MAX_URGENT, Recorder, Urgent};
use crate::schedule::Zone;
use crate::shard::{SHARDS, shard_of, worker_of};
use crate::spec::{Ceilings, Limit, Overlap, SharedSpecs, TaskSpec};
use crate::unit::Outage;
pub use crate::worker::Unchanged;
use crate::worker::{
    Answer, Command, Commands, Known, MAX_WAITING_COMMANDS, MAX_WISHES, NewUnit, RECORD_QUEUE, Shared, Slot, Wish,
    Worker,
};

/// How long runs that were stopped hard may take to end before the host goes without them.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How long changes that were begun may take to end before the host goes without them: one may be compiling.
const CHANGE_PATIENCE: Duration = Duration::from_secs(5);

/// How a supervisor is set up.
#[derive(Clone, Debug)]
pub struct SupervisorConfig {
    /// How many worker threads run tasks; at least 1.
    pub workers: usize,
    /// How long a cancelled run has before it is stopped hard.
    pub cancel_grace: Duration,
    /// The time zone of cron expressions that name none.
    pub zone: Zone,
    /// The most that definitions may ask for.
    pub ceilings: Ceilings,
    /// Who may grant what.
    pub gate: Arc<dyn GrantGate>,
}

/// What became of asking for a task: it, and whether it is still like that.
type Gotten = Result<(TaskView, Unchanged), TaskError>;

/// Runs tasks. Cheap to clone; all clones are the same supervisor.
pub struct Supervisor<E: Engine, C: Clock> {
    inner: Arc<Inner<E, C>>,
}

struct Inner<E: Engine, C: Clock> {
    engine: Arc<E>,
    store: Arc<dyn Store>,
    clock: C,
    zone: Zone,
    ceilings: Ceilings,
    specs: SharedSpecs,
    gate: Arc<dyn GrantGate>,
    claims: Arc<Claims>,
    /// What is to be written at once.
    urgent: mpsc::Sender<Urgent>,
    bus: EventBus,
    logs: Arc<LogSink>,
    workers: Vec<Arc<WorkerOutbox<E, C>>>,
    /// One change at a time for the names of a shard; held over the commit.
    shards: Vec<Arc<tokio::sync::Mutex<()>>>,
    /// Held for reading while a definition comes to use a plugin, for writing while plugins are deleted.
    plugin_use: tokio::sync::RwLock<()>,
    /// What the store has, in step with it.
    plugins: Mutex<BTreeMap<Sha256, StoredPlugin>>,
    builtin_manifests: HashMap<String, Arc<Manifest>>,
    closing: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
    last_flush: Mutex<Option<oneshot::Sender<oneshot::Sender<()>>>>,
}

type WorkerOutbox<E, C> = Outbox<Command<<E as Engine>::Runner, C>>;

type Job<E> = <<E as Engine>::Runner as Runner>::Job;

impl<E: Engine, C: Clock> Clone for Supervisor<E, C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<E: Engine, C: Clock> Supervisor<E, C> {
    /// Loads every task from the store, starts the workers, and answers when all tasks are registered. A task whose plugin
    /// can't be used is registered too: its due times end as `host_error`.
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
                builtin_manifests: manifest::of_builtins(&*engine),
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
                plugin_use: tokio::sync::RwLock::default(),
                plugins: Mutex::new(plugins),
                closing: AtomicBool::new(false),
                threads: Mutex::new(threads),
                last_flush: Mutex::new(Some(last_flush)),
            }),
        };
        let outage = Outage::after(loaded.previous, started);
        supervisor.register_loaded(loaded.tasks, outage).await;
        tokio::spawn(supervisor.clone().grant(wished));
        Ok(supervisor)
    }

    /// The time zone of cron expressions that name none.
    pub fn zone(&self) -> &Zone {
        &self.inner.zone
    }

    /// The most that definitions may ask for.
    pub fn ceilings(&self) -> &Ceilings {
        &self.inner.ceilings
    }

    /// One task.
    ///
    /// # Errors
    /// [`TaskError::NotFound`], and others of [`TaskError`].
    pub async fn get(&self, name: &str) -> Result<TaskView, TaskError> {
        self.read(name, TaskView::of).await
    }

    /// Several tasks, with each worker that has some of them asked once; each with whether it is still like that later. A part is
    /// ready when its worker has answered, and says where in `names` its tasks stand; what is no name makes a part of its own.
    pub fn get_together(&self, names: &[&str]) -> Vec<impl Future<Output = Vec<(usize, Gotten)>> + Send + use<E, C>> {
        let mut refused = Vec::new();
        let mut wanted: Vec<Vec<(usize, TaskName)>> = vec![Vec::new(); self.inner.workers.len()];
        for (at, name) in names.iter().enumerate() {
            match task_name(name) {
                Ok(name) => wanted[self.worker_of(&name)].push((at, name)),
                Err(error) => refused.push((at, Err(error))),
            }
        }
        let parts = wanted.into_iter().enumerate().map(|(worker, names)| (worker, names, Vec::new()));
        let parts =
            parts.chain([(0, Vec::new(), refused)]).filter(|(_, names, refused)| names.len() + refused.len() > 0);
        parts.map(|(worker, names, refused)| self.clone().get_of_one(worker, names, refused)).collect()
    }

    /// The tasks of these names, all of one worker, after what is known without it.
    async fn get_of_one(
        self,
        worker: usize,
        names: Vec<(usize, TaskName)>,
        mut gotten: Vec<(usize, Gotten)>,
    ) -> Vec<(usize, Gotten)> {
        if names.is_empty() {
            return gotten;
        }
        let places: Vec<usize> = names.iter().map(|(at, _)| *at).collect();
        let read = move |worker: &mut Worker<E::Runner, C>| {
            let mut got = |name: TaskName| match worker.slot_mut(name.as_str()) {
                Some(slot) => Ok((TaskView::of(slot), slot.unchanged())),
                None => Err(TaskError::NotFound(name)),
            };
            names.into_iter().map(|(at, name)| (at, got(name))).collect::<Vec<_>>()
        };
        match self.ask(worker, read).await {
            Ok(read) => gotten.extend(read),
            Err(error) => gotten.extend(places.into_iter().map(|at| (at, Err(error.clone())))),
        }
        gotten
    }

    /// Tasks in order of name, at most `limit`. The second part says whether more follow.
    ///
    /// # Errors
    /// [`TaskError::ShuttingDown`].
    pub async fn list(&self, query: ListQuery) -> Result<(Vec<TaskView>, bool), TaskError> {
        let query = Arc::new(query);
        let mut tasks = Vec::new();
        for worker in 0..self.inner.workers.len() {
            let query = Arc::clone(&query);
            let page = self.ask(worker, move |worker| {
                let slots = worker.slots_after(query.after.as_deref());
                // One more than asked for, to know whether there are more.
                slots.filter(|slot| query.matches(slot)).take(query.limit + 1).map(TaskView::of).collect::<Vec<_>>()
            });
            tasks.extend(page.await?);
        }
        tasks.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let more = tasks.len() > query.limit;
        tasks.truncate(query.limit);
        Ok((tasks, more))
    }

    /// Starts a manual run beside the schedule, subject to the task's overlap policy or to the one given instead. With `wait`, answers
    /// when it has ended.
    ///
    /// # Errors
    /// [`TaskError::RunInProgress`] while a run is going on and the policy is `skip`, and others of [`TaskError`].
    pub async fn run(&self, name: &str, wait: bool, overlap: Option<&str>) -> Result<Run, TaskError> {
        self.refuse_if_closing()?;
        let name = task_name(name)?;
        let overlap = overlap.map(Overlap::parse).transpose()?;
        let (finished, is_finished) = oneshot::channel();
        let task = name.clone();
        let started =
            self.tell(&name, move |worker| worker.run_now(task.as_str(), overlap, wait.then_some(finished))).await?;
        match started {
            None => Err(TaskError::NotFound(name)),
            Some(_) if self.inner.closing.load(Ordering::Acquire) => Err(TaskError::ShuttingDown),
            Some(Err(run)) => Err(TaskError::RunInProgress { name, run }),
            Some(Ok(run)) if !wait => Ok(run),
            Some(Ok(_)) => is_finished.await.map_err(|_| TaskError::ShuttingDown),
        }
    }

    /// Cancels `run`, or all runs that have not ended: tells the guest, and stops it hard after the cancel grace. Answers at once
    /// with the id of the run, or of the one that was begun first.
    ///
    /// # Errors
    /// [`TaskError::NotRunning`] or [`TaskError::RunNotFound`] if that run is not going on, and others of [`TaskError`].
    pub async fn cancel(&self, name: &str, run: Option<RunId>) -> Result<RunId, TaskError> {
        let name = task_name(name)?;
        let task = name.clone();
        let cancelled = self.tell(&name, move |worker| {
            worker.slot(task.as_str())?;
            Some(worker.cancel(task.as_str(), run))
        });
        match (cancelled.await?, run) {
            (None, _) => Err(TaskError::NotFound(name)),
            (Some(Some(run)), _) => Ok(run),
            (Some(None), Some(run)) => Err(TaskError::RunNotFound { name, run }),
            (Some(None), None) => Err(TaskError::NotRunning(name)),
        }
    }

    /// The newest `limit` log lines of this level and above with `seq > after_seq`, oldest first.
    ///
    /// # Errors
    /// [`TaskError::NotFound`], [`TaskError::Store`] if older lines can't be read, and others of [`TaskError`].
    pub async fn logs(&self, name: &str, level: Level, after_seq: u64, limit: usize) -> Result<LogPage, TaskError> {
        let (id, log) = self.read(name, |slot| (slot.definition.id, Arc::clone(slot.log()))).await?;
        // Memory before the store: a line that moves in between is seen twice, and not lost.
        let tail = log.tail_from(level, after_seq, limit);
        // How many stored lines it takes to find so many of a level only reading them tells; a task's log is bounded.
        let wanted = if level == Level::Trace { limit } else { usize::MAX };
        let stored = self.inner.store.read_logs(id, after_seq, wanted).await?;
        let first_in_memory = tail.first().map_or(u64::MAX, |line| line.seq);
        let mut lines = crate::log::newest_lines(&stored, level, after_seq, limit);
        lines.retain(|line| line.seq < first_in_memory);
        let (_, dropped) = log.position();
        let excess = (lines.len() + tail.len()).saturating_sub(limit).min(lines.len());
        lines.drain(..excess);
        lines.extend(tail);
        Ok(LogPage { lines, dropped })
    }

    /// Where a task's keys and values are, and how much of them it may have.
    ///
    /// # Errors
    /// [`TaskError::NotFound`], and others of [`TaskError`].
    pub async fn key_values(&self, name: &str) -> Result<KeyValuesView, TaskError> {
        let Definition { id, name, spec, .. } = self.read(name, |slot| slot.definition.clone()).await?;
        Ok(KeyValuesView {
            task: id,
            name,
            quota_bytes: self.inner.ceilings.limit(&spec, Limit::KvBytes).unwrap_or(u64::MAX),
            granted: spec.grants().kv,
        })
    }

    /// Events from now on. `logs` says whether log lines are wanted: they are published only while somebody does.
    pub fn subscribe(&self, logs: bool) -> EventStream {
        self.inner.bus.subscribe(logs)
    }

    /// How the host does.
    ///
    /// # Errors
    /// [`TaskError::ShuttingDown`].
    pub async fn stats(&self) -> Result<HostStats, TaskError> {
        let mut stats = Vec::new();
        for worker in 0..self.inner.workers.len() {
            stats.push(self.ask(worker, Worker::stats).await?);
        }
        let mut runs = Counts::default();
        stats.iter().for_each(|worker| runs.merge(&worker.counts));
        Ok(HostStats {
            workers: stats.len(),
            tasks: stats.iter().map(|worker| worker.tasks).sum(),
            runs,
            queue_depth: stats.iter().map(|worker| worker.queue_depth).sum(),
            running: stats.iter().map(|worker| worker.running).sum(),
            lateness: LatenessStats::of(stats.into_iter().map(|worker| worker.lateness)),
            lost_log_lines: self.inner.logs.lost_lines(),
            lost_records: self.inner.claims.lost_records.load(Ordering::Relaxed),
            engine: self.inner.engine.stats(),
            faults: self.inner.store.faults(),
        })
    }

    /// Ends everything, in this order: changes are refused, ticks stop, runs may end until `grace_over` and are stopped hard
    /// then, history and logs are written, the last event is sent, the workers are joined, the store is closed. To be called
    /// once, and driven to its end: what was taken for the last write exists nowhere else.
    ///
    /// # Errors
    /// If the store can't be closed.
    pub async fn shutdown(&self, grace_over: impl Future<Output = ()>) -> Result<(), StoreError> {
        self.inner.closing.store(true, Ordering::Release);
        // Changes that were begun end; those that wait for their turn are refused when it comes.
        let changes = futures_util::future::join_all(self.inner.shards.iter().map(|shard| shard.lock()));
        if tokio::time::timeout(CHANGE_PATIENCE, changes).await.is_err() {
            tracing::error!("changes did not end; going without them");
        }
        let idle: Vec<_> = (0..self.inner.workers.len()).map(|worker| self.halt(worker)).collect();
        let mut idle = futures_util::future::join_all(idle);
        let in_time = tokio::select! {
            _ = &mut idle => true,
            () = grace_over => false,
        };
        if !in_time {
            tracing::warn!("runs are still going on after the grace; stopping them");
            for worker in 0..self.inner.workers.len() {
                self.ask(worker, Worker::stop_all).await.ok();
            }
            if tokio::time::timeout(STOP_PATIENCE, &mut idle).await.is_err() {
                tracing::error!("runs did not stop; going without them");
            }
        }
        for worker in 0..self.inner.workers.len() {
            self.ask(worker, Worker::record_all).await.ok();
        }
        let last_flush = self.inner.last_flush.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(last_flush) = last_flush {
            let (done, is_done) = oneshot::channel();
            if last_flush.send(done).is_ok() {
                is_done.await.ok();
            }
        }
        self.publish(EventKind::Shutdown);
        for worker in 0..self.inner.workers.len() {
            self.ask(worker, Worker::quit).await.ok();
        }
        let threads = std::mem::take(&mut *self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let join = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a worker panicked");
                }
            }
        });
        join.await.ok();
        self.inner.store.close().await
    }

    /// Does what tasks ask for beyond their workers, until the workers are gone.
    async fn grant(self, mut wished: mpsc::Receiver<Wish>) {
        while let Some(wish) = wished.recv().await {
            match wish {
                Wish::Pause { task, id, pause } => {
                    if let Err(error) = self.pause_itself(&task, id, pause).await {
                        tracing::warn!(%task, %error, "the pause after failures is not durable");
                    }
                }
                Wish::Trigger { task, trigger } => {
                    let (name, by) = (task.clone(), trigger.task.clone());
                    match self.tell(&task, move |worker| worker.trigger(name.as_str(), trigger)).await {
                        Ok(true) | Err(_) => {}
                        Ok(false) => tracing::warn!(%task, %by, "there is no such task to trigger"),
                    }
                }
            }
        }
    }

    async fn halt(&self, worker: usize) {
        let (idle, is_idle) = oneshot::channel();
        self.ask(worker, move |worker| worker.halt(idle)).await.ok();
        is_idle.await.ok();
    }

    /// Registers what the store had, on all workers at the same time.
    async fn register_loaded(&self, tasks: Vec<LoadedTask>, outage: Outage) {
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
        for registered in futures_util::future::join_all(registering).await {
            if let Err(error) = registered {
                tracing::error!(%error, "failed to register tasks");
            }
        }
    }

    async fn register_on(&self, worker: usize, tasks: Vec<LoadedTask>, outage: Outage) {
        let mut units = Vec::with_capacity(tasks.len());
        for LoadedTask { mut definition, state, starts } in tasks {
            definition.spec = self.inner.specs.share(definition.spec);
            let prepared = match self.prepare_at_hand(worker, &definition.spec) {
                Some(prepared) => Ok(prepared),
                None => self.prepare(&definition.name, Arc::clone(&definition.spec)).await,
            };
            let (plugin, job) = match prepared {
                Ok((plugin, job)) => (plugin, Ok(job)),
                Err(error) => {
                    let name = &definition.name;
                    tracing::error!(task = %name, %error, "failed to make the task ready; its due times end as host_error");
                    let plugin = resolve(&*self.inner.engine, &definition.spec.plugin).unwrap_or(Sha256([0; 32]));
                    (plugin, Err(error.to_string().into()))
                }
            };
            units.push(NewUnit { definition, plugin, job, known: Some(Known { state, starts }) });
        }
        let registered = self.ask(worker, move |worker| {
            units.into_iter().for_each(|unit| worker.register(unit, &outage));
        });
        registered.await.ok();
    }

    /// Waits for the shard's turn.
    async fn begin_change(&self, name: &TaskName) -> Result<tokio::sync::OwnedMutexGuard<()>, TaskError> {
        self.refuse_if_closing()?;
        let guard = Arc::clone(&self.inner.shards[shard_of(name.as_str())]).lock_owned().await;
        self.refuse_if_closing()?;
        Ok(guard)
    }

    fn refuse_if_closing(&self) -> Result<(), TaskError> {
        if self.inner.closing.load(Ordering::Acquire) { Err(TaskError::ShuttingDown) } else { Ok(()) }
    }

    /// Makes a spec ready to run on the worker that it belongs to.
    async fn prepare(&self, task: &TaskName, spec: Arc<TaskSpec>) -> Result<(Sha256, Job<E>), PluginError> {
        let plugin = resolve(&*self.inner.engine, &spec.plugin)?;
        if matches!(spec.plugin, crate::plugin::PluginRef::Sha256(_)) && !self.has_plugin(plugin) {
            return Err(PluginError::NotFound(plugin.to_string()));
        }
        let job = self.inner.engine.prepare(self.worker_of(task), spec).await;
        if let Err(error @ PluginError::Damaged(_)) = &job {
            self.note_fault(plugin, error);
        }
        Ok((plugin, job?))
    }

    /// The same for a task of the store's, where nothing need be waited for.
    fn prepare_at_hand(&self, worker: usize, spec: &Arc<TaskSpec>) -> Option<(Sha256, Job<E>)> {
        let plugin = resolve(&*self.inner.engine, &spec.plugin).ok()?;
        if matches!(spec.plugin, crate::plugin::PluginRef::Sha256(_)) && !self.has_plugin(plugin) {
            return None;
        }
        Some((plugin, self.inner.engine.prepare_at_hand(worker, spec)?))
    }

    fn worker_of(&self, name: &TaskName) -> usize {
        worker_of(shard_of(name.as_str()), self.inner.workers.len())
    }

    async fn definition(&self, name: &TaskName) -> Result<Definition, TaskError> {
        self.read(name.as_str(), |slot| slot.definition.clone()).await
    }

    /// Reads something of a task.
    async fn read<T: Send + 'static>(
        &self,
        name: &str,
        read: impl FnOnce(&Slot<Job<E>>) -> T + Send + 'static,
    ) -> Result<T, TaskError> {
        let name = task_name(name)?;
        let task = name.clone();
        let answer = self.tell(&name, move |worker| worker.slot(task.as_str()).map(read)).await?;
        answer.ok_or(TaskError::NotFound(name))
    }

    /// Has something done by the worker of a name.
    async fn tell<T: Send + 'static>(
        &self,
        name: &TaskName,
        work: impl FnOnce(&mut Worker<E::Runner, C>) -> T + Send + 'static,
    ) -> Result<T, TaskError> {
        self.ask(self.worker_of(name), work).await
    }

    /// Has something done by a worker.
    async fn ask<T: Send + 'static>(
        &self,
        worker: usize,
        work: impl FnOnce(&mut Worker<E::Runner, C>) -> T + Send + 'static,
    ) -> Result<T, TaskError> {
        let (reply, answer) = oneshot::channel();
        let command: Command<E::Runner, C> = Box::new(move |worker| {
            let answer = work(worker);
            // Nobody waits any more if the caller went away.
            worker.answer_soon(move || drop(reply.send(answer)));
        });
        self.inner.workers[worker].send(command);
        // Dropped unanswered if the worker is gone.
        answer.await.map_err(|_| TaskError::ShuttingDown)
    }

    fn publish(&self, kind: EventKind) {
        self.inner.bus.publish(|| Event { time: self.inner.clock.now(), kind });
    }
}

/// Passes on the answers of workers, on the thread of those who wait for them.
async fn pass_on(mut answered: mpsc::UnboundedReceiver<Vec<Answer>>) {
    while let Some(answers) = answered.recv().await {
        answers.into_iter().for_each(|answer| answer());
    }
}

/// Does a change to its end, even if the caller goes away meanwhile.
async fn to_its_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, TaskError>> + Send + 'static,
) -> Result<T, TaskError> {
    // In a box: what is spawned is aligned to cache lines, which the allocator finds room for slowly where it is large.
    match tokio::spawn(Box::pin(change)).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Nothing aborts it but the runtime's own end.
        Err(_) => Err(TaskError::ShuttingDown),
    }
}

/// A name that somebody asks for. One that can't be a task's is not a task's: the error says what is wrong with it.
fn task_name(name: &str) -> Result<TaskName, TaskError> {
    TaskName::new(name).map_err(|error| TaskError::Spec(error.into()))
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

#[cfg(test)]
mod tests;
