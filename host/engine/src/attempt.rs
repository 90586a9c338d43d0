//! One attempt: a fresh store, a fresh instance, one call, and away with both.

use std::sync::Arc;
use std::time::Instant;

use taskhost_core::outcome::{Outcome, RunReport};
use taskhost_core::ports::Attempt;
use wasmtime::PoolConcurrencyLimitError;

use crate::grant::files;
use crate::load::Loaded;
use crate::report::{Broken, Ended, report};
use crate::runner::{JobInner, Probe};
use crate::setup::Setup;
use crate::state::store;

/// Makes the attempt. When it has ended, its slot is free.
pub(crate) async fn attempt(job: Arc<JobInner>, attempt: Attempt, deadline: Instant, probe: Arc<Probe>) -> RunReport {
    if let Some(ended) = enter_if_room(&job.loaded, &job.setup, &attempt, deadline, &probe).await {
        return report(ended);
    }
    let overflow = match job.shared.overflow(&job.program).await {
        Ok(overflow) => overflow,
        Err(error) => return RunReport::of(Outcome::HostError).with_detail(&error.to_string()),
    };
    match enter_if_room(&overflow, &job.setup, &attempt, deadline, &probe).await {
        Some(ended) => report(ended),
        None => RunReport::of(Outcome::HostError).with_detail("too many runs at once: no instance is left"),
    }
}

/// Runs the guest once, unless the engine is full.
async fn enter_if_room(
    loaded: &Loaded,
    setup: &Arc<Setup>,
    attempt: &Attempt,
    deadline: Instant,
    probe: &Arc<Probe>,
) -> Option<Ended> {
    let _place = loaded.room.take()?;
    let ended = enter(loaded, setup, attempt, deadline, probe).await;
    (!is_full(&ended)).then_some(ended)
}

/// Runs the guest once on the engine that it is loaded on.
pub(crate) async fn enter(
    loaded: &Loaded,
    setup: &Arc<Setup>,
    attempt: &Attempt,
    deadline: Instant,
    probe: &Arc<Probe>,
) -> Ended {
    let wasi = match files::granted(setup).await {
        Ok(wasi) => wasi,
        Err(error) => return Ended { returned: Err(Broken::Instance(error)), denied: None },
    };
    let mut store = store(&loaded.engine, setup, attempt, deadline, probe, wasi);
    let returned = loaded.entry.call(&mut store, attempt).await;
    store.data_mut().ended(returned)
}

/// Whether the pool ran out of something while the instance was made: one that has more memories or tables than most. The guest
/// was not called then. At most the start functions of a component's first modules have run; their instances are gone.
fn is_full(ended: &Ended) -> bool {
    matches!(&ended.returned, Err(Broken::Instance(error)) if error.is::<PoolConcurrencyLimitError>())
}
