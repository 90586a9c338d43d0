//! A whole worker, whose guests write a line and succeed at once.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use taskhost_core::benching::HandDriven;
use taskhost_core::log::Stream;
use taskhost_core::outcome::RunReport;
use taskhost_core::ports::{Attempt, Runner};

use crate::testing::{HandClock, MemoryStore, START};
use crate::{LINE, SECOND, definition, success};

/// How long a step of the clock is. Each task is due every second at a time of its own, so that as many come due with each step as it has
/// thousands of tasks.
const STEP: Duration = Duration::from_millis(1);
const STEPS_PER_SECOND: u32 = 1_000;

/// Few tasks, of which all is in the caches.
const FEW: u32 = 10_000;
pub(crate) const FEW_DUE_AT_ONCE: u32 = FEW / STEPS_PER_SECOND;

/// So many that nothing of one is in the caches any more when it comes due.
const MANY: u32 = 100_000;
pub(crate) const MANY_DUE_AT_ONCE: u32 = MANY / STEPS_PER_SECOND;

struct Succeeding;

impl Runner for Succeeding {
    type Job = ();
    type Run = Ready<RunReport>;

    fn run(&self, _job: &(), attempt: Attempt) -> Self::Run {
        attempt.log.push(Stream::Stdout, LINE, false);
        ready(success())
    }
}

/// The ticks of a millisecond.
pub(crate) fn ticks_of_few() -> Box<dyn FnMut()> {
    ticks(FEW)
}

pub(crate) fn ticks_of_many() -> Box<dyn FnMut()> {
    ticks(MANY)
}

/// Once a simulated second, what they did goes on its way to the recorder.
fn ticks(tasks: u32) -> Box<dyn FnMut()> {
    let clock = HandClock::start();
    let mut worker = HandDriven::new(Succeeding, clock.clone(), Arc::<MemoryStore>::default());
    for number in 0..tasks {
        // In no order, as tasks are added: those that come due together do not stand together in memory.
        let added_at = START.saturating_add(SECOND / tasks * (u64::from(number) * 69_621 % u64::from(tasks)) as u32);
        worker.add(definition(u64::from(number), &format!("team/service-{number:06}"), added_at), ());
    }
    let mut steps = 0;
    let mut step = move || {
        clock.pass(STEP);
        worker.fire();
        steps += 1;
        if steps % STEPS_PER_SECOND == 0 {
            let (patches, lines) = worker.take_over();
            assert!(patches > 0 || steps == STEPS_PER_SECOND, "successes are written as patches");
            assert!(lines > 0, "guests write lines");
        }
    };
    // Until every task has run, and is written whole.
    (0..3 * STEPS_PER_SECOND).for_each(|_| step());
    Box::new(step)
}
