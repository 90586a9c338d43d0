//! A whole worker, whose guests write a line and succeed at once.

use std::future::{Ready, pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use taskhost_core::benching::HandDriven;
use taskhost_core::log::Stream;
use taskhost_core::outcome::RunReport;
use taskhost_core::ports::{Alarm, Attempt, Clock, Runner};
use taskhost_core::time::Time;

use crate::testing::{MemoryStore, START};
use crate::{LINE, SECOND, definition, success};

/// How many tasks it has, each due every second at a time of its own.
const TASKS: u32 = 10_000;

/// How many of them come due with each step of the clock, which is a millisecond.
pub(crate) const DUE_AT_ONCE: u32 = 10;

const STEP: Duration = Duration::from_millis(1);

/// A clock that stands still until it is set.
#[derive(Clone)]
struct HandClock(Arc<AtomicI64>);

impl Clock for HandClock {
    type Alarm = Self;

    fn now(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }

    fn alarm(&self) -> Self {
        self.clone()
    }
}

impl Alarm for HandClock {
    async fn until(&mut self, _time: Time) {
        pending().await
    }
}

struct Succeeding;

impl Runner for Succeeding {
    type Job = ();
    type Run = Ready<RunReport>;

    fn run(&self, _job: &(), attempt: Attempt) -> Self::Run {
        attempt.log.push(Stream::Stdout, LINE, false);
        ready(success())
    }
}

/// The ticks of a millisecond; once a simulated second, what they did goes on its way to the recorder.
pub(crate) fn ticks() -> Box<dyn FnMut()> {
    let clock = HandClock(Arc::new(AtomicI64::new(START.0)));
    let mut worker = HandDriven::new(Succeeding, clock.clone(), Arc::<MemoryStore>::default());
    for number in 0..TASKS {
        let added_at = START.saturating_add(SECOND / TASKS * number);
        worker.add(definition(u64::from(number), &format!("team/service-{number:06}"), added_at), ());
    }
    let mut steps = 0;
    let mut step = move || {
        clock.0.fetch_add(i64::try_from(STEP.as_nanos()).expect("it is short"), Ordering::Relaxed);
        worker.fire();
        steps += 1;
        if steps % (TASKS / DUE_AT_ONCE) == 0 {
            let (patches, lines) = worker.take_over();
            assert!(patches > 0 || steps == TASKS / DUE_AT_ONCE, "successes are written as patches");
            assert!(lines > 0, "guests write lines");
        }
    };
    // Until every task has run, and is written whole.
    (0..3 * TASKS / DUE_AT_ONCE).for_each(|_| step());
    Box::new(step)
}
