//! When ticks are due, and what time it is meanwhile.

use std::sync::Arc;

use taskhost_core::ports::{Alarm, Clock, SystemClock};
use taskhost_core::schedule::{Schedule, Timetable};
use taskhost_core::spec::TaskSpec;
use taskhost_core::time::Time;
use taskhost_engine::VirtualTime;

/// The clock that the ticks go by: virtual, if there is one.
#[derive(Clone)]
pub(crate) struct RunClock(pub(crate) Option<Arc<VirtualTime>>);

impl RunClock {
    pub(crate) fn now(&self) -> Time {
        self.0.as_ref().map_or_else(|| SystemClock.now(), |time| time.now())
    }

    /// Waits for this time, or passes over what is left until then.
    pub(crate) async fn reach(&self, due: Time) {
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
pub(crate) struct DueTimes<'a>(Option<Timetable<'a>>);

impl<'a> DueTimes<'a> {
    /// Those of a task that was added at `start`.
    pub(crate) fn new(spec: &'a TaskSpec, start: Time) -> Self {
        Self(spec.schedules.is_some().then(|| spec.timetable(start)))
    }

    /// Whether there is a schedule, and not each tick due when the one before has ended.
    pub(crate) fn are_scheduled(&self) -> bool {
        self.0.is_some()
    }

    /// The next one; `None` if there is none any more.
    pub(crate) fn next(&self, now: Time) -> Option<Time> {
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
    pub(crate) fn local(&self, due: Time) -> Option<String> {
        let timetable = self.0.filter(|timetable| matches!(timetable.schedules, [Schedule::Cron(_)]))?;
        Some(timetable.local(due))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use taskhost_core::schedule::parse_time;

    use super::*;
    use crate::Trial;

    fn spec(plan: impl FnOnce(Trial) -> Trial) -> TaskSpec {
        plan(Trial::of_bytes("a", "")).spec().expect("a definition")
    }

    #[test]
    fn due_times_follow_the_schedule_past_what_a_clock_that_is_set_forward_skips() {
        // On 28 March 2027 there is no 02:30 in Berlin.
        let nightly = spec(|trial| trial.cron_in("30 2 * * *", "Europe/Berlin"));
        let start = parse_time("2027-03-26T12:00:00Z").expect("a time");
        let due_times = DueTimes::new(&nightly, start);
        let due: Vec<_> = std::iter::successors(due_times.next(start), |due| due_times.next(*due)).take(2).collect();
        let local: Vec<_> = due.iter().map(|due| due_times.local(*due).expect("it has a zone")).collect();
        assert_eq!(local, ["2027-03-27T02:30:00+01:00", "2027-03-29T02:30:00+02:00"]);

        let often = spec(|trial| trial.every("90s"));
        let due_times = DueTimes::new(&often, start);
        let at = |seconds| start.saturating_add(Duration::from_secs(seconds));
        let due = [0, 89, 90, 200].map(|now| due_times.next(at(now)));
        assert_eq!(due, [at(90), at(90), at(180), at(270)].map(Some));
        assert_eq!(due_times.local(at(90)), None);

        let at_once = spec(|trial| trial);
        assert_eq!(DueTimes::new(&at_once, start).next(at(5)), Some(at(5)), "when the one before has ended");
    }
}
