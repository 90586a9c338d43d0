//! What must hold of a task when nothing is to be done at this moment: it will be woken for what comes next, and in time.

use taskhost_core::ports::Progress;
use taskhost_core::time::Time;
use taskhost_core::unit::Unit;

use crate::check::{Check, ensure};
use crate::oracle::Oracle;

pub(crate) fn is_at_rest(oracle: &Oracle, unit: &Unit, wake: Option<Time>, wants_catch_up: bool, now: Time) -> Check {
    let spec = &oracle.spec;
    let woken_by = |time: Time| wake.is_some_and(|wake| wake <= time);
    ensure!(wake.is_none_or(|wake| wake > now), "it asks to be woken at {wake:?}, which is not to come");
    for run in unit.running() {
        if let Progress::Retrying { at, .. } = run.progress {
            ensure!(woken_by(at), "{:?} is to be tried again at {at}, and nothing wakes it", run.key);
        }
    }
    if let Some(pause) = unit.paused() {
        ensure!(unit.next_due().is_none(), "it is paused, and due at {:?}", unit.next_due());
        ensure!(pause.until.is_none_or(woken_by), "its pause ends at {:?}, and nothing wakes it", pause.until);
        return Ok(());
    }
    let idle = unit.running().is_empty() && unit.queue().next().is_none();
    ensure!(idle || unit.queue().next().is_none() || !unit.running().is_empty(), "what waits has nothing to wait for");
    ensure!(!idle || unit.backlog() == 0 || wants_catch_up, "its backlog waits for ever");
    let exhausted = spec.max_runs.is_some_and(|most| unit.scheduled_runs() >= most);
    if exhausted {
        return Ok(());
    }
    let jitter = spec.jitter.map_or(Default::default(), |jitter| jitter.max);
    if let Some(slot) = oracle.next(unit.cursor()) {
        let next = unit.next_due();
        ensure!(next.is_some_and(|next| next <= slot.due), "it is due at {}, and says {next:?}", slot.due);
        ensure!(woken_by(slot.due.saturating_add(jitter)), "it is due at {}, and is woken at {wake:?}", slot.due);
        ensure!(slot.due.saturating_add(jitter) > now, "it was due at {}, and is not begun", slot.due);
    }
    if let Some(delay) = spec.delay() {
        let expired = spec.expires_at.is_some_and(|end| end <= now.saturating_add(delay));
        let waits = !idle || unit.backlog() > 0 || expired;
        ensure!(waits || unit.next_due().is_some(), "it is idle, has a `delay`, and is never due");
    }
    Ok(())
}
