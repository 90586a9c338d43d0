//! The OpenRPC document that `rpc.discover` answers with, made from one table of methods.
//!
//! Schemas come from the wire types themselves, so that they can't drift from what is read and written; that the table
//! has exactly the methods that are served is a test of the daemon's. Subscriptions are no part of OpenRPC and stand
//! under `x-subscription`.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use crate::{
    Accepted, AddRequest, AddTask, Applied, ApplyRequest, BackfillRequest, Backfilled, BulkDone, BulkRequest,
    CancelRequest, Cancelled, Changes, ChangesRequest, DeleteRequest, DeleteTask, Deleted, EditRequest, ErrorCode,
    ErrorData, Event, Explanation, GetRequest, HostInfo, KeyValueEntry, KeyValueGetRequest, KeyValueList,
    KeyValueListRequest, KeyValueRemoveRequest, KeyValueRemoved, KeyValueSetRequest, ListRequest, Logs, LogsRequest,
    NextDue, NextRequest, PauseRequest, PluginChunk, PluginChunkReceived, PluginDeleted, PluginHas, PluginInfo,
    PluginList, PluginPruned, PluginSelector, ResumeRequest, RunRequest, Runs, RunsRequest, Started, Task, TaskList,
    WatchRequest, WhyRequest,
};

/// The version of OpenRPC that the document follows.
const OPENRPC_VERSION: &str = "1.3.2";

/// Makes the schema of a type, and of those that it holds, in the generator's definitions.
type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

/// One method of the table.
struct Method {
    name: &'static str,
    summary: &'static str,
    /// Its one parameter, if it takes any.
    parameter: Option<Parameter>,
    /// What it answers; of a subscription, its id.
    result: MakeSchema,
    /// Only those that are its own; any method may answer with [`ANYWHERE`].
    errors: &'static [ErrorCode],
    /// Of a subscription.
    subscription: Option<Subscription>,
}

struct Parameter {
    name: &'static str,
    schema: MakeSchema,
    /// Whether it can't be left out; left out, it is `{}`.
    required: bool,
}

struct Subscription {
    unsubscribe: &'static str,
    item: MakeSchema,
}

/// What any call may be answered with.
const ANYWHERE: &[ErrorCode] = &[
    ErrorCode::ParseError,
    ErrorCode::InvalidRequest,
    ErrorCode::InvalidParams,
    ErrorCode::Internal,
    ErrorCode::NotPermitted,
    ErrorCode::TooLarge,
    ErrorCode::Busy,
    ErrorCode::ShuttingDown,
];

const fn method(name: &'static str, summary: &'static str, result: MakeSchema, errors: &'static [ErrorCode]) -> Method {
    Method { name, summary, parameter: None, result, errors, subscription: None }
}

impl Method {
    const fn takes(mut self, name: &'static str, schema: MakeSchema) -> Self {
        self.parameter = Some(Parameter { name, schema, required: true });
        self
    }

    const fn may_take(mut self, name: &'static str, schema: MakeSchema) -> Self {
        self.parameter = Some(Parameter { name, schema, required: false });
        self
    }

    const fn sends(mut self, item: MakeSchema, unsubscribe: &'static str) -> Self {
        self.subscription = Some(Subscription { unsubscribe, item });
        self
    }
}

const METHODS: &[Method] = {
    use ErrorCode::*;
    &[
        method(
            "TaskUnit.Add",
            "Adds a task, durable and running when this answers. `true` when called with a plain name, else the task.",
            schema::<Accepted<Task>>,
            &[TaskExists, SpecInvalid, PluginInvalid, PluginNotFound, StorageFailed, StorageFull],
        )
        .takes("task", schema::<AddTask>),
        method(
            "TaskUnit.Edit",
            "Changes the given members of a task's definition; its phase and history stay.",
            schema::<Task>,
            &[
                TaskNotFound,
                RevisionConflict,
                SpecInvalid,
                PluginInvalid,
                PluginNotFound,
                StorageFailed,
                StorageFull,
            ],
        )
        .takes("patch", schema::<EditRequest>),
        method(
            "TaskUnit.Delete",
            "Deletes a task; no run of it starts after this has answered. `true` when called with a plain name.",
            schema::<Accepted<Deleted>>,
            &[TaskNotFound, SpecInvalid, StorageFailed, StorageFull],
        )
        .takes("task", schema::<DeleteTask>),
        method("TaskUnit.Get", "One task.", schema::<Task>, &[TaskNotFound, SpecInvalid])
            .takes("task", schema::<GetRequest>),
        method("TaskUnit.List", "The tasks in order of name, a page at a time.", schema::<TaskList>, &[])
            .may_take("filter", schema::<ListRequest>),
        method(
            "TaskUnit.Pause",
            "Pauses a task: no due time of it runs until it is resumed. One that is paused stays paused.",
            schema::<Task>,
            &[TaskNotFound, SpecInvalid, StorageFailed, StorageFull],
        )
        .takes("task", schema::<PauseRequest>),
        method(
            "TaskUnit.Resume",
            "Lets a paused task go on; its phase stays. One that is not paused stays as it is.",
            schema::<Task>,
            &[TaskNotFound, SpecInvalid, StorageFailed, StorageFull],
        )
        .takes("task", schema::<ResumeRequest>),
        method(
            "TaskUnit.Bulk",
            "Does the same with many tasks: with all of them or, if one can't be, with none; the error names that one.",
            schema::<BulkDone>,
            &[
                TaskNotFound,
                RunInProgress,
                RevisionConflict,
                SpecInvalid,
                PluginInvalid,
                PluginNotFound,
                StorageFailed,
                StorageFull,
            ],
        )
        .takes("action", schema::<BulkRequest>),
        method(
            "TaskUnit.Apply",
            "Makes tasks exactly as given: all of them or, if one can't be, none; the error names that one.",
            schema::<Applied>,
            &[RevisionConflict, SpecInvalid, PluginInvalid, PluginNotFound, StorageFailed, StorageFull],
        )
        .takes("tasks", schema::<ApplyRequest>),
        method(
            "TaskUnit.Run",
            "Runs a task once, now, beside its schedules.",
            schema::<Started>,
            &[TaskNotFound, SpecInvalid, RunInProgress],
        )
        .takes("task", schema::<RunRequest>),
        method(
            "TaskUnit.Cancel",
            "Cancels the run that is going on: tells the guest, and stops it hard after the cancel grace.",
            schema::<Cancelled>,
            &[TaskNotFound, SpecInvalid, RunNotFound],
        )
        .takes("task", schema::<CancelRequest>),
        method(
            "TaskUnit.Runs",
            "The last runs of a task, newest first.",
            schema::<Runs>,
            &[TaskNotFound, SpecInvalid, StorageFailed],
        )
        .takes("task", schema::<RunsRequest>),
        method(
            "TaskUnit.Backfill",
            "Runs the due times that a task had, or would have had, in a stretch of time, one after the other.",
            schema::<Backfilled>,
            &[TaskNotFound, SpecInvalid, StorageFailed, StorageFull],
        )
        .takes("backfill", schema::<BackfillRequest>),
        method(
            "TaskUnit.Changes",
            "The last changes of a task, newest first.",
            schema::<Changes>,
            &[TaskNotFound, SpecInvalid, StorageFailed],
        )
        .takes("task", schema::<ChangesRequest>),
        method(
            "TaskUnit.Why",
            "Why a task ran at a time, or did not.",
            schema::<Explanation>,
            &[TaskNotFound, SpecInvalid, StorageFailed],
        )
        .takes("task", schema::<WhyRequest>),
        method(
            "TaskUnit.Next",
            "The due times to come, of a task or of schedules that no task has yet.",
            schema::<NextDue>,
            &[TaskNotFound, SpecInvalid],
        )
        .takes("of", schema::<NextRequest>),
        method(
            "TaskUnit.Logs",
            "The last log lines of a task, oldest first.",
            schema::<Logs>,
            &[TaskNotFound, SpecInvalid, StorageFailed],
        )
        .takes("task", schema::<LogsRequest>),
        method(
            "TaskUnit.Watch",
            "Events as they happen, until unsubscribed. A subscriber that reads too slowly is told how many it lost.",
            schema::<u64>,
            &[SpecInvalid],
        )
        .may_take("filter", schema::<WatchRequest>)
        .sends(schema::<Event>, "TaskUnit.Unwatch"),
        method(
            "TaskUnit.Unwatch",
            "Ends a subscription. Whether there was one.",
            schema::<bool>,
            &[],
        )
        .takes("subscription", schema::<u64>),
        method(
            "Plugin.Put",
            "Sends a piece of a plugin. The last one compiles and stores it; an interrupted upload goes on at `received`.",
            schema::<PluginChunkReceived>,
            &[PluginInvalid, StorageFailed, StorageFull],
        )
        .takes("piece", schema::<PluginChunk>),
        method("Plugin.Has", "Whether a plugin is stored and can be run.", schema::<PluginHas>, &[StorageFailed])
            .takes("plugin", schema::<PluginSelector>),
        method(
            "Plugin.Get",
            "One plugin, by sha256 (or a unique beginning of it) or by the name of a built-in one.",
            schema::<PluginInfo>,
            &[PluginNotFound, StorageFailed],
        )
        .takes("plugin", schema::<PluginSelector>),
        method("Plugin.List", "Every plugin, in order of sha256.", schema::<PluginList>, &[StorageFailed]),
        method(
            "Plugin.Delete",
            "Deletes a plugin that no task uses.",
            schema::<PluginDeleted>,
            &[PluginNotFound, PluginInUse, StorageFailed, StorageFull],
        )
        .takes("plugin", schema::<PluginSelector>),
        method(
            "Plugin.Prune",
            "Deletes every plugin that no task uses.",
            schema::<PluginPruned>,
            &[StorageFailed, StorageFull],
        ),
        method(
            "KeyValue.List",
            "The keys of a task, a page at a time, and how much of its quota it uses.",
            schema::<KeyValueList>,
            &[TaskNotFound, SpecInvalid, StorageFailed],
        )
        .takes("task", schema::<KeyValueListRequest>),
        method("KeyValue.Get", "One value.", schema::<KeyValueEntry>, &[TaskNotFound, KeyNotFound, SpecInvalid, StorageFailed])
            .takes("key", schema::<KeyValueGetRequest>),
        method(
            "KeyValue.Set",
            "Sets a value, durable and seen by the task's runs when this answers. Always `true`.",
            schema::<bool>,
            &[TaskNotFound, QuotaExceeded, SpecInvalid, StorageFailed, StorageFull],
        )
        .takes("value", schema::<KeyValueSetRequest>),
        method(
            "KeyValue.Remove",
            "Removes keys with their values, all in one change.",
            schema::<KeyValueRemoved>,
            &[TaskNotFound, SpecInvalid, StorageFailed, StorageFull],
        )
        .takes("keys", schema::<KeyValueRemoveRequest>),
        method("Host.Info", "What the host is and how it does.", schema::<HostInfo>, &[]),
        method(
            "rpc.discover",
            "This document: every method with its parameters and answer, as OpenRPC.",
            schema::<Map<String, Value>>,
            &[],
        ),
    ]
};

/// The document, of a host of this version.
pub fn document(version: &str) -> Value {
    let mut generator = SchemaSettings::draft07()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let methods: Vec<Value> = METHODS.iter().map(|method| describe(method, &mut generator)).collect();
    let error_data = generator.subschema_for::<ErrorData>();
    let errors: Map<String, Value> =
        ErrorCode::ALL.iter().map(|code| (code.name().to_owned(), describe_error(*code, &error_data))).collect();
    json!({
        "openrpc": OPENRPC_VERSION,
        "info": {
            "title": "taskhost",
            "description": "Tasks added, edited and deleted live, each a sandboxed WebAssembly plugin.",
            "version": version,
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "methods": methods,
        "components": { "schemas": generator.take_definitions(true), "errors": errors },
    })
}

/// The names of all methods in the document, that of unsubscribing included.
pub fn method_names() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|method| method.name)
}

fn describe(method: &Method, generator: &mut SchemaGenerator) -> Value {
    let params: Vec<Value> = method
        .parameter
        .iter()
        .map(|parameter| {
            let schema = (parameter.schema)(generator);
            json!({ "name": parameter.name, "required": parameter.required, "schema": schema })
        })
        .collect();
    let errors: Vec<Value> = ANYWHERE
        .iter()
        .chain(method.errors)
        .map(|code| json!({ "$ref": format!("#/components/errors/{}", code.name()) }))
        .collect();
    let mut description = json!({
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "by-position",
        "params": params,
        "result": { "name": "result", "schema": (method.result)(generator) },
        "errors": errors,
    });
    if let Some(subscription) = &method.subscription {
        description["x-subscription"] = json!({
            "notification": method.name,
            "unsubscribe": subscription.unsubscribe,
            "item": (subscription.item)(generator),
        });
    }
    description
}

fn describe_error(code: ErrorCode, data: &Schema) -> Value {
    json!({ "code": code.number(), "message": code.meaning(), "data": data })
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Lets a parameter also be plain text: the member that it can't do without.
pub(crate) fn or_plain_text(schema: &mut Schema) {
    let object = std::mem::take(schema);
    *schema = json_schema!({ "anyOf": [{ "type": "string" }, object] });
}

impl JsonSchema for AddTask {
    fn schema_name() -> Cow<'static, str> {
        "AddTask".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let request = generator.subschema_for::<AddRequest>();
        json_schema!({ "anyOf": [{ "type": "string" }, request] })
    }
}

impl JsonSchema for DeleteTask {
    fn schema_name() -> Cow<'static, str> {
        "DeleteTask".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let request = generator.subschema_for::<DeleteRequest>();
        json_schema!({ "anyOf": [{ "type": "string" }, request] })
    }
}

impl<T: JsonSchema> JsonSchema for Accepted<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Accepted{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "const": true }, value] })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_is_the_one_that_clients_were_made_from() {
        let document = serde_json::to_string_pretty(&document("0.0.0")).expect("a document is JSON");
        insta::assert_snapshot!(document);
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document("0.0.0");
        let mut references = BTreeSet::new();
        collect_references(&document, &mut references);
        assert!(references.len() > ErrorCode::ALL.len(), "only {} references", references.len());
        for reference in references {
            let pointer = reference.strip_prefix('#').expect("a reference into the document");
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn the_error_table_in_the_docs_is_the_one_in_the_code() {
        let page = include_str!("../../../docs/errors.md");
        let rows: Vec<&str> =
            page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Code")).collect();
        let expected: Vec<String> = ErrorCode::ALL
            .iter()
            .map(|code| format!("| {} | `{}` | {} |", code.number(), code.name(), code.meaning()))
            .collect();
        assert_eq!(rows, expected, "the table of docs/errors.md, row by row");
    }

    fn collect_references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match member {
                        Value::String(reference) if name == "$ref" => drop(found.insert(reference.clone())),
                        _ => collect_references(member, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect_references(item, found)),
            _ => {}
        }
    }
}
