//! When ticks are due, and what time it is meanwhile.

use std::sync::Arc;

use taskhost_core::ports::{Alarm, Clock, SystemClock};
use taskhost_core::schedule::{Schedule, ScheduleText, Timetable, Zone, parse_time};
use taskhost_core::spec::TaskSpec;
use taskhost_core::time::Time;
use taskhost_engine::VirtualTime;

use super::Misuse;
use crate::args::RunArgs;

const EVERY_HINT: &str = "--every takes a rate like `10s`, `5m` or `1h30m`";
const CRON_HINT: &str =
    "--cron takes minute, hour, day, month and weekday, like \"0 6 * * *\", or these with seconds before them";
const ZONE_HINT: &str = "--timezone takes a name like `Europe/Berlin`";
const START_HINT: &str = "--start takes a time like `2027-01-31T03:00:00Z`, from 1970 on";

/// The schedule that the arguments ask for, if they do.
pub(super) fn schedule(args: &RunArgs) -> Result<Option<ScheduleText>, Misuse> {
    let RunArgs { every, cron, timezone, .. } = args;
    let (text, hint) = match (every, cron) {
        (Some(_), Some(_)) => {
            return Err(Misuse::new("a plugin is tried by --every or by --cron, not by both", "leave one of them out"));
        }
        (_, None) if timezone.is_some() => {
            return Err(Misuse::new("--timezone is given without --cron", "only due times of --cron have a time zone"));
        }
        (None, None) => return Ok(None),
        (Some(every), None) => (ScheduleText { every: Some(every.clone()), ..ScheduleText::default() }, EVERY_HINT),
        (None, Some(cron)) => {
            if let Some(Err(error)) = timezone.as_deref().map(Zone::parse) {
                return Err(Misuse::new(error, ZONE_HINT));
            }
            let (cron, timezone) = (Some(cron.clone()), timezone.clone());
            (ScheduleText { cron, timezone, ..ScheduleText::default() }, CRON_HINT)
        }
    };
    Schedule::parse(text.clone(), &Zone::utc()).map_err(|error| Misuse::new(error, hint))?;
    Ok(Some(text))
}

/// The clock that the ticks go by.
#[derive(Clone)]
pub(super) struct RunClock(pub(super) Option<Arc<VirtualTime>>);

impl RunClock {
    /// The one that the arguments ask for.
    pub(super) fn of(args: &RunArgs) -> Result<Self, Misuse> {
        if !args.virtual_time {
            return match args.start {
                Some(_) => Err(Misuse::new(
                    "--start is given without --virtual-time",
                    "add --virtual-time, or leave it out: real time begins now",
                )),
                None => Ok(Self(None)),
            };
        }
        let start = match &args.start {
            Some(start) => parse_time(start).map_err(|error| Misuse::new(error, START_HINT))?,
            None => SystemClock.now(),
        };
        if start < Time(0) {
            return Err(Misuse::new(format!("{start} is before what a guest's clock can show"), START_HINT));
        }
        Ok(Self(Some(VirtualTime::starting_at(start))))
    }

    pub(super) fn now(&self) -> Time {
        self.0.as_ref().map_or_else(|| SystemClock.now(), |time| time.now())
    }

    /// Waits for this time, or passes over what is left until then.
    pub(super) async fn reach(&self, due: Time) {
        match &self.0 {
            Some(time) => time.advance_to(due),
            None => {
                let mut alarm = SystemClock.alarm();
                while SystemClock.now() < due {
                    alarm.until(due).await;
                }
            }
        }
    }
}

/// The due times of a task, as a host that runs no two ticks of it at once has them: what comes due while one runs is passed over.
pub(super) struct DueTimes<'a>(Option<Timetable<'a>>);

impl<'a> DueTimes<'a> {
    /// Those of a task that was added at `start`.
    pub(super) fn new(spec: &'a TaskSpec, start: Time) -> Self {
        Self(spec.schedules.is_some().then(|| spec.timetable(start)))
    }

    /// Whether there is a schedule, and not each tick due when the one before has ended.
    pub(super) fn are_scheduled(&self) -> bool {
        self.0.is_some()
    }

    /// The next one; `None` if there is none any more.
    pub(super) fn next(&self, now: Time) -> Option<Time> {
        let Some(timetable) = &self.0 else { return Some(now) };
        let mut after = now;
        loop {
            let slot = timetable.next_after(after)?;
            if slot.gap.is_none() {
                return Some(slot.due);
            }
            after = slot.due;
        }
    }

    /// As a tick has it.
    pub(super) fn local(&self, due: Time) -> Option<String> {
        let timetable = self.0.filter(|timetable| matches!(timetable.schedules, [Schedule::Cron(_)]))?;
        Some(timetable.local(due))
    }
}
