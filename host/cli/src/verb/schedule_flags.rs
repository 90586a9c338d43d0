//! The flags of `add`, `edit` and `next` that say when a task runs.

use clap::Args;
use jiff::Timestamp;
use taskhost_api::Schedule;

use crate::failure::Failure;
use crate::value::{Setting, when};

/// The value that stands for the host's default schedule, alone.
const DEFAULT: &str = "default";

/// Several of them, or one of them several times, are several schedules.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Schedule")]
pub(crate) struct ScheduleFlags {
    /// Run at this rate, from 10ms to 10y; like the next three, may be repeated [the host's default: 1s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    every: Vec<String>,

    /// Run so long after the end of the last run
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    delay: Vec<String>,

    /// Run by a cron expression of 5 fields, or of 6 with seconds first
    #[arg(long, value_name = "EXPRESSION")]
    cron: Vec<String>,

    /// Run once at this time: RFC 3339, or from now like +1h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Vec<String>,

    /// Run only when told to with `taskctl run`
    #[arg(long)]
    manual: bool,

    /// With --every: first due so long after adding
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, requires = "every")]
    phase: Option<String>,

    /// With --every: keep due times on the wall clock, like every full 5 minutes
    #[arg(long, requires = "every")]
    align: bool,

    /// With --cron: an IANA time zone like Europe/Berlin [the host's default: its own, else UTC]
    #[arg(long, value_name = "ZONE", requires = "cron")]
    timezone: Option<String>,

    /// Have no due time before this one
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    starts_at: Option<Setting<String>>,

    /// Have no due time from this one on
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    expires_at: Option<Setting<String>>,
}

/// What the flags say, as a patch has it.
pub(super) struct GivenSchedule {
    pub(super) schedules: Option<Option<Vec<Schedule>>>,
    pub(super) starts_at: Option<Option<String>>,
    pub(super) expires_at: Option<Option<String>>,
}

impl ScheduleFlags {
    /// Times of the flags are told from `now`.
    pub(super) fn given(self, now: Timestamp) -> Result<GivenSchedule, Failure> {
        let Self { every, delay, cron, at, manual, phase, align, timezone, starts_at, expires_at } = self;
        let is_default = [&every, &delay, &cron, &at].into_iter().flatten().any(|value| value == DEFAULT);
        let every = every.into_iter().map(|every| Schedule {
            every: Some(every),
            phase: phase.clone(),
            align,
            ..Schedule::default()
        });
        let delay = delay.into_iter().map(|delay| Schedule { delay: Some(delay), ..Schedule::default() });
        let cron = cron.into_iter().map(|cron| Schedule {
            cron: Some(cron),
            timezone: timezone.clone(),
            ..Schedule::default()
        });
        let at = at.into_iter().map(|at| Schedule { at: Some(when(&at, now)), ..Schedule::default() });
        let manual = manual.then(|| Schedule { manual: true, ..Schedule::default() });
        let schedules: Vec<_> = every.chain(delay).chain(cron).chain(at).chain(manual).collect();
        let schedules = match schedules.len() {
            0 => None,
            1 if is_default => Some(None),
            _ if is_default => {
                let hint = "give `default` alone, or leave it out";
                return Err(Failure::usage("the default schedule stands beside another one", hint));
            }
            _ => Some(Some(schedules)),
        };
        let time = |given: Option<Setting<String>>| given.map(|time| time.map(|time| when(&time, now)).into_patch());
        Ok(GivenSchedule { schedules, starts_at: time(starts_at), expires_at: time(expires_at) })
    }
}
