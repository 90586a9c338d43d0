//! What a worker has to do at which time.

mod wheel;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use self::wheel::Wheel;
use crate::outcome::RunKey;
use crate::time::Time;

/// How many timers that mean nothing any more are kept, beyond one for each task, before they are cleared away.
pub(super) const STALE_TIMERS: usize = 1024;

/// The timers of a worker: each task has a wake-up, so that those are to be small, and few have a stop.
#[derive(Default)]
pub(super) struct Timers {
    wakes: Wheel,
    stops: BinaryHeap<Reverse<Stop>>,
    /// Counts wake-ups asked for, over all units, so that no two of late have the same number.
    count: u32,
}

/// The wake-up of a unit. Ordered by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wake {
    at: Time,
    pub(super) slot: u32,
    pub(super) number: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Stop {
    at: Time,
    slot: u32,
    key: RunKey,
}

impl Timers {
    /// The number of the next wake-up of a unit, which makes earlier ones stale; with `at`, sets a timer for it. Should a number come
    /// again after four thousand million and meet a timer that is still there, a unit is woken for nothing.
    pub(super) fn wake(&mut self, slot: u32, at: Option<Time>) -> u32 {
        self.count = self.count.wrapping_add(1);
        if let Some(at) = at {
            self.wakes.push(Wake { at, slot, number: self.count });
        }
        self.count
    }

    /// Sets a timer for the hard stop of a run.
    pub(super) fn stop(&mut self, slot: u32, key: RunKey, at: Time) {
        self.stops.push(Reverse(Stop { at, slot, key }));
    }

    /// When the first wake-up comes.
    pub(super) fn next_wake(&self) -> Option<Time> {
        self.wakes.next()
    }

    /// No stop comes later than this any more: the clock was set back.
    pub(super) fn hasten_stops(&mut self, latest: Time) {
        let hastened = |Reverse(stop): Reverse<Stop>| Reverse(Stop { at: stop.at.min(latest), ..stop });
        self.stops = std::mem::take(&mut self.stops).into_iter().map(hastened).collect();
    }

    /// When the first stop comes.
    pub(super) fn next_stop(&self) -> Option<Time> {
        self.stops.peek().map(|Reverse(stop)| stop.at)
    }

    /// Takes out the first wake-up, if it has come and `may_wake` says so of its time and its unit: the others come after it.
    pub(super) fn pop_wake(&mut self, now: Time, may_wake: impl FnOnce(Time, u32) -> bool) -> Option<Wake> {
        let wake = self.wakes.peek(now).filter(|wake| may_wake(wake.at, wake.slot))?;
        self.wakes.pop();
        Some(wake)
    }

    /// Takes out the first stop, if it has come: the unit and the run.
    pub(super) fn pop_stop(&mut self, now: impl FnOnce() -> Time) -> Option<(u32, RunKey)> {
        let &Reverse(Stop { at, slot, key }) = self.stops.peek()?;
        (at <= now()).then(|| {
            self.stops.pop();
            (slot, key)
        })
    }

    /// How many have come and were not taken.
    pub(super) fn due(&self, now: Time) -> usize {
        self.wakes.due(now) + self.stops.iter().filter(|Reverse(stop)| stop.at <= now).count()
    }

    pub(super) fn len(&self) -> usize {
        self.wakes.len() + self.stops.len()
    }

    /// Clears away what is stale, if there is much of it beyond one timer for each of so many tasks: edits and deletes leave timers
    /// behind whose time may be years away. `meant` is the number of the wake-up that a unit waits for, if it is there.
    pub(super) fn clear_stale(&mut self, tasks: usize, meant: impl Fn(u32) -> Option<u32>) {
        if self.len() > 2 * tasks + STALE_TIMERS {
            self.wakes.retain(|wake| meant(wake.slot) == Some(wake.number));
            self.stops.retain(|Reverse(stop)| meant(stop.slot).is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_waits_for_nobody_and_a_wake_up_for_leave() {
        let (key, mut timers) = (RunKey::of(Time(1)), Timers::default());
        let number = timers.wake(7, Some(Time(10)));
        timers.stop(7, key, Time(20));
        assert_eq!((timers.next_wake(), timers.next_stop()), (Some(Time(10)), Some(Time(20))));
        assert_eq!(timers.pop_wake(Time(9), |_, _| true), None, "nothing has come");
        assert_eq!(timers.pop_stop(|| Time(19)), None, "nothing has come");
        assert_eq!(timers.pop_stop(|| Time(20)), Some((7, key)));
        assert_eq!(timers.pop_wake(Time(20), |_, _| false), None, "it was told to wait");
        let wake = timers.pop_wake(Time(20), |at, slot| (at, slot) == (Time(10), 7));
        assert_eq!(wake, Some(Wake { at: Time(10), slot: 7, number }));
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn what_is_asked_for_later_has_another_number_and_none_has_no_timer() {
        let mut timers = Timers::default();
        let numbers = [timers.wake(0, Some(Time(1))), timers.wake(0, None), timers.wake(0, Some(Time(2)))];
        assert_eq!((numbers, timers.len()), ([1, 2, 3], 2));
    }
}
