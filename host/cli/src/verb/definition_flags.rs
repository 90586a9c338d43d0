//! The flags of `add` and `edit` for all that a task may be given beside its plugin, labels and arguments.

use clap::Args;
use jiff::Timestamp;
use taskhost_api::{Jitter, Patch, Size, Spec};

use super::grant_flags::{GrantFlags, LimitFlags};
use super::policy_flags::{FailureFlags, OverlapFlags};
use super::schedule_flags::{GivenSchedule, ScheduleFlags};
use crate::failure::Failure;
use crate::value::{Setting, number_setting};

#[derive(Debug, Default, Args)]
pub(crate) struct DefinitionFlags {
    /// Stop an attempt that takes longer [the host's default: 1m]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    timeout: Option<Setting<String>>,

    /// Give an attempt at most so much memory, like 64MiB [the host's default: 128MiB]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory: Option<Setting<Size>>,

    #[command(flatten)]
    pub(super) limits: LimitFlags,

    /// Give every attempt an instance of its own, fresh, or the next run the same one, keep [the host's default: fresh]
    #[arg(long, value_name = "POLICY")]
    instance: Option<Setting<String>>,

    #[command(flatten)]
    schedule: ScheduleFlags,

    #[command(flatten)]
    bounds: BoundFlags,

    #[command(flatten)]
    overlap: OverlapFlags,

    #[command(flatten)]
    pub(super) failure: FailureFlags,

    #[command(flatten)]
    pub(super) grants: GrantFlags,
}

/// What bounds the runs of schedules, and of no `next`.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Schedule")]
struct BoundFlags {
    /// Run so many times in all
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = number_setting::<u64>)]
    max_runs: Option<Setting<u64>>,

    /// Start up to so much after the due time, so that many tasks do not run at once
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    jitter: Option<Setting<String>>,

    /// With --jitter: the same for every due time of the task
    #[arg(long, requires = "jitter")]
    stable_jitter: bool,
}

impl DefinitionFlags {
    /// Whether they change a part of what the host knows as one member: then what the task had decides the rest.
    pub(super) fn change_parts(&self) -> bool {
        self.failure.change_retry() || self.grants.change_some() || self.limits.change_some()
    }

    /// What they change. Times are told from `now`; `before` is what the task was, if they change a part of a member of it.
    pub(super) fn into_patch(self, now: Timestamp, before: Option<Spec>) -> Result<Patch, Failure> {
        let Self { timeout, memory, limits, instance, schedule, bounds, overlap, failure, grants } = self;
        let GivenSchedule { schedules, starts_at, expires_at } = schedule.given(now)?;
        let BoundFlags { max_runs, jitter, stable_jitter } = bounds;
        let (retry, old_limits, old_grants) = match before {
            Some(Spec { retry, limits, grants, .. }) => (retry, limits, Some(grants.unwrap_or_default())),
            None => (None, None, None),
        };
        let mut patch = Patch {
            schedules,
            starts_at,
            expires_at,
            max_runs: max_runs.map(Setting::into_patch),
            jitter: jitter.map(|jitter| jitter.map(|max| Jitter { max, stable: stable_jitter }).into_patch()),
            timeout: timeout.map(Setting::into_patch),
            memory_bytes: memory.map(|memory| memory.map(|size| size.0).into_patch()),
            limits: limits.into_patch(old_limits),
            instance: instance.map(Setting::into_patch),
            grants: grants.into_patch(old_grants)?,
            ..Patch::default()
        };
        overlap.fill(&mut patch);
        failure.fill(&mut patch, retry);
        Ok(patch)
    }
}
