//! `taskhost:plugin@0.1.0`, frozen with the folder `wit/0.1.0`.

use std::time::Duration;

use taskhost_core::outcome;
use taskhost_core::ports::Attempt;
use taskhost_core::time::Time;

use crate::report::Returned;
use crate::state::State;

use self::bindings::taskhost::plugin::{context, types};

pub(crate) use self::bindings::{Task, TaskPre};

/// What a plugin of this version exports.
pub(crate) const GUEST: &str = "taskhost:plugin/guest@0.1.0";

/// What a plugin of this version may import beside WASI.
pub(crate) const IMPORTS: &[&str] = &["taskhost:plugin/context@0.1.0", "taskhost:plugin/types@0.1.0"];

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/0.1.0",
        world: "task",
        exports: { default: async },
    });
}

/// Adds the interfaces of this version to a worker's linker.
pub(crate) fn add_to_linker(linker: &mut wasmtime::component::Linker<State>) -> wasmtime::Result<()> {
    bindings::Task::add_to_linker::<State, wasmtime::component::HasSelf<State>>(linker, |state| state)
}

/// The type of the guest's `run`.
pub(crate) type RunParams<'a> = (&'a types::Tick,);
pub(crate) type RunResults = (Result<Option<String>, types::Failure>,);

/// Calls the guest once.
pub(crate) async fn call(
    task: &bindings::Task,
    store: &mut wasmtime::Store<State>,
    attempt: &Attempt,
) -> wasmtime::Result<Returned> {
    let returned = task.taskhost_plugin_guest().call_run(store, &tick(attempt)).await?;
    Ok(match returned {
        Ok(summary) => Returned::Summary(summary),
        Err(failure) => Returned::Failure {
            message: failure.message,
            permanent: failure.permanent,
            retry_after: failure.retry_after_ms.map(Duration::from_millis),
        },
    })
}

impl context::Host for State {
    fn remaining_ms(&mut self) -> Option<u64> {
        let left = self.deadline.saturating_duration_since(self.granted.setup.services.now());
        Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }

    fn cancelled(&mut self) -> bool {
        self.control.is_cancelled()
    }
}

impl types::Host for State {}

fn tick(attempt: &Attempt) -> types::Tick {
    let due = attempt.run_id.key.due;
    types::Tick {
        task: attempt.task.to_string(),
        run_id: attempt.run_id.to_string(),
        attempt: attempt.number,
        due: instant(due),
        due_local: attempt.due_local.clone().unwrap_or_else(|| due.to_string()),
        since: attempt.since.map(instant),
        reason: reason(attempt),
    }
}

fn instant(time: Time) -> types::Instant {
    const NANOS_PER_SECOND: i64 = 1_000_000_000;
    types::Instant {
        seconds: time.0.div_euclid(NANOS_PER_SECOND),
        nanoseconds: u32::try_from(time.0.rem_euclid(NANOS_PER_SECOND)).unwrap_or_default(),
    }
}

fn reason(attempt: &Attempt) -> types::Reason {
    match attempt.reason {
        outcome::Reason::Schedule => types::Reason::Schedule,
        outcome::Reason::Manual => types::Reason::Manual,
        outcome::Reason::CatchUp => types::Reason::CatchUp,
        outcome::Reason::Backfill => types::Reason::Backfill,
        outcome::Reason::Triggered => {
            let trigger = attempt.trigger.as_ref();
            types::Reason::Triggered(types::Trigger {
                task: trigger.map(|trigger| trigger.task.to_string()).unwrap_or_default(),
                run_id: trigger.map(|trigger| trigger.run_id.to_string()).unwrap_or_default(),
                outcome: trigger.map(|trigger| trigger.outcome.to_string()).unwrap_or_default(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_before_the_epoch_has_its_nanoseconds_from_zero_up() {
        let instant = instant(Time(-1));
        assert_eq!((instant.seconds, instant.nanoseconds), (-1, 999_999_999));
    }
}
