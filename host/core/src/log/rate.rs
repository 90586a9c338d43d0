//! How much a task writes to its log in a minute, over all its runs.

use std::time::Duration;

use crate::spec::Limit;
use crate::time::Time;

/// What the rate of a log is by.
const MINUTE: Duration = Duration::from_secs(60);

/// The most that a task may write to its log in a minute. What is more than 4 GiB is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerMinute {
    /// An empty one counts as well.
    pub lines: u64,
    /// Each line with its newline.
    pub bytes: u64,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rated {
    Kept,
    /// It is dropped, as the first that is too much of this in its minute.
    First(Limit),
    /// One before it was too much already.
    Dropped,
}

/// What a task wrote in the minute that is going on: minutes count from the first line after the last one was over.
///
/// Every task has one, so it has no byte too many.
#[derive(Debug, Default)]
pub(super) struct Minute {
    began: Time,
    bytes: u32,
    /// 0 before the first line, and [`DROPPED`] after the first that is too much.
    lines: u32,
}

/// In place of how many lines there were: the rest of the minute is dropped.
const DROPPED: u32 = u32::MAX;

impl Minute {
    /// Takes note of a line of so many bytes, and says what becomes of it.
    pub(super) fn take(&mut self, bytes: usize, most: PerMinute, now: Time) -> Rated {
        // A clock that was set back begins a new minute as well.
        if self.lines == 0 || now < self.began || now.since(self.began) >= MINUTE {
            *self = Self { began: now, bytes: 0, lines: 0 };
        }
        if self.lines == DROPPED {
            return Rated::Dropped;
        }
        self.bytes = self.bytes.saturating_add(u32::try_from(bytes + 1).unwrap_or(u32::MAX));
        self.lines = (self.lines + 1).min(DROPPED - 1);
        let used =
            [(Limit::LogBytesPerMinute, self.bytes, most.bytes), (Limit::LogLinesPerMinute, self.lines, most.lines)];
        match used.into_iter().find(|(_, used, most)| u64::from(*used) > *most) {
            Some((limit, ..)) => {
                self.lines = DROPPED;
                Rated::First(limit)
            }
            None => Rated::Kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: PerMinute = PerMinute { lines: 2, bytes: u64::MAX };

    /// What becomes of lines of ten bytes at these seconds.
    fn taken<const N: usize>(minute: &mut Minute, most: PerMinute, at_s: [i64; N]) -> [Rated; N] {
        at_s.map(|second| minute.take(10, most, Time(second * 1_000_000_000)))
    }

    #[test]
    fn a_minute_that_was_too_much_drops_the_rest_of_it_and_the_next_one_is_new() {
        let minute = &mut Minute::default();
        let first = Rated::First(Limit::LogLinesPerMinute);
        assert_eq!(taken(minute, LINES, [5, 64, 64, 64]), [Rated::Kept, Rated::Kept, first, Rated::Dropped]);
        assert_eq!(taken(minute, LINES, [65]), [Rated::Kept], "minutes count from the first line");
    }

    #[test]
    fn a_newline_counts_and_the_first_limit_that_is_hit_is_told() {
        let most = PerMinute { lines: 3, bytes: 32 };
        let first = Rated::First(Limit::LogBytesPerMinute);
        assert_eq!(taken(&mut Minute::default(), most, [0, 0, 0]), [Rated::Kept, Rated::Kept, first]);
    }

    #[test]
    fn a_clock_that_was_set_back_begins_a_new_minute() {
        let minute = &mut Minute::default();
        assert_eq!(taken(minute, LINES, [100, 100, 40, 40]), [Rated::Kept; 4]);
    }
}
