//! What tasks did, and what they will do.

use std::collections::{HashSet, VecDeque};

use super::{Supervisor, TaskError, task_name};
use crate::outcome::{Outcome, Run, RunPhase};
use crate::ports::{Clock, Engine, Revision, RunsQuery};
use crate::schedule::{Schedule, Timetable};
use crate::spec::{SpecPatch, TaskSpec};
use crate::time::{Time, format_duration};
use crate::unit::MAX_BACKFILL;

/// Which runs of a task are asked for.
#[derive(Clone, Debug, Default)]
pub struct RunsFilter {
    /// Only these outcomes; all, and runs that have not ended, if empty.
    pub outcomes: Vec<Outcome>,
    /// Only what was due at or after this time,
    pub from: Option<Time>,
    /// and before this one.
    pub until: Option<Time>,
    pub limit: usize,
}

/// Runs of a task, newest first.
#[derive(Clone, Debug)]
pub struct RunsPage {
    pub runs: Vec<Run>,
    /// How many due times were in records that were lost.
    pub history_lost: u64,
}

/// Whose due times are asked for: a task's, or those of schedules that no task has yet.
#[derive(Clone, Debug, Default)]
pub struct NextQuery {
    pub task: Option<String>,
    pub patch: SpecPatch,
    /// From now by default.
    pub from: Option<Time>,
    pub limit: usize,
}

/// Due times to come.
#[derive(Clone, Debug, Default)]
pub struct NextView {
    /// Each also as RFC 3339 in the zone of its schedule.
    pub due: Vec<(Time, String)>,
    /// What whoever asked should know.
    pub warnings: Vec<String>,
}

impl<E: Engine, C: Clock> Supervisor<E, C> {
    /// Runs of a task, newest first: those that have not ended, and those in memory and in the store that did.
    ///
    /// # Errors
    /// [`TaskError::NotFound`], [`TaskError::Store`] if older ones can't be read, and others of [`TaskError`].
    pub async fn runs(&self, name: &str, filter: RunsFilter) -> Result<RunsPage, TaskError> {
        let (from, until) = (filter.from.unwrap_or(Time(i64::MIN)), filter.until.unwrap_or(Time(i64::MAX)));
        let asked = filter.clone();
        let (id, mut runs, history_lost) = self
            .read(name, move |slot| {
                let open = slot.open_runs().into_iter().filter(|_| asked.outcomes.is_empty());
                let ended = slot.unit.history.last_runs.iter();
                let ended = ended.filter(|run| asked.outcomes.is_empty() || asked.outcomes.contains(&run.outcome));
                let runs = open.chain(ended.map(|record| slot.run_of(record)));
                let runs = runs.filter(|run| run.record.key.due >= from && run.record.first_due() < until);
                (slot.definition.id, runs.collect::<Vec<_>>(), slot.unit.history.lost)
            })
            .await?;
        let query = RunsQuery { task: id, from, until, outcomes: filter.outcomes, limit: filter.limit };
        let stored = self.inner.store.runs(query).await?;
        let known: HashSet<_> = runs.iter().map(|run| (run.record.first_due(), run.record.key.backfill)).collect();
        let stored: Vec<_> =
            stored.into_iter().filter(|run| !known.contains(&(run.first_due(), run.key.backfill))).collect();
        runs.extend(self.read(name, move |slot| stored.iter().map(|run| slot.run_of(run)).collect::<Vec<_>>()).await?);
        let newest_first = |run: &Run| (run.phase == RunPhase::Ended, std::cmp::Reverse(run.record.key));
        runs.sort_by_key(newest_first);
        runs.truncate(filter.limit);
        Ok(RunsPage { runs, history_lost })
    }

    /// The newest revisions of a task, newest first.
    ///
    /// # Errors
    /// [`TaskError::NotFound`], and others of [`TaskError`].
    pub async fn changes(&self, name: &str, limit: usize) -> Result<Vec<Revision>, TaskError> {
        let id = self.read(name, |slot| slot.definition.id).await?;
        Ok(self.inner.store.revisions(id, limit).await?)
    }

    /// Asks for the due times from `from` on and before `until` to be run again, when there is room. Answers with how many there are,
    /// and with the number of the backfill; with `dry_run`, or where there are none, nothing is done.
    ///
    /// # Errors
    /// [`TaskError::BackfillTooLong`], [`TaskError::BackfillRange`], [`TaskError::BackfillsWait`], and others of [`TaskError`].
    pub async fn backfill(&self, name: &str, from: Time, until: Time, dry_run: bool) -> Result<(u64, u32), TaskError> {
        self.refuse_if_closing()?;
        let name = task_name(name)?;
        if from >= until || until > self.inner.clock.now() {
            return Err(TaskError::BackfillRange { from, until });
        }
        let definition = self.definition(&name).await?;
        let timetable = definition.spec.timetable(definition.added_at);
        let (after, until) = (Time(from.0.saturating_sub(1)), Time(until.0 - 1));
        let due_times = timetable.count_between(after, until).due;
        if due_times > MAX_BACKFILL as u64 {
            return Err(TaskError::BackfillTooLong { due_times, most: MAX_BACKFILL });
        }
        if dry_run || due_times == 0 {
            let backfills = self.read(name.as_str(), |slot| slot.unit.backfills()).await?;
            return Ok((due_times, backfills + 1));
        }
        let due: VecDeque<Time> = due_between(&timetable, after, until, MAX_BACKFILL).collect();
        let due_times = due.len() as u64;
        let task = name.clone();
        let asked = self.tell(&name, move |worker| {
            let number = worker.backfill(task.as_str(), due);
            (number, worker.record_task(&task))
        });
        let (number, recorded) = asked.await?;
        // What was promised is promised over a crash too.
        self.write_now(recorded.into_iter().collect()).await;
        match number {
            None => Err(TaskError::NotFound(name)),
            Some(None) => Err(TaskError::BackfillsWait(name)),
            Some(Some(number)) => Ok((due_times, number)),
        }
    }

    /// Due times to come, of a task or of schedules that are only thought of.
    ///
    /// # Errors
    /// [`TaskError::NotFound`], [`TaskError::Spec`], and others of [`TaskError`].
    pub async fn next(&self, query: NextQuery) -> Result<NextView, TaskError> {
        let now = self.inner.clock.now();
        let from = query.from.unwrap_or(now);
        let mut view = NextView::default();
        let (spec, anchor, delay_due, scheduled_runs) = match &query.task {
            Some(name) => {
                let task = self.get(name).await?;
                let anchor = task.added_at;
                if let Some(pause) = &task.paused {
                    let until = pause.until.map(|until| format!(" until {until}")).unwrap_or_default();
                    view.warnings.push(format!("the task is paused{until}: due times meanwhile are skipped"));
                }
                let scheduled_runs = self.read(name, |slot| slot.unit.scheduled_runs()).await?;
                (TaskSpec::clone(&task.spec), anchor, task.next_due, scheduled_runs)
            }
            None => (TaskSpec::default().patched(query.patch, &self.inner.zone)?, from, None, 0),
        };
        let timetable = spec.timetable(anchor);
        let left = spec.max_runs.map_or(u64::MAX, |most| most.saturating_sub(scheduled_runs));
        let limit = query.limit.min(usize::try_from(left).unwrap_or(usize::MAX));
        if left == 0 {
            view.warnings.push("the task has had all its runs (`max_runs`)".to_owned());
        }
        let mut due: Vec<Time> = due_between(&timetable, from, Time(i64::MAX), limit).collect();
        if let Some(delay) = spec.delay().filter(|_| left > 0) {
            let next = delay_due.unwrap_or_else(|| from.saturating_add(delay));
            due.push(next);
            due.sort_unstable();
            due.dedup();
            due.truncate(limit);
            let after = format!("and {} after the end of each run", format_duration(delay));
            view.warnings.push(after);
        }
        view.due = due.into_iter().map(|due| (due, timetable.local(due))).collect();
        if let Some(jitter) = spec.jitter {
            let most = format_duration(jitter.max);
            view.warnings.push(format!("each run begins up to {most} later (`jitter`)"));
        }
        let by_itself = spec.schedules().iter().any(|schedule| !matches!(schedule, Schedule::Manual));
        if by_itself {
            let warnings = timetable.warnings(from, spec.timeout(), spec.delay());
            view.warnings.extend(warnings.iter().map(ToString::to_string));
        } else {
            view.warnings.push("it never runs by itself (`manual`)".to_owned());
        }
        Ok(view)
    }
}

/// The due times after `after` and not after `until`, at most `limit`.
fn due_between<'a>(
    timetable: &'a Timetable<'_>,
    after: Time,
    until: Time,
    limit: usize,
) -> impl Iterator<Item = Time> + 'a {
    let slots = std::iter::successors(timetable.next_after(after), |slot| timetable.next_after(slot.due));
    slots.take_while(move |slot| slot.due <= until).filter(|slot| slot.gap.is_none()).map(|slot| slot.due).take(limit)
}
