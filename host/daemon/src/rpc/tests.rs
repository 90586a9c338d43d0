//! The handlers over a real supervisor, engine and store, without a wire.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jsonrpsee::core::EmptyServerParams;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::{Value, json};
use sha2::Digest;
use taskhost_api::{ErrorCode, GetRequest, openrpc};

use super::gets::Gets;
use super::*;
use crate::stream::Tasks;
use crate::testing::TestHost;

/// A preview-1 command that does nothing.
const NOTHING: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

/// What is called, as somebody.
struct Api {
    methods: Methods,
    test: TestHost,
}

impl Api {
    async fn start() -> Self {
        let test = TestHost::start().await;
        let about = Arc::new(About { started_at: Timestamp::now(), listen: vec!["127.0.0.1:3333".to_owned()] });
        let rpc = Rpc {
            host: test.host.clone(),
            uploads: test.uploads.clone(),
            key_values: Arc::clone(&test.key_values),
            about,
        };
        let mut methods = rpc.into_methods().expect("names differ");
        methods.extensions_mut().insert(Caller { uid: 7 });
        Self { methods, test }
    }

    /// Calls a method with one parameter.
    async fn call(&self, method: &str, parameter: Value) -> Result<Value, ErrorObjectOwned> {
        match self.methods.call(method, [parameter]).await {
            Ok(answer) => Ok(answer),
            Err(jsonrpsee::MethodsError::JsonRpc(error)) => Err(error),
            Err(error) => panic!("{method}: {error}"),
        }
    }

    async fn refused(&self, method: &str, parameter: Value) -> (ErrorCode, String) {
        let error = self.call(method, parameter).await.expect_err("a refusal");
        (ErrorCode::from_number(error.code()).expect("a code of the table"), error.message().to_owned())
    }

    async fn stored_plugins(&self) -> BTreeSet<String> {
        let list: Value = self.methods.call("Plugin.List", EmptyServerParams::new()).await.expect("a list");
        let plugins = list["plugins"].as_array().expect("plugins");
        let stored = plugins.iter().filter(|plugin| plugin.get("builtin").is_none());
        stored.map(|plugin| plugin["sha256"].as_str().expect("text").to_owned()).collect()
    }
}

/// The answer to one call of those that get tasks together.
async fn got(gets: &Gets, name: &str, effective: bool) -> Result<Arc<str>, ErrorObjectOwned> {
    let mut parts = gets.get(vec![GetRequest { name: name.to_owned(), effective }]);
    assert_eq!(parts.len(), 1, "one call has one answer");
    let (at, answer) = parts.remove(0).await.remove(0);
    assert_eq!(at, 0);
    answer
}

fn sha256_of(text: &str) -> String {
    taskhost_core::plugin::Sha256(sha2::Sha256::digest(text).into()).to_string()
}

#[tokio::test]
async fn the_document_has_exactly_the_methods_that_are_served() {
    let api = Api::start().await;
    let served: BTreeSet<&str> = api.methods.method_names().collect();
    let documented: BTreeSet<&str> = openrpc::method_names().collect();
    assert_eq!(documented, served);
    api.test.stop().await;
}

#[tokio::test]
async fn a_plain_name_is_answered_with_true_and_a_definition_with_the_task() {
    let api = Api::start().await;
    assert_eq!(api.call("TaskUnit.Add", json!("a")).await.expect("added"), json!(true));
    let spec = json!({ "name": "b", "schedules": [{ "every": "1h30m" }], "labels": { "team": "web" } });
    let task = api.call("TaskUnit.Add", spec).await.expect("added");
    assert_eq!(
        task["spec"],
        json!({
            "name": "b",
            "plugin": { "builtin": "ticker" },
            "schedules": [{ "every": "1h30m" }],
            "labels": { "team": "web" },
        })
    );
    assert_eq!((&task["revision"], &task["state"]), (&json!(1), &json!("idle")));
    assert_eq!(api.call("TaskUnit.Delete", json!("a")).await.expect("deleted"), json!(true));
    let gone = json!({ "name": "a", "if_exists": true });
    assert_eq!(api.call("TaskUnit.Delete", gone).await.expect("no error"), json!({ "deleted": false }));
    let (code, message) = api.refused("TaskUnit.Delete", json!("a")).await;
    assert_eq!((code, message.as_str()), (ErrorCode::TaskNotFound, "no task is named `a`"));
    api.test.stop().await;
}

#[tokio::test]
async fn a_kept_answer_is_told_until_its_task_changes_and_never_after() {
    let api = Api::start().await;
    let gets = Gets::new(api.test.host.clone());
    let spec = json!({ "name": "a", "schedules": [{ "every": "1h" }] });
    for (method, parameter) in [
        ("TaskUnit.Add", spec.clone()),
        ("TaskUnit.Edit", json!({ "name": "a", "timeout": "5s" })),
        ("TaskUnit.Pause", json!({ "name": "a", "note": "why" })),
        ("TaskUnit.Resume", json!({ "name": "a" })),
        ("TaskUnit.Run", json!({ "name": "a", "wait": true })),
        ("TaskUnit.Delete", json!("a")),
        ("TaskUnit.Add", spec),
    ] {
        api.call(method, parameter).await.expect(method);
        let first = got(&gets, "a", false).await;
        let by_itself = api.call("TaskUnit.Get", json!("a")).await;
        match (first, by_itself) {
            (Ok(first), Ok(by_itself)) => {
                assert_eq!(serde_json::from_str::<Value>(&first).expect("JSON"), by_itself, "after {method}");
                let again = got(&gets, "a", false).await.expect("it is there");
                assert!(Arc::ptr_eq(&first, &again), "it is kept after {method}");
                let effective = got(&gets, "a", true).await.expect("it is there");
                assert_ne!(first, effective, "what is kept is as it was defined");
            }
            (first, by_itself) => {
                assert_eq!(method, "TaskUnit.Delete");
                assert_eq!(first.expect_err("it is gone"), by_itself.expect_err("it is gone"));
            }
        }
    }
    api.test.stop().await;
}

#[tokio::test]
async fn a_long_answer_is_not_kept() {
    let api = Api::start().await;
    let gets = Gets::new(api.test.host.clone());
    let args = ["x".repeat(3000)];
    api.call("TaskUnit.Add", json!({ "name": "a", "args": args, "schedules": [{ "every": "1h" }] }))
        .await
        .expect("added");
    let [first, again] =
        [got(&gets, "a", false).await, got(&gets, "a", false).await].map(|got| got.expect("it is there"));
    assert!(first == again && !Arc::ptr_eq(&first, &again));
    api.test.stop().await;
}

#[tokio::test]
async fn a_plugin_that_comes_with_a_definition_is_stored_and_named_by_its_hash() {
    let api = Api::start().await;
    let wasm = BASE64_STANDARD.encode(NOTHING);
    let spec = json!({ "name": "a", "plugin": { "wasm": wasm }, "schedules": [{ "every": "1h" }] });
    let task = api.call("TaskUnit.Add", spec).await.expect("added");
    assert_eq!(task["spec"]["plugin"], json!({ "sha256": sha256_of(NOTHING) }));
    let run = api.call("TaskUnit.Run", json!({ "name": "a", "wait": true })).await.expect("it ran");
    assert_eq!(run["run"]["outcome"], json!("success"), "{run}");
    assert_eq!(run["run"]["plugin_sha256"], json!(sha256_of(NOTHING)));
    api.test.stop().await;
}

#[tokio::test]
async fn a_refused_definition_leaves_no_plugin_behind() {
    let api = Api::start().await;
    let wasm = BASE64_STANDARD.encode(NOTHING);
    let plugin = json!({ "wasm": wasm });
    api.call("TaskUnit.Add", json!("taken")).await.expect("added");
    for (spec, expected) in [
        (json!({ "name": "../x", "plugin": plugin }), ErrorCode::SpecInvalid),
        (json!({ "name": "a", "plugin": plugin, "timeout": "1y" }), ErrorCode::SpecInvalid),
        (json!({ "name": "taken", "plugin": plugin }), ErrorCode::TaskExists),
        (json!({ "name": "a", "plugin": { "wasm": "AAAA" } }), ErrorCode::PluginInvalid),
        (json!({ "name": "a", "plugin": { "wasm": "?" } }), ErrorCode::InvalidParams),
        (json!({ "name": "a", "plugin": { "sha256": "ab" } }), ErrorCode::InvalidParams),
        (json!({ "name": "a", "plugin": { "sha256": sha256_of("") } }), ErrorCode::PluginNotFound),
    ] {
        assert_eq!(api.refused("TaskUnit.Add", spec.clone()).await.0, expected, "{spec}");
    }
    assert_eq!(api.stored_plugins().await, BTreeSet::new());
    api.test.stop().await;
}

#[tokio::test]
async fn a_plugin_that_was_stored_for_a_change_that_failed_is_left_to_prune() {
    let api = Api::start().await;
    api.call("TaskUnit.Add", json!("a")).await.expect("added");
    let plugin = json!({ "wasm": BASE64_STANDARD.encode(NOTHING) });
    let edit = json!({ "name": "a", "plugin": plugin, "if_revision": 9 });
    assert_eq!(api.refused("TaskUnit.Edit", edit).await.0, ErrorCode::RevisionConflict);
    assert_eq!(api.stored_plugins().await, BTreeSet::from([sha256_of(NOTHING)]));
    api.call("Plugin.Prune", json!({})).await.expect("pruned");
    assert_eq!(api.stored_plugins().await, BTreeSet::new());
    api.test.stop().await;
}

#[tokio::test]
async fn an_edit_changes_what_it_names_and_null_gives_the_default() {
    let api = Api::start().await;
    let spec = json!({ "name": "a", "timeout": "5s", "labels": { "x": "1", "y": "2" } });
    api.call("TaskUnit.Add", spec).await.expect("added");
    let patch = json!({ "name": "a", "timeout": null, "labels": { "x": null, "z": "3" }, "if_revision": 1 });
    let task = api.call("TaskUnit.Edit", patch).await.expect("edited");
    let expected = json!({ "name": "a", "plugin": { "builtin": "ticker" }, "labels": { "y": "2", "z": "3" } });
    assert_eq!((&task["spec"], &task["revision"]), (&expected, &json!(2)));
    let effective = api.call("TaskUnit.Get", json!({ "name": "a", "effective": true })).await.expect("it is there");
    assert_eq!(effective["spec"]["timeout"], json!("1m"));
    assert_eq!(effective["spec"]["args"], json!([]));
    api.test.stop().await;
}

#[tokio::test]
async fn a_list_goes_on_at_its_cursor() {
    let api = Api::start().await;
    for name in ["c", "a", "b"] {
        api.call("TaskUnit.Add", json!(name)).await.expect("added");
    }
    let names = |page: &Value| -> Vec<String> {
        let tasks = page["tasks"].as_array().expect("tasks");
        tasks.iter().map(|task| task["spec"]["name"].as_str().expect("text").to_owned()).collect()
    };
    let first = api.call("TaskUnit.List", json!({ "limit": 2 })).await.expect("a page");
    assert_eq!((names(&first), &first["next_cursor"]), (vec!["a".to_owned(), "b".to_owned()], &json!("b")));
    let second = json!({ "limit": 2, "cursor": first["next_cursor"] });
    let second = api.call("TaskUnit.List", second).await.expect("a page");
    assert_eq!((names(&second), second.get("next_cursor")), (vec!["c".to_owned()], None));
    for wrong in
        [json!({ "limit": 0 }), json!({ "state": "asleep" }), json!({ "selector": "=" }), json!({ "outcome": "x" })]
    {
        assert_eq!(api.refused("TaskUnit.List", wrong.clone()).await.0, ErrorCode::InvalidParams, "{wrong}");
    }
    api.test.stop().await;
}

#[tokio::test]
async fn a_plugin_comes_in_pieces_and_can_be_resumed() {
    let api = Api::start().await;
    let sha256 = sha256_of(NOTHING);
    let piece = |offset: usize, text: &str| json!({ "sha256": sha256, "size": NOTHING.len(), "offset": offset, "data": BASE64_STANDARD.encode(text) });
    let received = api.call("Plugin.Put", piece(0, &NOTHING[..20])).await.expect("taken");
    assert_eq!(received, json!({ "received": 20 }));
    let has = api.call("Plugin.Has", json!(sha256)).await.expect("an answer");
    assert_eq!(has, json!({ "has": false, "received": 20 }));
    let (code, message) = api.refused("Plugin.Put", piece(30, &NOTHING[30..])).await;
    assert_eq!(
        (code, message.as_str()),
        (ErrorCode::InvalidParams, "the piece begins at byte 30, but the host has 20 bytes")
    );
    let whole = api.call("Plugin.Put", piece(20, &NOTHING[20..])).await.expect("taken");
    assert_eq!(whole["plugin"]["kind"], json!("preview-1 command"));
    let has = api.call("Plugin.Has", json!(sha256)).await.expect("an answer");
    assert_eq!(has, json!({ "has": true, "received": 0 }));
    api.test.stop().await;
}

#[tokio::test]
async fn a_call_by_nobody_changes_nothing() {
    let mut api = Api::start().await;
    api.methods.extensions_mut().remove::<Caller>();
    assert_eq!(api.refused("TaskUnit.Add", json!("a")).await.0, ErrorCode::NotPermitted);
    assert_eq!(api.refused("TaskUnit.Get", json!("a")).await.0, ErrorCode::TaskNotFound);
    api.test.stop().await;
}

#[tokio::test]
async fn a_watcher_sees_what_happens_and_the_end() {
    let api = Api::start().await;
    let mut events = api.methods.subscribe_unbounded("TaskUnit.Watch", [json!({})]).await.expect("subscribed");
    api.call("TaskUnit.Add", json!({ "name": "a", "schedules": [{ "every": "1h" }] })).await.expect("added");
    let run = api.call("TaskUnit.Run", json!({ "name": "a", "wait": true })).await.expect("it ran");
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let (event, _) = events.next::<taskhost_api::Event>().await.expect("an event").expect("in its shape");
        if let Some(finished) = &event.run {
            assert_eq!(json!(finished.run_id), run["run"]["run_id"]);
        }
        kinds.push(event.kind);
    }
    assert_eq!(kinds, [taskhost_api::EventKind::TaskAdded, taskhost_api::EventKind::RunFinished]);
    api.test.stop().await;
    let (event, _) = events.next::<taskhost_api::Event>().await.expect("an event").expect("in its shape");
    assert_eq!(event.kind, taskhost_api::EventKind::Shutdown);
}

#[tokio::test]
async fn host_info_tells_of_the_process_and_its_tasks() {
    let api = Api::start().await;
    api.call("TaskUnit.Add", json!("a")).await.expect("added");
    let info: taskhost_api::HostInfo =
        api.methods.call("Host.Info", EmptyServerParams::new()).await.expect("an answer");
    assert_eq!((info.tasks, info.workers), (1, 1));
    assert_eq!(info.listen, ["127.0.0.1:3333"]);
    assert_eq!(info.wit, ["taskhost:plugin@0.1.0"]);
    assert!(info.memory_bytes > 0);
    api.test.stop().await;
}
