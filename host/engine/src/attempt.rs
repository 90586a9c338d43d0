//! One attempt: a fresh store, a fresh instance, one call, and away with both; or a call of the instance that was kept.

use std::sync::Arc;
use std::time::Instant;

use taskhost_core::outcome::{MAX_DETAIL_BYTES, Outcome, RunReport};
use taskhost_core::ports::Attempt;
use taskhost_core::spec::{InstancePolicy, Limit};
use wasmtime::{PoolConcurrencyLimitError, Store};
use wasmtime_wasi::WasiCtxBuilder;

use crate::grant::reach::TooMuch;
use crate::grant::{files, secrets};
use crate::guest::{self, Begins};
use crate::held::Held;
use crate::job::{Idle, JobInner};
use crate::load::{Live, Loaded};
use crate::report::{Broken, Ended, Returned, ran_longer_than, report};
use crate::room::Place;
use crate::setup::Setup;
use crate::state::{State, begin_slice, store};
use crate::turn::{Probe, Turn};

/// Of the handles that a task may have, a kept instance starts its next run with at most one in so many: one that leaks them is made
/// anew before a run fails for it.
const HANDLES_PER_KEPT: usize = 2;

/// A text that is cut between letters may be so much shorter than its bound.
const CUT_LETTER_BYTES: usize = 4;

/// Makes the attempt; loads the plugin first if it is not. When it has ended, its slot is free.
pub(crate) async fn attempt(job: Arc<JobInner>, begins: Begins, attempt: Attempt, probe: Arc<Probe>) -> RunReport {
    // What is seldom is in boxes of its own, so that the future of every other attempt is small.
    let (loaded, deadline) = match begins {
        Begins::Loaded(loaded, deadline) => (loaded, deadline),
        Begins::Unloaded(set) => match Box::pin(job.load()).await {
            Ok(loaded) => {
                let deadline = guest::deadline(Instant::now(), attempt.timeout);
                set.set(deadline).ok();
                (loaded, deadline)
            }
            Err(error) => return RunReport::of(Outcome::HostError).with_detail(&error.to_string()),
        },
    };
    let secrets = match &job.setup.spec.grants().secrets[..] {
        [] => None,
        _ => match Box::pin(secrets::read(&job.setup)).await {
            Ok(secrets) => Some(secrets),
            Err(error) => return RunReport::of(Outcome::HostError).with_detail(&error.to_string()),
        },
    };
    let turn = Turn { attempt, deadline, probe, secrets };
    // One that was made with other secrets would go on with them.
    if let Some(idle) = job.take_idle().filter(|idle| idle.store.data().granted.has_secrets(turn.secrets.as_ref())) {
        return Box::pin(call_again(&job, *idle, &turn)).await;
    }
    match call_fresh(&job, &loaded, &turn).await {
        Some(report) => report,
        None => Box::pin(call_without_pool(&job, &turn)).await,
    }
}

/// Calls a fresh instance on the engine that has no pool.
async fn call_without_pool(job: &Arc<JobInner>, turn: &Turn) -> RunReport {
    let overflow = match job.load_without_pool().await {
        Ok(overflow) => overflow,
        Err(error) => return RunReport::of(Outcome::HostError).with_detail(&error.to_string()),
    };
    let report = call_fresh(job, &overflow, turn).await;
    let full = "too many runs at once: no instance is left";
    report.unwrap_or_else(|| RunReport::of(Outcome::HostError).with_detail(full))
}

/// Calls a fresh instance, unless the engine is full.
async fn call_fresh(job: &Arc<JobInner>, loaded: &Loaded, turn: &Turn) -> Option<RunReport> {
    let Some(held) = admit(&job.setup, loaded, &turn.probe).await else {
        let detail = format!("its first memory is too much: {}", job.setup.services.budget.used_up());
        return Some(RunReport::of(Outcome::HostError).with_detail(&detail));
    };
    let folders = match &job.setup.spec.grants().dirs[..] {
        [] => None,
        _ => match Box::pin(files::granted(&job.setup)).await {
            Ok(folders) => Some(Box::new(folders)),
            Err(error) => return Some(RunReport::of(Outcome::HostError).with_detail(&format!("{error:#}"))),
        },
    };
    let place = loaded.room.take()?;
    let (ended, store, live) = enter(loaded, &job.setup, held, folders, turn).await;
    if is_full(&ended) {
        // What is kept may have more than its share of the pool.
        loaded.room.kept.evict();
        return None;
    }
    let keeps = may_be_kept(&job.setup, &turn.attempt, &ended);
    let report = told(ended, turn);
    if let Some(live) = live.filter(|_| keeps && is_sound(&report)) {
        keep(job, store, live, place);
    }
    Some(report)
}

/// Calls the instance that was kept.
async fn call_again(job: &Arc<JobInner>, idle: Idle, turn: &Turn) -> RunReport {
    let Idle { mut store, live, place, listed } = idle;
    drop(listed);
    store.data_mut().begin_again(turn);
    begin_slice(&mut store);
    let returned = call(&live, &mut store, turn).await;
    let ended = ended(returned, &mut store, turn);
    let keeps = may_be_kept(&job.setup, &turn.attempt, &ended);
    let report = told(ended, turn);
    if keeps && is_sound(&report) {
        keep(job, store, live, place);
    }
    report
}

/// Runs the guest once on the engine that it is loaded on, with the memory and the folders that it begins with.
pub(crate) async fn enter(
    loaded: &Loaded,
    setup: &Arc<Setup>,
    held: Held,
    folders: Option<Box<WasiCtxBuilder>>,
    turn: &Turn,
) -> (Ended, Store<State>, Option<Live>) {
    let mut store = store(&loaded.engine, setup, held, folders, turn);
    let live = match loaded.entry.instantiate(&mut store).await {
        Ok(live) => live,
        Err(error) => return (ended(Err(Broken::Instance(error)), &mut store, turn), store, None),
    };
    let returned = call(&live, &mut store, turn).await;
    (ended(returned, &mut store, turn), store, Some(live))
}

async fn call(live: &Live, store: &mut Store<State>, turn: &Turn) -> Result<Returned, Broken> {
    store.data().entering();
    live.call(store, &turn.attempt).await.map_err(Broken::Call)
}

/// What came of a call, with the limits that have to do with it.
fn ended(mut returned: Result<Returned, Broken>, store: &mut Store<State>, turn: &Turn) -> Ended {
    let State { limits, reach, .. } = store.data_mut();
    if let Some(limit) = reach.limit_hit() {
        limits.deny(limit);
    }
    if let Some(limit) = reach.must_end() {
        returned = Err(Broken::Call(TooMuch(limit).into()));
    }
    reach.ended(&returned);
    match &mut returned {
        Ok(returned) => {
            // Before it is cut, so that no piece of a secret is left.
            if let Some(mask) = turn.mask() {
                returned.mask(mask);
            }
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

/// Words the end of an attempt, with the task's secrets hidden in it.
fn told(ended: Ended, turn: &Turn) -> RunReport {
    let report = report(ended);
    if report.outcome == Outcome::TimedOut {
        return report.with_detail(&ran_longer_than(turn.attempt.timeout));
    }
    match (turn.mask(), &report.detail) {
        // Words of wasmtime's, which may repeat a guest's: those are cut as they are written.
        (Some(mask), Some(detail)) => {
            let is_cut = detail.len() + CUT_LETTER_BYTES >= MAX_DETAIL_BYTES;
            report.clone().with_detail(&mask.text(detail, is_cut))
        }
        _ => report,
    }
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

/// Keeps an instance for the next run, unless another run's is kept already, or somebody waits for what it has.
fn keep(job: &Arc<JobInner>, mut store: Store<State>, live: Live, place: Place) {
    let most_handles = job.setup.bounds.count(Limit::Handles) / HANDLES_PER_KEPT;
    let is_wanted = job.setup.services.budget.waiting() > 0;
    if is_wanted || store.data_mut().handles() > most_handles || !place.room().kept.make_room() {
        return;
    }
    store.data_mut().end();
    job.keep(store, live, place);
}
