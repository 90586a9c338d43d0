//! Tasks on the wire.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::{PluginRef, Run};

/// The most of a label's key that an error repeats, in characters; a key that a host accepts is no longer.
const MAX_TOLD_KEY_CHARS: usize = 63;

/// The definition of a task. A member that is absent has its default, which `TaskUnit.Get` with `effective` shows.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// 1 to 128 bytes.
    pub name: String,
    /// What it runs; the built-in `ticker` by default.
    #[serde(default)]
    pub plugin: PluginRef,
    /// When it runs; `[{"every": "1s"}]` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedules: Option<Vec<Schedule>>,
    /// How long one attempt may take, as a duration; `"1m"` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// How much linear memory one attempt may have; 128 MiB by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// What happens when a due time comes while a run is going on: `"skip"`, the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
    /// Free pairs to select tasks by.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "labels")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The guest's arguments, without its own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
}

/// When a task runs. Exactly one member is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// A fixed rate, as a duration from `"10ms"` to ten years, anchored at the time of adding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
}

/// A task as the host has it.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Task {
    /// Its definition.
    pub spec: Spec,
    /// 1 when it was added; one more with every edit.
    pub revision: u64,
    /// `idle`, `running` or `paused`.
    pub state: String,
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
    /// Why the task can't run, when it can't: its plugin's file is damaged, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
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

/// The definition of a task to add, member for member a [`Spec`], with how to add it.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRequest {
    pub name: String,
    #[serde(default)]
    pub plugin: PluginRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedules: Option<Vec<Schedule>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "labels")]
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Vec<String>>,
    /// Whether the first due time is the time of adding, and not one interval later.
    #[serde(default, skip_serializing_if = "is_false")]
    pub now: bool,
    /// Whether a task of this name is edited to be exactly this, instead of being refused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub replace: bool,
}

impl AddRequest {
    /// The definition alone.
    pub fn into_spec(self) -> Spec {
        let Self { name, plugin, schedules, timeout, memory_bytes, overlap, labels, args, now: _, replace: _ } = self;
        Spec { name, plugin, schedules, timeout, memory_bytes, overlap, labels, args }
    }
}

/// The parameter of `TaskUnit.Edit`: a patch. An absent member stays, `null` takes its default again.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditRequest {
    /// The task.
    pub name: String,
    /// Refuse unless the task has this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
    /// The plugin to run from the next run on; a run in progress finishes on the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginRef>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub schedules: Option<Option<Vec<Schedule>>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub timeout: Option<Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub memory_bytes: Option<Option<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub overlap: Option<Option<String>>,
    /// Labels to set; `null` as a value takes the label away, `null` for the member takes all.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given_labels")]
    pub labels: Option<Option<BTreeMap<String, Option<String>>>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub args: Option<Option<Vec<String>>>,
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
    /// Only this run; whichever is going on by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
}

/// What `TaskUnit.Cancel` did.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Cancelled {
    /// The run that was told to stop.
    pub run_id: String,
}

pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

/// Tells `null` (given, empty) from an absent member (not given).
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

/// Reads labels, each of which may be given once: which of two was meant, nobody can tell.
fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<BTreeMap<String, String>>, D::Error> {
    Ok(Option::<Labels<_>>::deserialize(deserializer)?.map(|Labels(labels)| labels))
}

/// What [`given`] is for labels.
fn given_labels<'de, D, V>(deserializer: D) -> Result<Option<Option<BTreeMap<String, V>>>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    Ok(Some(Option::<Labels<V>>::deserialize(deserializer)?.map(|Labels(labels)| labels)))
}

/// Pairs whose keys all differ. A plain map would take the last of several, silently.
struct Labels<V>(BTreeMap<String, V>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Labels<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<V>(std::marker::PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Pairs<V> {
            type Value = Labels<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut labels = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if labels.contains_key(&key) {
                        let key: String = key.chars().take(MAX_TOLD_KEY_CHARS).collect();
                        return Err(de::Error::custom(format_args!("duplicate label `{}`", key.escape_debug())));
                    }
                    labels.insert(key, map.next_value()?);
                }
                Ok(Labels(labels))
            }
        }

        deserializer.deserialize_map(Pairs(std::marker::PhantomData))
    }
}

/// Reads a parameter that is a plain name or an object.
pub(crate) fn name_or_object<'de, D, T, O>(
    deserializer: D,
    from_name: fn(String) -> T,
    from_object: fn(O) -> T,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    O: Deserialize<'de>,
{
    struct NameOrObject<T, O>(fn(String) -> T, fn(O) -> T);

    impl<'de, T, O: Deserialize<'de>> Visitor<'de> for NameOrObject<T, O> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a task's name or an object")
        }

        fn visit_str<E: de::Error>(self, name: &str) -> Result<T, E> {
            Ok((self.0)(name.to_owned()))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            O::deserialize(de::value::MapAccessDeserializer::new(map)).map(self.1)
        }
    }

    deserializer.deserialize_any(NameOrObject(from_name, from_object))
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

/// Declares the object half of a parameter that may also be a plain name, and its `Deserialize`.
macro_rules! also_plain_name {
    ($request:ident { $($(#[$attribute:meta])* $member:ident: $type:ty),* $(,)? }) => {
        impl<'de> serde::Deserialize<'de> for $request {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Object {
                    name: String,
                    $($(#[$attribute])* #[serde(default)] $member: $type,)*
                }
                $crate::task::name_or_object(
                    deserializer,
                    |name| Self { name, ..Self::default() },
                    |object: Object| Self { name: object.name, $($member: object.$member,)* },
                )
            }
        }
    };
}
pub(crate) use also_plain_name;

also_plain_name!(GetRequest { effective: bool });
also_plain_name!(CancelRequest { run_id: Option<String> });

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: for<'de> Deserialize<'de> + fmt::Debug>(json: &str) -> String {
        serde_json::from_str::<T>(json).expect_err(json).to_string()
    }

    #[test]
    fn a_label_that_is_given_twice_is_refused() {
        let twice = r#"{"name": "a", "labels": {"x": "1", "y": "2", "x": "1"}}"#;
        for refusal in [refusal::<Spec>(twice), refusal::<AddTask>(twice), refusal::<EditRequest>(twice)] {
            assert!(refusal.starts_with("duplicate label `x`"), "{refusal}");
        }
        let taken_away = r#"{"name": "a", "labels": {"x": "1", "x": null}}"#;
        assert!(refusal::<EditRequest>(taken_away).starts_with("duplicate label `x`"));
        let hostile = format!(r#"{{"name": "a", "labels": {{"{0}": "1", "{0}": "2"}}}}"#, "\\u001b".repeat(10_000));
        let refusal = refusal::<Spec>(&hostile);
        assert!(refusal.len() < 1_000 && !refusal.contains('\u{1b}'), "short, and safe to print: {refusal}");
    }

    #[test]
    fn no_labels_are_told_from_labels_that_are_not_given() {
        let edit = |json: &str| serde_json::from_str::<EditRequest>(json).expect(json).labels;
        assert_eq!(edit(r#"{"name": "a"}"#), None);
        assert_eq!(edit(r#"{"name": "a", "labels": null}"#), Some(None));
        assert_eq!(edit(r#"{"name": "a", "labels": {}}"#), Some(Some(BTreeMap::new())));
        let change = BTreeMap::from([("x".to_owned(), Some("1".to_owned())), ("y".to_owned(), None)]);
        assert_eq!(edit(r#"{"name": "a", "labels": {"x": "1", "y": null}}"#), Some(Some(change)));
        let spec = |json: &str| serde_json::from_str::<Spec>(json).expect(json).labels;
        assert_eq!(spec(r#"{"name": "a"}"#), None);
        assert_eq!(spec(r#"{"name": "a", "labels": null}"#), None);
    }
}
