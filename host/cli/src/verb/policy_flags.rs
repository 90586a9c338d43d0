//! The flags of `add` and `edit` for the rules that a task may choose: what happens when due times overlap, are missed, or end in
//! failure.

use clap::Args;
use taskhost_api::{Patch, Retry};

use crate::value::{Setting, number_setting};

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Overlap and missed due times")]
pub(crate) struct OverlapFlags {
    /// What to do when a due time comes during a run: skip, buffer_one, buffer_all, cancel_other, terminate_other or allow_all
    /// [the host's default: skip]
    #[arg(long, value_name = "POLICY")]
    overlap: Option<Setting<String>>,

    /// With allow_all: let so many runs go on at once [the host's default: 16]
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = number_setting::<u32>)]
    max_running: Option<Setting<u32>>,

    /// With buffer_all: let so many due times wait [the host's default: 100]
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = number_setting::<u32>)]
    max_buffered: Option<Setting<u32>>,

    /// What to do with due times that passed while the host was down: skip, run_once or run_all [the host's default: run_once for
    /// --cron and --at, else skip]
    #[arg(long, value_name = "POLICY")]
    missed: Option<Setting<String>>,

    /// Make up for due times of at most so long ago [the host's default: 1d]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    catchup_window: Option<Setting<String>>,

    /// With run_all: make up for at most so many [the host's default: 100]
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = number_setting::<u32>)]
    max_catchup: Option<Setting<u32>>,
}

impl OverlapFlags {
    pub(super) fn fill(self, patch: &mut Patch) {
        let Self { overlap, max_running, max_buffered, missed, catchup_window, max_catchup } = self;
        patch.overlap = overlap.map(Setting::into_patch);
        patch.max_running = max_running.map(Setting::into_patch);
        patch.max_buffered = max_buffered.map(Setting::into_patch);
        patch.missed = missed.map(Setting::into_patch);
        patch.catchup_window = catchup_window.map(Setting::into_patch);
        patch.max_catchup = max_catchup.map(Setting::into_patch);
    }
}

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Failure")]
pub(crate) struct FailureFlags {
    /// Give a run at most so many attempts in all [the host's default: 1]
    #[arg(long, value_name = "ATTEMPTS", allow_hyphen_values = true, value_parser = number_setting::<u32>)]
    retry: Option<Setting<u32>>,

    /// Wait so long before the second attempt, and twice as long before each further one [the host's default: 1s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    retry_backoff: Option<Setting<String>>,

    /// Wait at most so long [the host's default: 5m]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    retry_max_backoff: Option<Setting<String>>,

    /// Retry after these outcomes only, with commas between; with abandoned among them, a task runs at least once
    #[arg(long, value_name = "OUTCOMES")]
    retry_on: Option<Setting<String>>,

    /// Pause the task after so many failed runs in a row
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = number_setting::<u32>)]
    pause_on_failure: Option<Setting<u32>>,

    /// Run this task when a run has failed
    #[arg(long, value_name = "NAME")]
    on_failure: Option<Setting<String>>,

    /// Run this task when a run succeeds after one that failed
    #[arg(long, value_name = "NAME")]
    on_recovery: Option<Setting<String>>,
}

impl FailureFlags {
    /// Whether they change some of how a task retries, so that what it had decides the rest.
    pub(super) fn change_retry(&self) -> bool {
        self.retry.is_some() || self.change_only_waits()
    }

    /// Whether they change how a task retries, and not whether.
    pub(super) fn change_only_waits(&self) -> bool {
        self.retry.is_none()
            && (self.retry_backoff.is_some() || self.retry_max_backoff.is_some() || self.retry_on.is_some())
    }

    /// `retry` is what the task had.
    pub(super) fn fill(self, patch: &mut Patch, retry: Option<Retry>) {
        if self.change_retry() {
            let mut retry = retry.unwrap_or_default();
            if let Some(attempts) = self.retry {
                retry.attempts = attempts.into_patch();
            }
            if let Some(backoff) = self.retry_backoff {
                retry.backoff = backoff.into_patch();
            }
            if let Some(max_backoff) = self.retry_max_backoff {
                retry.max_backoff = max_backoff.into_patch();
            }
            if let Some(on) = self.retry_on {
                let outcomes = |on: String| on.split(',').map(|outcome| outcome.trim().to_owned()).collect();
                retry.on = on.map(outcomes).into_patch();
            }
            patch.retry = Some((retry != Retry::default()).then_some(retry));
        }
        patch.pause_on_failure = self.pause_on_failure.map(Setting::into_patch);
        patch.on_failure = self.on_failure.map(Setting::into_patch);
        patch.on_recovery = self.on_recovery.map(Setting::into_patch);
    }
}
