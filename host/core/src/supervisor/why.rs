//! Why a task ran at a time, or did not.

use std::time::Duration;

use super::{RunsFilter, Supervisor, TaskError};
use crate::outcome::{Outcome, Run, RunPhase};
use crate::ports::{Clock, Engine, HostRun, Revision, RevisionKind};
use crate::schedule::Schedule;
use crate::time::{Time, Told};

/// How exactly a time in whole seconds is meant: due times have fractions of a second that nobody types.
const MEANT_WITHIN: Duration = Duration::from_secs(1);

/// How many runs are looked through for the one that is meant: those that have not ended come first, however old they are.
const MAX_RUNS: usize = 1_000;

/// How far back changes and outages are told of.
const TOLD_BACK: Duration = Duration::from_secs(3600);

/// How many of each are told.
const MAX_TOLD: usize = 5;

/// How many revisions are looked through for them.
const MAX_REVISIONS: usize = 100;

/// Why a task ran at a time, or did not.
#[derive(Clone, Debug)]
pub struct WhyView {
    pub at: Time,
    /// The due time that was meant: the newest at that time.
    pub due: Option<Time>,
    /// What became of it.
    pub run: Option<Run>,
    pub next_due: Option<Time>,
    /// The answer in words, a sentence a line.
    pub text: Vec<String>,
}

impl<E: Engine, C: Clock> Supervisor<E, C> {
    /// Tells why a task ran at a time, or did not; now by default.
    ///
    /// # Errors
    /// [`TaskError::NotFound`], [`TaskError::Store`] if its history can't be read, and others of [`TaskError`].
    pub async fn why(&self, name: &str, at: Option<Time>) -> Result<WhyView, TaskError> {
        let now = self.inner.clock.now();
        let at = at.unwrap_or(now);
        let task = self.get(name).await?;
        let mut text = Vec::new();
        if at < task.added_at {
            text.push(format!("the task was added only at {}", Told(task.added_at)));
        }
        if at > now.saturating_add(MEANT_WITHIN) {
            text.push(format!("{} is still to come", Told(at)));
        }

        let run = self.meant(name, at).await?;
        text.extend(run.as_ref().map(told));

        let since = run.as_ref().map_or(Time(i64::MIN), |run| run.record.key.due).min(at);
        let since = Time(since.0.max(at.0.saturating_sub(TOLD_BACK.as_nanos() as i64)));
        let changes = self.changes(name, MAX_REVISIONS).await?;
        let meant = changes.iter().filter(|change| change.at >= since && change.at <= at);
        text.extend(meant.take(MAX_TOLD).map(change_told));
        // The host's runs on both sides of an outage may be far from it.
        let host_runs = self.inner.store.host_runs(Time(i64::MIN), now).await?;
        text.extend(outages(&host_runs, since, at).into_iter().take(MAX_TOLD));

        if let Some(pause) = task.paused.as_ref().filter(|pause| pause.since <= at) {
            let until = pause.until.map_or_else(String::new, |until| format!(" until {}", Told(until)));
            let note = pause.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
            text.push(format!("it is paused since {} by {}{until}{note}", Told(pause.since), pause.by));
        }
        if let Some(fault) = &task.fault {
            text.push(format!("it can't run now: {fault}"));
        }
        if task.backlog > 0 {
            text.push(format!("due times still to be made up for: {}", task.backlog));
        }
        text.push(match task.next_due {
            Some(next) => format!("next due at {}", Told(next)),
            None if task.paused.is_some() => "nothing comes due while it is paused".to_owned(),
            None if task.running => "nothing comes due before the run that is going on has ended".to_owned(),
            None if task.spec.schedules() == [Schedule::Manual] => "it never comes due by itself (`manual`)".to_owned(),
            None => "nothing comes due any more".to_owned(),
        });
        Ok(WhyView { at, due: run.as_ref().map(|run| run.record.key.due), run, next_due: task.next_due, text })
    }

    /// The run that a time is about: the newest that was due by then.
    async fn meant(&self, name: &str, at: Time) -> Result<Option<Run>, TaskError> {
        let is_exact = at.0.rem_euclid(MEANT_WITHIN.as_nanos() as i64) != 0;
        let until = at.saturating_add(if is_exact { Duration::from_nanos(1) } else { MEANT_WITHIN });
        let filter = RunsFilter { until: Some(until), limit: MAX_RUNS, ..RunsFilter::default() };
        let runs = self.runs(name, filter).await?.runs;
        // Of several due times that share a record, one may be at any time between the first and the last.
        Ok(runs.into_iter().max_by_key(|run| (run.record.key.due.min(Time(until.0 - 1)), run.record.span.is_none())))
    }
}

/// What became of a run, or of several that went alike, in words.
fn told(run: &Run) -> String {
    let record = &run.record;
    let (first, due) = (Told(record.first_due()), Told(record.key.due));
    let dues = match record.times() {
        1 => due.to_string(),
        times => format!("{times} due times from {first} to {due}"),
    };
    let attempts = match record.attempts {
        0 | 1 => String::new(),
        attempts => format!(" after {attempts} attempts"),
    };
    let detail = record.detail().map_or_else(String::new, |detail| format!(": {detail}"));
    match (run.phase, record.outcome) {
        (RunPhase::Running, _) => format!("the run due at {due} is going on, attempt {}", record.attempts),
        (RunPhase::Retrying(next), _) => format!("the run due at {due} is tried again at {}{detail}", Told(next)),
        (RunPhase::Queued, _) => format!("the run due at {due} waits for another run to end"),
        (RunPhase::Ended, Outcome::Skipped | Outcome::Missed | Outcome::Abandoned) => {
            let at = if record.times() == 1 { "at " } else { "" };
            format!("{} {at}{dues}{attempts}{detail}", record.outcome)
        }
        (RunPhase::Ended, outcome) => {
            let reason = record.reason.as_str();
            let late = record.lateness_us.filter(|_| record.span.is_none() && record.attempts <= 1);
            let late = late.map_or_else(String::new, |us| format!(", begun {} ms after it", us / 1000));
            format!("ran for {dues} ({reason}){late}: {outcome}{attempts}{detail}")
        }
    }
}

fn change_told(change: &Revision) -> String {
    let what = match change.kind {
        RevisionKind::Add => "added",
        RevisionKind::Edit => "changed",
        RevisionKind::Pause => "paused",
        RevisionKind::Resume => "resumed",
        RevisionKind::Delete => "deleted",
    };
    format!("{what} at {} by {} (revision {})", Told(change.at), change.by, change.revision)
}

/// When the host was down within a stretch of time, in words.
fn outages(host_runs: &[HostRun], since: Time, until: Time) -> Vec<String> {
    let mut outages = Vec::new();
    for pair in host_runs.windows(2) {
        let [before, after] = pair else { continue };
        let down = before.stopped.unwrap_or(before.seen);
        if after.started >= since && down <= until {
            let how = if before.stopped.is_some() { "it was stopped" } else { "it died" };
            outages.push(format!("the host was down from {} to {} ({how})", Told(down), Told(after.started)));
        }
    }
    outages
}
