//! JSON-RPC 2.0 as a stream of values on a plain connection.

use serde_json::{Value, json};

use crate::support::{Refused, TestEnv, eventually};

#[test]
fn a_call_is_answered_with_a_result_or_with_an_error_that_has_a_name() {
    let env = TestEnv::new();
    let host = env.host();
    let mut stream = host.stream();
    let task = stream.call("TaskUnit.Add", json!({ "name": "a", "schedules": [{ "every": "1h" }] })).expect("added");
    assert_eq!((&task["revision"], &task["state"], &task["counts"]), (&json!(1), &json!("idle"), &json!({})));
    let refused = stream.refused("TaskUnit.Get", json!({ "name": "b" }));
    assert_eq!((refused.code, refused.name.as_str()), (1404, "task_not_found"));
    assert_eq!(refused.message, "no task is named `b`");
    assert_eq!(refused.hint.as_deref(), Some("`taskctl list` shows the tasks that exist"));
}

#[test]
fn a_parameter_may_be_sent_bare_in_an_array_or_as_a_plain_name() {
    let env = TestEnv::new();
    let host = env.host();
    let mut stream = host.stream();
    for (at, params) in [json!("a"), json!(["b"]), json!({ "name": "c" }), json!([{ "name": "d" }])].iter().enumerate()
    {
        let request = json!({ "jsonrpc": "2.0", "id": at, "method": "TaskUnit.Add", "params": params });
        stream.send(request.to_string());
        let answer = stream.value();
        assert_eq!(answer["id"], at, "{answer}");
        let expected_true = at < 2;
        assert_eq!(answer["result"] == true, expected_true, "{answer}");
    }
    assert_eq!(host.call("Host.Info", json!({}))["tasks"], 4);
}

#[test]
fn ids_come_back_as_they_were_sent() {
    let env = TestEnv::new();
    let host = env.host();
    let mut stream = host.stream();
    for id in [json!(0), json!(-7), json!(1.5), json!("a \"quoted\" id"), json!(u64::MAX), Value::Null] {
        stream.send(json!({ "jsonrpc": "2.0", "id": id, "method": "Host.Info" }).to_string());
        let answer = stream.value();
        assert_eq!(answer["id"], id, "{answer}");
        assert!(answer["result"].is_object(), "{answer}");
    }
}

#[test]
fn a_notification_is_done_and_not_answered() {
    let env = TestEnv::new();
    let host = env.host();
    let mut stream = host.stream();
    stream.send(json!({ "jsonrpc": "2.0", "method": "TaskUnit.Add", "params": ["quiet"] }).to_string());
    eventually("the task is there", || host.stream().call("TaskUnit.Get", json!({ "name": "quiet" })).ok());
    stream.send(json!({ "jsonrpc": "2.0", "id": 9, "method": "Host.Info" }).to_string());
    assert_eq!(stream.value()["id"], 9, "the first answer is to the first call");
}

#[test]
fn a_batch_is_answered_as_one() {
    let env = TestEnv::new();
    let host = env.host();
    let mut stream = host.stream();
    let batch = json!([
        { "jsonrpc": "2.0", "id": "add", "method": "TaskUnit.Add", "params": ["a"] },
        { "jsonrpc": "2.0", "method": "TaskUnit.Add", "params": ["b"] },
        { "jsonrpc": "2.0", "id": "none", "method": "TaskUnit.Nope" },
        { "jsonrpc": "2.0", "id": "again", "method": "TaskUnit.Add", "params": ["a"] },
        7,
    ]);
    stream.send(batch.to_string());
    let answers = stream.value();
    let answers = answers.as_array().expect("a batch is answered with an array");
    let of = |id: Value| answers.iter().find(|answer| answer["id"] == id).expect("every call is answered");
    assert_eq!(answers.len(), 4, "all but the notification: {answers:?}");
    assert_eq!(of(json!("add"))["result"], true);
    assert_eq!(Refused::of(&of(json!("none"))["error"]).name, "method_not_found");
    assert_eq!(Refused::of(&of(json!("again"))["error"]).name, "task_exists");
    assert_eq!(Refused::of(&of(Value::Null)["error"]).name, "invalid_request");
    assert_eq!(host.call("Host.Info", json!({}))["tasks"], 2);

    stream.send("[]");
    assert_eq!(Refused::of(&stream.value()["error"]).name, "invalid_request");
    stream.send(json!([{ "jsonrpc": "2.0", "method": "Host.Info" }]).to_string());
    stream.send(json!({ "jsonrpc": "2.0", "id": 1, "method": "Host.Info" }).to_string());
    assert_eq!(stream.value()["id"], 1, "a batch of notifications is not answered");
}

#[test]
fn a_subscriber_hears_of_everything_that_happens_to_its_task() {
    let env = TestEnv::new();
    let host = env.host();
    let mut watcher = host.stream();
    watcher.watch(json!({ "name": "a" }));
    let mut stream = host.stream();
    stream.call("TaskUnit.Add", json!({ "name": "b" })).expect("added");
    stream.call("TaskUnit.Add", json!({ "name": "a", "schedules": [{ "every": "1h" }] })).expect("added");
    stream.call("TaskUnit.Run", json!({ "name": "a", "wait": true })).expect("it runs");
    stream.call("TaskUnit.Edit", json!({ "name": "a", "timeout": "5s" })).expect("edited");
    stream.call("TaskUnit.Delete", json!({ "name": "a" })).expect("deleted");
    let events: Vec<_> = (0..4).map(|_| watcher.event()).collect();
    let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str().expect("a kind")).collect();
    assert_eq!(kinds, ["task_added", "run_finished", "task_edited", "task_deleted"]);
    assert!(events.iter().all(|event| event["task"] == "a"), "{events:?}");
    assert_eq!(events[1]["run"]["outcome"], "success");
    assert_eq!(events[2]["revision"], 2);
}

#[test]
fn log_lines_are_sent_to_those_who_ask_for_them() {
    let env = TestEnv::new();
    let host = env.host();
    let mut watcher = host.stream();
    watcher.watch(json!({ "kinds": ["log"] }));
    host.call("TaskUnit.Add", json!({ "name": "a", "schedules": [{ "every": "1h" }], "now": true }));
    let event = watcher.event();
    assert_eq!((&event["kind"], &event["task"]), (&json!("log"), &json!("a")));
    assert!(event["line"]["text"].as_str().is_some_and(|text| text.starts_with("Task a tick at ")), "{event}");
}

#[test]
fn an_unsubscribed_client_hears_nothing_more() {
    let env = TestEnv::new();
    let host = env.host();
    let mut watcher = host.stream();
    let subscription = watcher.watch(json!({}));
    host.call("TaskUnit.Add", json!({ "name": "a", "schedules": [{ "every": "1h" }] }));
    assert_eq!(watcher.event()["kind"], "task_added");
    assert_eq!(watcher.call("TaskUnit.Unwatch", subscription), Ok(json!(true)));
    host.call("TaskUnit.Delete", json!({ "name": "a" }));
    watcher.send(json!({ "jsonrpc": "2.0", "id": "last", "method": "Host.Info" }).to_string());
    assert_eq!(watcher.value()["id"], "last");
}

#[test]
fn the_host_describes_every_method_that_it_answers() {
    let env = TestEnv::new();
    let host = env.host();
    let document = host.call("rpc.discover", json!({}));
    assert!(document["openrpc"].as_str().is_some_and(|version| version.starts_with("1.")), "{document}");
    let methods = document["methods"].as_array().expect("methods");
    let names: Vec<_> = methods.iter().map(|method| method["name"].as_str().expect("a name")).collect();
    for method in [
        "TaskUnit.Add",
        "TaskUnit.Edit",
        "TaskUnit.Delete",
        "TaskUnit.Get",
        "TaskUnit.List",
        "TaskUnit.Run",
        "TaskUnit.Cancel",
        "TaskUnit.Runs",
        "TaskUnit.Logs",
        "TaskUnit.Watch",
        "Plugin.Put",
        "Plugin.Has",
        "Plugin.List",
        "Plugin.Delete",
        "Host.Info",
        "rpc.discover",
    ] {
        assert!(names.contains(&method), "{method} is not described");
    }
    let mut stream = host.stream();
    for method in names.into_iter().filter(|name| *name != "TaskUnit.Watch") {
        // Whatever is wrong with the parameter, the method is there.
        if let Err(refused) = stream.call(method, json!({ "name": "nobody", "plugin": "nothing" })) {
            assert_ne!(refused.name, "method_not_found", "{method}");
        }
    }
}

#[test]
fn a_long_list_comes_in_pages() {
    let env = TestEnv::new();
    let host = env.host();
    let mut stream = host.stream();
    for number in 0..25 {
        let request = json!({ "name": format!("t{number:02}"), "schedules": [{ "every": "1h" }] });
        stream.call("TaskUnit.Add", request).expect("added");
    }
    let mut names = Vec::new();
    let mut request = json!({ "limit": 10 });
    loop {
        let page = stream.call("TaskUnit.List", request).expect("a page");
        let tasks = page["tasks"].as_array().expect("tasks");
        names.extend(tasks.iter().map(|task| task["spec"]["name"].as_str().expect("a name").to_owned()));
        match page.get("next_cursor") {
            Some(cursor) => request = json!({ "limit": 10, "cursor": cursor }),
            None => break,
        }
    }
    assert_eq!(names, (0..25).map(|number| format!("t{number:02}")).collect::<Vec<_>>());
    let refused = stream.refused("TaskUnit.List", json!({ "limit": 1001 }));
    assert_eq!(refused.name, "invalid_params");
}
