//! What the engine does for each tick.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use divan::Bencher;
use taskhost_core::key_value::MemoryKeyValue;
use taskhost_core::log::TaskLog;
use taskhost_core::name::TaskName;
use taskhost_core::outcome::{Outcome, Reason, RunId, RunKey};
use taskhost_core::plugin::{PluginError, Sha256};
use taskhost_core::ports::{Attempt, Engine, NoSecrets, PluginSource, RunControl, Runner};
use taskhost_core::spec::{Ceilings, DEFAULT_TIMEOUT, TaskSpec};
use taskhost_core::time::Time;
use taskhost_engine::{CompilerConfig, EngineConfig, WasmEngine};
use taskhost_parts::Part;

const PARTS: &[Part] =
    &[Part { name: "attempt: the ticker, afresh", prepare: attempt, operations: 1, counted_calls: 20 }];

/// The built-in plugin.
const TICKER: &[u8] = include_bytes!("../../../plugins/ticker/ticker.wasm");

/// Enough for one run at a time, and little enough for an address space that something shares with it.
const POOL_SLOTS: u32 = 4;

/// 2023-11-14T22:13:20Z
const DUE: Time = Time(1_700_000_000_000_000_000);

fn main() -> ExitCode {
    taskhost_parts::main("engine", PARTS)
}

#[divan::bench(args = PARTS, min_time = 0.5)]
fn engine(bencher: Bencher<'_, '_>, part: &Part) {
    part.time(bencher);
}

/// There are no plugins but the one that is built in.
struct NoPlugins;

impl PluginSource for NoPlugins {
    fn read(&self, plugin: Sha256) -> Result<Bytes, PluginError> {
        Err(PluginError::NotFound(plugin.to_string()))
    }
}

/// One attempt as a worker makes it: a fresh instance, a line in the log, and the report, all in one poll.
fn attempt() -> Box<dyn FnMut()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let engine = WasmEngine::new(EngineConfig {
        workers: 1,
        pool_slots: POOL_SLOTS,
        cache_dir: None,
        compiler: CompilerConfig::here(),
        most_loaded: None,
        builtins: vec![("ticker".to_owned(), Bytes::from_static(TICKER))],
        source: Arc::new(NoPlugins),
        key_values: Arc::new(MemoryKeyValue::default()),
        secrets: Arc::new(NoSecrets),
        memory_budget_bytes: u64::MAX,
        ceilings: Ceilings::default(),
        own_dirs: Vec::new(),
        own_addresses: Vec::new(),
        wasi_0_3: false,
        virtual_time: None,
        requests: None,
        answers: None,
    })
    .expect("an engine");
    let name = TaskName::new("disk-usage").expect("a name");
    let spec = Arc::<TaskSpec>::default();
    let (job, runner) = runtime.block_on(async { (engine.prepare(0, spec).await, engine.runner(0)) });
    let job = job.expect("a plugin that is run");
    let attempt = Attempt {
        run_id: RunId { task: 7, key: RunKey::of(DUE) },
        number: 1,
        since: None,
        reason: Reason::Schedule,
        trigger: None,
        due_local: None,
        timeout: DEFAULT_TIMEOUT,
        control: Arc::new(RunControl::default()),
        log: TaskLog::detached(7, name.clone()),
        task: name,
    };
    Box::new(move || {
        let _within = runtime.enter();
        // It ends in its first poll, unless the machine was so busy that it used up its slice: then it goes on in the slow lane.
        let mut run = std::pin::pin!(runner.run(&job, attempt.clone()));
        let report = match run.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(report) => report,
            Poll::Pending => runtime.block_on(run),
        };
        assert_eq!(report.outcome, Outcome::Success);
        // The engine lives as long as its runs.
        let _ = &engine;
    })
}
