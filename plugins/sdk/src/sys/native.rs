//! Off wasm, for the tests of plugins: what the test's [`Host`](crate::testing::Host) says, and without one the standard library.

use std::fmt;
use std::time::Duration;

use crate::kv::Error;
use crate::logging::Level;
use crate::testing::{Line, Stream, in_host};

/// Prints a line to standard output.
pub fn print_line(line: fmt::Arguments<'_>) {
    if !keep(Stream::Stdout, line) {
        std::println!("{line}");
    }
}

/// Prints a line to standard error.
pub fn print_error_line(line: fmt::Arguments<'_>) {
    if !keep(Stream::Stderr, line) {
        std::eprintln!("{line}");
    }
}

/// Keeps lines for the test, if it has a host; answers whether it does.
fn keep(stream: Stream, text: fmt::Arguments<'_>) -> bool {
    // Written out first: what is shown may be the author's, and print itself.
    let text = text.to_string();
    let lines = text.split('\n').map(|text| Line { stream, text: text.to_owned() });
    in_host(|world| world.lines.extend(lines)).is_some()
}

/// The standard library does.
pub(crate) fn report_panics() {}

pub(crate) fn args() -> Vec<String> {
    in_host(|world| world.args.clone()).unwrap_or_else(|| std::env::args().skip(1).collect())
}

pub(crate) fn sleep(duration: Duration) {
    if in_host(|world| world.slept = world.slept.saturating_add(duration)).is_none() {
        std::thread::sleep(duration);
    }
}

pub(crate) fn monotonic() -> Duration {
    static BEGAN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let slept = in_host(|world| world.slept).unwrap_or_default();
    BEGAN.get_or_init(std::time::Instant::now).elapsed() + slept
}

#[cfg(feature = "http")]
pub(crate) fn http_send(
    request: &crate::http::Request,
    _: &crate::http::Target,
    _: Duration,
) -> Result<crate::http::Response, crate::http::Error> {
    // Taken out meanwhile: what the test does may be long, and the host's world is no place for it.
    let server = in_host(|world| world.server.take()).flatten();
    let mut server = server.ok_or(crate::http::Error::Denied)?;
    let answer = server(request);
    in_host(|world| world.server = Some(server));
    answer
}

pub(crate) fn remaining() -> Option<Duration> {
    in_host(|world| world.remaining).flatten()
}

pub(crate) fn cancelled() -> bool {
    in_host(|world| world.cancelled).unwrap_or(false)
}

pub(crate) fn log(level: Level, context: &str, message: &str) {
    let space = if context.is_empty() { "" } else { ": " };
    let text = format_args!("{context}{space}{message}");
    if !keep(Stream::Log(level), text) {
        std::eprintln!("{level:?} {text}");
    }
}

pub(crate) fn config_get(name: &str) -> Result<Option<String>, String> {
    Ok(in_host(|world| world.config.get(name).cloned()).flatten())
}

pub(crate) fn config_all() -> Result<Vec<(String, String)>, String> {
    Ok(in_host(|world| world.config.clone().into_iter().collect()).unwrap_or_default())
}

type Values = std::collections::BTreeMap<String, Vec<u8>>;

/// Does something with the task's store, if it has one.
fn in_store<T>(work: impl FnOnce(&mut Values) -> T) -> Result<T, Error> {
    in_host(|world| world.kv.as_mut().map(work)).flatten().ok_or(Error::Denied)
}

pub(crate) fn kv_get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    in_store(|values| values.get(key).cloned())
}

pub(crate) fn kv_set(key: &str, value: &[u8]) -> Result<(), Error> {
    in_store(|values| drop(values.insert(key.to_owned(), value.to_owned())))
}

pub(crate) fn kv_delete(key: &str) -> Result<(), Error> {
    in_store(|values| drop(values.remove(key)))
}

pub(crate) fn kv_exists(key: &str) -> Result<bool, Error> {
    in_store(|values| values.contains_key(key))
}

pub(crate) fn kv_keys() -> Result<Vec<String>, Error> {
    in_store(|values| values.keys().cloned().collect())
}

pub(crate) fn kv_increment(key: &str, by: i64) -> Result<i64, Error> {
    let number = match kv_get(key)? {
        None => Some(0),
        Some(value) => std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok()),
    };
    let sum = number.and_then(|number: i64| number.checked_add(by));
    let sum =
        sum.ok_or_else(|| Error::Other(format!("the value of `{key}` is no number that this can be added to")))?;
    kv_set(key, sum.to_string().as_bytes())?;
    Ok(sum)
}

pub(crate) fn kv_update(key: &str, mut change: impl FnMut(Option<Vec<u8>>) -> Vec<u8>) -> Result<Vec<u8>, Error> {
    let value = change(kv_get(key)?);
    kv_set(key, &value)?;
    Ok(value)
}
