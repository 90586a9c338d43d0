//! Wake-ups in order of time, for very many of them: a hierarchical timing wheel (Varghese and Lauck, 1987).
//!
//! A heap of a hundred thousand is looked at in seventeen places, most of them far apart in memory, for each wake-up that is taken out
//! of it. Here one is put at the end of a list when it is asked for, and moved to a finer list once or twice before it comes. Only
//! those of the millisecond that has come are in a heap, which is small, so that they come in exact order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Wake;
use crate::time::Time;

/// A granule, which is a slot of the finest level, is as long as 2 to this many nanoseconds: about a millisecond.
const GRANULE_BITS: u32 = 20;

/// A level has 2 to this many slots, and a slot of it is as long as all slots of the level below.
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;

/// So many reach the end of all time.
const LEVELS: usize = (i64::BITS - GRANULE_BITS).div_ceil(LEVEL_BITS) as usize;

/// A slot of the finest level keeps room for so many wake-ups when it is empty.
const MAX_KEPT_ROOM: usize = 1024;

/// All wake-ups that were asked for.
///
/// Time is counted in granules. The digits of a granule's number to the base of 64 are its places on the levels: a wake-up stands on the level of the
/// highest digit that it does not share with the granule that has come, in the slot of that digit, which is therefore one to come.
#[derive(Default)]
pub(super) struct Wheel {
    /// How far the wheel was turned.
    granule: u64,
    /// Those of this granule, and earlier.
    come: BinaryHeap<Reverse<Wake>>,
    levels: Box<[Level; LEVELS]>,
    len: usize,
}

struct Level {
    /// A bit for each slot that has something.
    occupied: u64,
    slots: [Slot; SLOTS],
}

#[derive(Default)]
struct Slot {
    wakes: Vec<Wake>,
    /// When the first of them comes, if there is one.
    first: Time,
}

impl Default for Level {
    fn default() -> Self {
        Self { occupied: 0, slots: std::array::from_fn(|_| Slot::default()) }
    }
}

impl Wheel {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, wake: Wake) {
        self.len += 1;
        self.place(wake);
    }

    /// When the first one comes.
    pub(super) fn next(&self) -> Option<Time> {
        let come = self.come.peek().map(|Reverse(wake)| wake.at);
        come.or_else(|| self.first_slot().map(|(level, slot)| self.levels[level].slots[slot].first))
    }

    /// The first one, if it has come.
    pub(super) fn peek(&mut self, now: Time) -> Option<Wake> {
        self.turn(granule_of(now));
        self.come.peek().map(|Reverse(wake)| *wake).filter(|wake| wake.at <= now)
    }

    /// Takes out the one that was looked at.
    pub(super) fn pop(&mut self) {
        self.len -= usize::from(self.come.pop().is_some());
    }

    /// How many have come and were not taken.
    pub(super) fn due(&self, now: Time) -> usize {
        let slots = self.levels.iter().flat_map(|level| &level.slots).filter(|slot| slot.first <= now);
        slots
            .flat_map(|slot| &slot.wakes)
            .chain(self.come.iter().map(|Reverse(wake)| wake))
            .filter(|wake| wake.at <= now)
            .count()
    }

    pub(super) fn retain(&mut self, is_meant: impl Fn(&Wake) -> bool) {
        self.come.retain(|Reverse(wake)| is_meant(wake));
        self.len = self.come.len();
        for level in self.levels.iter_mut() {
            for (number, slot) in level.slots.iter_mut().enumerate() {
                slot.wakes.retain(&is_meant);
                slot.first = slot.wakes.iter().map(|wake| wake.at).min().unwrap_or_default();
                self.len += slot.wakes.len();
                if slot.wakes.is_empty() {
                    level.occupied &= !(1 << number);
                }
            }
        }
    }

    fn place(&mut self, wake: Wake) {
        let granule = granule_of(wake.at);
        if granule <= self.granule {
            return self.come.push(Reverse(wake));
        }
        let level = (granule ^ self.granule).ilog2() / LEVEL_BITS;
        let slot = digit(granule, level);
        let level = &mut self.levels[level as usize];
        level.occupied |= 1 << slot;
        let slot = &mut level.slots[slot];
        slot.first = if slot.wakes.is_empty() { wake.at } else { slot.first.min(wake.at) };
        slot.wakes.push(wake);
    }

    /// The slot that comes first: a finer level lies before a coarser one.
    fn first_slot(&self) -> Option<(usize, usize)> {
        let level = self.levels.iter().position(|level| level.occupied != 0)?;
        Some((level, self.levels[level].occupied.trailing_zeros() as usize))
    }

    /// Turns it up to a granule: each slot that begins until then is emptied into finer ones, and what is of it or before has come.
    fn turn(&mut self, until: u64) {
        while let Some((level, slot)) = self.first_slot() {
            let begins = begin_of(self.granule, level as u32, slot as u64);
            if begins > until {
                break;
            }
            self.granule = begins;
            let Level { occupied, slots } = &mut self.levels[level];
            *occupied &= !(1 << slot);
            let mut wakes = std::mem::take(&mut slots[slot].wakes);
            for wake in wakes.drain(..) {
                self.place(wake);
            }
            if level == 0 && wakes.capacity() <= MAX_KEPT_ROOM {
                self.levels[level].slots[slot].wakes = wakes;
            }
        }
        self.granule = self.granule.max(until);
    }
}

/// The granule that a time is in. Before 1970 there is one only.
fn granule_of(time: Time) -> u64 {
    time.0.max(0).cast_unsigned() >> GRANULE_BITS
}

fn digit(granule: u64, level: u32) -> usize {
    (granule >> (level * LEVEL_BITS)) as usize % SLOTS
}

/// The granule with which a slot begins that shares its higher digits with `granule`.
fn begin_of(granule: u64, level: u32, slot: u64) -> u64 {
    let above = granule >> ((level + 1) * LEVEL_BITS);
    ((above << LEVEL_BITS) | slot) << (level * LEVEL_BITS)
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn wake(at: i64, slot: u32) -> Wake {
        Wake { at: Time(at), slot, number: 0 }
    }

    /// Takes out all that has come.
    fn take(wheel: &mut Wheel, now: i64) -> Vec<Wake> {
        let mut taken = Vec::new();
        while let Some(wake) = wheel.peek(Time(now)) {
            wheel.pop();
            taken.push(wake);
        }
        taken
    }

    #[test]
    fn a_wake_up_comes_to_the_nanosecond_however_far_it_is() {
        let start = 1_767_225_600_000_000_000;
        for bit in 0..61 {
            let mut wheel = Wheel::default();
            wheel.turn(granule_of(Time(start)));
            let at = start + (1 << bit);
            wheel.push(wake(at, 7));
            assert_eq!(wheel.next(), Some(Time(at)));
            assert_eq!(take(&mut wheel, at - 1), [], "2^{bit} ns");
            assert_eq!(take(&mut wheel, at), [wake(at, 7)], "2^{bit} ns");
        }
    }

    #[test]
    fn the_ends_of_time_are_times_as_well() {
        let mut wheel = Wheel::default();
        for at in [i64::MAX, 0, i64::MIN] {
            wheel.push(wake(at, 0));
        }
        assert_eq!(take(&mut wheel, -1), [wake(i64::MIN, 0)]);
        assert_eq!(take(&mut wheel, i64::MAX), [wake(0, 0), wake(i64::MAX, 0)]);
        assert_eq!((wheel.len(), wheel.next()), (0, None));
    }

    #[test]
    fn a_wheel_does_what_a_sorted_list_does() {
        let mut chance = StdRng::seed_from_u64(1);
        for _ in 0..200 {
            let (mut wheel, mut list, mut now) = (Wheel::default(), Vec::new(), 1_i64 << 60);
            for number in 0..200 {
                // Of any order of magnitude.
                let order = chance.random_range(1..56);
                let length = chance.random_range(0..1_i64 << order);
                match chance.random_range(0..16) {
                    0..8 => {
                        let wake = wake(now + length, number);
                        wheel.push(wake);
                        list.push(wake);
                    }
                    8 => {
                        let wake = wake(now - length, number);
                        wheel.push(wake);
                        list.push(wake);
                    }
                    9 => {
                        wheel.retain(|wake| !wake.slot.is_multiple_of(3));
                        list.retain(|wake: &Wake| !wake.slot.is_multiple_of(3));
                    }
                    // Time passes; or the clock is set back.
                    step => {
                        now += if step == 10 { -length } else { length };
                        list.sort();
                        let due = list.partition_point(|wake| wake.at <= Time(now));
                        assert_eq!(wheel.due(Time(now)), due);
                        assert_eq!(take(&mut wheel, now), list.drain(..due).collect::<Vec<_>>());
                    }
                }
                assert_eq!(wheel.len(), list.len());
                assert_eq!(wheel.next(), list.iter().map(|wake| wake.at).min());
            }
        }
    }
}
