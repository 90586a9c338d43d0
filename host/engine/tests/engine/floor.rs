//! The floor measures something.

use std::time::Duration;

use taskhost_core::outcome::Outcome;
use taskhost_engine::floor::{FloorError, Pace, Reset, measure};

use crate::guest::{ECHO, preview1, task};

#[test]
fn the_floor_counts_attempts_and_processor_time_on_every_thread() {
    let floor = measure(&task(ECHO).into(), 2, Duration::from_millis(50), Reset::default(), None);
    let floor = floor.expect("a floor");
    assert!(floor.attempts >= 200 && floor.cpu > Duration::ZERO, "{floor:?}");
}

#[test]
fn a_loop_that_rests_makes_no_more_attempts_than_its_periods_have_room_for() {
    let pace = Pace { attempts: 3, period: Duration::from_millis(10) };
    let floor = measure(&task(ECHO).into(), 2, Duration::from_millis(50), Reset::default(), Some(pace));
    let attempts = floor.expect("a floor").attempts;
    // Fewer where the machine is busy; at most one period more than the loop is long, on each of two threads.
    assert!((6..=36).contains(&attempts) && attempts.is_multiple_of(3), "{attempts}");
}

#[test]
fn a_plugin_that_fails_has_no_floor() {
    let refused = measure(&preview1("unreachable").into(), 1, Duration::from_millis(50), Reset::default(), None);
    assert!(matches!(refused, Err(FloorError::Attempt(Outcome::Trapped))), "{refused:?}");
}
