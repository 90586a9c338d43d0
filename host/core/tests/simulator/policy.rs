//! What must hold of one step because a policy of the task says so.

use taskhost_core::outcome::{Reason, RunKey};
use taskhost_core::spec::{Missed, Overlap, TaskSpec};
use taskhost_core::time::Time;
use taskhost_core::unit::{Action, Input};

use crate::check::{Check, Place, Seen, ensure};

pub(crate) fn policies_are_kept(
    spec: &TaskSpec,
    before: &Seen,
    after: &Seen,
    input: Option<&Input>,
    actions: &[Action],
    again: bool,
    now: Time,
) -> Check {
    let overlap = match input {
        Some(Input::Run { overlap, .. }) => overlap.unwrap_or(spec.overlap()),
        _ => spec.overlap(),
    };
    if after.running > before.running && input.is_some() {
        let most = if overlap == Overlap::AllowAll { spec.max_running() as usize } else { 1 };
        ensure!(after.running <= most, "{} runs go on at once with {}", after.running, overlap.as_str());
    }
    if after.queue > before.queue {
        let most = match overlap {
            Overlap::BufferAll => spec.max_buffered() as usize,
            Overlap::BufferOne | Overlap::CancelOther | Overlap::TerminateOther => 1,
            Overlap::Skip | Overlap::AllowAll => 0,
        };
        ensure!(after.queue <= most, "{} due times wait with {}", after.queue, overlap.as_str());
    }
    let mut paused = before.paused;
    for action in actions {
        match action {
            Action::Pause(_) => paused = true,
            Action::Start { key, attempt: 1, .. } if paused && after.paused => {
                let reason = after.live.get(key).map(|(_, reason)| *reason);
                let waited = before.live.get(key).is_some_and(|(place, _)| *place == Place::Queue);
                let asked_for = matches!(reason, Some(Reason::Manual | Reason::Triggered));
                ensure!(waited || asked_for, "{key:?} ({reason:?}) begins while the task is paused");
            }
            _ => {}
        }
    }
    let stopped = matches!(input, Some(Input::Halt | Input::Deleted));
    let starts = actions.iter().any(|action| matches!(action, Action::Start { .. }));
    ensure!(!(stopped && starts), "a run begins though the task is halted");

    let made_up =
        |(_, (place, reason)): &(&RunKey, &(Place, Reason))| *place == Place::Backlog && *reason == Reason::CatchUp;
    let new: Vec<_> = after.live.iter().filter(made_up).filter(|(key, _)| !before.live.contains_key(key)).collect();
    let all = after.live.iter().filter(made_up).count();
    if !new.is_empty() {
        ensure!(all <= spec.max_catchup() as usize, "{all} due times are made up for; {} may be", spec.max_catchup());
    }
    if !again {
        ensure!(new.is_empty() || spec.missed() != Missed::Skip, "{new:?} is made up for, against the policy");
        // The newest due time, one of a `delay`, and one before a pause that ended while the host was down.
        let ended_pause = input.is_none() && before.paused && !after.paused;
        let most = 1 + usize::from(spec.delay().is_some()) + usize::from(ended_pause);
        ensure!(
            new.len() <= most || spec.missed() != Missed::RunOnce,
            "{} due times are made up for by run_once",
            new.len()
        );
        for (key, _) in &new {
            let age = now.since(key.due);
            ensure!(age <= spec.catchup_window(), "{key:?} is made up for, {age:?} later");
        }
    }
    Ok(())
}
