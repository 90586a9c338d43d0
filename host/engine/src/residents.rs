//! The plugins that are loaded, of which there may be only so many: what a loaded one takes of the process is bounded, however many
//! plugins the tasks have. The one that was used longest ago gives way, and is loaded again when a run needs it.
//!
//! A run finds its plugin without asking here: it looks into the [`Seat`], and notes the second in which it did.

use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use rustix::process::{Resource, getrlimit};
use tokio::sync::Semaphore;

use crate::load::Loaded;
use crate::program::{Program, Seat, SeatOf};

/// The mappings that Linux gives a process by default, where `/proc` does not tell.
const DEFAULT_MAX_MAPPINGS: u64 = 65_530;
const PROC_MAX_MAPPINGS: &str = "/proc/sys/vm/max_map_count";

/// Loaded plugins have at most one in so many of the mappings, and of the open files: the others are for the pools, for what runs
/// without one, and for connections.
const PARTS: u64 = 3;

/// How many mappings a loaded plugin takes: the parts of its code that are protected otherwise. (Measured: 4.)
const MAPPINGS_PER_LOADED: u64 = 5;

/// The most that are loaded, whatever the system gives: one takes some 100 KiB of memory.
const MAX_LOADED: usize = 4_000;

/// Of the loaded ones, how many give way at once: looking for the oldest takes a look at all.
const EVICTED_PART: usize = 16;

/// How many are loaded at the same time: each takes a thread while it is.
const MAX_LOADS_AT_ONCE: usize = 4;

/// Which plugins are loaded.
pub(crate) struct Residents {
    most: usize,
    /// What the seconds of use count from.
    began: Instant,
    /// Turns to load.
    pub(crate) turns: Semaphore,
    /// Locked to load one, and never by a run that finds its own loaded.
    seats: Mutex<Vec<(Weak<Program>, SeatOf)>>,
}

impl Residents {
    /// With at most so many at once, and no more than the system has room for.
    pub(crate) fn new(most: Option<usize>) -> Self {
        let mappings = fs::read_to_string(PROC_MAX_MAPPINGS).ok().and_then(|text| text.trim().parse().ok());
        let most = most.unwrap_or_else(|| {
            most_loaded(mappings.unwrap_or(DEFAULT_MAX_MAPPINGS), getrlimit(Resource::Nofile).current)
        });
        let turns = Semaphore::new(MAX_LOADS_AT_ONCE);
        Self { most: most.max(1), began: Instant::now(), turns, seats: Mutex::default() }
    }

    /// Seats a plugin that was loaded, and lets those go that were used longest ago if it is one too many.
    pub(crate) fn seat(&self, program: &Arc<Program>, at: SeatOf, loaded: &Arc<Loaded>) {
        loaded.last_use.note(self.second(Instant::now()));
        let mut seats = self.lock();
        program.seat(at).loaded.store(Some(Arc::clone(loaded)));
        if seats.len() >= self.most {
            self.make_room(&mut seats);
        }
        seats.push((Arc::downgrade(program), at));
    }

    /// What is loaded in a seat, for a use now.
    pub(crate) fn find(&self, seat: &Seat, now: Instant) -> Option<Arc<Loaded>> {
        let loaded = seat.loaded.load_full()?;
        loaded.last_use.note(self.second(now));
        Some(loaded)
    }

    /// How many are loaded, on all engines together.
    pub(crate) fn count(&self) -> u64 {
        let mut seats = self.lock();
        seats.retain(|(program, _)| program.strong_count() > 0);
        seats.len() as u64
    }

    fn make_room(&self, seats: &mut Vec<(Weak<Program>, SeatOf)>) {
        let mut by_use: Vec<_> = seats
            .drain(..)
            .filter_map(|(program, at)| {
                let program = program.upgrade()?;
                let second = program.seat(at).loaded.load().as_ref()?.last_use.second();
                Some((second, program, at))
            })
            .collect();
        let leaving = leaving(&mut by_use, self.most);
        for (_, program, at) in by_use.drain(..leaving) {
            program.seat(at).loaded.store(None);
        }
        seats.extend(by_use.into_iter().map(|(_, program, at)| (Arc::downgrade(&program), at)));
    }

    fn second(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.began).as_secs()).unwrap_or(u32::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Weak<Program>, SeatOf)>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts what is loaded in order of use, and tells how many of the first ones must leave for there to be room for one more. They make
/// some for those that come next too.
fn leaving(by_use: &mut [(u32, Arc<Program>, SeatOf)], most: usize) -> usize {
    by_use.sort_by_key(|(second, ..)| *second);
    match (by_use.len() + 1).saturating_sub(most) {
        0 => 0,
        excess => (excess + most / EVICTED_PART).min(by_use.len()),
    }
}

/// How many plugins may be loaded, where a process may have so many mappings and open files; each loaded one keeps its file open.
fn most_loaded(mappings: u64, open_files: Option<u64>) -> usize {
    let by_mappings = mappings / PARTS / MAPPINGS_PER_LOADED;
    let by_files = open_files.map_or(u64::MAX, |files| files / PARTS);
    usize::try_from(by_mappings.min(by_files)).unwrap_or(usize::MAX).clamp(1, MAX_LOADED)
}

#[cfg(test)]
mod tests {
    use taskhost_core::plugin::Sha256;

    use super::*;
    use crate::program::Programs;

    #[test]
    fn those_that_were_used_longest_ago_leave() {
        let programs = Programs::new(1);
        let mut by_use: Vec<_> =
            [5, 3, 9, 1].map(|second| (second, programs.get(Sha256([0; 32])), SeatOf::Worker(0))).into();
        assert_eq!(leaving(&mut by_use, 5), 0);
        assert_eq!(leaving(&mut by_use, 3), 2);
        assert_eq!(leaving(&mut by_use, 1), 4);
        assert_eq!(by_use.iter().map(|(second, ..)| *second).collect::<Vec<_>>(), [1, 3, 5, 9]);
        let mut many: Vec<_> = by_use.iter().cycle().take(32).cloned().collect();
        assert_eq!(leaving(&mut many, 32), 3, "a sixteenth of them more, so that this is not done for each");
    }

    #[test]
    fn as_many_are_loaded_as_the_system_has_room_for() {
        assert_eq!(most_loaded(DEFAULT_MAX_MAPPINGS, None), MAX_LOADED);
        assert_eq!(most_loaded(30_000, None), 2_000);
        assert_eq!(most_loaded(u64::MAX, Some(1024)), 341);
        assert_eq!(most_loaded(0, Some(0)), 1);
    }
}
