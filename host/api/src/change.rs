//! Changes of tasks on the wire: of one by hand, of many at once, to what a file says, and those that were made.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plain::also_plain_name;
use crate::spec::{Patch, Spec, is_false};
use crate::task::DeleteMode;

/// The parameter of `TaskUnit.Pause`: an object, or a plain name.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields, transform = crate::openrpc::or_plain_text)]
pub struct PauseRequest {
    pub name: String,
    /// Why, for those who find it paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When it goes on by itself (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

also_plain_name!(PauseRequest { note: Option<String>, until: Option<String> });

/// The parameter of `TaskUnit.Resume`: an object, or a plain name.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields, transform = crate::openrpc::or_plain_text)]
pub struct ResumeRequest {
    pub name: String,
}

also_plain_name!(ResumeRequest {});

/// The parameter of `TaskUnit.Bulk`: one action on many tasks, on all of them or, if one can't be, on none.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BulkRequest {
    /// The tasks with these labels: `team=web,env!=dev,owner,!legacy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// All tasks. Exactly one of `selector` and `all` is given.
    #[serde(default, skip_serializing_if = "is_false")]
    pub all: bool,
    /// Whether nothing is done: the answer says what would be.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
    pub action: BulkAction,
}

/// What to do with each task. Exactly one member.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BulkAction {
    /// As `TaskUnit.Edit`.
    Edit(Box<Patch>),
    /// As `TaskUnit.Pause`.
    Pause {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<String>,
    },
    /// As `TaskUnit.Resume`.
    Resume {},
    /// As `TaskUnit.Run` without waiting.
    Run {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        overlap: Option<String>,
    },
    /// As `TaskUnit.Delete`.
    Delete {
        #[serde(default)]
        mode: DeleteMode,
    },
}

/// What `TaskUnit.Bulk` did, or would do.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct BulkDone {
    /// The tasks that were picked, in order of name.
    pub tasks: Vec<String>,
    /// How many of them it changed: one that is paused already is no change.
    pub changed: u64,
    pub dry_run: bool,
}

/// The parameter of `TaskUnit.Apply`: tasks to be exactly as given, all of them or, if one can't be, none.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyRequest {
    /// At most 10,000, each under a name of its own. One that exists is edited and keeps its phase and history.
    pub tasks: Vec<Spec>,
    /// Whether tasks that are not among them are deleted.
    #[serde(default, skip_serializing_if = "is_false")]
    pub prune: bool,
    /// With `prune`: only tasks with these labels are deleted; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Whether nothing is done: the answer says what would be.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

/// What `TaskUnit.Apply` did, or would do.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Applied {
    /// In order of name, those that stay as they are among them.
    pub changes: Vec<TaskChange>,
    /// Whether it was done, and not only asked for.
    pub applied: bool,
}

/// What became, or would become, of one task.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct TaskChange {
    pub task: String,
    pub kind: TaskChangeKind,
    /// Of an edit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diff: Vec<Difference>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskChangeKind {
    Add,
    Edit,
    Delete,
    Unchanged,
}

/// A member of a definition that is not what it was.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Difference {
    /// Its name; of a label `labels.KEY`, of a limit `limits.NAME`, of what is granted `grants.hosts`, `grants.env.NAME` and so on.
    pub member: String,
    /// What it was; absent if it had its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<serde_json::Value>,
    /// What it is; absent if it has its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<serde_json::Value>,
}

/// The parameter of `TaskUnit.Changes`: an object, or a plain name.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
#[schemars(deny_unknown_fields, transform = crate::openrpc::or_plain_text)]
pub struct ChangesRequest {
    pub name: String,
    /// At most this many, 1 to 1000; 20 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

also_plain_name!(ChangesRequest { limit: Option<u32> });

/// The last changes of a task, newest first.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Changes {
    pub changes: Vec<Change>,
}

/// A change of a task: what made a revision of it.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct Change {
    /// The revision that it made.
    pub revision: u64,
    pub at: Timestamp,
    /// Who made it: `uid 1000`, or `the host`.
    pub by: String,
    pub kind: ChangeKind,
    /// Of an edit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diff: Vec<Difference>,
    /// Of a pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    Add,
    Edit,
    Pause,
    Resume,
    Delete,
}

impl Spec {
    /// What is different in `to`, member by member.
    pub fn differences(&self, to: &Self) -> Vec<Difference> {
        let (mut from, mut to) = (members(self), members(to));
        let mut names: Vec<String> = from.keys().chain(to.keys()).cloned().collect();
        names.sort_unstable();
        names.dedup();
        let differences = names.into_iter().map(|member| {
            let (from, to) = (from.remove(&member), to.remove(&member));
            Difference { member, from, to }
        });
        differences.filter(|difference| difference.from != difference.to).collect()
    }
}

/// The members of a definition as the wire has them; of those that hold pairs, each pair as one of them.
fn members(spec: &Spec) -> serde_json::Map<String, serde_json::Value> {
    let serde_json::Value::Object(mut members) = serde_json::to_value(spec).expect("a definition has text for keys")
    else {
        unreachable!("a struct is an object")
    };
    // The outer ones first.
    for holder in ["labels", "limits", "grants", "grants.env", "grants.config"] {
        if let Some(serde_json::Value::Object(pairs)) = members.remove(holder) {
            members.extend(pairs.into_iter().map(|(key, value)| (format!("{holder}.{key}"), value)));
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(value: serde_json::Value) -> Spec {
        serde_json::from_value(value).expect("a definition")
    }

    #[test]
    fn definitions_differ_member_by_member_and_label_by_label() {
        let old = spec(json!({"name": "a", "timeout": "5s", "max_runs": 3, "labels": {"team": "web", "old": "1"}}));
        let new = spec(json!({"name": "a", "timeout": "9s", "overlap": "skip", "labels": {"team": "web", "new": ""}}));
        let told = serde_json::to_value(old.differences(&new)).expect("values");
        assert_eq!(
            told,
            json!([
                {"member": "labels.new", "to": ""},
                {"member": "labels.old", "from": "1"},
                {"member": "max_runs", "from": 3},
                {"member": "overlap", "to": "skip"},
                {"member": "timeout", "from": "5s", "to": "9s"},
            ])
        );
        assert_eq!(old.differences(&old), []);
    }

    #[test]
    fn limits_and_grants_differ_one_by_one() {
        let old = spec(json!({
            "name": "a", "limits": {"log_lines": 5, "cpu_ms": 1},
            "grants": {"env": {"A": "1", "B": "2"}, "hosts": ["a.example:1"], "kv": true},
        }));
        let new = spec(json!({
            "name": "a", "limits": {"log_lines": 6}, "grants": {"env": {"A": "1"}, "hosts": ["a.example:1", "b.example:1"]},
        }));
        let told = serde_json::to_value(old.differences(&new)).expect("values");
        assert_eq!(
            told,
            json!([
                {"member": "grants.env.B", "from": "2"},
                {"member": "grants.hosts", "from": ["a.example:1"], "to": ["a.example:1", "b.example:1"]},
                {"member": "grants.kv", "from": true},
                {"member": "limits.cpu_ms", "from": 1},
                {"member": "limits.log_lines", "from": 5, "to": 6},
            ])
        );
    }

    #[test]
    fn an_action_is_named_and_takes_only_what_is_its_own() {
        let read = |json: &str| serde_json::from_str::<BulkRequest>(json);
        let request = read(r#"{"selector": "team=web", "action": {"edit": {"timeout": null}}}"#).expect("a request");
        let patch = Patch { timeout: Some(None), ..Patch::default() };
        assert_eq!(request.action, BulkAction::Edit(Box::new(patch)));
        let delete = read(r#"{"all": true, "action": {"delete": {}}}"#).expect("a request");
        assert_eq!(delete.action, BulkAction::Delete { mode: DeleteMode::Cancel });
        let resume = BulkRequest { selector: None, all: true, dry_run: false, action: BulkAction::Resume {} };
        assert_eq!(serde_json::to_value(resume).expect("JSON"), json!({"all": true, "action": {"resume": {}}}));
        for (json, told) in [
            (r#"{"all": true, "action": {"resume": {"note": "x"}}}"#, "unknown field `note`"),
            (r#"{"all": true, "action": {"edit": {"name": "x"}}}"#, "unknown field `name`"),
            (r#"{"all": true, "action": {"delete": {}, "run": {}}}"#, "expected"),
            (r#"{"all": true}"#, "missing field `action`"),
        ] {
            let refusal = read(json).expect_err(json).to_string();
            assert!(refusal.contains(told), "{json}: {refusal}");
        }
    }
}
