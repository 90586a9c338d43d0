//! How much a task writes to its log in a minute, over all its attempts.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use taskhost_core::spec::Limit;

use crate::limits::Bounds;

/// What the rates of a log are by.
const MINUTE: Duration = Duration::from_secs(60);

/// What a task wrote to its log in the minute that is going on: minutes count from the first line after the last one was over.
#[derive(Default)]
pub(crate) struct LogRate(Mutex<Minute>);

#[derive(Default)]
struct Minute {
    began: Option<Instant>,
    bytes: u64,
    lines: u32,
    dropped: bool,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rated {
    Kept,
    /// It is the first that is too much of this in its minute.
    First(Limit),
    Dropped,
}

impl LogRate {
    /// Takes note of a line of so many bytes, and says what becomes of it.
    pub(crate) fn take(&self, bytes: u64, bounds: &Bounds, now: Instant) -> Rated {
        let mut minute = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if minute.began.is_none_or(|began| now.duration_since(began) >= MINUTE) {
            *minute = Minute { began: Some(now), ..Minute::default() };
        }
        if minute.dropped {
            return Rated::Dropped;
        }
        minute.bytes += bytes;
        minute.lines = minute.lines.saturating_add(1);
        let used = [(Limit::LogBytesPerMinute, minute.bytes), (Limit::LogLinesPerMinute, minute.lines.into())];
        let over = used.into_iter().find(|(limit, used)| *used > bounds.of(*limit));
        minute.dropped = over.is_some();
        over.map_or(Rated::Kept, |(limit, _)| Rated::First(limit))
    }
}

#[cfg(test)]
mod tests {
    use taskhost_core::schedule::Zone;
    use taskhost_core::spec::{Ceilings, SpecPatch, TaskSpec};

    use super::*;

    #[test]
    fn a_minute_that_was_too_much_drops_the_rest_of_it_and_the_next_one_is_new() {
        let limits = [("log_lines_per_minute".to_owned(), 2)].into();
        let patch = SpecPatch { limits: Some(Some(limits)), ..SpecPatch::default() };
        let spec = TaskSpec::default().patched(patch, &Zone::utc()).expect("a spec");
        let (rate, bounds) = (LogRate::default(), Bounds::of_task(&spec, &Ceilings::default()));
        let start = Instant::now();
        let take = |after_s| rate.take(10, &bounds, start + Duration::from_secs(after_s));
        assert_eq!([take(0), take(59)], [Rated::Kept; 2]);
        assert_eq!([take(59), take(59)], [Rated::First(Limit::LogLinesPerMinute), Rated::Dropped]);
        assert_eq!(take(60), Rated::Kept);
    }
}
