//! The floor: what an attempt costs with nothing around it, for benchmarks to measure the host against.
//!
//! The same pools, linker, store and call as in a host, in a loop; no lanes, deadlines, schedules or records.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use taskhost_core::log::TaskLog;
use taskhost_core::name::TaskName;
use taskhost_core::outcome::{Outcome, Reason, RunId, RunKey, RunReport};
use taskhost_core::plugin::PluginError;
use taskhost_core::ports::{Attempt, Clock, RunControl, SystemClock};
use taskhost_core::spec::{DEFAULT_TIMEOUT, TaskSpec};

use crate::admit::admit;
use crate::artefact::Artefact;
use crate::attempt::enter;
use crate::compile::Here;
use crate::config::DEFAULT_POOL_SLOTS;
use crate::error::EngineError;
use crate::held::Held;
use crate::linker::Linked;
use crate::load::Loaded;
use crate::pool::Engines;
pub use crate::pool::Reset;
use crate::report::report;
use crate::room::Room;
use crate::setup::{Services, Setup};
use crate::threads::thread_cpu;
use crate::turn::{Probe, Turn};

/// How many attempts are made between two looks at the clock.
const BATCH: u64 = 100;

/// How a loop rests, as a host does while nothing is due: so many attempts on each thread, and the next ones when the period is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    pub attempts: u64,
    pub period: Duration,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// How many attempts were made, on all threads together.
    pub attempts: u64,
    /// The processor time that they took, on all threads together.
    pub cpu: Duration,
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum FloorError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Plugin(#[from] PluginError),
    #[error("load or run the plugin")]
    Wasmtime(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("start a runtime")]
    Runtime(#[from] std::io::Error),
    /// The plugin is of no use for this: every attempt must succeed.
    #[error("an attempt ended as {0}")]
    Attempt(Outcome),
}

/// Makes attempts at this plugin on so many threads, each with an engine of its own, for as long as `wall`; without a pace one after the
/// other.
pub fn measure(
    wasm: &Bytes,
    threads: usize,
    wall: Duration,
    reset: Reset,
    pace: Option<Pace>,
) -> Result<Floor, FloorError> {
    let engines = Engines::new(threads, DEFAULT_POOL_SLOTS, reset)?;
    let admitted = admit(wasm)?;
    let code = Here::new(engines.slots > 0)?.compile(&admitted).map_err(wasmtime)?;
    let artefact = Artefact::in_memory(admitted.engine(), code);
    let linked = engines.workers.into_iter().map(|engine| Linked::new(engine, Room::new(1), None));
    let loaded = linked.map(|linked| Loaded::new(&linked, &artefact));
    let loaded = loaded.collect::<Result<Vec<_>, _>>().map_err(|refused| wasmtime(refused.into_error()))?;
    let floors = thread::scope(|scope| {
        let threads: Vec<_> = loaded.iter().map(|loaded| scope.spawn(move || attempts(loaded, wall, pace))).collect();
        let ended =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect::<Result<Vec<_>, _>>()
    })?;
    Ok(Floor {
        attempts: floors.iter().map(|floor| floor.attempts).sum(),
        cpu: floors.iter().map(|floor| floor.cpu).sum(),
    })
}

fn attempts(loaded: &Loaded, wall: Duration, pace: Option<Pace>) -> Result<Floor, FloorError> {
    let name = TaskName::new("floor").expect("it is a name");
    let services = Arc::new(Services::detached(u64::MAX));
    let setup = Arc::new(Setup::new(Arc::new(TaskSpec::default()), services, 0));
    let attempt = Attempt {
        run_id: RunId { task: 0, key: RunKey::of(SystemClock.now()) },
        number: 1,
        since: None,
        reason: Reason::Schedule,
        trigger: None,
        due_local: None,
        timeout: DEFAULT_TIMEOUT,
        control: Arc::new(RunControl::default()),
        log: TaskLog::detached(0, name.clone()),
        task: name,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (start, start_cpu) = (Instant::now(), thread_cpu());
        let (mut attempts, mut next) = (0, start);
        let batch = pace.map_or(BATCH, |pace| pace.attempts);
        while start.elapsed() < wall {
            for _ in 0..batch {
                let now = Instant::now();
                let turn = Turn {
                    attempt: attempt.clone(),
                    deadline: now + DEFAULT_TIMEOUT,
                    probe: Probe::new(now),
                    secrets: None,
                };
                let (ended, ..) = enter(loaded, &setup, Held::none(&setup), None, &turn).await;
                check(&report(ended))?;
            }
            attempts += batch;
            if let Some(pace) = pace {
                next += pace.period;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }
        Ok(Floor { attempts, cpu: thread_cpu() - start_cpu })
    })
}

fn check(report: &RunReport) -> Result<(), FloorError> {
    match report.outcome {
        Outcome::Success => Ok(()),
        other => Err(FloorError::Attempt(other)),
    }
}

fn wasmtime(error: wasmtime::Error) -> FloorError {
    FloorError::Wasmtime(error.into())
}
