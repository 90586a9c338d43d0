//! Off wasm, for the tests of plugins.

use std::fmt;
use std::time::Duration;

/// Prints a line to standard output.
pub fn print_line(line: fmt::Arguments<'_>) {
    std::println!("{line}");
}

/// Prints a line to standard error.
pub fn print_error_line(line: fmt::Arguments<'_>) {
    std::eprintln!("{line}");
}

/// The standard library does.
pub(crate) fn report_panics() {}

pub(super) fn args() -> Vec<String> {
    std::env::args().skip(1).collect()
}

pub(super) fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}
