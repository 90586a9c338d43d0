//! What a plugin is handed.

use std::time::{Duration, SystemTime};

use crate::bindings::taskhost::plugin::types;

/// A due time that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The task's name.
    pub task: String,
    /// The idempotency key: the same on every attempt, and never the same for two runs.
    pub run_id: String,
    /// Counts the attempts of this run, from 1.
    pub attempt: u32,
    /// The due time; of a manual run, when it was asked for.
    pub due: SystemTime,
    /// The same in RFC 3339 with the offset of the schedule's time zone.
    pub due_local: String,
    /// The due time of the task's last success; `None` before the first.
    pub since: Option<SystemTime>,
    /// Why this run came to be.
    pub reason: Reason,
}

/// Why a run came to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its due time came.
    Schedule,
    /// Its due time passed while nothing could run it, and it is made up for.
    CatchUp,
    /// Somebody asked for due times of the past.
    Backfill,
    /// Somebody asked for it.
    Manual,
    /// A run of another task ended.
    Triggered(Trigger),
}

/// The run of another task that caused this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// The other task's name.
    pub task: String,
    /// Its run.
    pub run_id: String,
    /// How that ended: `success`, `error`, `trapped` and so on.
    pub outcome: String,
}

impl Tick {
    /// Whether this run was tried before.
    pub fn is_retry(&self) -> bool {
        self.attempt > 1
    }

    /// How long before this due time that of the last success was; `None` before the first success.
    pub fn since_last_success(&self) -> Option<Duration> {
        self.due.duration_since(self.since?).ok()
    }
}

impl From<types::Tick> for Tick {
    fn from(tick: types::Tick) -> Self {
        let types::Tick { task, run_id, attempt, due, due_local, since, reason } = tick;
        Self {
            task,
            run_id,
            attempt,
            due: to_system_time(due),
            due_local,
            since: since.map(to_system_time),
            reason: reason.into(),
        }
    }
}

impl From<types::Reason> for Reason {
    fn from(reason: types::Reason) -> Self {
        match reason {
            types::Reason::Schedule => Self::Schedule,
            types::Reason::CatchUp => Self::CatchUp,
            types::Reason::Backfill => Self::Backfill,
            types::Reason::Manual => Self::Manual,
            types::Reason::Triggered(types::Trigger { task, run_id, outcome }) => {
                Self::Triggered(Trigger { task, run_id, outcome })
            }
        }
    }
}

/// The same time for the standard library, whose `SystemTime` begins in 1970 on wasm; no due time is older.
fn to_system_time(instant: types::Instant) -> SystemTime {
    let since_epoch = Duration::new(u64::try_from(instant.seconds).unwrap_or(0), instant.nanoseconds);
    SystemTime::UNIX_EPOCH.checked_add(since_epoch).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(due_s: i64, since_s: Option<i64>) -> Tick {
        let instant = |seconds| types::Instant { seconds, nanoseconds: 500_000_000 };
        types::Tick {
            task: "t".to_owned(),
            run_id: "r".to_owned(),
            attempt: 2,
            due: instant(due_s),
            due_local: "1970-01-01T00:00:10.5Z".to_owned(),
            since: since_s.map(instant),
            reason: types::Reason::Manual,
        }
        .into()
    }

    #[test]
    fn a_tick_keeps_its_times() {
        let tick = tick(10, Some(4));
        assert_eq!(tick.due, SystemTime::UNIX_EPOCH + Duration::from_millis(10_500));
        assert_eq!(tick.since_last_success(), Some(Duration::from_secs(6)));
        assert!(tick.is_retry());
    }

    #[test]
    fn a_time_that_the_guest_cannot_tell_is_the_epoch() {
        assert_eq!(to_system_time(types::Instant { seconds: -1, nanoseconds: 0 }), SystemTime::UNIX_EPOCH);
        assert_eq!(tick(10, None).since_last_success(), None);
    }
}
