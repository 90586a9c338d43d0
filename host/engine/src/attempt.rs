//! One attempt: a fresh store, a fresh instance, one call, and away with both.

use std::sync::Arc;
use std::time::Instant;

use taskhost_core::outcome::{Outcome, RunReport};
use taskhost_core::ports::Attempt;
use taskhost_core::spec::TaskSpec;
use wasmtime::PoolConcurrencyLimitError;

use crate::load::Loaded;
use crate::report::{Ended, report};
use crate::runner::{JobInner, Probe};
use crate::state::store;

/// Makes the attempt. When it has ended, its slot is free.
pub(crate) async fn attempt(job: Arc<JobInner>, attempt: Attempt, deadline: Instant, probe: Arc<Probe>) -> RunReport {
    let ended = enter(&job.loaded, &job.spec, &attempt, deadline, &probe).await;
    if !is_full(&ended) {
        return report(ended);
    }
    match job.shared.overflow(&job.program).await {
        Ok(overflow) => report(enter(&overflow, &job.spec, &attempt, deadline, &probe).await),
        Err(error) => RunReport::of(Outcome::HostError).with_detail(&error.to_string()),
    }
}

/// Runs the guest once on the engine that it is loaded on.
pub(crate) async fn enter(
    loaded: &Loaded,
    spec: &TaskSpec,
    attempt: &Attempt,
    deadline: Instant,
    probe: &Arc<Probe>,
) -> Ended {
    let mut store = store(&loaded.engine, spec, attempt, deadline, probe);
    probe.entering();
    let returned = loaded.entry.call(&mut store, attempt).await;
    Ended { returned, denied: store.data().limits.denied() }
}

/// Whether the pool had no slot left. The guest was not called then.
fn is_full(ended: &Ended) -> bool {
    ended.returned.as_ref().is_err_and(|broken| broken.error().is::<PoolConcurrencyLimitError>())
}
