//! By WASI 0.2.

use std::fmt::{self, Write};
use std::sync::OnceLock;
use std::time::Duration;

use crate::bindings::wasi::cli::{environment, stderr, stdout};
use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::io::streams::OutputStream;

/// The most that one `blocking-write-and-flush` takes; the bound is WASI's.
const MAX_WRITE_BYTES: usize = 4096;

/// A line that is printed often is about this long: one allocation.
const USUAL_LINE_BYTES: usize = 128;

/// Prints a line to standard output.
pub fn print_line(line: fmt::Arguments<'_>) {
    static STDOUT: OnceLock<OutputStream> = OnceLock::new();
    write_line(STDOUT.get_or_init(stdout::get_stdout), line);
}

/// Prints a line to standard error.
pub fn print_error_line(line: fmt::Arguments<'_>) {
    static STDERR: OnceLock<OutputStream> = OnceLock::new();
    write_line(STDERR.get_or_init(stderr::get_stderr), line);
}

/// Writes a line whole, so that the host sees it at once and unbroken.
fn write_line(stream: &OutputStream, line: fmt::Arguments<'_>) {
    let mut text = String::with_capacity(USUAL_LINE_BYTES);
    if text.write_fmt(line).is_err() {
        // A `Display` of the author's failed; what it wrote until then is still of use.
        text.push_str(" [unprintable]");
    }
    text.push('\n');
    for piece in text.as_bytes().chunks(MAX_WRITE_BYTES) {
        if stream.blocking_write_and_flush(piece).is_err() {
            // Closed, and it stays so.
            return;
        }
    }
}

/// Sees to it that a panic says what it is before it traps: the standard library's own hook has no stderr on
/// wasm32-unknown-unknown, and prints by itself on the others.
pub(crate) fn report_panics() {
    #[cfg(target_os = "unknown")]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| print_error_line(format_args!("{panic}")))));
    }
}

pub(super) fn args() -> Vec<String> {
    environment::get_arguments().into_iter().skip(1).collect()
}

pub(super) fn sleep(duration: Duration) {
    let duration_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    monotonic_clock::subscribe_duration(duration_ns).block();
}
