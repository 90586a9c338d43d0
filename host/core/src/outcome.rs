//! Runs, attempts and what became of them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plugin::Sha256;
use crate::time::Time;

/// A task's identity over its whole life: random, and never given twice, so that run ids of two hosts differ.
pub type TaskId = u64;

/// The most bytes of a guest's summary that are kept with a run.
pub const MAX_RESULT_BYTES: usize = 4096;

/// The most bytes of an outcome's detail that are kept with a run.
pub const MAX_DETAIL_BYTES: usize = 1024;

/// The identity of a run, the same for every attempt: a task runs at most once for a due time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId {
    pub task: TaskId,
    pub due: Time,
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.task, self.due.0)
    }
}

/// A text that is no run id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a run id is two numbers of 16 hex digits with a hyphen between, as `taskctl runs` shows it")]
pub struct RunIdError;

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        let (task, due) = text.split_once('-').ok_or(RunIdError)?;
        let number = |digits: &str| match digits.len() {
            16 => u64::from_str_radix(digits, 16).map_err(|_| RunIdError),
            _ => Err(RunIdError),
        };
        Ok(Self { task: number(task)?, due: Time(number(due)?.cast_signed()) })
    }
}

/// Why a run came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Schedule,
    Manual,
    CatchUp,
    Backfill,
    Triggered,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Manual => "manual",
            Self::CatchUp => "catch_up",
            Self::Backfill => "backfill",
            Self::Triggered => "triggered",
        }
    }
}

/// What became of a due time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The guest returned well.
    Success,
    /// The guest said that it failed, or exited non-zero.
    Error,
    /// The guest trapped.
    Trapped,
    /// The attempt did not end by its deadline.
    TimedOut,
    /// The guest hit a limit; the detail says which.
    LimitExceeded,
    /// Somebody cancelled it.
    Cancelled,
    /// The host failed to run it.
    HostError,
    /// The host died during it.
    Abandoned,
    /// The due time passed while nothing could run it.
    Missed,
    /// The due time was passed over by rule; the detail says which.
    Skipped,
}

impl Outcome {
    /// Every outcome, in the order of [`Counts`].
    pub const ALL: [Self; 10] = [
        Self::Success,
        Self::Error,
        Self::Trapped,
        Self::TimedOut,
        Self::LimitExceeded,
        Self::Cancelled,
        Self::HostError,
        Self::Abandoned,
        Self::Missed,
        Self::Skipped,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Trapped => "trapped",
            Self::TimedOut => "timed_out",
            Self::LimitExceeded => "limit_exceeded",
            Self::Cancelled => "cancelled",
            Self::HostError => "host_error",
            Self::Abandoned => "abandoned",
            Self::Missed => "missed",
            Self::Skipped => "skipped",
        }
    }

    /// Whether a guest was entered, or tried to be.
    pub fn ran(self) -> bool {
        !matches!(self, Self::Missed | Self::Skipped)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no outcome; outcomes are success, error, trapped, timed_out, limit_exceeded, cancelled, host_error, abandoned, missed and skipped"
)]
pub struct OutcomeError(String);

impl FromStr for Outcome {
    type Err = OutcomeError;

    fn from_str(text: &str) -> Result<Self, OutcomeError> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
            .ok_or_else(|| OutcomeError(text.chars().take(40).collect()))
    }
}

/// How many due times ended with each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts([u64; Outcome::ALL.len()]);

impl Counts {
    pub fn add(&mut self, outcome: Outcome, times: u64) {
        self.0[outcome as usize] += times;
    }

    pub fn get(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// Every outcome that occurred, with how often.
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, u64)> {
        Outcome::ALL.into_iter().map(|outcome| (outcome, self.get(outcome))).filter(|(_, times)| *times > 0)
    }

    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }
}

/// How one attempt went: what a `Runner` answers. A trap is data, not an error.
#[derive(Clone, Debug, PartialEq)]
pub struct RunReport {
    pub outcome: Outcome,
    /// The guest's message, the trap, which limit; at most [`MAX_DETAIL_BYTES`].
    pub detail: Option<Box<str>>,
    /// Of a command.
    pub exit_code: Option<i32>,
    /// The guest's summary; at most [`MAX_RESULT_BYTES`].
    pub result: Option<Box<str>>,
    /// Whether the guest said that trying again is useless.
    pub permanent: bool,
    /// When the guest asked to be tried again.
    pub retry_after: Option<Duration>,
    /// How long after [`Runner::run`](crate::ports::Runner::run) was called the guest was entered; `None` if it never was.
    pub entry_delay: Option<Duration>,
}

impl RunReport {
    /// A report of nothing but an outcome.
    pub fn of(outcome: Outcome) -> Self {
        Self {
            outcome,
            detail: None,
            exit_code: None,
            result: None,
            permanent: false,
            retry_after: None,
            entry_delay: None,
        }
    }

    /// The same with a detail, cut to [`MAX_DETAIL_BYTES`].
    pub fn with_detail(mut self, detail: &str) -> Self {
        self.detail = Some(cut(detail, MAX_DETAIL_BYTES).into());
        self
    }
}

/// The beginning of `text`, at most `bytes` long and whole in its characters.
pub fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// What became of one due time, as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The due time, which with the task is the run's identity.
    pub due: Time,
    pub reason: Reason,
    pub outcome: Outcome,
    /// How many attempts were made.
    pub attempts: u32,
    /// The revision that ran.
    pub revision: u32,
    /// When the last attempt's guest was entered, in microseconds after `due`; `None` if it never was.
    pub lateness_us: Option<u32>,
    /// How long it took from guest entry, in microseconds; saturates at 71 minutes.
    pub took_us: u32,
    /// What only few runs have.
    pub more: Option<Box<RunMore>>,
}

/// The parts of a record that only few runs have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunMore {
    pub detail: Option<Box<str>>,
    pub result: Option<Box<str>>,
    pub exit_code: Option<i32>,
    /// How many due times from `due` on this record stands for beyond the first: `missed` or `skipped` ones.
    pub further: u64,
}

/// A record with the words that its revision gives it, as readers get it.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub id: RunId,
    pub task: crate::name::TaskName,
    pub record: RunRecord,
    /// Whether the run is still going on, and `record.outcome` means nothing yet.
    pub running: bool,
    pub plugin: Option<Sha256>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_reads_back_as_it_was_written() {
        let id = RunId { task: 0xfeed, due: Time(1_700_000_000_000_000_000) };
        assert_eq!(id.to_string().parse(), Ok(id));
        let before_epoch = RunId { task: u64::MAX, due: Time(-1) };
        assert_eq!(before_epoch.to_string().parse(), Ok(before_epoch));
        assert_eq!("1-2".parse::<RunId>(), Err(RunIdError));
    }

    #[test]
    fn every_outcome_has_its_place_in_the_counts() {
        let mut counts = Counts::default();
        for (times, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.as_str().parse(), Ok(outcome));
            counts.add(outcome, times as u64 + 1);
        }
        assert_eq!(counts.iter().map(|(_, times)| times).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    }

    #[test]
    fn a_cut_text_keeps_its_characters_whole() {
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(cut("aé", 3), "aé");
    }
}
