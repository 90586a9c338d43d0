//! What happens when a run is to begin while others go on.

use thin_vec::ThinVec;

use super::fault::{Fault, planted};
use super::{Action, Queued, Running, Unit};
use crate::outcome::{Outcome, Reason, RunKey};
use crate::ports::Progress;
use crate::spec::Overlap;
use crate::time::{Time, Told};

impl Unit {
    /// A run is to begin now: it does, or waits, or is skipped, as the policy says. `planned` is of a due time that comes in its
    /// order: when it was to begin, and whether such ones are seldom.
    pub(super) fn arrive(
        &mut self,
        run: Queued,
        planned: Option<(Time, bool)>,
        overlap: Overlap,
        now: Time,
        actions: &mut Vec<Action>,
    ) {
        if is_scheduled(run.reason) && self.exhausted() {
            return self.skip(&run, "the task has had all its runs (`max_runs`)", actions);
        }
        if matches!(overlap, Overlap::CancelOther | Overlap::TerminateOther) {
            self.make_way(overlap, &run, now, actions);
            if self.paused.is_some() && is_scheduled(run.reason) {
                return self.skip(&run, "the run that was in its way has failed, and the task paused itself", actions);
            }
        }
        let overlap = if planted(Fault::RunsOverlap) { Overlap::AllowAll } else { overlap };
        let first = self.running.first().map(|run| run.key.due);
        let waiting = self.queue.len();
        let most_waiting = self.spec.max_buffered() as usize + usize::from(planted(Fault::OneMoreWaits));
        match (first, overlap) {
            (None, _) if waiting == 0 => self.begin(run, planned, actions),
            (Some(first), Overlap::Skip) => {
                self.skip(&run, &format!("the run due at {} was still going on", Told(first)), actions);
            }
            (_, Overlap::AllowAll) => {
                let going_on = self.running.len();
                if going_on < self.spec.max_running() as usize {
                    self.begin(run, planned, actions);
                } else {
                    self.skip(&run, &format!("{going_on} runs were going on, as many as may (`max_running`)"), actions);
                }
            }
            (_, Overlap::BufferOne) if waiting > 0 => {
                self.skip(&run, "another due time waited already", actions);
            }
            (_, Overlap::BufferAll) if waiting >= most_waiting => {
                self.skip(&run, &format!("{waiting} due times waited, as many as may (`max_buffered`)"), actions);
            }
            _ => {
                self.count_scheduled(run.reason);
                self.queue.push(run);
            }
        }
    }

    /// Ends what is in the way of a run: what goes on, and what waits.
    fn make_way(&mut self, overlap: Overlap, run: &Queued, now: Time, actions: &mut Vec<Action>) {
        let detail = format!("the due time {} took its place", Told(run.key.due));
        for waiting in std::mem::take(&mut self.queue) {
            self.scheduled_runs -= u64::from(is_scheduled(waiting.reason)).min(self.scheduled_runs);
            self.skip(&waiting, &detail, actions);
        }
        if self.next.is_none() {
            // One that took the last of its runs may have given it back.
            self.plan();
        }
        self.end_retries(now, actions);
        for other in self.running.iter_mut().filter(|other| other.is_started()) {
            if overlap == Overlap::TerminateOther {
                other.cancelled = true;
                actions.push(Action::Stop(other.key));
            } else if !std::mem::replace(&mut other.cancelled, true) {
                actions.push(Action::Cancel(other.key));
            }
        }
    }

    /// Begins a run.
    pub(super) fn begin(&mut self, run: Queued, planned: Option<(Time, bool)>, actions: &mut Vec<Action>) {
        self.count_scheduled(run.reason);
        self.start(run, planned, actions);
    }

    /// Begins what waits, as far as it may.
    pub(super) fn begin_queued(&mut self, actions: &mut Vec<Action>) {
        if self.running.is_empty() && (!self.halted || planted(Fault::DeletedBeginsQueued)) && !self.queue.is_empty() {
            let run = self.queue.remove(0);
            self.start(run, None, actions);
        }
    }

    fn start(&mut self, run: Queued, planned: Option<(Time, bool)>, actions: &mut Vec<Action>) {
        // In its order and soon: within what the host claimed. All else is noted.
        let noted = planned.is_none_or(|(_, slow)| slow);
        let key = run.key;
        self.rested_since = None;
        // Most tasks never have more than one.
        self.running.reserve_exact(1);
        self.running.push(Running {
            key,
            reason: run.reason,
            trigger: run.trigger,
            revision: self.revision,
            progress: Progress::Started { attempt: 1 },
            planned: planned.map(|(at, _)| at),
            noted,
            joins: !noted,
            cancelled: false,
        });
        actions.push(Action::Start { key, attempt: 1, noted });
    }

    fn count_scheduled(&mut self, reason: Reason) {
        self.scheduled_runs += u64::from(is_scheduled(reason));
    }

    fn skip(&mut self, run: &Queued, detail: &str, actions: &mut Vec<Action>) {
        if !planted(Fault::SkipNotRecorded) {
            self.end_unrun(run.key, run.reason, Outcome::Skipped, detail, actions);
        }
    }

    /// Cancels all that goes on or waits, or only one run.
    pub(super) fn cancel(&mut self, key: Option<RunKey>, now: Time, actions: &mut Vec<Action>) {
        let meant = |other: RunKey| key.is_none_or(|key| key == other);
        let (cancelled, rest): (ThinVec<_>, _) =
            std::mem::take(&mut self.queue).into_iter().partition(|run| meant(run.key));
        self.queue = rest;
        for run in cancelled {
            self.end_unrun(run.key, run.reason, Outcome::Cancelled, "cancelled while it waited for its turn", actions);
        }
        for run in self.running.iter_mut().filter(|run| meant(run.key)) {
            run.cancelled = true;
            if run.is_started() {
                actions.push(Action::Cancel(run.key));
            }
        }
        self.end_cancelled_retries(now, actions);
    }
}

fn is_scheduled(reason: Reason) -> bool {
    matches!(reason, Reason::Schedule | Reason::CatchUp)
}
