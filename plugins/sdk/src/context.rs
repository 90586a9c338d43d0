//! What a plugin may ask about its own attempt while it runs.
//!
//! Off wasm there is no host to ask: then there is no deadline, and nothing is ever cancelled.

use std::time::Duration;

/// How long this attempt may still take; `None` if it has no deadline. At its deadline the host stops it at once.
pub fn remaining() -> Option<Duration> {
    #[cfg(target_family = "wasm")]
    return crate::bindings::taskhost::plugin::context::remaining_ms().map(Duration::from_millis);
    #[cfg(not(target_family = "wasm"))]
    None
}

/// Whether somebody cancelled this run. A plugin that ends soon after may clean up; one that doesn't is stopped hard when
/// the host's grace is over.
pub fn cancelled() -> bool {
    #[cfg(target_family = "wasm")]
    return crate::bindings::taskhost::plugin::context::cancelled();
    #[cfg(not(target_family = "wasm"))]
    false
}
