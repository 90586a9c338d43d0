//! Definitions of tasks on the wire, and changes of them.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::PluginRef;

/// The most of a label's key that an error repeats, in characters; a key that a host accepts is no longer.
const MAX_TOLD_KEY_CHARS: usize = 63;

/// When a task runs. Exactly one of `every`, `delay`, `cron`, `at` and `manual` is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// A fixed rate, as a duration from `"10ms"` to ten years, anchored at the time of adding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// With `every`: what is added to the anchor, as a duration shorter than the interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// With `every`: whether the anchor is the Unix epoch, so that due times stand on the wall clock (of UTC).
    #[serde(default, skip_serializing_if = "is_false")]
    pub align: bool,
    /// So long after the end of the last run, as a duration from `"10ms"` to ten years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// A cron expression of 5 fields, or of 6 with seconds first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// With `cron`: an IANA time zone like `Europe/Berlin`; the host's by default, which then stands here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Once, at this time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Never by itself, only when it is told to.
    #[serde(default, skip_serializing_if = "is_false")]
    pub manual: bool,
}

/// A time between a due time and its run, so that many tasks with the same due time do not run at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jitter {
    /// At most so long, as a duration to `"1d"`.
    pub max: String,
    /// Whether it is the same for every due time of a task.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stable: bool,
}

/// When a run that failed is tried again, with the same run id. A member that is absent has its default.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// How many attempts a run has in all, 1 to 100; 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// How long before the second, as a duration; `"1s"` by default. Each further one waits twice as long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<String>,
    /// The longest wait, as a duration; `"5m"` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_backoff: Option<String>,
    /// After which outcomes; `error`, `trapped`, `timed_out`, `limit_exceeded` and `host_error` by default. With `abandoned`, a
    /// task runs at least once for each due time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Vec<String>>,
}

/// What a task may do beside computing and reading clocks and random numbers. Nothing by default; a member that is absent is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    /// Environment variables of the guest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "pairs")]
    pub env: BTreeMap<String, String>,
    /// Folders of the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dirs: Vec<Dir>,
    /// Where it may connect to, as `HOST:PORT`: HOST is a name, `*.` and a name, an address, a net like `10.0.0.0/8`, or `*`; PORT a
    /// number or `*`. Addresses that are not public are reached only where an address or a net names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Settings that the guest reads through `wasi:config`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "pairs")]
    pub config: BTreeMap<String, String>,
    /// Names of secrets of the host that the guest reads through `wasi:config`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Whether it has a key-value store of its own (`wasi:keyvalue`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub kv: bool,
}

/// A folder of the host as a guest sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dir {
    /// Its absolute path on the host.
    pub host: String,
    /// The name that it has for the guest.
    pub guest: String,
    /// Whether nothing in it can be changed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
}

/// Limits by name, each given once.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Limits(pub BTreeMap<String, u64>);

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Labels::deserialize(deserializer).map(|Labels(limits)| Self(limits))
    }
}

/// Declares the members of a definition once, for the four types that have them: whole, to add, as a patch, and to edit. What all
/// definitions have, and labels, whose values a patch can take away, stand in the macro.
macro_rules! definitions {
    ($($(#[$doc:meta])+ $member:ident: $type:ty,)+) => {
        /// The definition of a task. A member that is absent has its default, which `TaskUnit.Get` with `effective` shows.
        #[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Spec {
            /// 1 to 128 bytes.
            pub name: String,
            /// What it runs; the built-in `ticker` by default.
            #[serde(default)]
            pub plugin: PluginRef,
            $($(#[$doc])+
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub $member: Option<$type>,)+
            /// Free pairs to select tasks by.
            #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "labels")]
            pub labels: Option<BTreeMap<String, String>>,
        }

        /// The definition of a task to add, member for member a [`Spec`], with how to add it.
        #[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct AddRequest {
            /// 1 to 128 bytes.
            pub name: String,
            /// What it runs; the built-in `ticker` by default.
            #[serde(default)]
            pub plugin: PluginRef,
            $($(#[$doc])+
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub $member: Option<$type>,)+
            /// Free pairs to select tasks by.
            #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "labels")]
            pub labels: Option<BTreeMap<String, String>>,
            /// Whether the first due time is the time of adding, and not one interval later.
            #[serde(default, skip_serializing_if = "is_false")]
            pub now: bool,
            /// Whether a task of this name is edited to be exactly this, instead of being refused.
            #[serde(default, skip_serializing_if = "is_false")]
            pub replace: bool,
        }

        impl AddRequest {
            /// A task of this name with what the patch sets, and defaults for the rest.
            pub fn new(name: String, patch: Patch) -> Self {
                let labels = patch.labels.flatten().map(|labels| {
                    labels.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
                });
                Self {
                    name,
                    plugin: patch.plugin.unwrap_or_default(),
                    $($member: patch.$member.flatten(),)+
                    labels,
                    now: false,
                    replace: false,
                }
            }

            /// The definition alone.
            pub fn into_spec(self) -> Spec {
                Spec { name: self.name, plugin: self.plugin, $($member: self.$member,)+ labels: self.labels }
            }
        }

        /// What to change in a definition. An absent member stays, `null` takes its default again.
        #[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Patch {
            /// The plugin to run from the next run on; a run in progress finishes on the old one.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub plugin: Option<PluginRef>,
            $($(#[$doc])+
            #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
            pub $member: Option<Option<$type>>,)+
            /// Labels to set; `null` as a value takes the label away, `null` for the member takes all.
            #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given_labels")]
            pub labels: Option<Option<BTreeMap<String, Option<String>>>>,
        }

        /// The parameter of `TaskUnit.Edit`: a patch, member for member a [`Patch`], and of which task.
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
            $($(#[$doc])+
            #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
            pub $member: Option<Option<$type>>,)+
            /// Labels to set; `null` as a value takes the label away, `null` for the member takes all.
            #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given_labels")]
            pub labels: Option<Option<BTreeMap<String, Option<String>>>>,
        }

        impl EditRequest {
            /// A patch of one task.
            pub fn new(name: String, if_revision: Option<u64>, patch: Patch) -> Self {
                Self { name, if_revision, plugin: patch.plugin, $($member: patch.$member,)+ labels: patch.labels }
            }

            /// The patch alone.
            pub fn into_patch(self) -> Patch {
                Patch { plugin: self.plugin, $($member: self.$member,)+ labels: self.labels }
            }
        }
    };
}

definitions! {
    /// When it runs; `[{"every": "1s"}]` by default.
    schedules: Vec<Schedule>,
    /// No due time is before this one (RFC 3339).
    starts_at: String,
    /// Every due time is before this one (RFC 3339).
    expires_at: String,
    /// How many runs its schedules start, from 1; without end by default.
    max_runs: u64,
    /// How far due times are spread; not at all by default.
    jitter: Jitter,
    /// How long one attempt may take, as a duration; `"1m"` by default.
    timeout: String,
    /// How much linear memory one attempt may have; 128 MiB by default.
    memory_bytes: u64,
    /// What happens when a due time comes while a run is going on: `skip`, the default, `buffer_one`, `buffer_all`,
    /// `cancel_other`, `terminate_other` or `allow_all`.
    overlap: String,
    /// With `allow_all`: how many runs go on at once, 1 to 256; 16 by default.
    max_running: u32,
    /// With `buffer_all`: how many due times wait, 1 to 10,000; 100 by default.
    max_buffered: u32,
    /// What becomes of due times that passed while nothing could run them: `skip`, `run_once` or `run_all`. By default
    /// `run_once` for `cron` and `at`, `skip` for rates.
    missed: String,
    /// How far back due times are made up for, as a duration from `"1s"` to a year; `"1d"` by default.
    catchup_window: String,
    /// With `run_all`: how many due times are made up for after one standstill, 1 to 10,000; 100 by default.
    max_catchup: u32,
    /// When a run that failed is tried again; never by default.
    retry: Retry,
    /// After how many failed runs in a row the task is paused; never by default.
    pause_on_failure: u32,
    /// The task that runs when a run of this one has failed.
    on_failure: String,
    /// The task that runs when a run of this one succeeds after one that failed.
    on_recovery: String,
    /// The guest's arguments, without its own name.
    args: Vec<String>,
    /// What it may do beside computing; nothing by default. What a patch gives is all that it then has.
    grants: Grants,
    /// Limits other than `timeout` and `memory_bytes`, by name, like `{"log_lines": 100}`; those that are absent have their defaults,
    /// also after a patch.
    limits: Limits,
    /// Whether every attempt has an instance of its own, `fresh`, the default, or the next run gets the same one: `keep`.
    instance: String,
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

/// Reads pairs, each of which may be given once.
fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    Labels::deserialize(deserializer).map(|Labels(pairs)| pairs)
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
                f.write_str("an object of names and values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut labels = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if labels.contains_key(&key) {
                        let key: String = key.chars().take(MAX_TOLD_KEY_CHARS).collect();
                        return Err(de::Error::custom(format_args!("`{}` is given twice", key.escape_debug())));
                    }
                    labels.insert(key, map.next_value()?);
                }
                Ok(Labels(labels))
            }
        }

        deserializer.deserialize_map(Pairs(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: for<'de> Deserialize<'de> + fmt::Debug>(json: &str) -> String {
        serde_json::from_str::<T>(json).expect_err(json).to_string()
    }

    #[test]
    fn a_label_that_is_given_twice_is_refused() {
        let twice = r#"{"name": "a", "labels": {"x": "1", "y": "2", "x": "1"}}"#;
        for refusal in [refusal::<Spec>(twice), refusal::<AddRequest>(twice), refusal::<EditRequest>(twice)] {
            assert!(refusal.starts_with("`x` is given twice"), "{refusal}");
        }
        let taken_away = r#"{"name": "a", "labels": {"x": "1", "x": null}}"#;
        assert!(refusal::<EditRequest>(taken_away).starts_with("`x` is given twice"));
        let hostile = format!(r#"{{"name": "a", "labels": {{"{0}": "1", "{0}": "2"}}}}"#, "\\u001b".repeat(10_000));
        let refusal = refusal::<Spec>(&hostile);
        assert!(refusal.len() < 1_000 && !refusal.contains('\u{1b}'), "short, and safe to print: {refusal}");
    }

    #[test]
    fn a_limit_a_variable_or_a_setting_that_is_given_twice_is_refused() {
        for twice in [
            r#"{"name": "a", "limits": {"x": 1, "x": 2}}"#,
            r#"{"name": "a", "grants": {"env": {"x": "1", "x": "1"}}}"#,
            r#"{"name": "a", "grants": {"config": {"x": "1", "x": "1"}}}"#,
        ] {
            for refusal in [refusal::<Spec>(twice), refusal::<AddRequest>(twice), refusal::<EditRequest>(twice)] {
                assert!(refusal.starts_with("`x` is given twice"), "{refusal}");
            }
        }
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

    #[test]
    fn every_member_can_be_given_changed_and_reset() {
        let given = serde_json::json!({
            "name": "a", "plugin": {"builtin": "ticker"},
            "schedules": [
                {"every": "5m", "phase": "10s", "align": true}, {"delay": "1s"}, {"cron": "0 3 * * *", "timezone": "Europe/Berlin"},
                {"at": "2027-01-31T03:00:00Z"}, {"manual": true},
            ],
            "starts_at": "2027-01-01T00:00:00Z", "expires_at": "2028-01-01T00:00:00Z", "max_runs": 3,
            "jitter": {"max": "10s", "stable": true}, "timeout": "5s", "memory_bytes": 65536, "overlap": "buffer_all",
            "max_running": 2, "max_buffered": 3, "missed": "run_all", "catchup_window": "1h", "max_catchup": 4,
            "retry": {"attempts": 3, "backoff": "1s", "max_backoff": "1m", "on": ["error"]}, "pause_on_failure": 5,
            "on_failure": "b", "on_recovery": "c", "args": ["x"], "labels": {"team": "web"},
            "grants": {
                "env": {"A": "b"}, "dirs": [{"host": "/srv", "guest": "/data", "read_only": true}], "hosts": ["example.com:443"],
                "config": {"mode": "fast"}, "secrets": ["key"], "kv": true,
            },
            "limits": {"log_lines": 100, "cpu_ms": 5000}, "instance": "keep",
        });
        let spec: Spec = serde_json::from_value(given.clone()).expect("a definition");
        assert_eq!(serde_json::to_value(&spec).expect("JSON"), given);
        let add: AddRequest = serde_json::from_value(given.clone()).expect("a request");
        let edit: EditRequest = serde_json::from_value(given.clone()).expect("a request");
        assert_eq!(add, AddRequest::new("a".into(), edit.clone().into_patch()));
        assert_eq!(add.into_spec(), spec);
        assert_eq!(serde_json::to_value(EditRequest::new("a".into(), None, edit.into_patch())).expect("JSON"), given);

        let resets =
            given.as_object().expect("an object").keys().filter(|key| !["name", "plugin"].contains(&key.as_str()));
        let resets: serde_json::Value = resets.map(|key| (key.clone(), serde_json::Value::Null)).collect();
        let patch: Patch = serde_json::from_value(resets.clone()).expect("a patch");
        assert_eq!(serde_json::to_value(patch).expect("JSON"), resets, "`null` is told from an absent member");
    }

    #[test]
    fn what_is_no_member_is_refused() {
        for (json, told) in [
            (r#"{"name": "a", "schedules": [{"evry": "1s"}]}"#, "unknown field `evry`"),
            (r#"{"name": "a", "jitter": {"max": "1s", "sable": true}}"#, "unknown field `sable`"),
            (r#"{"name": "a", "retry": {"atempts": 1}}"#, "unknown field `atempts`"),
            (r#"{"name": "a", "overlop": "skip"}"#, "unknown field `overlop`"),
            (r#"{"name": "a", "grants": {"network": true}}"#, "unknown field `network`"),
            (r#"{"name": "a", "grants": {"dirs": [{"host": "/", "guest": "/", "ro": true}]}}"#, "unknown field `ro`"),
        ] {
            for refusal in [refusal::<Spec>(json), refusal::<AddRequest>(json), refusal::<EditRequest>(json)] {
                assert!(refusal.starts_with(told), "{json}: {refusal}");
            }
        }
    }
}
