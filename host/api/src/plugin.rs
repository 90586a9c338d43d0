//! Plugins on the wire.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Schedule;

/// Which plugin a task runs. Exactly one member.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginRef {
    /// One that the host brings along: `ticker`.
    Builtin(String),
    /// A stored one, by the lower-case hex of its sha256.
    Sha256(String),
    /// The plugin itself, in base64. For small ones: the message as a whole is bounded by
    /// [`MAX_MESSAGE_BYTES`](crate::MAX_MESSAGE_BYTES). Stored as `sha256`.
    Wasm(String),
}

impl<'de> Deserialize<'de> for PluginRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Members {
            builtin: Option<String>,
            sha256: Option<String>,
            wasm: Option<String>,
        }

        match Members::deserialize(deserializer)? {
            Members { builtin: Some(name), sha256: None, wasm: None } => Ok(Self::Builtin(name)),
            Members { builtin: None, sha256: Some(sha256), wasm: None } => Ok(Self::Sha256(sha256)),
            Members { builtin: None, sha256: None, wasm: Some(wasm) } => Ok(Self::Wasm(wasm)),
            _ => Err(de::Error::custom("a plugin has exactly one of the members `builtin`, `sha256` and `wasm`")),
        }
    }
}

impl Default for PluginRef {
    fn default() -> Self {
        Self::Builtin("ticker".to_owned())
    }
}

/// The parameter of `Plugin.Put`: a piece of a plugin, in order of offset.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginChunk {
    /// Lower-case hex of the whole plugin's sha256.
    pub sha256: String,
    /// The whole plugin's size in bytes, at most 64 MiB.
    pub size: u64,
    /// Where this piece begins.
    pub offset: u64,
    /// The piece in base64, at most 1 MiB before it.
    pub data: String,
}

/// The answer of `Plugin.Put`.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct PluginChunkReceived {
    /// How many bytes the host has; the next piece begins there.
    pub received: u64,
    /// The plugin, when it is whole, compiled and stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginInfo>,
}

/// The parameter of `Plugin.Has`, `Plugin.Get` and `Plugin.Delete`: an object, or plain text.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields, transform = crate::openrpc::or_plain_text)]
pub struct PluginSelector {
    /// A sha256, or a unique beginning of one with at least 6 digits, or the name of a built-in plugin.
    pub plugin: String,
}

impl<'de> Deserialize<'de> for PluginSelector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrObject;

        impl<'de> Visitor<'de> for TextOrObject {
            type Value = PluginSelector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a plugin's sha256 or an object")
            }

            fn visit_str<E: de::Error>(self, plugin: &str) -> Result<PluginSelector, E> {
                Ok(PluginSelector { plugin: plugin.to_owned() })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<PluginSelector, A::Error> {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Object {
                    plugin: String,
                }
                let object = Object::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(PluginSelector { plugin: object.plugin })
            }
        }

        deserializer.deserialize_any(TextOrObject)
    }
}

/// The answer of `Plugin.Has`.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct PluginHas {
    pub has: bool,
    /// How many bytes of an interrupted `Plugin.Put` the host still has.
    #[serde(default)]
    pub received: u64,
}

/// A plugin as the host has it.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct PluginInfo {
    /// Lower-case hex.
    pub sha256: String,
    /// The name of a built-in plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builtin: Option<String>,
    /// `task component`, `command component` or `preview-1 command`.
    pub kind: String,
    pub size_bytes: u64,
    /// When it was stored; absent for a built-in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_at: Option<Timestamp>,
    /// How many tasks use it.
    pub tasks: u64,
    /// What it imports, in its own words.
    #[serde(default)]
    pub imports: Vec<String>,
    /// What it exports.
    #[serde(default)]
    pub exports: Vec<String>,
    /// What it is called, in its own words, as are those that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authors: Option<String>,
    /// An SPDX expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licenses: Option<String>,
    /// Where its source is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// Which revision of the source it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// What it was made with: languages and tools with their versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub toolchain: Vec<String>,
    /// What it wants of a host. Not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<PluginManifest>,
    /// Why it can't be run, when it can't: its file is damaged, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// What a plugin wants of a host: its word, which grants and schedules nothing by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct PluginManifest {
    /// A JSON Schema of its settings, an object whose values are texts. A task whose settings do not fit is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// The grants that it names.
    #[serde(default)]
    pub grants: PluginNeeds,
    /// The schedule that it suggests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// The limits that it suggests, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, u64>,
}

/// The grants that a plugin names.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct PluginNeeds {
    /// Without which it does not work. A task that lacks one is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub required: Vec<PluginNeed>,
    /// With which it does more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub optional: Vec<PluginNeed>,
}

/// A grant that a plugin names.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct PluginNeed {
    /// `env`, `dir`, `host`, `config`, `secret` or `kv`.
    pub kind: String,
    /// Which one: the name of a variable, setting or secret, `HOST:PORT`, or a folder's name for the guest, with `:ro` if reading
    /// does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What for, in the plugin's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The flag of `taskctl add` and `edit` that gives it; words in capitals are to be filled in.
    pub flag: String,
}

/// Every plugin, in order of sha256.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct PluginList {
    pub plugins: Vec<PluginInfo>,
}

/// What `Plugin.Delete` did.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct PluginDeleted {
    pub sha256: String,
}

/// What `Plugin.Prune` did.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct PluginPruned {
    /// What was deleted.
    pub sha256: Vec<String>,
    pub freed_bytes: u64,
}
