//! Keys and values that tasks keep from run to run: the port, and a store in memory for runs without a host.

use std::collections::{BTreeMap, HashMap};
use std::future::ready;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::outcome::TaskId;
use crate::ports::{BoxFuture, StoreError};

/// Keeps the keys and values of tasks: each task has a store of its own, named by its id, that goes with the task. A change is durable
/// when it is answered, and seen by every call from then on.
pub trait KeyValue: Send + Sync + 'static {
    fn get(&self, task: TaskId, key: String) -> BoxFuture<Result<Option<Bytes>, KeyValueError>>;

    /// Makes a change, whole or not at all. Refuses it if the task's keys and values would then have more than `quota_bytes` together.
    fn change(
        &self,
        task: TaskId,
        change: KeyValueChange,
        quota_bytes: u64,
    ) -> BoxFuture<Result<KeyValueAnswer, KeyValueError>>;

    /// The keys after `after` in order of their bytes, at most `limit`, each with the size of its value in bytes.
    fn list(
        &self,
        task: TaskId,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<Result<Vec<(String, u64)>, KeyValueError>>;

    /// How much of its quota a task has used, in bytes, and how many keys it has.
    fn usage(&self, task: TaskId) -> BoxFuture<Result<KeyValueUsage, KeyValueError>>;
}

/// A change of one task's keys and values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyValueChange {
    /// Sets values and takes away keys, all in one.
    Write { set: Vec<(String, Bytes)>, delete: Vec<String> },
    /// Adds to the number that stands under a key as decimal text; a key that is not there counts as 0.
    Increment { key: String, by: i64 },
    /// Sets a value if the one before is this one (`None`: if there is no such key).
    Swap { key: String, expected: Option<Bytes>, value: Bytes },
    /// Takes away all there is.
    Clear,
}

/// What a change came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyValueAnswer {
    /// How many of the keys to be taken away were there.
    Written {
        removed: u64,
    },
    Swapped,
    /// The number after an increment.
    Number(i64),
    /// Another value stood there; nothing was changed.
    NotSwapped(Option<Bytes>),
}

/// What a task keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyValueUsage {
    pub keys: u64,
    /// Of keys and values together.
    pub bytes: u64,
}

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 1024;
/// The largest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1 << 20;
/// The most keys that one change touches.
pub const MAX_KEYS_OF_A_CHANGE: usize = 1024;

/// Why nothing was changed or found.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyValueError {
    #[error("a key has from 1 to {MAX_KEY_BYTES} bytes, and this one has {0}")]
    Key(usize),
    #[error("a value has at most {MAX_VALUE_BYTES} bytes, and this one has {0}")]
    Value(usize),
    #[error("a change touches at most {MAX_KEYS_OF_A_CHANGE} keys, and this one touches {0}")]
    TooManyKeys(usize),
    #[error("the task would keep {needed_bytes} bytes of keys and values, and its limit `kv_bytes` is {quota_bytes}")]
    Quota { needed_bytes: u64, quota_bytes: u64 },
    #[error("the value under this key is no number that can be added to")]
    NotANumber,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl KeyValueChange {
    /// Refuses a key, a value or a number of keys that no store takes.
    pub fn check(&self) -> Result<(), KeyValueError> {
        match self {
            Self::Write { set, delete } => {
                let touched = set.len() + delete.len();
                if touched > MAX_KEYS_OF_A_CHANGE {
                    return Err(KeyValueError::TooManyKeys(touched));
                }
                set.iter().try_for_each(|(key, value)| check_key(key).and_then(|()| check_value(value)))?;
                delete.iter().try_for_each(|key| check_key(key))
            }
            Self::Increment { key, .. } => check_key(key),
            Self::Swap { key, value, .. } => check_key(key).and_then(|()| check_value(value)),
            Self::Clear => Ok(()),
        }
    }
}

/// Refuses what is no key.
pub fn check_key(key: &str) -> Result<(), KeyValueError> {
    if (1..=MAX_KEY_BYTES).contains(&key.len()) { Ok(()) } else { Err(KeyValueError::Key(key.len())) }
}

fn check_value(value: &Bytes) -> Result<(), KeyValueError> {
    if value.len() <= MAX_VALUE_BYTES { Ok(()) } else { Err(KeyValueError::Value(value.len())) }
}

/// What an increment makes of a value.
pub fn incremented(value: Option<&[u8]>, by: i64) -> Result<i64, KeyValueError> {
    let Some(value) = value else { return Ok(by) };
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok());
    number.and_then(|number| number.checked_add(by)).ok_or(KeyValueError::NotANumber)
}

/// Keys and values in memory, gone with the process.
#[derive(Debug, Default)]
pub struct MemoryKeyValue {
    tasks: Mutex<HashMap<TaskId, BTreeMap<String, Bytes>>>,
}

impl MemoryKeyValue {
    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, BTreeMap<String, Bytes>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change_now(
        &self,
        task: TaskId,
        change: KeyValueChange,
        quota_bytes: u64,
    ) -> Result<KeyValueAnswer, KeyValueError> {
        change.check()?;
        let mut tasks = self.lock();
        let values = tasks.entry(task).or_default();
        let mut after = values.clone();
        let answer = match change {
            KeyValueChange::Write { set, delete } => {
                after.extend(set);
                let removed = delete.iter().filter_map(|key| after.remove(key)).count() as u64;
                KeyValueAnswer::Written { removed }
            }
            KeyValueChange::Increment { key, by } => {
                let number = incremented(after.get(&key).map(|value| &value[..]), by)?;
                after.insert(key, number.to_string().into());
                KeyValueAnswer::Number(number)
            }
            KeyValueChange::Swap { key, expected, value } => {
                if after.get(&key) != expected.as_ref() {
                    return Ok(KeyValueAnswer::NotSwapped(after.remove(&key)));
                }
                after.insert(key, value);
                KeyValueAnswer::Swapped
            }
            KeyValueChange::Clear => {
                let removed = after.len() as u64;
                after.clear();
                KeyValueAnswer::Written { removed }
            }
        };
        let (needed_bytes, had_bytes) = (usage(&after).bytes, usage(values).bytes);
        if needed_bytes > quota_bytes && needed_bytes > had_bytes {
            return Err(KeyValueError::Quota { needed_bytes, quota_bytes });
        }
        *values = after;
        Ok(answer)
    }
}

fn usage(values: &BTreeMap<String, Bytes>) -> KeyValueUsage {
    let bytes = values.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
    KeyValueUsage { keys: values.len() as u64, bytes }
}

impl KeyValue for MemoryKeyValue {
    fn get(&self, task: TaskId, key: String) -> BoxFuture<Result<Option<Bytes>, KeyValueError>> {
        let found = self.lock().get(&task).and_then(|values| values.get(&key).cloned());
        Box::pin(ready(check_key(&key).map(|()| found)))
    }

    fn change(
        &self,
        task: TaskId,
        change: KeyValueChange,
        quota_bytes: u64,
    ) -> BoxFuture<Result<KeyValueAnswer, KeyValueError>> {
        Box::pin(ready(self.change_now(task, change, quota_bytes)))
    }

    fn list(
        &self,
        task: TaskId,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<Result<Vec<(String, u64)>, KeyValueError>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let tasks = self.lock();
        let values = tasks.get(&task).into_iter().flat_map(|values| values.range((from.clone(), Bound::Unbounded)));
        let page = values.take(limit).map(|(key, value)| (key.clone(), value.len() as u64)).collect();
        Box::pin(ready(Ok(page)))
    }

    fn usage(&self, task: TaskId) -> BoxFuture<Result<KeyValueUsage, KeyValueError>> {
        Box::pin(ready(Ok(self.lock().get(&task).map(usage).unwrap_or_default())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(store: &MemoryKeyValue, change: KeyValueChange) -> Result<KeyValueAnswer, KeyValueError> {
        store.change_now(1, change, 100)
    }

    fn set(key: &str, value: &str) -> KeyValueChange {
        KeyValueChange::Write { set: vec![(key.to_owned(), value.to_owned().into())], delete: Vec::new() }
    }

    #[test]
    fn a_change_past_the_quota_changes_nothing_and_one_that_takes_away_is_never_refused() {
        let store = MemoryKeyValue::default();
        change(&store, set("a", &"x".repeat(90))).expect("it fits");
        assert!(matches!(
            change(&store, set("b", &"x".repeat(10))),
            Err(KeyValueError::Quota { needed_bytes: 102, .. })
        ));
        let smaller = store.change_now(1, set("a", "x"), 0);
        assert!(smaller.is_ok(), "less than before, though the quota came down: {smaller:?}");
    }

    #[test]
    fn a_swap_happens_only_where_the_expected_value_stands() {
        let store = MemoryKeyValue::default();
        let swap = |expected: Option<&'static str>, value: &'static str| KeyValueChange::Swap {
            key: "a".to_owned(),
            expected: expected.map(Into::into),
            value: value.into(),
        };
        assert_eq!(change(&store, swap(None, "1")).expect("no such key"), KeyValueAnswer::Swapped);
        let not = change(&store, swap(None, "2")).expect("an answer");
        assert_eq!(not, KeyValueAnswer::NotSwapped(Some("1".into())));
        assert_eq!(change(&store, swap(Some("1"), "2")).expect("it stands there"), KeyValueAnswer::Swapped);
    }

    #[test]
    fn an_increment_counts_from_nothing_and_refuses_what_is_no_number() {
        let store = MemoryKeyValue::default();
        let add = |by| KeyValueChange::Increment { key: "n".to_owned(), by };
        assert_eq!(change(&store, add(5)).expect("a number"), KeyValueAnswer::Number(5));
        assert_eq!(change(&store, add(-7)).expect("a number"), KeyValueAnswer::Number(-2));
        change(&store, set("n", "x")).expect("it fits");
        assert!(matches!(change(&store, add(1)), Err(KeyValueError::NotANumber)));
    }
}
