//! What the standard library can do on wasm32-wasip2 and not on wasm32-unknown-unknown, by WASI 0.2 on both.

#[cfg(all(target_family = "wasm", feature = "http"))]
mod http;
#[cfg(not(target_family = "wasm"))]
mod native;
#[cfg(target_family = "wasm")]
mod wasi;

#[cfg(not(target_family = "wasm"))]
use native as imp;
#[cfg(target_family = "wasm")]
use wasi as imp;

#[cfg(all(target_family = "wasm", feature = "http"))]
pub(crate) use http::{HttpBody, http_send};
pub(crate) use imp::{
    cancelled, config_all, config_get, kv_delete, kv_exists, kv_get, kv_increment, kv_keys, kv_set, kv_update, log,
    remaining, report_panics,
};
pub use imp::{print_error_line, print_line};
#[cfg(all(not(target_family = "wasm"), feature = "http"))]
pub(crate) use native::http_send;

use std::time::Duration;

/// The arguments of the task, without a program's name: what stands after `--` in `taskctl add`.
pub fn args() -> Vec<String> {
    imp::args()
}

/// Waits. The host's other tasks go on meanwhile, and this attempt's deadline still holds.
pub fn sleep(duration: Duration) {
    imp::sleep(duration);
}

/// What a clock shows that only goes forward, from whenever it began: for measuring how long something took. The standard library's
/// `Instant` is not there on wasm32-unknown-unknown.
pub fn monotonic() -> Duration {
    imp::monotonic()
}
