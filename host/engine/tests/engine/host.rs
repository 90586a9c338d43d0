//! An engine with plugins in memory, and one task to run on it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use taskhost_core::key_value::{KeyValue, MemoryKeyValue};
use taskhost_core::log::{LogLine, TaskLog};
use taskhost_core::name::TaskName;
use taskhost_core::outcome::{Reason, RunId, RunKey, RunReport};
use taskhost_core::plugin::{PluginError, PluginRef, Sha256};
use taskhost_core::ports::{AtHand, Attempt, Engine, NoSecrets, PluginSource, RunControl, Runner, SecretSource};
use taskhost_core::schedule::Zone;
use taskhost_core::spec::{Ceilings, DirGrant, Grants, Limit, SpecPatch, TaskSpec};
use taskhost_core::time::Time;
use taskhost_engine::{CompilerConfig, EngineConfig, Job, Requests, Run, VirtualTime, WasmEngine, WasmRunner, inspect};

/// Enough for every test, and little enough that many engines fit into one address space.
pub(crate) const POOL_SLOTS: u32 = 4;

/// 2023-11-14T22:13:20Z
pub(crate) const DUE: Time = Time(1_700_000_000_000_000_000);

/// Plugins in memory, counting how often they are read.
#[derive(Default)]
pub(crate) struct MemorySource {
    plugins: Mutex<HashMap<Sha256, Bytes>>,
    pub(crate) reads: AtomicUsize,
    /// How long it takes to read one.
    pub(crate) delay: Mutex<Duration>,
}

impl MemorySource {
    fn put(&self, task: &Task) {
        self.plugins.lock().expect("no test panics here").insert(task.sha256(), task.wasm.clone());
    }
}

impl PluginSource for MemorySource {
    fn read(&self, plugin: Sha256) -> Result<Bytes, PluginError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(*self.delay.lock().expect("no test panics here"));
        let plugins = self.plugins.lock().expect("no test panics here");
        plugins.get(&plugin).cloned().ok_or_else(|| PluginError::NotFound(plugin.to_string()))
    }
}

/// Compiles in a child, as a host does.
pub(crate) fn compiler() -> CompilerConfig {
    CompilerConfig::child(env!("CARGO_BIN_EXE_taskhost-compile"), ["--"])
}

pub(crate) struct Host {
    pub(crate) engine: WasmEngine,
    pub(crate) runner: WasmRunner,
    pub(crate) source: Arc<MemorySource>,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with_cache(cache_dir: Option<&Path>) -> Self {
        Self::with(|config| config.cache_dir = cache_dir.map(Path::to_owned))
    }

    /// One that has so few plugins loaded at once.
    pub(crate) fn with_most_loaded(cache_dir: &Path, most: usize) -> Self {
        Self::with(|config| {
            config.cache_dir = Some(cache_dir.to_owned());
            config.most_loaded = Some(most);
        })
    }

    pub(crate) fn with_compiler(compiler: CompilerConfig) -> Self {
        Self::with(|config| config.compiler = compiler)
    }

    pub(crate) fn with_builtins(builtins: Vec<(String, Bytes)>) -> Self {
        Self::with(|config| config.builtins = builtins)
    }

    /// One whose guests may have so much memory, all together.
    pub(crate) fn with_budget(memory_budget_bytes: u64) -> Self {
        Self::with(|config| config.memory_budget_bytes = memory_budget_bytes)
    }

    /// One where nobody may have more than this of a limit.
    pub(crate) fn with_ceiling(limit: Limit, most: u64) -> Self {
        Self::with(|config| config.ceilings.set(limit, most).expect("in range"))
    }

    /// One that runs nothing of WASI 0.3.
    pub(crate) fn without_wasi_0_3() -> Self {
        Self::with(|config| config.wasi_0_3 = false)
    }

    /// One that keeps its own data in this folder.
    pub(crate) fn with_own_dir(own_dir: &Path) -> Self {
        Self::with(|config| config.own_dirs = vec![own_dir.to_owned()])
    }

    pub(crate) fn with_secrets(secrets: Arc<dyn SecretSource>) -> Self {
        Self::with(|config| config.secrets = secrets)
    }

    pub(crate) fn with_key_values(key_values: Arc<dyn KeyValue>) -> Self {
        Self::with(|config| config.key_values = key_values)
    }

    /// One whose time need not be waited for.
    pub(crate) fn with_virtual_time(time: &Arc<VirtualTime>) -> Self {
        Self::with(|config| config.virtual_time = Some(Arc::clone(time)))
    }

    /// One where the requests of guests are noted.
    pub(crate) fn with_requests(requests: &Arc<Requests>) -> Self {
        Self::with(|config| config.requests = Some(Arc::clone(requests)))
    }

    fn with(configure: impl FnOnce(&mut EngineConfig)) -> Self {
        let source = Arc::new(MemorySource::default());
        let mut config = EngineConfig {
            workers: 1,
            pool_slots: POOL_SLOTS,
            cache_dir: None,
            compiler: compiler(),
            most_loaded: None,
            builtins: Vec::new(),
            source: Arc::clone(&source) as Arc<dyn PluginSource>,
            key_values: Arc::new(MemoryKeyValue::default()),
            secrets: Arc::new(NoSecrets),
            memory_budget_bytes: u64::MAX,
            ceilings: Ceilings::default(),
            own_dirs: Vec::new(),
            own_addresses: Vec::new(),
            wasi_0_3: true,
            virtual_time: None,
            requests: None,
            answers: None,
        };
        configure(&mut config);
        let engine = WasmEngine::new(config).expect("an engine");
        let runner = engine.runner(0);
        Self { engine, runner, source }
    }

    /// How many attempts ran into this limit.
    pub(crate) fn hits(&self, limit: Limit) -> u64 {
        let hits = self.engine.stats().limits_hit;
        hits.into_iter().find(|(hit, _)| *hit == limit).map_or(0, |(_, count)| count)
    }

    /// Makes a task of this plugin ready, as at a restart: the plugin is known, and compiled if it must be.
    pub(crate) async fn prepare(&self, task: &Task) -> Result<Job, PluginError> {
        self.source.put(task);
        self.engine.prepare(0, Arc::new(task.spec())).await
    }

    /// The same, as far as nothing need be waited for.
    pub(crate) fn prepare_at_hand(&self, task: &Task) -> AtHand<Job> {
        self.source.put(task);
        self.engine.prepare_at_hand(0, &Arc::new(task.spec()))
    }

    pub(crate) async fn start(&self, task: &Task) -> Started {
        let job = self.prepare(task).await.expect("a plugin that this host runs");
        self.start_job(&job, task, 1)
    }

    pub(crate) fn start_job(&self, job: &Job, task: &Task, number: u32) -> Started {
        self.start_logged(job, task, number, TaskLog::detached(7, task.name.clone()))
    }

    /// The same with the log that the task has already.
    pub(crate) fn start_logged(&self, job: &Job, task: &Task, number: u32, log: Arc<TaskLog>) -> Started {
        let control = Arc::new(RunControl::default());
        let attempt = Attempt {
            task: task.name.clone(),
            run_id: RunId { task: 7, key: RunKey::of(DUE) },
            number,
            since: None,
            reason: Reason::Schedule,
            trigger: None,
            due_local: None,
            timeout: task.timeout,
            control: Arc::clone(&control),
            log: Arc::clone(&log),
        };
        Started { run: self.runner.run(job, attempt), control, log }
    }

    /// Runs a task once.
    pub(crate) async fn run(&self, task: &Task) -> (RunReport, Vec<LogLine>) {
        let started = self.start(task).await;
        let report = started.run.await;
        (report, started.log.tail(0, usize::MAX))
    }
}

/// A run in progress.
pub(crate) struct Started {
    pub(crate) run: Run,
    pub(crate) control: Arc<RunControl>,
    pub(crate) log: Arc<TaskLog>,
}

/// A task, with the parts of it that matter here.
pub(crate) struct Task {
    pub(crate) wasm: Bytes,
    pub(crate) name: TaskName,
    pub(crate) args: Vec<String>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) timeout: Duration,
    pub(crate) limits: BTreeMap<String, u64>,
    pub(crate) keep: bool,
    pub(crate) grants: Grants,
    /// What else its definition says.
    pub(crate) patch: SpecPatch,
}

impl Task {
    pub(crate) fn of(wasm: impl Into<Bytes>) -> Self {
        let name = TaskName::new("the task").expect("a name");
        Self {
            wasm: wasm.into(),
            name,
            args: Vec::new(),
            memory_bytes: None,
            timeout: Duration::from_secs(60),
            limits: BTreeMap::new(),
            keep: false,
            grants: Grants::none(),
            patch: SpecPatch::default(),
        }
    }

    /// The guest that reaches for what its arguments say.
    pub(crate) fn reach(steps: &[&str]) -> Self {
        Self::of(&include_bytes!("../../../../tests/guests/reach/reach.wasm")[..]).args(steps)
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.grants.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn dir(mut self, host: &Path, guest: &str, read_only: bool) -> Self {
        let host = host.to_str().expect("a path of text").to_owned();
        self.grants.dirs.push(DirGrant { host, guest: guest.to_owned(), read_only });
        self
    }

    pub(crate) fn host(mut self, pattern: &str) -> Self {
        self.grants.hosts.push(pattern.parse().expect(pattern));
        self
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.args = args.iter().map(|&arg| arg.to_owned()).collect();
        self
    }

    pub(crate) fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = Some(bytes);
        self
    }

    pub(crate) fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout = Duration::from_millis(timeout_ms);
        self
    }

    pub(crate) fn limit(mut self, limit: Limit, most: u64) -> Self {
        self.limits.insert(limit.to_string(), most);
        self
    }

    /// Its instance is kept.
    pub(crate) fn keep(mut self) -> Self {
        self.keep = true;
        self
    }

    pub(crate) fn sha256(&self) -> Sha256 {
        inspect(&self.wasm).sha256
    }

    fn spec(&self) -> TaskSpec {
        let spec = TaskSpec {
            plugin: PluginRef::Sha256(self.sha256()),
            args: self.args.clone(),
            memory_bytes: self.memory_bytes,
            grants: Some(Box::new(self.grants.clone())),
            ..TaskSpec::default()
        };
        let patch = SpecPatch {
            limits: Some(Some(self.limits.clone())),
            instance: self.keep.then(|| Some("keep".to_owned())),
            ..self.patch.clone()
        };
        spec.patched(patch, &Zone::utc()).expect("a spec")
    }
}

/// The lines as `stream: text`.
pub(crate) fn texts(lines: &[LogLine]) -> Vec<String> {
    lines.iter().map(|line| format!("{}: {}", line.stream.as_str(), line.text)).collect()
}
