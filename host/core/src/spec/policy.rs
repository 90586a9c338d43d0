//! The rules that a task may choose: what happens when due times overlap, are missed, or end in failure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::SpecError;
use crate::outcome::Outcome;
use crate::time::{Time, parse_duration};

/// How many runs of a task go on at once with `allow_all`, by default and at most.
pub const DEFAULT_MAX_RUNNING: u32 = 16;
pub const MAX_MAX_RUNNING: u32 = 256;

/// How many due times wait with `buffer_all`, by default and at most.
pub const DEFAULT_MAX_BUFFERED: u32 = 100;
pub const MAX_MAX_BUFFERED: u32 = 10_000;

/// How far back due times are made up for, by default, and the bounds.
pub const DEFAULT_CATCHUP_WINDOW: Duration = Duration::from_secs(86_400);
pub const MIN_CATCHUP_WINDOW: Duration = Duration::from_secs(1);
pub const MAX_CATCHUP_WINDOW: Duration = Duration::from_secs(365 * 86_400);

/// How many due times are made up for after one standstill, by default and at most.
pub const DEFAULT_MAX_CATCHUP: u32 = 100;
pub const MAX_MAX_CATCHUP: u32 = 10_000;

/// The longest jitter.
pub const MAX_JITTER: Duration = Duration::from_secs(86_400);

/// The most attempts of a run.
pub const MAX_ATTEMPTS: u32 = 100;

/// How long a failed run waits for its second attempt, by default; each further one waits twice as long.
pub const DEFAULT_BACKOFF: Duration = Duration::from_secs(1);

/// The longest wait for an attempt, by default.
pub const DEFAULT_MAX_BACKOFF: Duration = Duration::from_secs(300);

/// The bounds of both.
pub const MIN_BACKOFF: Duration = Duration::from_millis(1);
pub const MAX_BACKOFF: Duration = Duration::from_secs(86_400);

/// What happens when a due time comes while a run is going on. Names as in Temporal's `ScheduleOverlapPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The due time is skipped.
    #[default]
    Skip,
    /// It runs when the run has ended; one that comes while another waits already is skipped.
    BufferOne,
    /// All of them run, one after the other, up to a bound.
    BufferAll,
    /// The run is cancelled: told, and stopped hard after the cancel grace. The due time runs then; of several that come meanwhile,
    /// the newest.
    CancelOther,
    /// The same with the run stopped at once.
    TerminateOther,
    /// All of them run beside each other, up to a bound.
    AllowAll,
}

impl Overlap {
    pub const ALL: [Self; 6] =
        [Self::Skip, Self::BufferOne, Self::BufferAll, Self::CancelOther, Self::TerminateOther, Self::AllowAll];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::BufferOne => "buffer_one",
            Self::BufferAll => "buffer_all",
            Self::CancelOther => "cancel_other",
            Self::TerminateOther => "terminate_other",
            Self::AllowAll => "allow_all",
        }
    }

    /// Reads a policy by its name, or by that of Kubernetes' `concurrencyPolicy`: `Forbid`, `Replace`, `Allow`.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        match text {
            "Forbid" => Ok(Self::Skip),
            "Replace" => Ok(Self::TerminateOther),
            "Allow" => Ok(Self::AllowAll),
            _ => {
                let known = Self::ALL.into_iter().find(|policy| policy.as_str() == text);
                known.ok_or_else(|| SpecError::Overlap(told(text)))
            }
        }
    }
}

/// What becomes of due times that passed while nothing could run them: the host was down or stood still, or the clock was
/// set forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// They are recorded as missed.
    Skip,
    /// The newest one runs, if it is within the window; the others are recorded as missed.
    RunOnce,
    /// Those within the window run, one after the other, the newest up to a bound; the others are recorded as missed.
    RunAll,
}

impl Missed {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::RunOnce => "run_once",
            Self::RunAll => "run_all",
        }
    }

    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let known = [Self::Skip, Self::RunOnce, Self::RunAll].into_iter().find(|policy| policy.as_str() == text);
        known.ok_or_else(|| SpecError::Missed(told(text)))
    }
}

/// Whether a run's instance outlives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstancePolicy {
    /// Every attempt has one of its own, and nothing of a run is left for the next.
    #[default]
    Fresh,
    /// The next run gets the same one, with all that it kept in memory, for as long as there is room for it and no run of it
    /// failed.
    Keep,
}

impl InstancePolicy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Keep => "keep",
        }
    }

    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let known = [Self::Fresh, Self::Keep].into_iter().find(|policy| policy.as_str() == text);
        known.ok_or_else(|| SpecError::Instance(told(text)))
    }
}

/// A time between a due time and its run, so that many tasks with the same due time do not run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jitter {
    /// At most so long.
    pub max: Duration,
    /// Whether it is the same for every due time of a task.
    #[serde(default)]
    pub stable: bool,
}

impl Jitter {
    /// The time for one due time of a task: evenly spread over `0..max`, and always the same for the same task and due time.
    pub fn of(self, task: crate::outcome::TaskId, due: Time) -> Duration {
        let max = u64::try_from(self.max.as_nanos()).unwrap_or(u64::MAX);
        let due = if self.stable { 0 } else { due.0 };
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&task.to_le_bytes());
        bytes[8..].copy_from_slice(&due.to_le_bytes());
        let hash = xxhash_rust::xxh3::xxh3_64(&bytes);
        // The high half of the product is even over the range, as of Lemire.
        Duration::from_nanos(((u128::from(hash) * u128::from(max)) >> 64) as u64)
    }
}

/// When a run that failed is tried again, with the same run id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// How many attempts a run has; 1 means none is tried again.
    pub attempts: u32,
    /// How long before the second; each further one waits twice as long.
    pub backoff: Duration,
    /// The longest wait.
    pub max_backoff: Duration,
    /// After which outcomes. A failure that the guest calls permanent is never tried again.
    pub on: Vec<Outcome>,
}

impl Retry {
    /// The outcomes that are tried again by default.
    pub const DEFAULT_ON: [Outcome; 5] =
        [Outcome::Error, Outcome::Trapped, Outcome::TimedOut, Outcome::LimitExceeded, Outcome::HostError];

    /// The outcomes that may be: [`Outcome::Abandoned`] makes a task run at least once.
    const ALLOWED_ON: [Outcome; 6] = [
        Outcome::Error,
        Outcome::Trapped,
        Outcome::TimedOut,
        Outcome::LimitExceeded,
        Outcome::HostError,
        Outcome::Abandoned,
    ];

    /// No second attempt.
    pub fn none() -> Self {
        Self { attempts: 1, backoff: DEFAULT_BACKOFF, max_backoff: DEFAULT_MAX_BACKOFF, on: Self::DEFAULT_ON.to_vec() }
    }

    /// How long a run waits after its attempt number `attempt` (from 1): the backoff, doubled for each attempt before, at most
    /// `max_backoff`, of which the second half is left to chance (`chance` of 0 to 2^64), so that tasks that failed together do
    /// not come back together.
    pub fn wait_after(&self, attempt: u32, chance: u64) -> Duration {
        let doubled = 1_u32.checked_shl(attempt.saturating_sub(1)).filter(|factor| *factor > 0);
        let full = doubled.and_then(|factor| self.backoff.checked_mul(factor)).unwrap_or(Duration::MAX);
        let half = u64::try_from(full.min(self.max_backoff).as_nanos() / 2).unwrap_or(u64::MAX / 2);
        Duration::from_nanos(half + ((u128::from(chance) * u128::from(half)) >> 64) as u64)
    }
}

/// A [`Retry`] as it was sent. What is absent has its default.
#[derive(Clone, Debug, Default)]
pub struct RetryText {
    pub attempts: Option<u32>,
    pub backoff: Option<String>,
    pub max_backoff: Option<String>,
    pub on: Option<Vec<String>>,
}

impl RetryText {
    pub(super) fn check(self) -> Result<Retry, SpecError> {
        let none = Retry::none();
        let attempts = self.attempts.unwrap_or(none.attempts);
        if !(1..=MAX_ATTEMPTS).contains(&attempts) {
            return Err(SpecError::Attempts(attempts));
        }
        let wait = |text: Option<String>, default| match text {
            None => Ok(default),
            Some(text) => check_duration("the backoff", &text, MIN_BACKOFF, MAX_BACKOFF),
        };
        let backoff = wait(self.backoff, none.backoff)?;
        let max_backoff = wait(self.max_backoff, none.max_backoff.max(backoff))?;
        if max_backoff < backoff {
            return Err(SpecError::BackoffOrder { backoff, max_backoff });
        }
        let mut on = match self.on {
            None => none.on,
            Some(texts) => texts.iter().map(|text| check_retried(text)).collect::<Result<_, _>>()?,
        };
        on.sort_unstable_by_key(|outcome| *outcome as usize);
        on.dedup();
        Ok(Retry { attempts, backoff, max_backoff, on })
    }
}

fn check_retried(text: &str) -> Result<Outcome, SpecError> {
    let outcome = text.parse().ok().filter(|outcome| Retry::ALLOWED_ON.contains(outcome));
    outcome.ok_or_else(|| SpecError::RetryOn(told(text)))
}

/// A [`Jitter`] as it was sent.
#[derive(Clone, Debug, Default)]
pub struct JitterText {
    pub max: String,
    pub stable: bool,
}

impl JitterText {
    pub(super) fn check(self) -> Result<Jitter, SpecError> {
        let max = check_duration("the jitter", &self.max, Duration::from_millis(1), MAX_JITTER)?;
        Ok(Jitter { max, stable: self.stable })
    }
}

pub(super) fn check_duration(
    what: &'static str,
    text: &str,
    min: Duration,
    max: Duration,
) -> Result<Duration, SpecError> {
    let given = parse_duration(text).map_err(|error| SpecError::DurationSyntax { what, error })?;
    if (min..=max).contains(&given) { Ok(given) } else { Err(SpecError::DurationRange { what, given, min, max }) }
}

/// A text as an error repeats it.
pub(super) fn told(text: &str) -> String {
    text.escape_debug().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_spread_evenly_and_the_same_for_the_same_due_time() {
        let jitter = Jitter { max: Duration::from_secs(10), stable: false };
        let of = |due| jitter.of(7, Time(due));
        assert_eq!(of(1), of(1));
        let mut deciles = [0; 10];
        (0..10_000).for_each(|due| deciles[usize::try_from(of(due).as_secs()).expect("few")] += 1);
        assert!(deciles.iter().all(|count| (850..1150).contains(count)), "{deciles:?}");
        let stable = Jitter { stable: true, ..jitter };
        assert_eq!(stable.of(7, Time(1)), stable.of(7, Time(2)));
        assert_ne!(stable.of(7, Time(1)), stable.of(8, Time(1)));
    }

    #[test]
    fn a_backoff_doubles_up_to_its_cap_and_leaves_its_second_half_to_chance() {
        let retry =
            RetryText { attempts: Some(100), backoff: Some("1s".into()), max_backoff: Some("10s".into()), on: None };
        let retry = retry.check().expect("valid");
        let longest: Vec<_> =
            (1..=6).map(|attempt| retry.wait_after(attempt, u64::MAX).as_secs_f64().round()).collect();
        assert_eq!(longest, [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]);
        assert_eq!(retry.wait_after(1, 0), Duration::from_millis(500));
        assert_eq!(retry.wait_after(100, 0), Duration::from_secs(5), "no overflow");
    }

    #[test]
    fn a_retry_without_end_is_refused() {
        for attempts in [0, MAX_ATTEMPTS + 1, u32::MAX] {
            let refused = RetryText { attempts: Some(attempts), ..RetryText::default() }.check();
            assert_eq!(refused, Err(SpecError::Attempts(attempts)));
        }
        let message = SpecError::Attempts(0).to_string();
        assert_eq!(message, "0 attempts are out of range; a run has from 1 to 100");
    }

    #[test]
    fn policies_read_by_their_names_and_those_of_kubernetes() {
        for policy in Overlap::ALL {
            assert_eq!(Overlap::parse(policy.as_str()), Ok(policy));
        }
        assert_eq!(Overlap::parse("Forbid"), Ok(Overlap::Skip));
        assert_eq!(Overlap::parse("Replace"), Ok(Overlap::TerminateOther));
        assert_eq!(Overlap::parse("Allow"), Ok(Overlap::AllowAll));
        let message = Overlap::parse("queue").expect_err("unknown").to_string();
        assert_eq!(
            message,
            "`queue` is no overlap policy; it is one of skip, buffer_one, buffer_all, cancel_other, terminate_other and allow_all"
        );
    }
}
