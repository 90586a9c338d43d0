//! Starts that are made durable before they happen, so that a crash can't make a run happen twice: those of slow schedules,
//! and all that are not in their order. Those that come together share a write.

use super::Worker;
use crate::outcome::{RunKey, RunReport};
use crate::ports::{BoxFuture, Clock, OpenRun, Progress, Runner, Start};
use crate::time::Time;

/// A start that is being noted.
pub(super) struct Noted {
    slot: u32,
    key: RunKey,
    attempt: u32,
}

/// Starts that share a write; ready when it is done.
pub(super) type NotedStarts = BoxFuture<Vec<Noted>>;

impl<R: Runner, C: Clock> Worker<R, C> {
    /// Puts a start into the next write.
    pub(super) fn note_start(&mut self, slot: u32, key: RunKey, attempt: u32) {
        // What makes up for something is always noted, so it begins here, and ends in `finish`.
        self.catching_up += usize::from(self.is_catch_up(slot, key));
        self.to_note.push(Noted { slot, key, attempt });
    }

    /// Sends the starts that came together to the store.
    pub(super) fn note_starts(&mut self) {
        if self.to_note.is_empty() {
            return;
        }
        let noted = std::mem::take(&mut self.to_note);
        let starts = noted.iter().filter_map(|noted| {
            let slot = self.slots[noted.slot as usize].as_ref()?;
            let run = slot.unit.run(noted.key)?;
            Some(Start {
                task: slot.definition.id,
                run: OpenRun {
                    key: run.key,
                    reason: run.reason,
                    trigger: run.trigger.clone(),
                    revision: run.revision,
                    progress: Progress::Started { attempt: noted.attempt },
                },
            })
        });
        let written = self.shared.store.record_starts(starts.collect());
        self.noting.push(Box::pin(async move {
            // A store that refuses is no reason to stand still: it says so itself, and runs go on without the promise.
            if let Err(error) = written.await {
                tracing::debug!(%error, "starts are not noted");
            }
            noted
        }));
    }

    /// Begins what was noted.
    pub(super) fn begin_noted(&mut self, noted: Vec<Noted>) {
        for Noted { slot, key, attempt } in noted {
            let now = self.clock.now();
            if let Some(report) = self.begin_measured(slot, key, attempt, now) {
                self.finish(slot, key, now, report);
            }
        }
        self.tell_if_idle();
    }

    /// Begins an attempt; one that makes up for something is measured, to leave the others their share.
    fn begin_measured(&mut self, slot: u32, key: RunKey, attempt: u32, now: Time) -> Option<RunReport> {
        let began = tokio::time::Instant::now();
        let ended = self.begin(slot, key, attempt, now);
        if self.is_catch_up(slot, key) {
            self.caught_up(began.elapsed());
        }
        ended
    }
}
