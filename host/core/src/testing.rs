//! What the core's tests hand in for the world: an engine whose guests are told by their arguments what to do, a store in
//! memory that can be told to refuse, and a clock that follows tokio's paused one.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::log::{LogChunk, Stream};
use crate::manifest::About;
use crate::outcome::{Outcome, RunId, RunKey, RunRecord, RunReport, TaskId};
use crate::patch::{Patch, Patches};
use crate::plugin::{PluginError, PluginFacts, PluginKind, Sha256};
use crate::ports::*;
use crate::spec::{Grants, TaskSpec};
use crate::system_clock::MAX_SLEEP;
use crate::time::{Time, parse_duration};

pub(crate) const START: Time = Time(1_700_000_000_000_000_000);

/// Tells the time of tokio's clock, which tests pause.
#[derive(Clone, Copy)]
pub(crate) struct TestClock(tokio::time::Instant);

impl TestClock {
    pub(crate) fn start() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for TestClock {
    type Alarm = Self;

    fn alarm(&self) -> Self {
        *self
    }

    fn now(&self) -> Time {
        START.saturating_add(self.0.elapsed())
    }
}

/// By tokio's timer, which tests pause.
impl Alarm for TestClock {
    async fn until(&mut self, time: Time) {
        tokio::time::sleep(time.since(self.now()).min(MAX_SLEEP)).await;
    }
}

/// A clock that stands still until it is moved by hand: for what is driven without a runtime.
#[derive(Clone)]
pub(crate) struct HandClock(Arc<AtomicI64>);

impl HandClock {
    pub(crate) fn start() -> Self {
        Self(Arc::new(AtomicI64::new(START.0)))
    }

    pub(crate) fn set(&self, time: Time) {
        self.0.store(time.0, Ordering::Relaxed);
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_nanos()).expect("it is short"), Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    type Alarm = Self;

    fn now(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }

    fn alarm(&self) -> Self {
        self.clone()
    }
}

impl Alarm for HandClock {
    async fn until(&mut self, _time: Time) {
        std::future::pending().await
    }
}

/// A guest does what its arguments say: `fail`, `sleep 5s`, `sleep-cancellable 5s`, `block`, `print TEXT`; it succeeds without
/// any.
#[derive(Default)]
pub(crate) struct FakeRunner {
    pub started: Arc<Mutex<Vec<RunId>>>,
}

impl Runner for FakeRunner {
    type Job = Arc<TaskSpec>;
    type Run = Pin<Box<dyn Future<Output = RunReport>>>;

    fn run(&self, job: &Arc<TaskSpec>, attempt: Attempt) -> Self::Run {
        self.started.lock().expect("no panic").push(attempt.run_id);
        let args = job.args.clone();
        Box::pin(async move {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let entered = |outcome| RunReport { entry_delay: Some(Duration::ZERO), ..RunReport::of(outcome) };
            match args.as_slice() {
                ["fail"] => entered(Outcome::Error).with_detail("told to"),
                ["sleep", length] => {
                    let sleep = tokio::time::sleep(parse_duration(length).expect("a duration"));
                    tokio::select! {
                        () = sleep => entered(Outcome::Success),
                        () = attempt.control.stopped() => entered(Outcome::Cancelled),
                    }
                }
                ["sleep-cancellable"] => {
                    while !attempt.control.is_cancelled() {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    entered(Outcome::Success)
                }
                ["block"] => {
                    // As a call to a disk that hangs: it never ends, and nothing stops it.
                    let call = tokio::task::spawn_blocking(|| {
                        loop {
                            std::thread::park();
                        }
                    });
                    tokio::select! {
                        _ = call => entered(Outcome::Success),
                        () = attempt.control.stopped() => entered(Outcome::Cancelled),
                    }
                }
                ["print", text] => {
                    attempt.log.push(Stream::Stdout, text.as_bytes(), false);
                    entered(Outcome::Success)
                }
                _ => entered(Outcome::Success),
            }
        })
    }
}

/// Admits what begins with `\0asm`, under a sha256 made of its length.
#[derive(Default)]
pub(crate) struct FakeEngine {
    pub started: Arc<Mutex<Vec<RunId>>>,
    /// Plugins that can't be made ready, and why.
    pub broken: Mutex<Vec<(Sha256, PluginError)>>,
    /// Where plugins are not compiled: a permit for each that may be made ready.
    pub compiled: Option<Arc<Semaphore>>,
    /// What stored plugins say of themselves, which is found in their files only.
    pub about: Mutex<Arc<About>>,
    /// How often that was looked for.
    pub looks: AtomicU64,
    pub builtins: OnceLock<Vec<(String, PluginFacts)>>,
}

impl Engine for FakeEngine {
    type Runner = FakeRunner;

    fn admit(&self, wasm: Bytes) -> BoxFuture<Result<PluginFacts, PluginError>> {
        Box::pin(async move {
            if wasm.starts_with(b"\0asm") {
                Ok(facts(Sha256([wasm.len() as u8; 32])))
            } else {
                Err(PluginError::Invalid { message: "not wasm".to_owned(), hint: None })
            }
        })
    }

    fn about(&self, _plugin: Sha256) -> BoxFuture<Result<Arc<About>, PluginError>> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(Arc::clone(&self.about.lock().expect("no panic")))))
    }

    fn builtin(&self, name: &str) -> Option<Sha256> {
        (name == "ticker").then_some(Sha256([0xaa; 32]))
    }

    fn builtins(&self) -> &[(String, PluginFacts)] {
        self.builtins.get_or_init(|| vec![("ticker".to_owned(), facts(Sha256([0xaa; 32])))])
    }

    fn prepare(&self, _worker: usize, spec: Arc<TaskSpec>) -> BoxFuture<Result<Arc<TaskSpec>, PluginError>> {
        let plugin = resolve(self, &spec.plugin);
        let broken = self.broken.lock().expect("no panic");
        let broken = broken
            .iter()
            .find(|(broken, _)| plugin.as_ref().is_ok_and(|plugin| plugin == broken))
            .map(|(_, error)| error.clone());
        let compiled = self.compiled.clone();
        Box::pin(async move {
            if let Some(compiled) = compiled {
                compiled.acquire().await.expect("it is never closed").forget();
            }
            broken.map_or(Ok(spec), Err)
        })
    }

    fn prepare_at_hand(&self, _worker: usize, spec: &Arc<TaskSpec>) -> AtHand<Arc<TaskSpec>> {
        match &self.compiled {
            None => AtHand::Unloaded,
            Some(_) => AtHand::Uncompiled(Arc::clone(spec)),
        }
    }

    fn check_grants(&self, _grants: Grants) -> BoxFuture<Result<(), GrantFault>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn forget(&self, _plugin: Sha256) {}

    fn runner(&self, _worker: usize) -> FakeRunner {
        FakeRunner { started: Arc::clone(&self.started) }
    }

    fn stats(&self) -> EngineStats {
        EngineStats::default()
    }
}

fn facts(sha256: Sha256) -> PluginFacts {
    // As a host has it that did not look for what plugins say.
    let about = None;
    PluginFacts { sha256, kind: PluginKind::Task, size_bytes: 1, imports: Vec::new(), exports: Vec::new(), about }
}

/// A store in memory.
#[derive(Default)]
pub(crate) struct MemoryStore {
    pub tasks: Mutex<BTreeMap<TaskId, Definition>>,
    pub revisions: Mutex<Vec<(TaskId, Revision)>>,
    pub states: Mutex<HashMap<TaskId, UnitState>>,
    pub starts: Mutex<BTreeMap<(TaskId, RunKey), OpenRun>>,
    pub records: Mutex<BTreeMap<(TaskId, Time, u32), RunRecord>>,
    /// In the order in which they began.
    pub host_runs: Mutex<Vec<HostRun>>,
    pub chunks: Mutex<Vec<LogChunk>>,
    plugins: Mutex<BTreeMap<Sha256, StoredPlugin>>,
    /// Whether everything is refused, as by a full disk.
    pub full: AtomicBool,
    /// How many milliseconds a batch takes.
    pub batch_ms: AtomicU64,
    pub commits: AtomicU64,
}

impl MemoryStore {
    fn taken(&self) -> Result<(), StoreError> {
        if self.full.load(Ordering::Relaxed) { Err(StoreError::Full("test".to_owned())) } else { Ok(()) }
    }

    fn answer<T: Send + 'static>(&self, value: T) -> BoxFuture<Result<T, StoreError>> {
        let taken = self.taken();
        Box::pin(async move { taken.map(|()| value) })
    }

    fn change(&self, change: Change) {
        let mut tasks = self.tasks.lock().expect("no panic");
        let kind = match &change.kind {
            ChangeKind::Add(_) => RevisionKind::Add,
            ChangeKind::Edit(_) => RevisionKind::Edit,
            ChangeKind::Pause(_) => RevisionKind::Pause,
            ChangeKind::Resume(_) => RevisionKind::Resume,
            ChangeKind::Delete { .. } => RevisionKind::Delete,
        };
        match change.kind {
            ChangeKind::Add(definition)
            | ChangeKind::Edit(definition)
            | ChangeKind::Pause(definition)
            | ChangeKind::Resume(definition) => {
                let revision = Revision {
                    revision: definition.revision,
                    at: change.at,
                    by: change.by,
                    kind,
                    spec: Some(Arc::clone(&definition.spec)),
                    paused: definition.paused.as_deref().cloned(),
                };
                self.revisions.lock().expect("no panic").push((definition.id, revision));
                tasks.insert(definition.id, definition);
            }
            ChangeKind::Delete { id, .. } => drop(tasks.remove(&id)),
        }
    }
}

impl Store for MemoryStore {
    fn load(&self) -> Result<Loaded, StoreError> {
        let states = self.states.lock().expect("no panic");
        let starts = self.starts.lock().expect("no panic");
        let tasks = self.tasks.lock().expect("no panic");
        let tasks = tasks.values().map(|definition| {
            let noted = starts.iter().filter(|((id, _), _)| *id == definition.id);
            LoadedTask {
                definition: definition.clone(),
                state: states.get(&definition.id).cloned().unwrap_or_default(),
                starts: noted.map(|(_, run)| run.clone()).collect(),
            }
        });
        let previous = self.host_runs.lock().expect("no panic").last().copied();
        Ok(Loaded { tasks: tasks.collect(), previous, journal: 0 })
    }

    fn commit(&self, changes: Vec<Change>) -> BoxFuture<Result<(), StoreError>> {
        if self.taken().is_ok() {
            self.commits.fetch_add(1, Ordering::Relaxed);
            changes.into_iter().for_each(|change| self.change(change));
        }
        self.answer(())
    }

    fn record(&self, batch: Arc<HistoryBatch>) -> BoxFuture<Result<(), StoreError>> {
        let batch = Arc::unwrap_or_clone(batch);
        if self.taken().is_ok() {
            let mut states = self.states.lock().expect("no panic");
            states.extend(batch.states);
            for JournalEntry { start, patches } in batch.journal {
                for (task, at, patch) in Patches::of(&patches).map(|patch| patch.expect("whole")) {
                    let patch = Patch::decode(patch).expect("a patch");
                    let state = states.get_mut(&task).filter(|state| start + at as u64 >= state.journal);
                    assert!(state.is_none_or(|state| patch.apply(state)), "a patch does not fit: {patch:?}");
                }
            }
            self.chunks.lock().expect("no panic").extend(batch.logs);
            let mut records = self.records.lock().expect("no panic");
            for (id, record) in batch.records {
                records.insert((id, record.first_due(), record.key.backfill), record);
            }
            let mut starts = self.starts.lock().expect("no panic");
            batch.ended.iter().for_each(|ended| drop(starts.remove(ended)));
            if let Some(host) = batch.host {
                let mut runs = self.host_runs.lock().expect("no panic");
                match runs.iter_mut().find(|run| run.started == host.started) {
                    Some(run) => *run = host,
                    None => runs.push(host),
                }
            }
        }
        let (taken, takes) = (self.answer(()), Duration::from_millis(self.batch_ms.load(Ordering::Relaxed)));
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            taken.await
        })
    }

    fn record_starts(&self, starts: Vec<Start>) -> BoxFuture<Result<(), StoreError>> {
        if self.taken().is_ok() {
            let starts = starts.into_iter().map(|start| ((start.task, start.run.key), start.run));
            self.starts.lock().expect("no panic").extend(starts);
        }
        self.answer(())
    }

    fn runs(&self, query: RunsQuery) -> BoxFuture<Result<Vec<RunRecord>, StoreError>> {
        let records = self.records.lock().expect("no panic");
        let meant = records.iter().rev().filter(|((task, ..), record)| {
            *task == query.task
                && record.key.due >= query.from
                && record.first_due() < query.until
                && (query.outcomes.is_empty() || query.outcomes.contains(&record.outcome))
        });
        self.answer(meant.take(query.limit).map(|(_, record)| record.clone()).collect())
    }

    fn revisions(&self, task: TaskId, limit: usize) -> BoxFuture<Result<Vec<Revision>, StoreError>> {
        let revisions = self.revisions.lock().expect("no panic");
        let meant = revisions.iter().rev().filter(|(id, _)| *id == task).take(limit);
        self.answer(meant.map(|(_, revision)| revision.clone()).collect())
    }

    fn host_runs(&self, from: Time, until: Time) -> BoxFuture<Result<Vec<HostRun>, StoreError>> {
        let runs = self.host_runs.lock().expect("no panic");
        let meant = runs.iter().filter(|run| run.started <= until && run.stopped.unwrap_or(run.seen) >= from);
        let mut meant: Vec<_> = meant.copied().collect();
        meant.sort_by_key(|run| run.started);
        self.answer(meant)
    }

    fn read_logs(&self, task: TaskId, _after: u64, _lines: usize) -> BoxFuture<Result<Vec<LogChunk>, StoreError>> {
        let chunks = self.chunks.lock().expect("no panic");
        self.answer(chunks.iter().filter(|chunk| chunk.task == task).cloned().collect())
    }

    fn put_plugin(&self, facts: PluginFacts, added_at: Time, _wasm: Bytes) -> BoxFuture<Result<(), StoreError>> {
        if self.taken().is_ok() {
            let plugin = StoredPlugin { facts, added_at, fault: None };
            self.plugins.lock().expect("no panic").insert(plugin.facts.sha256, plugin);
        }
        self.answer(())
    }

    fn plugins(&self) -> BoxFuture<Result<Vec<StoredPlugin>, StoreError>> {
        self.answer(self.plugins.lock().expect("no panic").values().cloned().collect())
    }

    fn delete_plugin(&self, plugin: Sha256) -> BoxFuture<Result<(), StoreError>> {
        self.plugins.lock().expect("no panic").remove(&plugin);
        self.answer(())
    }

    fn histories(&self) -> u64 {
        0
    }

    fn faults(&self) -> Vec<String> {
        Vec::new()
    }

    fn close(&self) -> BoxFuture<Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}
