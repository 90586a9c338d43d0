//! Steps of units' state machines, and what follows from them. The tick path is here.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;

use super::{InFlight, Wish, Worker};
use crate::events::{Event, EventKind};
use crate::outcome::{Outcome, RunKey, RunRecord, RunReport, Trigger};
use crate::ports::{Attempt, Clock, Runner};
use crate::time::Time;
use crate::unit::{Action, Input};

impl<R: Runner, C: Clock> Worker<R, C> {
    /// One step of a unit's state machine, and what follows from it.
    pub(super) fn step(&mut self, index: u32, input: Input) {
        // Stopping changes nothing that is kept.
        let changes = !matches!(input, Input::Halt);
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let Some(slot) = self.slots[index as usize].as_mut() else { return };
            let mut actions = std::mem::take(&mut self.actions);
            slot.changes();
            let now = self.clock.now();
            slot.unit.handle(input, now, &mut actions);
            // A run that ends at once is folded in when all that the step asked for is done. There is seldom more than one.
            let mut more = Vec::new();
            let mut was_late = false;
            for action in actions.drain(..) {
                was_late |= matches!(&action, Action::Record { record, .. } if record.outcome == Outcome::Missed);
                let follows = match action {
                    // Of a task so late that due times were passed over, the newest begins at once: in its turn, after all that came
                    // due before it, it would be as late again.
                    Action::Wake(Some(at)) if was_late && at <= now && self.may_wake(at, index) => {
                        self.wake_at(index, None);
                        Some(Input::Wake)
                    }
                    action => {
                        let ended = self.act(index, action, now);
                        ended.map(|(key, began, report)| Input::Finished { key, began, report })
                    }
                };
                match (&next, follows) {
                    (_, None) => {}
                    (None, follows) => next = follows,
                    (Some(_), Some(input)) => more.push(input),
                }
            }
            self.actions = actions;
            for input in more {
                self.step(index, input);
            }
        }
        // Whatever it did: a run that waits, an attempt that is over, a due time that was taken must be known after a restart.
        if changes {
            self.record_step(index);
        }
    }

    /// Carries out one action. Answers with the report of a run that has ended already.
    pub(super) fn act(&mut self, index: u32, action: Action, now: Time) -> Option<(RunKey, Time, RunReport)> {
        match action {
            Action::Start { key, attempt, noted } => {
                self.slots[index as usize].as_mut()?.admit(key);
                if noted {
                    self.note_start(index, key, attempt);
                } else {
                    self.shared.claims.note_use();
                    return self.begin(index, key, attempt, now).map(|report| (key, now, report));
                }
            }
            Action::Wake(at) => self.wake_at(index, at),
            Action::Cancel(key) => self.cancel_run(index, key),
            Action::Stop(key) => self.slots[index as usize].as_ref()?.control(key)?.stop(),
            Action::Record { record, late_us } => self.record(index, &record, late_us, now),
            Action::Ended(key) => self.slots[index as usize].as_mut()?.rare().ended.push(key),
            Action::WantCatchUp => self.catch_ups.push_back(index),
            Action::Pause(pause) => {
                let slot = self.slots[index as usize].as_ref()?;
                let (task, id) = (slot.definition.name.clone(), slot.definition.id);
                self.wish(Wish::Pause { task, id, pause });
            }
            Action::Trigger { task, key, outcome } => {
                let slot = self.slots[index as usize].as_ref()?;
                let trigger = Trigger { task: slot.definition.name.clone(), run_id: slot.unit.run_id(key), outcome };
                self.wish(Wish::Trigger { task, trigger });
            }
            Action::Gone => self.forget(index),
        }
        None
    }

    /// Begins an attempt now. Answers with its report if it has ended already.
    pub(super) fn begin(&mut self, index: u32, key: RunKey, attempt: u32, now: Time) -> Option<RunReport> {
        let slot = self.slots[index as usize].as_mut()?;
        let control = Arc::clone(slot.control(key)?);
        let job = match &slot.job {
            Ok(job) => job,
            Err(why) => return Some(RunReport::of(Outcome::HostError).with_detail(why)),
        };
        if control.is_stopped() {
            return Some(RunReport::of(Outcome::Cancelled));
        }
        let run = slot.unit.run(key)?;
        let attempt = Attempt {
            task: slot.definition.name.clone(),
            run_id: slot.unit.run_id(key),
            number: attempt,
            since: slot.unit.last_success(),
            reason: run.reason,
            trigger: run.trigger.as_deref().cloned(),
            due_local: slot.unit.due_local(key.due),
            timeout: self.shared.ceilings.timeout(&slot.definition.spec),
            control,
            log: Arc::clone(&slot.log),
        };
        let mut run = self.runner.run(job, attempt);
        // A run that does not end at once is polled again with a waker of its own as soon as it is in the set.
        match run.poll_unpin(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(report) => Some(report),
            Poll::Pending => {
                self.in_flight.push(InFlight { slot: index, key, began: now, run });
                None
            }
        }
    }

    /// An attempt has ended.
    pub(super) fn finish(&mut self, index: u32, key: RunKey, began: Time, report: RunReport) {
        self.catching_up -= usize::from(self.is_catch_up(index, key)).min(self.catching_up);
        self.step(index, Input::Finished { key, began, report });
        self.tell_if_idle();
    }

    pub(super) fn wake_at(&mut self, index: u32, at: Option<Time>) {
        let Some(slot) = self.slots[index as usize].as_mut() else { return };
        slot.wake = self.timers.wake(index, at);
        let slots = &self.slots;
        self.timers.clear_stale(slots.len(), |index| slots[index as usize].as_ref().map(|slot| slot.wake));
    }

    fn cancel_run(&mut self, index: u32, key: RunKey) {
        let Some(control) = self.slots[index as usize].as_ref().and_then(|slot| slot.control(key)) else { return };
        if !control.is_cancelled() {
            control.cancel();
            let at = self.clock.now().saturating_add(self.shared.cancel_grace);
            self.timers.stop(index, key, at);
        }
    }

    fn record(&mut self, index: u32, record: &RunRecord, late_us: Option<u32>, now: Time) {
        self.counts.add(record.outcome, record.times());
        if let Some(late_us) = late_us {
            self.lateness.record(late_us, now);
        }
        let Some(slot) = self.slots[index as usize].as_mut() else { return };
        if record.outcome != Outcome::Success && record.outcome.ran() {
            slot.log.mark_failed();
            if slot.unit.failures() == 1 && record.outcome != Outcome::Cancelled {
                self.failures.tell(now, &slot.definition.name, slot.unit.run_id(record.key), record);
            }
        }
        slot.release(record.key);
        slot.tell_waiters(record);
        let slot = &*slot;
        self.shared.bus.publish(|| Event { time: now, kind: EventKind::RunFinished(slot.run_of(record)) });
    }

    /// Asks the supervisor for what goes beyond this worker. What it has no room for is lost, and told.
    fn wish(&self, wish: Wish) {
        if let Err(error) = self.shared.wishes.try_send(wish) {
            tracing::warn!("too much is asked for at once: {} is dropped", error.into_inner());
        }
    }
}
