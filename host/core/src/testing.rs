//! What the core's tests hand in for the world: an engine whose guests are told by their arguments what to do, a store in
//! memory that can be told to refuse, and a clock that follows tokio's paused one.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use crate::log::{LogChunk, Stream};
use crate::outcome::{Outcome, RunId, RunReport, TaskId};
use crate::plugin::{PluginError, PluginFacts, PluginKind, Sha256};
use crate::ports::*;
use crate::spec::TaskSpec;
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
    fn now(&self) -> Time {
        START.saturating_add(self.0.elapsed())
    }
}

/// A guest does what its arguments say: `fail`, `sleep 5s`, `sleep-cancellable 5s`, `print TEXT`; it succeeds without any.
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
    /// Plugins whose files are damaged.
    pub broken: Mutex<Vec<Sha256>>,
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

    fn builtin(&self, name: &str) -> Option<Sha256> {
        (name == "ticker").then_some(Sha256([0xaa; 32]))
    }

    fn builtins(&self) -> Vec<(String, PluginFacts)> {
        vec![("ticker".to_owned(), facts(Sha256([0xaa; 32])))]
    }

    fn prepare(&self, _worker: usize, spec: Arc<TaskSpec>) -> BoxFuture<Result<Arc<TaskSpec>, PluginError>> {
        let plugin = resolve(self, &spec.plugin);
        let broken = plugin.ok().filter(|plugin| self.broken.lock().expect("no panic").contains(plugin));
        Box::pin(async move { broken.map_or(Ok(spec), |plugin| Err(PluginError::Damaged(plugin))) })
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
    PluginFacts { sha256, kind: PluginKind::Task, size_bytes: 1, imports: Vec::new(), exports: Vec::new() }
}

/// A store in memory.
#[derive(Default)]
pub(crate) struct MemoryStore {
    pub tasks: Mutex<BTreeMap<TaskId, Definition>>,
    pub states: Mutex<HashMap<TaskId, UnitState>>,
    pub chunks: Mutex<Vec<LogChunk>>,
    plugins: Mutex<BTreeMap<Sha256, StoredPlugin>>,
    /// Whether everything is refused, as by a full disk.
    pub full: AtomicBool,
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
}

impl Store for MemoryStore {
    fn load(&self) -> Result<Loaded, StoreError> {
        let states = self.states.lock().expect("no panic");
        let tasks = self.tasks.lock().expect("no panic");
        let tasks = tasks.values().map(|definition| LoadedTask {
            definition: definition.clone(),
            state: states.get(&definition.id).cloned().unwrap_or_default(),
        });
        Ok(Loaded { tasks: tasks.collect() })
    }

    fn commit(&self, change: Change) -> BoxFuture<Result<(), StoreError>> {
        if self.taken().is_ok() {
            self.commits.fetch_add(1, Ordering::Relaxed);
            let mut tasks = self.tasks.lock().expect("no panic");
            match change.kind {
                ChangeKind::Add(definition) | ChangeKind::Edit(definition) => {
                    drop(tasks.insert(definition.id, definition))
                }
                ChangeKind::Delete { id, .. } => drop(tasks.remove(&id)),
            }
        }
        self.answer(())
    }

    fn record(&self, batch: HistoryBatch) -> BoxFuture<Result<(), StoreError>> {
        if self.taken().is_ok() {
            self.states.lock().expect("no panic").extend(batch.states);
            self.chunks.lock().expect("no panic").extend(batch.logs);
        }
        self.answer(())
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

    fn faults(&self) -> Vec<String> {
        Vec::new()
    }

    fn close(&self) -> BoxFuture<Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}
