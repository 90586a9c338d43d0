//! A task's store, as the functions of every draft use it.

use bytes::Bytes;
use taskhost_core::key_value::{KeyValueAnswer, KeyValueChange, KeyValueError, MAX_KEYS_OF_A_CHANGE};
use taskhost_core::ports::StoreError;
use taskhost_core::spec::Limit;
use wasmtime::component::{Resource, ResourceTableError};

use crate::grant::key_value::MAX_CAS_BYTES;
use crate::state::State;

/// The names of a task's own store.
const OWN_STORE: [&str; 2] = ["", "default"];

/// The keys of one answer of `list-keys`: at most 1 MiB.
const LISTED_KEYS: usize = 1000;

/// The most bytes of keys and values that `get-many` answers with.
const MAX_GET_MANY_BYTES: usize = 16 << 20;

/// The store of a task. There is one, so nothing needs to be known of it.
#[expect(unreachable_pub, reason = "the generated bindings export it again")]
pub struct Bucket;

/// A value that is to be swapped if nobody else was faster.
#[expect(unreachable_pub, reason = "the generated bindings export it again")]
pub struct Cas {
    key: String,
    /// What stood there when it was looked at.
    pub(super) expected: Option<Bytes>,
}

impl Cas {
    fn bytes(&self) -> usize {
        self.key.len() + self.expected.as_ref().map_or(0, Bytes::len)
    }
}

/// Why a call failed, in the words that both drafts have for it.
#[expect(unreachable_pub, reason = "the generated bindings export it again")]
#[derive(Debug)]
pub enum Fault {
    NoSuchStore,
    AccessDenied,
    Other(String),
    /// The guest broke the rules of resources.
    Trap(wasmtime::Error),
}

impl From<ResourceTableError> for Fault {
    fn from(error: ResourceTableError) -> Self {
        // One that holds too much is stopped, as by all of WASI.
        Self::Trap(error.into())
    }
}

impl State {
    pub(super) fn kv_open(&mut self, name: &str) -> Result<Resource<Bucket>, Fault> {
        if !self.granted.setup.spec.grants().kv {
            self.reach.tell(|| "denied: a store of keys and values; allow it with --kv".to_owned());
            return Err(Fault::AccessDenied);
        }
        if !OWN_STORE.contains(&name) {
            return Err(Fault::NoSuchStore);
        }
        Ok(self.table.push(Bucket)?)
    }

    /// A handle that was closed, or is of another kind, is the guest's mistake.
    pub(super) fn kv_check(&mut self, bucket: &Resource<Bucket>) -> Result<(), Fault> {
        self.table.get(bucket)?;
        Ok(())
    }

    pub(super) fn kv_close(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }

    pub(super) async fn kv_get(&mut self, key: String) -> Result<Option<Bytes>, Fault> {
        let got = self.granted.setup.services.key_values.get(self.granted.task, key).await;
        got.map_err(|error| self.kv_fault(error))
    }

    pub(super) async fn kv_get_many(&mut self, keys: Vec<String>) -> Result<Vec<Option<(String, Vec<u8>)>>, Fault> {
        if keys.len() > MAX_KEYS_OF_A_CHANGE {
            return Err(Fault::Other(format!("at most {MAX_KEYS_OF_A_CHANGE} keys can be asked for at once")));
        }
        let mut found = Vec::with_capacity(keys.len());
        let mut room = MAX_GET_MANY_BYTES;
        for key in keys {
            let value = self.kv_get(key.clone()).await?;
            let bytes = value.as_ref().map_or(0, |value| key.len() + value.len());
            room = room.checked_sub(bytes).ok_or_else(|| {
                Fault::Other(format!("the values have more than {MAX_GET_MANY_BYTES} bytes; ask for fewer at once"))
            })?;
            found.push(value.map(|value| (key, value.into())));
        }
        Ok(found)
    }

    async fn kv_change(&mut self, change: KeyValueChange) -> Result<KeyValueAnswer, Fault> {
        let setup = &self.granted.setup;
        let quota_bytes = setup.bounds.of(Limit::KvBytes);
        let changed = setup.services.key_values.change(self.granted.task, change, quota_bytes).await;
        changed.map_err(|error| self.kv_fault(error))
    }

    pub(super) async fn kv_write(&mut self, set: Vec<(String, Vec<u8>)>, delete: Vec<String>) -> Result<(), Fault> {
        let set = set.into_iter().map(|(key, value)| (key, value.into())).collect();
        self.kv_change(KeyValueChange::Write { set, delete }).await.map(drop)
    }

    pub(super) async fn kv_increment(&mut self, key: String, by: i64) -> Result<i64, Fault> {
        match self.kv_change(KeyValueChange::Increment { key, by }).await? {
            KeyValueAnswer::Number(number) => Ok(number),
            other => Err(Fault::Other(format!("the store answered an increment with {other:?}"))),
        }
    }

    /// A page of keys after this one, and whether more follow.
    pub(super) async fn kv_list(&mut self, after: Option<String>) -> Result<(Vec<String>, bool), Fault> {
        let listed = self.granted.setup.services.key_values.list(self.granted.task, after, LISTED_KEYS + 1).await;
        let mut keys = listed.map_err(|error| self.kv_fault(error))?;
        let more = keys.len() > LISTED_KEYS;
        keys.truncate(LISTED_KEYS);
        Ok((keys.into_iter().map(|(key, _)| key).collect(), more))
    }

    /// A number for a place in a list of keys.
    pub(super) fn kv_cursor(&mut self, after: String) -> u64 {
        self.granted.key_values.cursor(after)
    }

    pub(super) fn kv_place(&self, cursor: u64) -> Result<String, Fault> {
        let place = self.granted.key_values.place(cursor);
        place.ok_or_else(|| Fault::Other("the cursor is none of the last that this run was given".to_owned()))
    }

    pub(super) async fn kv_look(&mut self, key: String) -> Result<Resource<Cas>, Fault> {
        let expected = self.kv_get(key.clone()).await?;
        self.kv_hold(Cas { key, expected })
    }

    fn kv_hold(&mut self, cas: Cas) -> Result<Resource<Cas>, Fault> {
        let bytes = cas.bytes();
        if !self.granted.key_values.has_room_for(bytes) {
            return Err(Fault::Other(format!("the handles of compare-and-swap hold more than {MAX_CAS_BYTES} bytes")));
        }
        let handle = self.table.push(cas)?;
        self.granted.key_values.hold(bytes);
        Ok(handle)
    }

    pub(super) fn kv_let_go(&mut self, handle: Resource<Cas>) -> wasmtime::Result<Cas> {
        let cas = self.table.delete(handle)?;
        self.granted.key_values.let_go(cas.bytes());
        Ok(cas)
    }

    /// Swaps, or answers with a handle on what stands there now.
    pub(super) async fn kv_swap(&mut self, cas: Cas, value: Vec<u8>) -> Result<Option<Resource<Cas>>, Fault> {
        let Cas { key, expected } = cas;
        let change = KeyValueChange::Swap { key: key.clone(), expected, value: value.into() };
        match self.kv_change(change).await? {
            KeyValueAnswer::NotSwapped(expected) => self.kv_hold(Cas { key, expected }).map(Some),
            _ => Ok(None),
        }
    }

    /// What the guest is told. Where the host keeps its data is none of its business.
    fn kv_fault(&mut self, error: KeyValueError) -> Fault {
        Fault::Other(match error {
            KeyValueError::Store(StoreError::Full(_)) => "the host's disk is full".to_owned(),
            KeyValueError::Store(error) => {
                tracing::warn!(task = format_args!("{:016x}", self.granted.task), %error, "a guest's keys and values");
                "the host's store of keys and values failed".to_owned()
            }
            error => {
                if matches!(error, KeyValueError::Quota { .. }) {
                    self.limits.deny(Limit::KvBytes);
                }
                error.to_string()
            }
        })
    }
}
