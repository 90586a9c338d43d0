//! Making up for due times, without being felt: one run at a time begins, and rests until it has used a tenth of the time.

use std::time::Duration;

use super::Worker;
use crate::outcome::{Reason, RunKey};
use crate::ports::{Clock, Runner};
use crate::time::Time;
use crate::unit::Input;

/// What share of a worker's time may go into making up for due times: one part in so many.
const SHARE: u32 = 10;

/// The shortest time between two such runs.
const MIN_SPACING: Duration = Duration::from_micros(500);

/// How many of them may be going on at once: those that wait for something cost no time, but their slots.
const MAX_AT_ONCE: usize = 4;

impl<R: Runner, C: Clock> Worker<R, C> {
    /// Begins the next run that makes up for something, if there is room. Answers when there will be.
    pub(super) fn catch_up(&mut self) -> Option<Time> {
        self.catch_ups.front()?;
        if self.catching_up >= MAX_AT_ONCE {
            // The end of one of them looks again.
            return None;
        }
        let now = self.clock.now();
        if now < self.next_catch_up {
            // No later than that, if the clock was set back.
            self.next_catch_up = self.next_catch_up.min(now.saturating_add(Duration::from_secs(1)));
            return Some(self.next_catch_up);
        }
        let index = self.catch_ups.pop_front()?;
        self.next_catch_up = now.saturating_add(MIN_SPACING);
        if self.slots[index as usize].is_some() {
            self.step(index, Input::CatchUp);
        }
        self.catch_ups.front().map(|_| self.next_catch_up)
    }

    /// A run that makes up for something took so much of the worker's time. Those whose starts were noted together begin one behind the
    /// other: the rest is of all of them.
    pub(super) fn caught_up(&mut self, took: Duration) {
        let rest = (took * (SHARE - 1)).max(MIN_SPACING);
        self.next_catch_up = self.next_catch_up.max(self.clock.now()).saturating_add(rest);
    }

    /// Whether a run makes up for something.
    pub(super) fn is_catch_up(&self, index: u32, key: RunKey) -> bool {
        let run = self.slots[index as usize].as_ref().and_then(|slot| slot.unit.run(key));
        run.is_some_and(|run| matches!(run.reason, Reason::CatchUp | Reason::Backfill))
    }
}
