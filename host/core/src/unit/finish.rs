//! What follows from the end of an attempt: another attempt, or an outcome and its consequences.

use std::time::Duration;

use thin_vec::ThinVec;
use xxhash_rust::xxh3::xxh3_64;

use super::fault::{Fault, planted};
use super::history::micros_since;
use super::{Action, Running, Unit};
use crate::outcome::{Outcome, Reason, RunKey, RunMore, RunRecord, RunReport};
use crate::ports::{Actor, Pause, Progress};
use crate::spec::MAX_BACKOFF;
use crate::time::Time;

/// Whether an outcome counts as a failure of the task.
fn is_failure(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Error
        | Outcome::Trapped
        | Outcome::TimedOut
        | Outcome::LimitExceeded
        | Outcome::HostError
        | Outcome::Abandoned => true,
        Outcome::Success | Outcome::Cancelled | Outcome::Missed | Outcome::Skipped => false,
    }
}

impl Unit {
    /// An attempt has ended.
    pub(super) fn finished(
        &mut self,
        key: RunKey,
        began: Time,
        report: RunReport,
        now: Time,
        actions: &mut Vec<Action>,
    ) {
        let Some(at) = self.running.iter().position(|run| run.key == key && run.is_started()) else { return };
        if let Some(wait) = self.wait_for_retry(at, &report) {
            let run = &mut self.running[at];
            let attempt = run.attempt();
            run.progress = Progress::Retrying {
                attempt,
                outcome: report.outcome,
                detail: report.detail,
                at: now.saturating_add(wait),
            };
            return;
        }
        let run = self.take_running(at);
        if run.noted {
            actions.push(Action::Ended(key));
        }
        let entered = report.entry_delay.map(|delay| began.saturating_add(delay));
        let on_time = run.attempt() == 1 && run.reason == Reason::Schedule;
        let late_us =
            run.planned.filter(|_| on_time).zip(entered).map(|(planned, entered)| micros_since(entered, planned));
        let RunReport { outcome, detail, result, exit_code, .. } = report;
        let has_more = detail.is_some() || result.is_some() || exit_code.is_some() || run.trigger.is_some();
        let record = RunRecord {
            key,
            reason: run.reason,
            outcome,
            attempts: run.attempt(),
            revision: run.revision,
            lateness_us: entered.map(|entered| micros_since(entered, key.due)),
            took_us: micros_since(now, entered.unwrap_or(began)),
            span: None,
            more: has_more.then(|| Box::new(RunMore { detail, result, exit_code, trigger: run.trigger })),
        };
        self.ended(record, late_us, run.joins, now, actions);
    }

    /// Takes out a run that has ended. A task that rests keeps no room for the next one: it finds what the last one of another task
    /// gave back, which is in the caches still.
    fn take_running(&mut self, at: usize) -> Running {
        let run = self.running.remove(at);
        if self.running.is_empty() {
            self.running = ThinVec::new();
        }
        run
    }

    /// How long the run that is `at` waits for its next attempt; `None` if it has none.
    fn wait_for_retry(&self, at: usize, report: &RunReport) -> Option<Duration> {
        let retry = self.spec.retry.as_ref().filter(|_| report.outcome != Outcome::Success)?;
        let run = &self.running[at];
        let most = retry.attempts + u32::from(planted(Fault::OneAttemptMore));
        let wanted = run.attempt() < most && retry.on.contains(&report.outcome);
        if !wanted || report.permanent || run.cancelled || self.deleted {
            return None;
        }
        let wait = retry.wait_after(run.attempt(), self.chance(run.key, run.attempt()));
        Some(wait.max(report.retry_after.unwrap_or_default()).min(MAX_BACKOFF))
    }

    /// A number that is random over tasks, runs and attempts, and the same whenever it is asked for.
    fn chance(&self, key: RunKey, attempt: u32) -> u64 {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..16].copy_from_slice(&key.due.0.to_le_bytes());
        bytes[16..20].copy_from_slice(&key.backfill.to_le_bytes());
        bytes[20..].copy_from_slice(&attempt.to_le_bytes());
        xxh3_64(&bytes)
    }

    /// Begins the attempts whose time has come.
    pub(super) fn retry_due(&mut self, now: Time, actions: &mut Vec<Action>) {
        for run in &mut self.running {
            if let Progress::Retrying { attempt, at, .. } = run.progress
                && at <= now
            {
                let attempt = attempt + 1;
                run.key.due.0 += i64::from(planted(Fault::RetryHasNewKey));
                run.progress = Progress::Started { attempt };
                run.noted = true;
                actions.push(Action::Start { key: run.key, attempt, noted: true });
            }
        }
    }

    /// Ends the runs that wait for an attempt with the outcome of their last one: nothing comes after it.
    pub(super) fn end_retries(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.end_waiting(|_| true, |outcome| outcome, now, actions);
    }

    /// Ends those of them that were cancelled.
    pub(super) fn end_cancelled_retries(&mut self, now: Time, actions: &mut Vec<Action>) {
        self.end_waiting(|run| run.cancelled, |_| Outcome::Cancelled, now, actions);
    }

    fn end_waiting(
        &mut self,
        meant: impl Fn(&Running) -> bool,
        outcome: impl Fn(Outcome) -> Outcome,
        now: Time,
        actions: &mut Vec<Action>,
    ) {
        let mut at = 0;
        while at < self.running.len() {
            let run = &self.running[at];
            let Progress::Retrying { attempt, outcome: last, detail, .. } = &run.progress else {
                at += 1;
                continue;
            };
            if !meant(run) {
                at += 1;
                continue;
            }
            let (attempts, outcome, detail) = (*attempt, outcome(*last), detail.clone());
            let run = self.take_running(at);
            if run.noted {
                actions.push(Action::Ended(run.key));
            }
            let record = RunRecord {
                key: run.key,
                reason: run.reason,
                outcome,
                attempts,
                revision: run.revision,
                lateness_us: None,
                took_us: 0,
                span: None,
                more: Some(Box::new(RunMore { detail, trigger: run.trigger, ..RunMore::default() })),
            };
            self.ended(record, None, false, now, actions);
        }
    }

    /// A run that never began has its outcome.
    pub(super) fn end_unrun(
        &mut self,
        key: RunKey,
        reason: Reason,
        outcome: Outcome,
        detail: &str,
        actions: &mut Vec<Action>,
    ) {
        let record = RunRecord {
            key,
            reason,
            outcome,
            attempts: 0,
            revision: self.revision,
            lateness_us: None,
            took_us: 0,
            span: None,
            more: Some(Box::new(RunMore { detail: Some(detail.into()), ..RunMore::default() })),
        };
        self.keep(record, None, false, actions);
    }

    /// A run has its outcome: what waited begins, and what the task asks for on failure or recovery is done.
    pub(super) fn ended(
        &mut self,
        record: RunRecord,
        late_us: Option<u32>,
        joins: bool,
        now: Time,
        actions: &mut Vec<Action>,
    ) {
        let (key, reason, outcome) = (record.key, record.reason, record.outcome);
        self.keep(record, late_us, joins, actions);
        if self.running.is_empty() {
            self.rested_since = Some(now);
        }
        let recovered = outcome == Outcome::Success && self.failures > 0;
        if outcome == Outcome::Success {
            self.last_success = Some(self.last_success.map_or(key.due, |last| last.max(key.due)));
            self.failures = 0;
        } else if is_failure(outcome) {
            self.failures = self.failures.saturating_add(1);
            self.pause_after_failures(now, actions);
        }
        let next = if recovered {
            &self.spec.on_recovery
        } else if is_failure(outcome) {
            &self.spec.on_failure
        } else {
            &None
        };
        // A triggered run triggers nothing, so that two tasks can't trigger each other for ever.
        if let Some(task) = next.as_ref().filter(|_| reason != Reason::Triggered && !self.deleted) {
            actions.push(Action::Trigger { task: task.clone(), key, outcome });
        }
        self.begin_queued(actions);
    }

    fn pause_after_failures(&mut self, now: Time, actions: &mut Vec<Action>) {
        let due = self.spec.pause_on_failure.is_some_and(|most| self.failures >= most);
        if due && self.paused.is_none() && !self.deleted {
            let note = format!("{} runs in a row failed", self.failures);
            let pause = Pause { since: now, until: None, note: Some(note), by: Actor::Host };
            self.paused = Some(Box::new(pause.clone()));
            actions.push(Action::Pause(pause));
        }
    }

    /// Keeps a record, and has it told.
    pub(super) fn keep(&mut self, record: RunRecord, late_us: Option<u32>, joins: bool, actions: &mut Vec<Action>) {
        let grown = self.history.add(&record, joins);
        self.whole |= !grown && !planted(Fault::PatchForgetsRecord);
        actions.push(Action::Record { record, late_us });
    }
}
