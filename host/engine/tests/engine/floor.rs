//! The floor measures something.

use std::time::Duration;

use taskhost_core::outcome::Outcome;
use taskhost_engine::floor::{FloorError, Reset, measure};

use crate::guest::{ECHO, preview1, task};

#[test]
fn the_floor_counts_attempts_and_processor_time_on_every_thread() {
    let floor = measure(&task(ECHO).into(), 2, Duration::from_millis(50), Reset::default()).expect("a floor");
    assert!(floor.attempts >= 200 && floor.cpu > Duration::ZERO, "{floor:?}");
}

#[test]
fn a_plugin_that_fails_has_no_floor() {
    let refused = measure(&preview1("unreachable").into(), 1, Duration::from_millis(50), Reset::default());
    assert!(matches!(refused, Err(FloorError::Attempt(Outcome::Trapped))), "{refused:?}");
}
