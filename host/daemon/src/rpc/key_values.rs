//! `KeyValue.*`: what a task keeps, for who looks after the host, whether or not its runs are granted it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use jsonrpsee::Extensions;
use jsonrpsee::core::{RpcResult, async_trait};
use taskhost_api::{
    ErrorCode, KeyInfo, KeyValueApiServer, KeyValueEntry, KeyValueGetRequest, KeyValueList, KeyValueListRequest,
    KeyValueRemoveRequest, KeyValueRemoved, KeyValueSetRequest, KeyValueUsage, MAX_LIST_LIMIT,
};
use taskhost_core::key_value::{KeyValueAnswer, KeyValueChange};

use super::errors::{key_value_error, to_rpc};
use super::tasks::{MAX_ANSWER_BYTES, limit, takes_room};
use super::{Rpc, caller, invalid_params};
use crate::upload::decode_base64;

#[async_trait]
impl KeyValueApiServer for Rpc {
    async fn list_keys(&self, request: KeyValueListRequest) -> RpcResult<KeyValueList> {
        let limit = limit(request.limit, MAX_LIST_LIMIT, MAX_LIST_LIMIT)?;
        let of = self.host.key_values(&request.name).await.map_err(to_rpc)?;
        let failed = |error| key_value_error(&error, &of.name);
        let mut keys = self.key_values.list(of.task, request.cursor, limit + 1).await.map_err(failed)?;
        let usage = self.key_values.usage(of.task).await.map_err(failed)?;
        let found = keys.len();
        keys.truncate(limit);
        // One key always fits, or there would be no end to the pages.
        let mut room = MAX_ANSWER_BYTES;
        let keys = keys.into_iter().map(|(key, size_bytes)| KeyInfo { key, size_bytes });
        let keys: Vec<_> = keys.take_while(|key| takes_room(&mut room, key)).collect();
        let more = keys.len() < found;
        Ok(KeyValueList {
            next_cursor: keys.last().filter(|_| more).map(|key| key.key.clone()),
            keys,
            usage: KeyValueUsage { keys: usage.keys, bytes: usage.bytes, quota_bytes: of.quota_bytes },
            granted: of.granted,
        })
    }

    async fn get_value(&self, extensions: &Extensions, request: KeyValueGetRequest) -> RpcResult<KeyValueEntry> {
        caller(extensions)?;
        let KeyValueGetRequest { name, key } = request;
        let of = self.host.key_values(&name).await.map_err(to_rpc)?;
        let value = self.key_values.get(of.task, key.clone()).await;
        match value.map_err(|error| key_value_error(&error, &of.name))? {
            Some(value) => Ok(entry(key, value)),
            None => {
                let hint = format!("`taskctl kv list {}` shows the keys that it has", super::errors::shell(&of.name));
                let message = format!("task `{}` has no key `{}`", of.name, key.escape_debug());
                Err(ErrorCode::KeyNotFound.to_error(message, Some(hint)))
            }
        }
    }

    async fn set_value(&self, extensions: &Extensions, request: KeyValueSetRequest) -> RpcResult<bool> {
        let caller = caller(extensions)?;
        let KeyValueSetRequest { name, key, value, base64 } = request;
        let value = match (value, base64) {
            (Some(value), None) => Bytes::from(value),
            (None, Some(base64)) => decode_base64("base64", &base64)?.into(),
            _ => return Err(invalid_params("give exactly one of `value` and `base64`", None)),
        };
        let size_bytes = value.len();
        self.change_keys(&name, KeyValueChange::Write { set: vec![(key.clone(), value)], delete: Vec::new() }).await?;
        tracing::info!(task = name, key = ?key, size_bytes, uid = caller.uid, "value set");
        Ok(true)
    }

    async fn remove_keys(&self, extensions: &Extensions, request: KeyValueRemoveRequest) -> RpcResult<KeyValueRemoved> {
        let caller = caller(extensions)?;
        let KeyValueRemoveRequest { name, keys, all } = request;
        let change = match (keys, all) {
            (Some(delete), false) => KeyValueChange::Write { set: Vec::new(), delete },
            (None, true) => KeyValueChange::Clear,
            _ => return Err(invalid_params("give exactly one of `keys` and `all`", None)),
        };
        let removed = match self.change_keys(&name, change).await? {
            KeyValueAnswer::Written { removed } => removed,
            _ => 0,
        };
        tracing::info!(task = name, removed, uid = caller.uid, "keys removed");
        Ok(KeyValueRemoved { removed })
    }
}

impl Rpc {
    async fn change_keys(&self, name: &str, change: KeyValueChange) -> RpcResult<KeyValueAnswer> {
        let of = self.host.key_values(name).await.map_err(to_rpc)?;
        let changed = self.key_values.change(of.task, change, of.quota_bytes).await;
        changed.map_err(|error| key_value_error(&error, &of.name))
    }
}

/// Text as text, unless JSON would make six bytes of each of its letters.
fn entry(key: String, value: Bytes) -> KeyValueEntry {
    let is_plain = |text: &str| !text.contains(|letter: char| letter.is_control() && !matches!(letter, '\n' | '\t'));
    match String::from_utf8(value.into()) {
        Ok(text) if is_plain(&text) => KeyValueEntry { key, value: Some(text), base64: None },
        Ok(text) => KeyValueEntry { key, value: None, base64: Some(BASE64_STANDARD.encode(text)) },
        Err(error) => KeyValueEntry { key, value: None, base64: Some(BASE64_STANDARD.encode(error.as_bytes())) },
    }
}
