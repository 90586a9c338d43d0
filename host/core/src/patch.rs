//! What successes of a fast task change of its state, in some forty bytes.
//!
//! Most ticks do nothing but let the newest record grow. Instead of the whole [`UnitState`] a unit then hands over a patch, which
//! says what can have changed as it is now and not by how much: one that is lost loses nothing once the next one is there, and
//! one that comes twice does no harm. All else of the state is as it was written last, or is known to be empty.
//!
//! A patch is the task's id and a number of bytes, so that one can be passed over without being read, and then those bytes.

use crate::number::{MAX_NUMBER_BYTES, take_number};
use crate::outcome::{Outcome, Reason, RunKey, RunRecord, Span, TaskId};
use crate::ports::{OpenRun, Progress, UnitState};
use crate::time::Time;

/// The version of the encoding. Any change of it needs another number, and the store a way to read the old one.
pub const PATCH_FORMAT: u32 = 1;

/// The bytes before those that differ in number: the id, and how many follow.
const HEAD_BYTES: usize = 9;

/// A byte of flags, the due time, and at most 12 numbers.
const MAX_BODY_BYTES: usize = 9 + 12 * MAX_NUMBER_BYTES;

/// Flags: whether a run is going on, and whether the newest run's guest was entered.
const RUNNING: u8 = 0b01;
const ENTERED: u8 = 0b10;

/// A task's state as far as successes in a row change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Of the newest run that ended, a success: its due time, how late its guest was entered, and how long it took.
    pub due: Time,
    pub lateness_us: Option<u32>,
    pub took_us: u32,
    /// Its record, as far as that grows.
    pub times: u64,
    pub took_total_us: u64,
    pub took_max_us: u32,
    pub lateness_max_us: u32,
    /// How many successes there were.
    pub successes: u64,
    pub accounted: Time,
    pub rest: Rest,
    pub scheduled_runs: u64,
    pub log_seq: u64,
    pub log_lost: u64,
}

/// Whether a run is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// None since then.
    Since(Time),
    /// The first attempt of this due time.
    Running(Time),
}

impl Patch {
    /// Appends it to others.
    pub fn encode(&self, task: TaskId, patches: &mut Vec<u8>) {
        let mut bytes = Bytes { bytes: [0; HEAD_BYTES + MAX_BODY_BYTES], len: HEAD_BYTES };
        let running = matches!(self.rest, Rest::Running(_));
        bytes.put(&[if running { RUNNING } else { 0 } | if self.lateness_us.is_some() { ENTERED } else { 0 }]);
        bytes.put(&self.due.0.to_le_bytes());
        bytes.put_number(self.successes);
        bytes.put_number(self.times);
        bytes.put_near(self.accounted.0, self.due.0);
        let (Rest::Since(rest) | Rest::Running(rest)) = self.rest;
        bytes.put_near(rest.0, self.due.0);
        bytes.put_number(self.lateness_us.unwrap_or(0).into());
        bytes.put_number(self.took_us.into());
        bytes.put_number(self.took_total_us);
        bytes.put_number(self.took_max_us.into());
        bytes.put_number(self.lateness_max_us.into());
        // Mostly as many as the successes.
        bytes.put_near(self.scheduled_runs.cast_signed(), self.successes.cast_signed());
        bytes.put_near(self.log_seq.cast_signed(), self.successes.cast_signed());
        bytes.put_number(self.log_lost);
        bytes.bytes[..8].copy_from_slice(&task.to_le_bytes());
        bytes.bytes[8] = (bytes.len - HEAD_BYTES) as u8;
        patches.extend_from_slice(&bytes.bytes[..bytes.len]);
    }

    /// What [`Patches`] has of it; `None` if that is nothing of ours.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let (&flags, rest) = body.split_first()?;
        let (due, rest) = rest.split_first_chunk()?;
        let due = Time(i64::from_le_bytes(*due));
        let mut rest = rest;
        let mut number = || {
            let (number, after) = take_number(rest)?;
            rest = after;
            Some(number)
        };
        let successes = number()?;
        let times = number()?;
        let accounted = Time(near(number()?, due.0));
        let at = Time(near(number()?, due.0));
        let lateness_us = small(number()?)?;
        let patch = Self {
            due,
            lateness_us: (flags & ENTERED != 0).then_some(lateness_us),
            took_us: small(number()?)?,
            times,
            took_total_us: number()?,
            took_max_us: small(number()?)?,
            lateness_max_us: small(number()?)?,
            successes,
            accounted,
            rest: if flags & RUNNING != 0 { Rest::Running(at) } else { Rest::Since(at) },
            scheduled_runs: near(number()?, successes.cast_signed()).cast_unsigned(),
            log_seq: near(number()?, successes.cast_signed()).cast_unsigned(),
            log_lost: number()?,
        };
        rest.is_empty().then_some(patch)
    }

    /// Brings a state up to date; answers whether it is one that this patch was made for.
    pub fn apply(&self, state: &mut UnitState) -> bool {
        let successes = state.counts.get(Outcome::Success);
        let Some(newest) = state.last_runs.last_mut().filter(|newest| self.fits(newest, successes)) else {
            return false;
        };
        if self.times > 1 {
            let span = Span {
                first_due: newest.first_due(),
                times: self.times,
                took_total_us: self.took_total_us,
                took_max_us: self.took_max_us,
                lateness_max_us: self.lateness_max_us,
            };
            newest.span = Some(Box::new(span));
        }
        newest.key.due = self.due;
        newest.lateness_us = self.lateness_us;
        newest.took_us = self.took_us;
        state.counts.add(Outcome::Success, self.successes - successes);
        state.last_success = Some(self.due);
        state.accounted = self.accounted;
        (state.rested_since, state.open) = match self.rest {
            Rest::Since(time) => (Some(time), Vec::new()),
            Rest::Running(due) => {
                let progress = Progress::Started { attempt: 1 };
                let (key, reason, revision) = (RunKey::of(due), Reason::Schedule, newest.revision);
                (None, vec![OpenRun { key, reason, trigger: None, revision, progress }])
            }
        };
        state.backlogs.clear();
        state.failures = 0;
        state.scheduled_runs = self.scheduled_runs;
        state.log_seq = self.log_seq;
        state.log_lost = self.log_lost;
        true
    }

    /// Whether it was made for a state with this newest record and so many successes. How many there were before the record began
    /// is the same as long as it grows, and for no other record of the task.
    fn fits(&self, newest: &RunRecord, successes: u64) -> bool {
        newest.outcome == Outcome::Success
            && newest.key.backfill == 0
            && newest.key.due <= self.due
            && newest.times() <= self.times
            && self.successes.checked_sub(self.times) == successes.checked_sub(newest.times())
    }
}

/// The patches in a stretch of bytes, in order: each with its task, and where it begins. Ends with `Err` where they are damaged.
pub struct Patches<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Bytes that are no patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is cut off")]
pub struct NoPatch;

impl<'a> Patches<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl<'a> Iterator for Patches<'a> {
    type Item = Result<(TaskId, usize, &'a [u8]), NoPatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.at;
        let rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
        // Nothing can be found after a damaged one.
        self.at = self.bytes.len();
        let Some((head, rest)) = rest.split_first_chunk::<HEAD_BYTES>() else { return Some(Err(NoPatch)) };
        let [task @ .., len] = head;
        let Some(body) = rest.get(..usize::from(*len)) else { return Some(Err(NoPatch)) };
        self.at = at + HEAD_BYTES + body.len();
        Some(Ok((TaskId::from_le_bytes(*task), at, body)))
    }
}

/// Made on the stack, so that the buffer of all patches is asked for room once for each.
struct Bytes {
    bytes: [u8; HEAD_BYTES + MAX_BODY_BYTES],
    len: usize,
}

impl Bytes {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn put_number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes[self.len] = number as u8 | 0x80;
            self.len += 1;
            number >>= 7;
        }
        self.bytes[self.len] = number as u8;
        self.len += 1;
    }

    /// A number that is mostly near another one.
    fn put_near(&mut self, number: i64, other: i64) {
        let distance = number.wrapping_sub(other);
        self.put_number((distance.cast_unsigned() << 1) ^ (distance >> 63).cast_unsigned());
    }
}

fn near(zigzag: u64, other: i64) -> i64 {
    let distance = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
    other.wrapping_add(distance)
}

fn small(number: u64) -> Option<u32> {
    u32::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Counts;

    const START: i64 = 1_800_000_000_000_000_000;

    fn patch() -> Patch {
        Patch {
            due: Time(START),
            lateness_us: Some(120),
            took_us: 9,
            times: 3_000,
            took_total_us: 30_000,
            took_max_us: 700,
            lateness_max_us: 2_000,
            successes: 100_000,
            accounted: Time(START),
            rest: Rest::Since(Time(START + 130_000)),
            scheduled_runs: 100_002,
            log_seq: 100_010,
            log_lost: 0,
        }
    }

    fn extreme(number: u64) -> Patch {
        let (small, time) = (number as u32, Time(number.cast_signed()));
        Patch {
            due: Time(!time.0),
            lateness_us: None,
            took_us: small,
            times: number,
            took_total_us: number,
            took_max_us: small,
            lateness_max_us: small,
            successes: number,
            accounted: time,
            rest: Rest::Running(time),
            scheduled_runs: !number,
            log_seq: !number,
            log_lost: number,
        }
    }

    fn record(times: u64) -> RunRecord {
        let first_due = Time(START - 3_000_000_000_000);
        let span = Span { first_due, times, took_total_us: 5, took_max_us: 4, lateness_max_us: 3 };
        RunRecord {
            key: RunKey::of(Time(START - 1)),
            reason: Reason::Schedule,
            outcome: Outcome::Success,
            attempts: 1,
            revision: 7,
            lateness_us: None,
            took_us: 1,
            span: (times > 1).then(|| Box::new(span)),
            more: None,
        }
    }

    fn state(successes: u64, times: u64) -> UnitState {
        let mut counts = Counts::default();
        counts.add(Outcome::Success, successes);
        counts.add(Outcome::Error, 3);
        let failed = RunRecord { outcome: Outcome::Error, ..record(1) };
        UnitState { counts, last_runs: vec![failed, record(times)], ..UnitState::default() }
    }

    #[test]
    fn patches_read_back_as_they_were_written() {
        let all = [patch(), extreme(0), extreme(u64::MAX), extreme(1 << 40)];
        let mut bytes = Vec::new();
        (0..).zip(all).for_each(|(task, patch)| patch.encode(u64::MAX - task, &mut bytes));
        let found = Patches::of(&bytes).map(|patch| patch.expect("whole")).collect::<Vec<_>>();
        let tasks = found.iter().map(|(task, ..)| u64::MAX - task).collect::<Vec<_>>();
        assert_eq!(tasks, [0, 1, 2, 3]);
        assert!(found.windows(2).all(|two| two[1].1 == two[0].1 + HEAD_BYTES + two[0].2.len()), "{found:?}");
        let read: Vec<_> = found.iter().map(|(_, _, body)| Patch::decode(body).expect("a patch")).collect();
        assert_eq!(read, all);
    }

    #[test]
    fn a_patch_of_a_task_that_ticks_takes_forty_bytes() {
        let mut bytes = Vec::new();
        patch().encode(1, &mut bytes);
        assert!(bytes.len() <= 40, "{}", bytes.len());
    }

    #[test]
    fn damaged_patches_end_with_what_came_before_the_damage() {
        let mut bytes = Vec::new();
        patch().encode(1, &mut bytes);
        let one = bytes.len();
        patch().encode(2, &mut bytes);
        for len in one + 1..bytes.len() {
            let found: Vec<_> = Patches::of(&bytes[..len]).map(|patch| patch.map(|(task, ..)| task)).collect();
            assert_eq!(found, [Ok(1), Err(NoPatch)]);
        }
        let (_, _, body) = Patches::of(&bytes).next().expect("one").expect("whole");
        assert_eq!(Patch::decode(&body[..body.len() - 1]), None);
        assert_eq!(Patch::decode(&[body, &[0]].concat()), None);
        assert_eq!(Patch::decode(&[]), None);
    }

    #[test]
    fn a_state_becomes_what_the_patch_says_and_keeps_the_rest() {
        let mut state = state(98_000, 1_000);
        let before = state.clone();
        assert!(patch().apply(&mut state));
        assert_eq!((state.counts.get(Outcome::Success), state.counts.get(Outcome::Error)), (100_000, 3));
        assert_eq!((state.accounted, state.rested_since), (Time(START), Some(Time(START + 130_000))));
        assert_eq!((state.last_success, state.scheduled_runs, state.log_seq), (Some(Time(START)), 100_002, 100_010));
        assert_eq!(state.last_runs[0], before.last_runs[0]);
        let newest = &state.last_runs[1];
        assert_eq!((newest.first_due(), newest.times()), (before.last_runs[1].first_due(), 3_000));
        assert_eq!((newest.key.due, newest.lateness_us, newest.took_us), (Time(START), Some(120), 9));
        let again = state.clone();
        assert!(patch().apply(&mut state));
        assert_eq!(state, again, "twice does no harm");
    }

    #[test]
    fn a_run_that_is_going_on_is_open_until_the_next_patch() {
        let mut state = state(98_000, 1_000);
        let running = Patch { rest: Rest::Running(Time(START + 5)), accounted: Time(START + 5), ..patch() };
        assert!(running.apply(&mut state));
        assert_eq!((state.open.len(), state.rested_since), (1, None));
        assert_eq!((state.open[0].key.due, state.open[0].revision), (Time(START + 5), 7));
        assert!(patch().apply(&mut state));
        assert!(state.open.is_empty());
    }

    #[test]
    fn a_patch_that_was_made_for_another_record_changes_nothing() {
        let mut failed_since = state(98_000, 1_000);
        failed_since.last_runs.reverse();
        let mut with_other_record = state(98_000, 999);
        let mut newer = state(100_001, 3_001);
        for state in [&mut failed_since, &mut with_other_record, &mut newer, &mut UnitState::default()] {
            let before = state.clone();
            assert!(!patch().apply(state));
            assert_eq!(*state, before);
        }
    }
}
