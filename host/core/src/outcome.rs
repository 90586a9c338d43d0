//! Runs, attempts and what became of them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::TaskName;
use crate::plugin::Sha256;
use crate::time::Time;
use crate::told::told;

/// A task's identity over its whole life: random, and never given twice, so that run ids of two hosts differ.
pub type TaskId = u64;

/// The most bytes of a guest's summary that are kept with a run.
pub const MAX_RESULT_BYTES: usize = 4096;

/// The most bytes of an outcome's detail that are kept with a run.
pub const MAX_DETAIL_BYTES: usize = 1024;

/// Which run of a task: a task runs at most once for a due time, unless a backfill asks for it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunKey {
    pub due: Time,
    /// 0, or the number of the backfill of this task that asked for it, from 1.
    pub backfill: u32,
}

impl RunKey {
    /// That of a due time itself.
    pub fn of(due: Time) -> Self {
        Self { due, backfill: 0 }
    }
}

/// The identity of a run, the same for every attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId {
    pub task: TaskId,
    pub key: RunKey,
}

/// Two numbers of 16 hex digits, the task's and the due time's, and of a backfill its number: `…-…-b1`.
impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each tick is handed one: by the formatter, its digits cost more than all else of the tick.
        let mut text = [b'-'; 2 * HEX_DIGITS + 1];
        put_hex(&mut text[..HEX_DIGITS], self.task);
        put_hex(&mut text[HEX_DIGITS + 1..], self.key.due.0.cast_unsigned());
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)?;
        match self.key.backfill {
            0 => Ok(()),
            number => write!(f, "-b{number}"),
        }
    }
}

/// How many digits a number of a run id has.
const HEX_DIGITS: usize = 16;

/// Writes the lowest digits of a number, as many as there is room for.
fn put_hex(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

/// A text that is no run id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a run id is two numbers of 16 hex digits with a hyphen between, or the second of them alone, as `taskctl runs` shows it"
)]
pub struct RunIdError;

/// A run of a task that is known: its whole [id](RunId), or the part of that which tells it from the others of its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOf {
    /// `None` for whichever task it is.
    pub task: Option<TaskId>,
    pub key: RunKey,
}

impl RunOf {
    /// Whether it is this run.
    pub fn is(self, run: RunId) -> bool {
        self.key == run.key && self.task.is_none_or(|task| task == run.task)
    }
}

impl From<RunId> for RunOf {
    fn from(run: RunId) -> Self {
        Self { task: Some(run.task), key: run.key }
    }
}

impl fmt::Display for RunOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = RunId { task: self.task.unwrap_or_default(), key: self.key }.to_string();
        f.write_str(if self.task.is_some() { &whole } else { &whole[HEX_DIGITS + 1..] })
    }
}

impl FromStr for RunOf {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        // What may follow the short one, the number of a backfill, has fewer digits.
        if text.split('-').nth(1).is_some_and(|second| second.len() >= HEX_DIGITS) {
            return text.parse::<RunId>().map(Self::from);
        }
        let RunId { key, .. } = format!("{:0width$}-{text}", 0, width = HEX_DIGITS).parse()?;
        Ok(Self { task: None, key })
    }
}

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        let (text, backfill) = match text.split_once("-b") {
            Some((text, number)) => (text, number.parse().map_err(|_| RunIdError)?),
            None => (text, 0),
        };
        let (task, due) = text.split_once('-').ok_or(RunIdError)?;
        let number = |digits: &str| match digits.len() {
            HEX_DIGITS => u64::from_str_radix(digits, 16).map_err(|_| RunIdError),
            _ => Err(RunIdError),
        };
        let key = RunKey { due: Time(number(due)?.cast_signed()), backfill };
        Ok(Self { task: number(task)?, key })
    }
}

/// What triggered a run: the end of another task's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    pub task: TaskName,
    pub run_id: RunId,
    pub outcome: Outcome,
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

/// How much of a text an error repeats, in characters.
const TOLD_CHARS: usize = 40;

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
            .ok_or_else(|| OutcomeError(told(text, TOLD_CHARS)))
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

/// What became of one due time, or of several in a row that went alike, as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Which run; of several, the newest.
    pub key: RunKey,
    pub reason: Reason,
    pub outcome: Outcome,
    /// How many attempts were made.
    pub attempts: u32,
    /// The revision that ran.
    pub revision: u32,
    /// When the last attempt's guest was entered, in microseconds after the due time; `None` if it never was. Saturates at 71
    /// minutes.
    pub lateness_us: Option<u32>,
    /// How long the last attempt took from guest entry, in microseconds; saturates at 71 minutes.
    pub took_us: u32,
    /// What the record stands for beyond its newest run.
    pub span: Option<Box<Span>>,
    /// What only few runs have.
    pub more: Option<Box<RunMore>>,
}

impl RunRecord {
    /// The oldest due time that it stands for.
    pub fn first_due(&self) -> Time {
        self.span.as_ref().map_or(self.key.due, |span| span.first_due)
    }

    /// How many due times it stands for.
    pub fn times(&self) -> u64 {
        self.span.as_ref().map_or(1, |span| span.times)
    }

    /// More about the outcome.
    pub fn detail(&self) -> Option<&str> {
        self.more.as_ref()?.detail.as_deref()
    }
}

/// Due times in a row that went alike: successes of a fast task, or ones that were passed over for the same reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub first_due: Time,
    /// How many they are, the newest with them; 2 or more.
    pub times: u64,
    /// Of all of them together, in microseconds; 0 where nothing ran.
    pub took_total_us: u64,
    pub took_max_us: u32,
    pub lateness_max_us: u32,
}

/// The parts of a record that only few runs have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunMore {
    pub detail: Option<Box<str>>,
    pub result: Option<Box<str>>,
    pub exit_code: Option<i32>,
    pub trigger: Option<Box<Trigger>>,
}

/// A record with the words that its revision gives it, as readers get it.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub id: RunId,
    pub task: TaskName,
    pub record: RunRecord,
    pub phase: RunPhase,
    pub plugin: Option<Sha256>,
}

/// How far a run is. Until it has ended, the outcome in its record means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunPhase {
    /// It waits for another run of its task to end.
    Queued,
    /// An attempt is going on.
    Running,
    /// An attempt failed; the next one begins at this time.
    Retrying(Time),
    Ended,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_reads_back_as_it_was_written() {
        let id = RunId { task: 0xfeed, key: RunKey::of(Time(1_700_000_000_000_000_000)) };
        assert_eq!(id.to_string().parse(), Ok(id));
        let again = RunId { task: 0xfeed, key: RunKey { backfill: 12, ..id.key } };
        assert_eq!(again.to_string(), format!("{id}-b12"));
        assert_eq!(again.to_string().parse(), Ok(again));
        let before_epoch = RunId { task: u64::MAX, key: RunKey::of(Time(-1)) };
        assert_eq!(before_epoch.to_string().parse(), Ok(before_epoch));
        assert_eq!("1-2".parse::<RunId>(), Err(RunIdError));
    }

    #[test]
    fn the_second_part_of_a_run_id_names_it_among_the_runs_of_its_task() {
        let first = RunId { task: 7, key: RunKey::of(Time(1_700_000_000_000_000_000)) };
        for id in [first, RunId { key: RunKey { backfill: u32::MAX, ..first.key }, ..first }] {
            let (whole, other) = (id.to_string(), RunId { task: 8, ..id });
            let short = &whole[HEX_DIGITS + 1..];
            let [by_whole, by_short]: [RunOf; 2] = [&whole, short].map(|text| text.parse().expect("a run"));
            assert_eq!([by_whole.to_string(), by_short.to_string()], [&whole, short]);
            assert!(by_whole.is(id) && !by_whole.is(other) && by_short.is(id) && by_short.is(other));
        }
        for no_run in ["", "1", "-", "17979cfe362a00", "17979cfe362a0000-", "17979cfe362a0000-b", "x-17979cfe362a0000"]
        {
            assert_eq!(no_run.parse::<RunOf>(), Err(RunIdError), "{no_run}");
        }
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
