//! One attempt: a fresh store, a fresh instance, one call, and away with both.

use std::sync::Arc;
use std::time::Instant;

use taskhost_core::outcome::{MAX_DETAIL_BYTES, Outcome, RunReport};
use taskhost_core::ports::Attempt;
use wasmtime::PoolConcurrencyLimitError;

use crate::grant::secrets::Secrets;
use crate::load::Loaded;
use crate::report::{Broken, Ended, Returned, report};
use crate::runner::{JobInner, Probe};
use crate::setup::Setup;
use crate::state::store;

/// A text that is cut between letters may be so much shorter than its bound.
const CUT_LETTER_BYTES: usize = 4;

/// Makes the attempt. When it has ended, its slot is free.
pub(crate) async fn attempt(job: Arc<JobInner>, attempt: Attempt, deadline: Instant, probe: Arc<Probe>) -> RunReport {
    let secrets = match Secrets::read(&job.setup).await {
        Ok(secrets) => secrets,
        Err(error) => return RunReport::of(Outcome::HostError).with_detail(&error.to_string()),
    };
    let secrets = secrets.as_ref();
    if let Some(ended) = enter_if_room(&job.loaded, &job.setup, secrets, &attempt, deadline, &probe).await {
        return told(ended, secrets);
    }
    let overflow = match job.shared.overflow(&job.program).await {
        Ok(overflow) => overflow,
        Err(error) => return RunReport::of(Outcome::HostError).with_detail(&error.to_string()),
    };
    match enter_if_room(&overflow, &job.setup, secrets, &attempt, deadline, &probe).await {
        Some(ended) => told(ended, secrets),
        None => RunReport::of(Outcome::HostError).with_detail("too many runs at once: no instance is left"),
    }
}

/// Runs the guest once, unless the engine is full.
async fn enter_if_room(
    loaded: &Loaded,
    setup: &Arc<Setup>,
    secrets: Option<&Arc<Secrets>>,
    attempt: &Attempt,
    deadline: Instant,
    probe: &Arc<Probe>,
) -> Option<Ended> {
    let _place = loaded.room.take()?;
    let ended = enter(loaded, setup, secrets, attempt, deadline, probe).await;
    (!is_full(&ended)).then_some(ended)
}

/// Runs the guest once on the engine that it is loaded on.
pub(crate) async fn enter(
    loaded: &Loaded,
    setup: &Arc<Setup>,
    secrets: Option<&Arc<Secrets>>,
    attempt: &Attempt,
    deadline: Instant,
    probe: &Arc<Probe>,
) -> Ended {
    let mut store = store(&loaded.engine, setup, secrets, attempt, deadline, probe);
    let returned = loaded.entry.call(&mut store, attempt).await;
    Ended { returned, denied: store.data().limits.denied() }
}

/// Words the end of an attempt, with the task's secrets hidden in what the guest said: before it is cut, so that no piece of one is left.
fn told(mut ended: Ended, secrets: Option<&Arc<Secrets>>) -> RunReport {
    let Some(mask) = secrets.and_then(|secrets| secrets.mask.as_ref()) else { return report(ended) };
    match &mut ended.returned {
        Ok(Returned::Summary(Some(text)) | Returned::Failure { message: text, .. }) => *text = mask.text(text, false),
        Ok(Returned::Summary(None) | Returned::Exit(_)) | Err(_) => {}
    }
    let report = report(ended);
    match &report.detail {
        // Words of wasmtime's, which may repeat a guest's: those are cut as they are written.
        Some(detail) => {
            report.clone().with_detail(&mask.text(detail, detail.len() + CUT_LETTER_BYTES >= MAX_DETAIL_BYTES))
        }
        None => report,
    }
}

/// Whether the pool ran out of something while the instance was made: one that has more memories or tables than most. The guest
/// was not called then. At most the start functions of a component's first modules have run; their instances are gone.
fn is_full(ended: &Ended) -> bool {
    matches!(&ended.returned, Err(Broken::Instance(error)) if error.is::<PoolConcurrencyLimitError>())
}
