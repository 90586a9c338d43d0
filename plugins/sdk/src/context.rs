//! What a plugin may ask about its own attempt while it runs.
//!
//! Off wasm it is as the test's [`Host`](crate::testing::Host) says; without one there is no deadline, and nothing is ever cancelled.

use std::time::Duration;

/// How long this attempt may still take; `None` if it has no deadline. At its deadline the host stops it at once.
pub fn remaining() -> Option<Duration> {
    crate::sys::remaining()
}

/// Whether somebody cancelled this run. A plugin that ends soon after may clean up; one that doesn't is stopped hard when
/// the host's grace is over.
pub fn cancelled() -> bool {
    crate::sys::cancelled()
}
