//! What a task did, as far as it is kept in memory: counters, and the newest records.

use std::time::Duration;

use thin_vec::ThinVec;

use crate::outcome::{Counts, Outcome, Reason, RunRecord, Span};
use crate::prefetch::{prefetch, prefetch_behind_counts};
use crate::time::Time;

/// How many records are kept with a task.
pub const LAST_RUNS: usize = 20;

/// How many of them may be successes when others would have to go.
pub(super) const LAST_SUCCESSES: usize = 10;

/// How many closed records wait for the store before the oldest are lost.
const MAX_UNWRITTEN_RECORDS: usize = 256;

/// How long a span gets: retention drops whole ones.
const MAX_SPAN: Duration = Duration::from_secs(86_400);

/// Counters and newest records of a task.
#[derive(Clone, Debug, Default)]
pub struct History {
    successes: u64,
    /// The other outcomes that occurred. In a box, since most tasks only succeed.
    others: Option<Box<Counts>>,
    /// Newest last; at most [`LAST_RUNS`]. The newest may still grow; the others are closed.
    pub last_runs: ThinVec<RunRecord>,
    /// Closed records that the store does not have. In a box, since most tasks have none.
    #[expect(clippy::box_collection, reason = "a `Vec` takes three times as much where there is nothing in it")]
    unwritten: Option<Box<Vec<RunRecord>>>,
    /// How many due times were in records that were lost.
    pub lost: u64,
}

impl History {
    pub(super) fn restored(counts: Counts, last_runs: Vec<RunRecord>, lost: u64) -> Self {
        let mut history = Self { last_runs: last_runs.into(), lost, ..Self::default() };
        counts.iter().for_each(|(outcome, times)| history.count(outcome, times));
        history
    }

    /// Has the processor fetch the newest record: at depth 0 the list, of which most have one, at 1 the record, at 2 what it says of
    /// several runs.
    pub(super) fn prefetch(&self, depth: usize) {
        match depth {
            0 => prefetch_behind_counts(self.last_runs.as_ptr().cast(), size_of::<RunRecord>()),
            1 => self.last_runs.last().into_iter().for_each(prefetch),
            _ => self.last_runs.last().iter().filter_map(|run| run.span.as_deref()).for_each(prefetch),
        }
    }

    /// How many due times ended with each outcome.
    pub fn counts(&self) -> Counts {
        let mut counts = self.others.as_deref().copied().unwrap_or_default();
        counts.add(Outcome::Success, self.successes);
        counts
    }

    /// How many ended with success.
    pub fn successes(&self) -> u64 {
        self.successes
    }

    fn count(&mut self, outcome: Outcome, times: u64) {
        match outcome {
            Outcome::Success => self.successes += times,
            _ => self.others.get_or_insert_default().add(outcome, times),
        }
    }

    /// Takes in what became of a due time, or of several that were passed over together. `joins` says whether a success may share
    /// a record with the one before it. Answers whether one did: then nothing but its count and that record is different.
    pub(super) fn add(&mut self, record: &RunRecord, joins: bool) -> bool {
        self.count(record.outcome, record.times());
        if let Some(newest) = self.last_runs.last_mut()
            && continues(newest, record, joins)
        {
            extend(newest, record);
            return record.outcome == Outcome::Success;
        }
        if let Some(closed) = self.last_runs.last() {
            let unwritten = self.unwritten.get_or_insert_default();
            if unwritten.len() == MAX_UNWRITTEN_RECORDS {
                self.lost += unwritten.remove(0).times();
            }
            unwritten.push(closed.clone());
        }
        self.make_room();
        self.last_runs.reserve_exact(1);
        self.last_runs.push(record.clone());
        false
    }

    /// The closed records since the last time.
    pub fn take_unwritten(&mut self) -> Vec<RunRecord> {
        self.unwritten.take().map_or_else(Vec::new, |unwritten| *unwritten)
    }

    /// Of the old records, successes go first while there are enough of them.
    fn make_room(&mut self) {
        if self.last_runs.len() < LAST_RUNS {
            return;
        }
        let successes = self.last_runs.iter().filter(|run| run.outcome == Outcome::Success).count();
        let first_success = self.last_runs.iter().position(|run| run.outcome == Outcome::Success);
        let victim = first_success.filter(|_| successes >= LAST_SUCCESSES).unwrap_or(0);
        self.last_runs.remove(victim);
    }
}

/// Whether `next` went like `newest`, and follows it.
fn continues(newest: &RunRecord, next: &RunRecord, joins: bool) -> bool {
    let alike = (newest.outcome, newest.reason, newest.revision) == (next.outcome, next.reason, next.revision)
        && newest.key.backfill == 0
        && next.key.backfill == 0
        && newest.key.due < next.first_due()
        && next.key.due.since(newest.first_due()) < MAX_SPAN;
    let silent = |record: &RunRecord| record.attempts == 1 && record.more.is_none();
    alike
        && match next.outcome {
            Outcome::Success => joins && next.reason == Reason::Schedule && silent(newest) && silent(next),
            Outcome::Missed | Outcome::Skipped | Outcome::Abandoned => newest.attempts == 0 && newest.more == next.more,
            _ => false,
        }
}

fn extend(newest: &mut RunRecord, next: &RunRecord) {
    let (before, after) = (span_of(newest), span_of(next));
    newest.key = next.key;
    newest.lateness_us = next.lateness_us;
    newest.took_us = next.took_us;
    let both = Span {
        first_due: before.first_due,
        times: before.times + after.times,
        took_total_us: before.took_total_us + after.took_total_us,
        took_max_us: before.took_max_us.max(after.took_max_us),
        lateness_max_us: before.lateness_max_us.max(after.lateness_max_us),
    };
    // On the tick path: a new box only for the first two.
    match &mut newest.span {
        Some(span) => **span = both,
        None => newest.span = Some(Box::new(both)),
    }
}

/// A record as a span, of one run if need be.
pub(super) fn span_of(record: &RunRecord) -> Span {
    record.span.as_deref().copied().unwrap_or(Span {
        first_due: record.key.due,
        times: 1,
        took_total_us: record.took_us.into(),
        took_max_us: record.took_us,
        lateness_max_us: record.lateness_us.unwrap_or(0),
    })
}

/// How long after `earlier`, in microseconds; saturates at 71 minutes.
pub(super) fn micros_since(later: Time, earlier: Time) -> u32 {
    u32::try_from(later.since(earlier).as_micros()).unwrap_or(u32::MAX)
}
