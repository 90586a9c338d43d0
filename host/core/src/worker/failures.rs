//! What the host's log says of runs that fail: the first failure in a row of each task, and only so many lines a second. Each task's
//! own history has them all.

use crate::name::TaskName;
use crate::outcome::{Outcome, RunId, RunRecord, cut};
use crate::time::Time;

/// How many lines one worker writes in a second.
const MAX_LINES_PER_SECOND: u32 = 20;

/// How much of a detail stands in a line, in bytes: a guest may have written it.
const MAX_DETAIL_BYTES: usize = 200;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Tells of failures.
#[derive(Debug, Default)]
pub(super) struct FailureLog {
    second: i64,
    told: u32,
    untold: u64,
}

impl FailureLog {
    /// Tells of the first failed run in a row.
    pub(super) fn tell(&mut self, now: Time, task: &TaskName, id: RunId, record: &RunRecord) {
        if !self.may_tell(now) {
            return;
        }
        if self.untold > 0 {
            tracing::warn!("{} tasks that began to fail are not told here", std::mem::take(&mut self.untold));
        }
        let detail = record.more.as_ref().and_then(|more| more.detail.as_deref()).unwrap_or_default();
        let detail = cut(detail, MAX_DETAIL_BYTES);
        let Outcome::LimitExceeded = record.outcome else {
            tracing::warn!(%task, run = %id, outcome = %record.outcome, ?detail, "a task has failed");
            return;
        };
        tracing::warn!(%task, run = %id, limit = detail, "a task has exceeded a limit");
    }

    fn may_tell(&mut self, now: Time) -> bool {
        let second = now.0.div_euclid(NANOS_PER_SECOND);
        if second != self.second {
            (self.second, self.told) = (second, 0);
        }
        if self.told < MAX_LINES_PER_SECOND {
            self.told += 1;
            return true;
        }
        self.untold += 1;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_failures_are_told_in_a_second_and_the_rest_is_counted() {
        let mut log = FailureLog::default();
        let told = |log: &mut FailureLog, now| (0..100).filter(|_| log.may_tell(Time(now))).count();
        assert_eq!(told(&mut log, 5), 20);
        assert_eq!(log.untold, 80);
        assert_eq!(told(&mut log, NANOS_PER_SECOND), 20);
    }
}
