//! What the standard library can do on wasm32-wasip2 and not on wasm32-unknown-unknown, by WASI 0.2 on both.

#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(target_family = "wasm")]
mod wasi;

#[cfg(not(target_family = "wasm"))]
use native as imp;
#[cfg(target_family = "wasm")]
use wasi as imp;

pub(crate) use imp::report_panics;
pub use imp::{print_error_line, print_line};

use std::time::Duration;

/// The arguments of the task, without a program's name: what stands after `--` in `taskctl add`.
pub fn args() -> Vec<String> {
    imp::args()
}

/// Waits. The host's other tasks go on meanwhile, and this attempt's deadline still holds.
pub fn sleep(duration: Duration) {
    imp::sleep(duration);
}
