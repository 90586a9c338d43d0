//! What must hold after every step, judged by a truth that is kept beside the unit: which attempts really began, which records were
//! told and which of them a crash took back, and which due times there are, as the timetable has them.
//!
//! - Each due time that was taken has exactly one record, or is running, queued or to be made up for, and nothing else is there; what
//!   was so before the step has moved on or has its record; none has two.
//! - Attempts are numbered 1, 2, 3 and so on, none begins twice, unless abandoned ones are tried again; a run that began is never
//!   recorded as missed or skipped; `max_runs` and the attempts of a run are not exceeded; a run begins on time.
//! - Overlap, pauses, halt, and what is made up for are as the policies say (`policy`).
//! - Counts are those of the records; stored ones add up to them (`store`).
//! - At rest, what comes next will be woken for (`rest`).

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::Duration;

use taskhost_core::outcome::{Counts, Outcome, Reason, RunKey, RunRecord};
use taskhost_core::ports::{OpenRun, Progress, UnitState};
use taskhost_core::schedule::MAX_WALKED_SLOTS;
use taskhost_core::spec::{Overlap, TaskSpec};
use taskhost_core::time::Time;
use taskhost_core::unit::{Action, CLOCK_SET_BACK, Input, LAST_RUNS, Unit};

use crate::oracle::Oracle;
use crate::policy::policies_are_kept;

/// What is wrong, in words.
pub(crate) type Check = Result<(), String>;

/// How many due times of a stretch are looked at one by one; of more, only how many there are.
const MAX_LISTED: u64 = 5_000;

/// How late an idle worker may begin a run: commands take up to a microsecond each, noting a start up to 50 ms.
const MAX_COMMAND_TIME: Duration = Duration::from_micros(100);
pub(crate) const MAX_NOTING: Duration = Duration::from_millis(50);

/// Fails with what was expected.
macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}
pub(crate) use ensure;

/// Where a due time is that was taken and has no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Running,
    Queue,
    Backlog,
}

/// What is seen of a unit from outside.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) cursor: Time,
    pub(crate) paused: bool,
    scheduled_runs: u64,
    pub(crate) live: BTreeMap<RunKey, (Place, Reason)>,
    pub(crate) running: usize,
    pub(crate) queue: usize,
}

fn is_scheduled(reason: Reason) -> bool {
    matches!(reason, Reason::Schedule | Reason::CatchUp)
}

impl Seen {
    /// Of a task whose due times come a second time, since the clock was far ahead, one may be going on still when it does.
    pub(crate) fn of(unit: &Unit, loose: bool) -> Result<Self, String> {
        let mut live = BTreeMap::new();
        let running = unit.running().iter().map(|run| (run.key, Place::Running, run.reason));
        let queued = unit.queue().map(|run| (run.key, Place::Queue, run.reason));
        let backlogs = unit.backlogs().flat_map(|backlog| {
            let key = |due: &Time| RunKey { due: *due, backfill: backlog.backfill };
            backlog.due.iter().map(move |due| (key(due), Place::Backlog, backlog.reason))
        });
        let mut twice = None;
        for (key, place, reason) in running.chain(queued).chain(backlogs) {
            if let Some((other, _)) = live.insert(key, (place, reason)) {
                twice = Some(format!("{key:?} is in two places: {other:?} and {place:?}"));
            }
        }
        for backlog in unit.backlogs() {
            ensure!(!backlog.due.is_empty(), "an empty backlog");
            ensure!(backlog.due.iter().is_sorted(), "a backlog is not in order: {:?}", backlog.due);
        }
        match twice {
            Some(twice) if !loose => Err(twice),
            _ => Ok(Self {
                cursor: unit.cursor(),
                paused: unit.paused().is_some(),
                scheduled_runs: unit.scheduled_runs(),
                live,
                running: unit.running().len(),
                queue: unit.queue().count(),
            }),
        }
    }

    /// What the store has.
    pub(crate) fn stored(oracle: &Oracle, state: &UnitState, starts: &[OpenRun], paused: bool, now: Time) -> Self {
        let mut live = BTreeMap::new();
        for backlog in &state.backlogs {
            for due in &backlog.due {
                live.insert(RunKey { due: *due, backfill: backlog.backfill }, (Place::Backlog, backlog.reason));
            }
        }
        for run in state.open.iter().chain(starts) {
            let place = if run.progress == Progress::Queued { Place::Queue } else { Place::Running };
            live.insert(run.key, (place, run.reason));
        }
        let believed = state.accounted <= now.saturating_add(CLOCK_SET_BACK);
        let cursor = if believed { state.accounted } else { now };
        Self {
            cursor: cursor.max(oracle.beginning()),
            paused,
            scheduled_runs: state.scheduled_runs,
            live,
            running: 0,
            queue: 0,
        }
    }

    /// Whether it has runs by a clock that is not to be believed any more.
    pub(crate) fn lies_after(&self, time: Time) -> bool {
        self.live.keys().any(|key| key.due > time)
    }

    fn exhausted(&self, spec: &TaskSpec) -> bool {
        spec.max_runs.is_some_and(|most| self.scheduled_runs >= most)
    }
}

/// How far the truth was when a state was taken.
#[derive(Clone, Copy, Default)]
pub(crate) struct Mark {
    records: usize,
    pub(crate) counts: Counts,
}

/// An attempt that begins.
pub(crate) struct Begins {
    pub(crate) key: RunKey,
    pub(crate) attempt: u32,
    pub(crate) reason: Reason,
    /// In which life of the host.
    pub(crate) life: u32,
}

struct Begun {
    attempts: u32,
    reason: Reason,
    /// In which life of the host the last of them began.
    life: u32,
}

/// What really became of a task.
#[derive(Default)]
pub(crate) struct Truth {
    begun: BTreeMap<RunKey, Begun>,
    /// How many of them the schedules began.
    scheduled: u64,
    /// The keys of all records, as far as none of them was taken back.
    records: Vec<RunKey>,
    recorded: HashSet<RunKey>,
    pub(crate) counts: Counts,
    /// The most runs and attempts that a spec ever allowed.
    most_runs: u64,
    most_attempts: u32,
    /// Whether the task ever wanted its abandoned runs to be tried again.
    again: bool,
    /// Whether the clock was so far ahead that due times come a second time.
    pub(crate) loose: bool,
}

impl Truth {
    pub(crate) fn mark(&self) -> Mark {
        Mark { records: self.records.len(), counts: self.counts }
    }

    /// A spec is in force.
    pub(crate) fn allow(&mut self, spec: &TaskSpec) {
        self.most_runs = self.most_runs.max(spec.max_runs.unwrap_or(u64::MAX));
        self.most_attempts = self.most_attempts.max(spec.retry().attempts);
    }

    /// The host died: what was told after the state was written is told again, or told otherwise.
    pub(crate) fn take_back(&mut self, to: Mark, spec: &TaskSpec) {
        for key in self.records.drain(to.records..) {
            self.recorded.remove(&key);
        }
        self.counts = to.counts;
        self.again |= is_again(spec);
    }

    /// The clock was set back: due times that are yet to come are tried again in their turn.
    pub(crate) fn begin_again_after(&mut self, now: Time, stored: &Seen) {
        let records = &self.recorded;
        let known = |key: &RunKey| records.contains(key) || stored.live.contains_key(key);
        self.begun.retain(|key, _| key.due <= now || known(key));
        self.count_scheduled();
    }

    fn count_scheduled(&mut self) {
        self.scheduled = self.begun.values().filter(|begun| is_scheduled(begun.reason)).count() as u64;
    }

    /// Whether a run began by a clock that is not to be believed any more.
    pub(crate) fn began_after(&self, time: Time) -> bool {
        self.begun.keys().any(|key| key.due > time)
    }

    /// The clock was far ahead: due times after now may come again.
    pub(crate) fn forget_after(&mut self, now: Time) {
        self.loose = true;
        self.begun.retain(|key, _| key.due <= now);
        self.count_scheduled();
        self.recorded.retain(|key| key.due <= now);
    }

    /// An attempt begins. `on_time` says since when the worker was idle and on time.
    pub(crate) fn begin(&mut self, begins: &Begins, oracle: &Oracle, now: Time, on_time: Time) -> Check {
        let Begins { key, attempt, reason, life } = *begins;
        let spec = &oracle.spec;
        let before = self.begun.get(&key);
        let (last, last_life) = before.map_or((0, life), |begun| (begun.attempts, begun.life));
        let is_next = attempt == last + 1;
        let is_again = self.again && (last == 0 || last_life != life);
        ensure!(
            is_next || is_again || self.loose,
            "attempt {attempt} of {key:?} began, and attempt {last} was the last that did"
        );
        ensure!(
            attempt <= self.most_attempts,
            "attempt {attempt} of {key:?} began; {} are allowed",
            self.most_attempts
        );
        self.begun.insert(key, Begun { attempts: attempt, reason, life });
        self.scheduled += u64::from(is_scheduled(reason) && last == 0);
        let runs = self.scheduled;
        // Those that may have run before the host died and are tried again are not counted twice: there may be more of them.
        let counts = is_scheduled(reason) && attempt == 1 && !self.loose && !self.again;
        ensure!(!counts || runs <= self.most_runs, "{key:?} is run {runs} of {} (`max_runs`)", self.most_runs);
        if reason == Reason::Schedule && attempt == 1 && key.due > on_time && spec.overlap() == Overlap::Skip {
            let jitter = spec.jitter.map_or(Duration::ZERO, |jitter| jitter.max);
            let latest = key.due.saturating_add(jitter + MAX_NOTING + MAX_COMMAND_TIME);
            // The key of a `delay` is later than its time where an earlier run has it.
            let early = now < key.due && oracle.is_slot(key.due);
            ensure!(!early && now <= latest, "the run due at {} began at {now}", key.due);
        }
        Ok(())
    }

    fn record(&mut self, record: &RunRecord, oracle: &Oracle) -> Check {
        let RunRecord { key, outcome, attempts, .. } = record;
        let times = record.times();
        ensure!(
            times == 1 || record.first_due() < key.due || is_gap(record),
            "a span of {times} has no length: {record:?}"
        );
        ensure!(self.recorded.insert(*key) || self.loose, "a second record for {key:?}: {outcome}");
        self.records.push(*key);
        self.counts.add(*outcome, times);
        let begun = self.begun.get(key);
        match outcome {
            Outcome::Missed | Outcome::Skipped => {
                // A task that has had all its runs does not try every one again that may have run.
                let exhausted = self.loose || self.again && oracle.spec.max_runs.is_some();
                ensure!(
                    begun.is_none() || is_gap(record) || exhausted,
                    "{key:?} began, and is recorded as {outcome}: {:?}",
                    record.detail()
                );
            }
            Outcome::Abandoned | Outcome::Cancelled => {}
            _ => {
                let began = begun.map_or(0, |begun| begun.attempts);
                ensure!(
                    began == *attempts || self.loose,
                    "{attempts} attempts of {key:?} are recorded, and {began} began"
                );
            }
        }
        // Nor is every one that may have run known to have, where it may have had all its runs.
        let lenient = self.loose || self.again && oracle.spec.max_runs.is_some();
        if times > 1 && matches!(outcome, Outcome::Missed | Outcome::Skipped) && !is_gap(record) && !lenient {
            for (inside, begun) in self.begun.range(RunKey::of(record.first_due())..*key) {
                let one = inside.backfill == 0 && is_scheduled(begun.reason) && oracle.is_slot(inside.due);
                ensure!(
                    !one || self.recorded.contains(inside),
                    "{inside:?} began, and is recorded as {outcome} in a span"
                );
            }
        }
        Ok(())
    }

    /// After a step of a unit, which had `before` and the schedule of `oracle`. Without an input, it was restored.
    pub(crate) fn step(
        &mut self,
        oracle: &Oracle,
        before: &Seen,
        input: Option<&Input>,
        actions: &[Action],
        unit: &Unit,
        now: Time,
    ) -> Result<Seen, String> {
        let after = Seen::of(unit, self.loose)?;
        if matches!(input, Some(Input::ClockSetBack)) && after.cursor < before.cursor {
            self.forget_after(now);
            return Ok(after);
        }
        if input.is_none()
            && before.cursor.max(now) == now
            && after.live.keys().any(|key| key.due.0 > now.0 + DAY_NANOS)
        {
            self.loose = true;
        }
        let records = || {
            actions.iter().filter_map(|action| match action {
                Action::Record { record, .. } => Some(record),
                _ => None,
            })
        };
        ensure!(
            after.cursor >= before.cursor,
            "due times up to {} were taken, and now only up to {}",
            before.cursor,
            after.cursor
        );
        for record in records() {
            self.record(record, oracle)?;
        }
        let is_deleted = matches!(input, Some(Input::Deleted));
        if !self.loose {
            self.nothing_is_lost(before, &after, records(), is_deleted)?;
            self.due_times_are_accounted_for(oracle, before, &after, &records().collect::<Vec<_>>(), input)?;
        }
        policies_are_kept(&oracle.spec, before, &after, input, actions, self.again, now)?;
        let counts = unit.history.counts();
        ensure!(counts == self.counts, "the counts {counts:?} are not those of the records, {:?}", self.counts);
        ensure!(unit.history.last_runs.len() <= LAST_RUNS, "{} records in memory", unit.history.last_runs.len());
        Ok(after)
    }

    /// What was taken is where it was, or has moved, or has its record.
    fn nothing_is_lost<'a>(
        &self,
        before: &Seen,
        after: &Seen,
        records: impl Iterator<Item = &'a RunRecord>,
        is_deleted: bool,
    ) -> Check {
        let recorded: HashSet<RunKey> = records.map(|record| record.key).collect();
        for (key, (place, reason)) in &before.live {
            let has_record = recorded.contains(key);
            match after.live.get(key) {
                None if has_record => {}
                None if is_deleted && *place != Place::Running => {}
                None => return Err(format!("{key:?} ({reason:?}) was in the {place:?} and is gone without a record")),
                Some((now_in, _)) => {
                    ensure!(!has_record, "{key:?} has a record, and is in the {now_in:?}");
                    let goes_back = *place == Place::Running && *now_in != Place::Running;
                    ensure!(!goes_back, "{key:?} was running and is in the {now_in:?}");
                }
            }
        }
        Ok(())
    }

    /// Each due time that was taken in this step has exactly one record, or is running, queued or in the backlog; and nothing else
    /// is there.
    fn due_times_are_accounted_for(
        &self,
        oracle: &Oracle,
        before: &Seen,
        after: &Seen,
        records: &[&RunRecord],
        input: Option<&Input>,
    ) -> Check {
        let (from, until) = (before.cursor, after.cursor);
        let is_new = |key: &RunKey| !before.live.contains_key(key);
        let within = |due: Time| from < due && due <= until;
        let mut own = 0;
        let mut points = Vec::new();
        let mut times = 0;
        let mut gaps = 0;
        let mut take = |key: &RunKey, reason: Reason, what: &dyn fmt::Debug| -> Check {
            if key.backfill == 0 && is_scheduled(reason) && within(key.due) && oracle.is_slot(key.due) {
                points.push(key.due);
            } else if is_new(key) {
                match reason {
                    Reason::Schedule | Reason::CatchUp => own += 1,
                    Reason::Manual | Reason::Triggered => {
                        ensure!(
                            matches!(input, Some(Input::Run { .. })),
                            "{key:?} is {what:?}, and nobody asked for it"
                        );
                    }
                    Reason::Backfill => {
                        ensure!(
                            matches!(input, Some(Input::Backfill { .. })),
                            "{key:?} is {what:?}, and nobody asked for it"
                        );
                    }
                }
                ensure!(
                    !is_scheduled(reason) || oracle.spec.delay().is_some(),
                    "{key:?} is {what:?}, and is no due time between {from} and {until}"
                );
            }
            Ok(())
        };
        for (key, (place, reason)) in &after.live {
            take(key, *reason, place)?;
        }
        let mut spans = Vec::new();
        for record in records {
            if is_gap(record) {
                gaps += record.times();
            } else if record.times() == 1 {
                take(&record.key, record.reason, &record.outcome)?;
            } else {
                ensure!(
                    within(record.first_due()) && within(record.key.due),
                    "a span is not between {from} and {until}: {record:?}"
                );
                times += record.times();
                spans.push(record);
            }
        }
        // One that waits to be told that it was skipped, and one after it.
        ensure!(own <= 2, "{own} due times of a `delay` at once");
        let passed = oracle.count(from, until);
        let exhausted = after.exhausted(&oracle.spec) || before.exhausted(&oracle.spec);
        let found = times + points.len() as u64;
        // Past so many, due times that several schedules have are counted for each.
        if passed.due > MAX_WALKED_SLOTS && oracle.spec.schedules().len() > 1 {
            return Ok(());
        }
        if exhausted {
            ensure!(found <= passed.due, "{found} due times between {from} and {until} of {}", passed.due);
        } else {
            ensure!(
                (found, gaps) == (passed.due, passed.nonexistent),
                "between {from} and {until} are {} due times and {} that do not exist; {found} and {gaps} are accounted for",
                passed.due,
                passed.nonexistent
            );
        }
        if passed.due > MAX_LISTED {
            return Ok(());
        }
        for span in spans {
            let those = oracle.list(Time(span.first_due().0 - 1), span.key.due);
            ensure!(
                those.len() as u64 == span.times(),
                "a span of {} due times has {}: {span:?}",
                those.len(),
                span.times()
            );
            points.extend(those);
        }
        points.sort_unstable();
        let mut expected = oracle.list(from, until);
        if exhausted {
            expected.retain(|due| points.contains(due));
        }
        ensure!(points == expected, "between {from} and {until}, due are {expected:?}, and accounted for {points:?}");
        Ok(())
    }
}

const DAY_NANOS: i64 = 86_400_000_000_000;

/// Whether a record is of local times that did not exist.
fn is_gap(record: &RunRecord) -> bool {
    let gone = |detail: &str| detail.contains("does not exist in") || detail.contains("that did not exist");
    record.outcome == Outcome::Skipped && record.detail().is_some_and(gone)
}

pub(crate) fn is_again(spec: &TaskSpec) -> bool {
    spec.retry.as_ref().is_some_and(|retry| retry.attempts > 1 && retry.on.contains(&Outcome::Abandoned))
}
