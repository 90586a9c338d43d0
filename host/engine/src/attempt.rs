//! One attempt: a fresh store, a fresh instance, one call, and away with both; or a call of the instance that was kept.

use std::sync::Arc;
use std::time::Instant;

use taskhost_core::outcome::{Outcome, RunReport};
use taskhost_core::ports::Attempt;
use taskhost_core::spec::{InstancePolicy, Limit};
use wasmtime::{PoolConcurrencyLimitError, Store};

use crate::budget::Held;
use crate::keep::Idle;
use crate::load::{Live, Loaded};
use crate::report::{Broken, Ended, Returned, report};
use crate::room::Place;
use crate::runner::{JobInner, Probe};
use crate::setup::Setup;
use crate::state::{State, store};

/// Of the handles that a task may have, a kept instance starts its next run with at most one in so many: one that leaks them is made
/// anew before a run fails for it.
const HANDLES_PER_KEPT: usize = 2;

/// Makes the attempt. When it has ended, its slot is free.
pub(crate) async fn attempt(job: Arc<JobInner>, attempt: Attempt, deadline: Instant, probe: Arc<Probe>) -> RunReport {
    // What is seldom is in boxes of its own, so that the future of every other attempt is small.
    if let Some(idle) = job.take_idle() {
        return Box::pin(call_again(&job, idle, &attempt, deadline, &probe)).await;
    }
    match call_fresh(&job, &job.loaded, &attempt, deadline, &probe).await {
        Some(report) => report,
        None => Box::pin(call_without_pool(&job, &attempt, deadline, &probe)).await,
    }
}

/// Calls a fresh instance on the engine that has no pool.
async fn call_without_pool(job: &Arc<JobInner>, attempt: &Attempt, deadline: Instant, probe: &Arc<Probe>) -> RunReport {
    let overflow = match job.shared.overflow(&job.program).await {
        Ok(overflow) => overflow,
        Err(error) => return RunReport::of(Outcome::HostError).with_detail(&error.to_string()),
    };
    let report = call_fresh(job, &overflow, attempt, deadline, probe).await;
    let full = "too many runs at once: no instance is left";
    report.unwrap_or_else(|| RunReport::of(Outcome::HostError).with_detail(full))
}

/// Calls a fresh instance, unless the engine is full.
async fn call_fresh(
    job: &Arc<JobInner>,
    loaded: &Loaded,
    attempt: &Attempt,
    deadline: Instant,
    probe: &Arc<Probe>,
) -> Option<RunReport> {
    let Some(held) = admit(&job.setup, loaded, probe).await else {
        let detail = format!("its first memory is too much: {}", job.setup.services.budget.used_up());
        return Some(RunReport::of(Outcome::HostError).with_detail(&detail));
    };
    let place = loaded.room.take()?;
    let (ended, store, live) = enter(loaded, &job.setup, held, attempt, deadline, probe).await;
    if is_full(&ended) {
        // What is kept may have more than its share of the pool.
        loaded.room.kept.evict();
        return None;
    }
    let keeps = may_be_kept(&job.setup, attempt, &ended);
    let report = report(ended);
    if let Some(live) = live.filter(|_| keeps && is_sound(&report)) {
        keep(job, store, live, place);
    }
    Some(report)
}

/// Calls the instance that was kept.
async fn call_again(
    job: &Arc<JobInner>,
    idle: Idle,
    attempt: &Attempt,
    deadline: Instant,
    probe: &Arc<Probe>,
) -> RunReport {
    let Idle { mut store, live, place, listed } = idle;
    drop(listed);
    begin_again(&mut store, attempt, deadline, probe);
    let returned = call(&live, &mut store, attempt).await;
    let ended = ended(returned, &mut store);
    let keeps = may_be_kept(&job.setup, attempt, &ended);
    let report = report(ended);
    if keeps && is_sound(&report) {
        keep(job, store, live, place);
    }
    report
}

/// Runs the guest once on the engine that it is loaded on.
pub(crate) async fn enter(
    loaded: &Loaded,
    setup: &Arc<Setup>,
    held: Held,
    attempt: &Attempt,
    deadline: Instant,
    probe: &Arc<Probe>,
) -> (Ended, Store<State>, Option<Live>) {
    let mut store = store(&loaded.engine, setup, held, attempt, deadline, probe);
    let live = match loaded.entry.instantiate(&mut store).await {
        Ok(live) => live,
        Err(error) => return (ended(Err(Broken::Instance(error)), &mut store), store, None),
    };
    let returned = call(&live, &mut store, attempt).await;
    (ended(returned, &mut store), store, Some(live))
}

async fn call(live: &Live, store: &mut Store<State>, attempt: &Attempt) -> Result<Returned, Broken> {
    store.data().entering();
    live.call(store, attempt).await.map_err(Broken::Call)
}

/// What came of a call, with the limits that have to do with it.
fn ended(mut returned: Result<Returned, Broken>, store: &mut Store<State>) -> Ended {
    let limits = &mut store.data_mut().limits;
    match &mut returned {
        Ok(returned) => {
            if returned.cut(limits.setup().bounds.count(Limit::ResultBytes)) {
                limits.note(Limit::ResultBytes);
            }
        }
        Err(broken) => limits.blame(broken.error()),
    }
    let denied = limits.refusal();
    Ended { returned, denied }
}

/// As much memory as the plugin begins with, when the host has it.
async fn admit(setup: &Arc<Setup>, loaded: &Loaded, probe: &Probe) -> Option<Held> {
    let bytes = loaded.initial_bytes.min(setup.bounds.of(Limit::MemoryBytes));
    let held = Held::admit(setup, bytes, || probe.waits_for_memory(true)).await;
    probe.waits_for_memory(false);
    held
}

/// Whether the pool ran out of something while the instance was made: one that has more memories or tables than most. The guest
/// was not called then. At most the start functions of a component's first modules have run; their instances are gone.
fn is_full(ended: &Ended) -> bool {
    matches!(&ended.returned, Err(Broken::Instance(error)) if error.is::<PoolConcurrencyLimitError>())
}

/// Whether the task keeps its instance, and the guest has come back from this call by itself.
fn may_be_kept(setup: &Setup, attempt: &Attempt, ended: &Ended) -> bool {
    setup.spec.instance() == InstancePolicy::Keep && ended.returned.is_ok() && !attempt.control.is_stopped()
}

/// A guest that says that it failed is as good as before; one that ran into a limit, or for which the host had no memory, is not.
fn is_sound(report: &RunReport) -> bool {
    matches!(report.outcome, Outcome::Success | Outcome::Error)
}

/// Makes ready what the next attempt does not share with the last one.
fn begin_again(store: &mut Store<State>, attempt: &Attempt, deadline: Instant, probe: &Arc<Probe>) {
    store.data_mut().begin_again(attempt, deadline, probe);
    crate::state::begin_slice(store);
}

/// Keeps an instance for the next run, unless another run's is kept already, or somebody waits for what it has.
fn keep(job: &Arc<JobInner>, mut store: Store<State>, live: Live, place: Place) {
    let most_handles = job.setup.bounds.count(Limit::Handles) / HANDLES_PER_KEPT;
    let is_wanted = job.setup.services.budget.waiting() > 0;
    if is_wanted || store.data_mut().handles() > most_handles || !place.room().kept.make_room() {
        return;
    }
    store.data().end();
    job.keep(store, live, place);
}
