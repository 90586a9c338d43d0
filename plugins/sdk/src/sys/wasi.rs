//! By WASI 0.2.

use std::fmt::{self, Write};
use std::sync::OnceLock;
use std::time::Duration;

use crate::bindings::taskhost::plugin::context;
use crate::bindings::wasi::cli::{environment, stderr, stdout};
use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::config::store as config;
use crate::bindings::wasi::io::streams::OutputStream;
use crate::bindings::wasi::keyvalue::atomics::{self, Cas, CasError};
use crate::bindings::wasi::keyvalue::store::{self, Bucket};
use crate::bindings::wasi::logging::logging;
use crate::kv::Error;
use crate::logging::Level;

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

pub(crate) fn args() -> Vec<String> {
    environment::get_arguments().into_iter().skip(1).collect()
}

pub(crate) fn sleep(duration: Duration) {
    let duration_ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    monotonic_clock::subscribe_duration(duration_ns).block();
}

pub(crate) fn monotonic() -> Duration {
    Duration::from_nanos(monotonic_clock::now())
}

pub(crate) fn remaining() -> Option<Duration> {
    context::remaining_ms().map(Duration::from_millis)
}

pub(crate) fn cancelled() -> bool {
    context::cancelled()
}

pub(crate) fn log(level: Level, context: &str, message: &str) {
    let level = match level {
        Level::Trace => logging::Level::Trace,
        Level::Debug => logging::Level::Debug,
        Level::Info => logging::Level::Info,
        Level::Warn => logging::Level::Warn,
        Level::Error => logging::Level::Error,
        Level::Critical => logging::Level::Critical,
    };
    logging::log(level, context, message);
}

pub(crate) fn config_get(name: &str) -> Result<Option<String>, String> {
    config::get(name).map_err(config_error)
}

pub(crate) fn config_all() -> Result<Vec<(String, String)>, String> {
    config::get_all().map_err(config_error)
}

fn config_error(error: config::Error) -> String {
    match error {
        config::Error::Upstream(why) | config::Error::Io(why) => why,
    }
}

/// The task's only store.
fn bucket() -> Result<Bucket, Error> {
    Ok(store::open("")?)
}

pub(crate) fn kv_get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    Ok(bucket()?.get(key)?)
}

pub(crate) fn kv_set(key: &str, value: &[u8]) -> Result<(), Error> {
    Ok(bucket()?.set(key, value)?)
}

pub(crate) fn kv_delete(key: &str) -> Result<(), Error> {
    Ok(bucket()?.delete(key)?)
}

pub(crate) fn kv_exists(key: &str) -> Result<bool, Error> {
    Ok(bucket()?.exists(key)?)
}

pub(crate) fn kv_keys() -> Result<Vec<String>, Error> {
    let bucket = bucket()?;
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let page = bucket.list_keys(cursor.as_deref())?;
        keys.extend(page.keys);
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(keys);
        }
    }
}

pub(crate) fn kv_increment(key: &str, by: i64) -> Result<i64, Error> {
    Ok(atomics::increment(&bucket()?, key, by)?)
}

pub(crate) fn kv_update(key: &str, mut change: impl FnMut(Option<Vec<u8>>) -> Vec<u8>) -> Result<Vec<u8>, Error> {
    let mut cas = Cas::new(&bucket()?, key)?;
    loop {
        let value = change(cas.current()?);
        match atomics::swap(cas, &value) {
            Ok(()) => return Ok(value),
            Err(CasError::StoreError(error)) => return Err(error.into()),
            Err(CasError::CasFailed(newer)) => cas = newer,
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::AccessDenied => Self::Denied,
            store::Error::NoSuchStore => Self::Other("the host has no such store".to_owned()),
            store::Error::Other(why) => Self::Other(why),
        }
    }
}
