//! Keys and values that tasks keep from run to run, on the wire.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plain::also_plain_name;

/// The parameter of `KeyValue.List`: an object, or a plain name.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields, transform = crate::openrpc::or_plain_text)]
pub struct KeyValueListRequest {
    /// The task.
    pub name: String,
    /// Only keys after this one: `next_cursor` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// At most so many keys, 1 to 1000; 1000 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

also_plain_name!(KeyValueListRequest { cursor: Option<String>, limit: Option<u32> });

/// A page of a task's keys, in order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct KeyValueList {
    pub keys: Vec<KeyInfo>,
    /// Where the next page begins, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    pub usage: KeyValueUsage,
    /// Whether the task's runs get at it (`grants.kv`). Who looks after the host always does.
    pub granted: bool,
}

/// A key.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct KeyInfo {
    /// May hold control characters.
    pub key: String,
    /// Of the value.
    pub size_bytes: u64,
}

/// What a task keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct KeyValueUsage {
    pub keys: u64,
    /// Of keys and values together.
    pub bytes: u64,
    /// The limit `kv_bytes` in force.
    pub quota_bytes: u64,
}

/// The parameter of `KeyValue.Get`.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyValueGetRequest {
    /// The task.
    pub name: String,
    pub key: String,
}

/// A key and its value. Exactly one of `value` and `base64` is there.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct KeyValueEntry {
    pub key: String,
    /// A value that is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// The parameter of `KeyValue.Set`. Exactly one of `value` and `base64` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyValueSetRequest {
    /// The task.
    pub name: String,
    /// 1 to 1024 bytes.
    pub key: String,
    /// A value that is text; at most 1 MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Any other, in base64; at most 1 MiB before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// The parameter of `KeyValue.Remove`. Exactly one of `keys` and `all` is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyValueRemoveRequest {
    /// The task.
    pub name: String,
    /// At most 1024. All of them go in one change; those that are not there are no error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<String>>,
    /// Every key there is.
    #[serde(default)]
    pub all: bool,
}

/// What `KeyValue.Remove` did.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct KeyValueRemoved {
    /// How many keys there were of those that were to go.
    pub removed: u64,
}
