//! Tasks on the wire.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::Run;
use crate::plain::{also_plain_name, name_or_object};
use crate::spec::{AddRequest, Spec, is_false};

/// A task as the host has it.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Task {
    /// Its definition.
    pub spec: Spec,
    /// 1 when it was added; one more with every edit.
    pub revision: u64,
    /// `idle`, `running` or `paused`.
    pub state: String,
    /// Of a paused task, since when and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// The anchor of its `every` schedules.
    pub added_at: Timestamp,
    /// The next due time; absent when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_due: Option<Timestamp>,
    /// The newest finished run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<Run>,
    /// How many due times ended with each outcome since the task was added.
    pub counts: BTreeMap<String, u64>,
    /// How many runs in a row have failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u64,
    /// How many due times are still to be made up for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub backlog: u64,
    /// Why the task can't run, when it can't: its plugin's file is damaged, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

/// Why a task is paused: no due time of it runs meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Paused {
    pub since: Timestamp,
    /// When it goes on by itself; absent if only `TaskUnit.Resume` ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Who paused it: `uid 1000`, or `the host`.
    pub by: String,
}

/// The parameter of `TaskUnit.Add`: a plain name, as the original demo sends, or a definition.
///
/// By hand and not `untagged`, so that an error names the member that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum AddTask {
    /// The built-in `ticker` under this name, every second; answered with `true`.
    Name(String),
    /// Answered with the task.
    Spec(Box<AddRequest>),
}

/// What becomes of a run in progress when its task is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeleteMode {
    /// The guest is told, and stopped hard after the cancel grace.
    #[default]
    Cancel,
    /// It ends by itself, or at its deadline.
    Wait,
}

/// The parameter of `TaskUnit.Delete`: a plain name, or more.
#[derive(Clone, Debug, PartialEq)]
pub enum DeleteTask {
    /// Answered with `true`.
    Name(String),
    /// Answered with what was deleted.
    Request(DeleteRequest),
}

/// Which task to delete, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteRequest {
    pub name: String,
    #[serde(default)]
    pub mode: DeleteMode,
    /// Whether a task that does not exist is no error.
    #[serde(default, skip_serializing_if = "is_false")]
    pub if_exists: bool,
}

/// What `TaskUnit.Delete` did.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Deleted {
    /// Whether there was such a task.
    pub deleted: bool,
}

/// An answer that is `true` for the calls of the original demo, and something richer for the others.
#[derive(Clone, Debug, PartialEq)]
pub enum Accepted<T> {
    /// `true`, for a call with a plain name.
    True,
    /// For a call with an object.
    With(T),
}

/// The parameter of `TaskUnit.Get`: an object, or a plain name.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields, transform = crate::openrpc::or_plain_text)]
pub struct GetRequest {
    pub name: String,
    /// Whether absent members of the spec are filled in with their defaults.
    #[serde(skip_serializing_if = "is_false")]
    #[schemars(default)]
    pub effective: bool,
}

/// How a list is ordered. `name` is the order of paging; the others are applied by clients to what they got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListSort {
    #[default]
    Name,
}

/// The parameter of `TaskUnit.List`.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListRequest {
    /// Only tasks with these labels: `team=web,env!=dev,owner,!legacy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Only tasks in this state: `idle`, `running` or `paused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Only tasks whose last run ended with this outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// At most this many, 1 to 1000; 1000 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A page of tasks, in order of name.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct TaskList {
    pub tasks: Vec<Task>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// The parameter of `TaskUnit.Cancel`: an object, or a plain name.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields, transform = crate::openrpc::or_plain_text)]
pub struct CancelRequest {
    pub name: String,
    /// Only this run; whichever is going on by default. Of its id, the part behind the first hyphen is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
}

/// What `TaskUnit.Cancel` did.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Cancelled {
    /// The run that was told to stop.
    pub run_id: String,
}

impl<'de> Deserialize<'de> for AddTask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        name_or_object(deserializer, Self::Name, |request| Self::Spec(Box::new(request)))
    }
}

impl Serialize for AddTask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(name) => name.serialize(serializer),
            Self::Spec(request) => request.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for DeleteTask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        name_or_object(deserializer, Self::Name, Self::Request)
    }
}

impl Serialize for DeleteTask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Name(name) => name.serialize(serializer),
            Self::Request(request) => request.serialize(serializer),
        }
    }
}

impl<T: Serialize> Serialize for Accepted<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::True => serializer.serialize_bool(true),
            Self::With(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Accepted<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TrueOrValue<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for TrueOrValue<T> {
            type Value = Accepted<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or an object")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
                if value { Ok(Accepted::True) } else { Err(E::invalid_value(de::Unexpected::Bool(value), &self)) }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map)).map(Accepted::With)
            }
        }

        deserializer.deserialize_any(TrueOrValue(std::marker::PhantomData))
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

also_plain_name!(GetRequest { effective: bool });
also_plain_name!(CancelRequest { run_id: Option<String> });
