//! Keys and values that the task keeps from run to run: where it was granted `--kv`.
//!
//! A write that has come back survives a power cut of the host. Several runs of a task may use them at the same time, if its overlap
//! policy lets them: [`increment`] and [`update`] are made for that.

use std::fmt::{self, Display};

use crate::sys;

/// Why the host does not read or write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The task was not granted a store.
    Denied,
    /// What the host says: the store is full, say, or a counter is no number.
    Other(String),
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied => f.write_str("the task has no store of keys and values: grant it one with --kv"),
            Self::Other(why) => write!(f, "keys and values: {why}"),
        }
    }
}

impl std::error::Error for Error {}

/// The value of a key; `None` if it has none.
///
/// # Errors
/// If the task was not granted a store, or the host can't read it. So it is with all of these.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    sys::kv_get(key)
}

/// The same as text.
///
/// # Errors
/// If it is no UTF-8, too.
pub fn get_text(key: &str) -> Result<Option<String>, Error> {
    let text = get(key)?.map(String::from_utf8).transpose();
    text.map_err(|_| Error::Other(format!("the value of `{key}` is no UTF-8")))
}

/// Gives a key a value.
///
/// # Errors
/// If the store would grow beyond the task's limit `kv_bytes`, too.
pub fn set(key: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
    sys::kv_set(key, value.as_ref())
}

/// Takes a key and its value away, if it is there.
///
/// # Errors
/// As of [`get`].
pub fn delete(key: &str) -> Result<(), Error> {
    sys::kv_delete(key)
}

/// Whether a key has a value.
///
/// # Errors
/// As of [`get`].
pub fn exists(key: &str) -> Result<bool, Error> {
    sys::kv_exists(key)
}

/// All keys, in order.
///
/// # Errors
/// As of [`get`].
pub fn keys() -> Result<Vec<String>, Error> {
    sys::kv_keys()
}

/// Adds to a counter, which is a number in decimal text and begins at 0; answers with what it is then.
///
/// # Errors
/// If the value is no such number, too, or would not fit.
pub fn increment(key: &str, by: i64) -> Result<i64, Error> {
    sys::kv_increment(key, by)
}

/// Changes a value whatever others do meanwhile: `change` gets what it is, and is called again if somebody was faster. Answers with
/// what it is then.
///
/// # Errors
/// As of [`set`].
pub fn update(key: &str, change: impl FnMut(Option<Vec<u8>>) -> Vec<u8>) -> Result<Vec<u8>, Error> {
    sys::kv_update(key, change)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;

    #[test]
    fn what_was_written_is_read_and_a_task_without_a_store_is_told_how_to_get_one() {
        let host = Host::new().kv([("seen", "3")]);
        host.within(|| {
            assert_eq!(increment("seen", 4), Ok(7));
            assert_eq!(increment("new", -1), Ok(-1));
            set("state", "up").expect("writes");
            assert_eq!(get_text("state"), Ok(Some("up".to_owned())));
            let longer = |old: Option<Vec<u8>>| [old.unwrap_or_default(), b"!".to_vec()].concat();
            assert_eq!(update("state", longer).as_deref(), Ok(&b"up!"[..]));
            delete("new").expect("deletes");
            assert_eq!((exists("new"), keys()), (Ok(false), Ok(vec!["seen".to_owned(), "state".to_owned()])));
            set("bytes", [0xff]).expect("writes");
            assert!(get_text("bytes").is_err() && increment("bytes", 1).is_err());
        });
        assert_eq!(host.value("state").as_deref(), Some(&b"up!"[..]));
        let denied = Host::new().within(|| get("seen")).expect_err("not granted").to_string();
        assert_eq!(denied, "the task has no store of keys and values: grant it one with --kv");
    }
}
