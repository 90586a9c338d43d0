//! Keys and values, settings, and the log with levels.

use taskhost_plugin::Failure;

use self::bindings::wasi::config::store as config_store;
use self::bindings::wasi::keyvalue::store::{Bucket, Error, open};
use self::bindings::wasi::logging::logging::{Level, log};

/// More keys than a quota has room for.
const KEYS: usize = 1_000_000;

mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "drafts", generate_all });
}

fn told(error: Error) -> Failure {
    Failure::new(match error {
        Error::NoSuchStore => "no-such-store".to_owned(),
        Error::AccessDenied => "access-denied".to_owned(),
        Error::Other(text) => text,
    })
}

/// Sets keys until the host has enough.
pub(crate) fn keys() -> Result<Option<String>, Failure> {
    let bucket = open("").map_err(told)?;
    for number in 0..KEYS {
        bucket.set(&format!("{number:0>512}"), &[]).map_err(told)?;
    }
    Ok(Some("all keys".to_owned()))
}

/// The same with values of 64 KiB.
pub(crate) fn values() -> Result<Option<String>, Failure> {
    let bucket = open("").map_err(told)?;
    for number in 0..KEYS {
        bucket.set(&number.to_string(), &[0; 65_536]).map_err(told)?;
    }
    Ok(Some("all values".to_owned()))
}

pub(crate) fn giant_value(bytes: usize) -> Result<Option<String>, Failure> {
    open("").and_then(|bucket| bucket.set("key", &vec![0; bytes])).map_err(told)?;
    Ok(Some("kept".to_owned()))
}

pub(crate) fn giant_key(bytes: usize) -> Result<Option<String>, Failure> {
    open("").and_then(|bucket| bucket.set(&"k".repeat(bytes), &[])).map_err(told)?;
    Ok(Some("kept".to_owned()))
}

/// Opens buckets and keeps them all.
pub(crate) fn buckets() -> Result<Option<String>, Failure> {
    let buckets: Result<Vec<Bucket>, Error> = (0..KEYS).map(|_| open("")).collect();
    Ok(Some(format!("{} buckets", buckets.map_err(told)?.len())))
}

/// Tells what stands under a key, and sets it.
pub(crate) fn remember(value: &str) -> Result<Option<String>, Failure> {
    let bucket = open("").map_err(told)?;
    let before = bucket.get("key").map_err(told)?;
    bucket.set("key", value.as_bytes()).map_err(told)?;
    Ok(before.map(|before| String::from_utf8_lossy(&before).into_owned()))
}

pub(crate) fn log_for_ever() -> ! {
    loop {
        log(Level::Critical, "\u{1b}[2J", "flood\nand flood\u{1b}[31m");
    }
}

pub(crate) fn log_giant(bytes: usize) {
    log(Level::Info, &"c".repeat(bytes / 2), &"m".repeat(bytes / 2));
}

/// Everything that can be read, as it is: the host must mask what is secret.
pub(crate) fn config() -> Result<Option<String>, Failure> {
    let all = config_store::get_all().map_err(|error| Failure::new(format!("{error:?}")))?;
    let pairs: Vec<_> = all.iter().map(|(key, value)| format!("{key}={value}")).collect();
    taskhost_plugin::println!("{}", pairs.join(" "));
    Ok(Some(pairs.join(" ")))
}
