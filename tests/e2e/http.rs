//! The same methods by HTTP POST and WebSocket, plugins by PUT, and who is kept out.

use jsonrpsee::client_transport::ws::{Url, WsTransportClientBuilder};
use jsonrpsee::core::client::{Client, ClientBuilder, ClientT, SubscriptionClientT};
use jsonrpsee::core::params::ArrayParams;
use serde_json::{Value, json};

use crate::support::{Host, Refused, TestEnv, guest_bytes, sha256};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// One byte more than a plugin may have.
const TOO_LARGE_BYTES: &str = "68157440";

#[test]
fn the_host_says_that_it_is_alive() {
    let env = TestEnv::new();
    let host = env.host();
    let answer = host.http("GET", "/healthz", &[], b"");
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"status":"ok"}"#));
    assert_eq!(host.http("GET", "/nothing", &[], b"").status, 404);
    assert_eq!(host.http("DELETE", "/healthz", &[], b"").status, 405);
}

#[test]
fn a_post_is_a_call_a_batch_or_a_notification() {
    let env = TestEnv::new();
    let host = env.host();
    let post = |body: Value| host.http("POST", "/", &[JSON], body.to_string().as_bytes());
    let added = post(json!({ "jsonrpc": "2.0", "id": 1, "method": "TaskUnit.Add", "params": ["a"] }));
    assert_eq!((added.status, added.json()), (200, json!({ "jsonrpc": "2.0", "id": 1, "result": true })));
    let again = post(json!({ "jsonrpc": "2.0", "id": 1, "method": "TaskUnit.Add", "params": ["a"] }));
    assert_eq!(again.status, 200, "an error of JSON-RPC is none of HTTP");
    assert_eq!(Refused::of(&again.json()["error"]).name, "task_exists");
    let batch = post(json!([
        { "jsonrpc": "2.0", "id": 1, "method": "TaskUnit.Get", "params": ["a"] },
        { "jsonrpc": "2.0", "id": 2, "method": "TaskUnit.Delete", "params": ["a"] },
    ]));
    assert_eq!(batch.json().as_array().map(Vec::len), Some(2));
    let notified = post(json!({ "jsonrpc": "2.0", "method": "TaskUnit.Add", "params": ["b"] }));
    assert_eq!((notified.status, notified.body.as_str()), (204, ""));
    assert_eq!(host.call("Host.Info", json!({}))["tasks"], 1);
    let watch = post(json!({ "jsonrpc": "2.0", "id": 1, "method": "TaskUnit.Watch", "params": [{}] }));
    assert_eq!(Refused::of(&watch.json()["error"]).name, "invalid_request");
}

#[test]
fn a_post_of_what_a_web_form_can_send_is_refused() {
    let env = TestEnv::new();
    let host = env.host();
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "TaskUnit.Add", "params": ["a"] }).to_string();
    let answer = host.http("POST", "/", &[("Content-Type", "text/plain")], body.as_bytes());
    assert_eq!(answer.status, 415);
    assert_eq!(host.call("Host.Info", json!({}))["tasks"], 0);
}

#[test]
fn a_post_that_is_too_large_is_refused_by_its_head() {
    let env = TestEnv::new();
    let host = env.host();
    let answer = host.http("POST", "/", &[JSON, ("Content-Length", "3000000")], b"{");
    assert_eq!(answer.status, 413);
    assert_eq!(Refused::of(&answer.json()["error"]).name, "too_large");
}

#[test]
fn a_plugin_is_put_under_its_sha256() {
    let env = TestEnv::new();
    let host = env.host();
    let wasm = guest_bytes("probe/probe.wasm");
    let sum = sha256(&wasm);
    let stored = host.http("PUT", &format!("/plugins/{sum}"), &[], &wasm);
    assert_eq!(stored.status, 200, "{stored:?}");
    assert_eq!(stored.json()["sha256"], sum);
    assert_eq!(stored.json()["kind"], "task component");
    let spec = json!({ "name": "a", "plugin": { "sha256": sum }, "args": ["ok"], "schedules": [{ "every": "1h" }] });
    host.call("TaskUnit.Add", spec);
    let ran = host.call("TaskUnit.Run", json!({ "name": "a", "wait": true }));
    assert_eq!(ran["run"]["outcome"], "success");
}

#[test]
fn a_plugin_is_not_stored_under_another_sha256_or_if_it_is_none() {
    let env = TestEnv::new();
    let host = env.host();
    let wasm = guest_bytes("exit.wat");
    let other = host.http("PUT", &format!("/plugins/{}", sha256(b"other")), &[], &wasm);
    assert_eq!((other.status, &other.json()["error"]["name"]), (422, &json!("plugin_invalid")), "{other:?}");
    let text = b"hello";
    let none = host.http("PUT", &format!("/plugins/{}", sha256(text)), &[], text);
    assert_eq!((none.status, &none.json()["error"]["name"]), (422, &json!("plugin_invalid")), "{none:?}");
    assert_eq!(host.http("PUT", "/plugins/abc", &[], text).status, 400);
    assert_eq!(host.http("GET", &format!("/plugins/{}", sha256(text)), &[], b"").status, 405);
    let plugins = host.call("Plugin.List", json!({}));
    assert_eq!(plugins["plugins"].as_array().map(Vec::len), Some(1), "only the built-in one: {plugins}");
}

#[test]
fn a_plugin_of_65_mib_is_refused_before_it_is_sent() {
    let env = TestEnv::new();
    let host = env.host();
    let path = format!("/plugins/{}", sha256(b""));
    // The answer comes though not a byte of the body ever does.
    let answer = host.http("PUT", &path, &[("Content-Length", TOO_LARGE_BYTES)], b"");
    assert_eq!((answer.status, &answer.json()["error"]["name"]), (413, &json!("too_large")), "{answer:?}");
}

#[test]
fn web_pages_are_kept_out_of_every_door() {
    let env = TestEnv::new();
    let host = env.host();
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "TaskUnit.Add", "params": ["a"] }).to_string();
    let foreign = ("Origin", "https://example.com");
    assert_eq!(host.http("POST", "/", &[JSON, foreign], body.as_bytes()).status, 403);
    assert_eq!(host.http("PUT", &format!("/plugins/{}", sha256(b"")), &[foreign], b"").status, 403);
    let rebound = host.http("POST", "/", &[JSON, ("Host", "evil.example:3333")], body.as_bytes());
    assert_eq!(rebound.status, 403, "a page that points its own name here");
    assert_eq!(host.http("GET", "/", &upgrade(Some("https://example.com")), b"").status, 403);
    assert_eq!(host.http("GET", "/", &upgrade(Some("null")), b"").status, 403);
    assert_eq!(host.call("Host.Info", json!({}))["tasks"], 0);

    let own = format!("http://{}", host.tcp());
    assert_eq!(host.http("POST", "/", &[JSON, ("Origin", &own)], body.as_bytes()).status, 200, "a page of its own");
    assert_eq!(host.http("GET", "/", &upgrade(None), b"").status, 101, "a program");
}

#[tokio::test]
async fn a_websocket_calls_and_subscribes() {
    let env = TestEnv::new();
    let host = env.host();
    let client = websocket(&host).await;
    let mut events = client
        .subscribe::<Value, _>("TaskUnit.Watch", params(json!({ "name": "a" })), "TaskUnit.Unwatch")
        .await
        .expect("the subscription is accepted");
    let added: bool = client.request("TaskUnit.Add", params(json!("a"))).await.expect("added");
    assert!(added);
    let event = events.next().await.expect("an event comes").expect("it is JSON");
    assert_eq!((&event["kind"], &event["task"]), (&json!("task_added"), &json!("a")));
    let event = events.next().await.expect("an event comes").expect("it is JSON");
    assert_eq!((&event["kind"], &event["run"]["outcome"]), (&json!("run_finished"), &json!("success")));
    events.unsubscribe().await.expect("the connection holds");
    let again = client.request::<bool, _>("TaskUnit.Add", params(json!("a"))).await.expect_err("it exists");
    assert!(again.to_string().contains("a task named `a` exists"), "{again}");
}

#[tokio::test]
async fn a_websocket_is_told_that_the_host_stops() {
    let env = TestEnv::new();
    let host = env.host();
    let client = websocket(&host).await;
    let mut events = client
        .subscribe::<Value, _>("TaskUnit.Watch", params(json!({})), "TaskUnit.Unwatch")
        .await
        .expect("the subscription is accepted");
    host.stop();
    let event = events.next().await.expect("an event comes").expect("it is JSON");
    assert_eq!(event["kind"], "shutdown");
}

async fn websocket(host: &Host<'_>) -> Client {
    let url = Url::parse(&format!("ws://{}", host.tcp())).expect("an address makes a URL");
    let (sender, receiver) = WsTransportClientBuilder::default().build(url).await.expect("the host upgrades");
    ClientBuilder::default().build_with_tokio(sender, receiver)
}

fn params(parameter: Value) -> ArrayParams {
    let mut params = ArrayParams::new();
    params.insert(parameter).expect("JSON is written as JSON");
    params
}

fn upgrade(origin: Option<&str>) -> Vec<(&str, &str)> {
    let mut headers = vec![
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    headers.extend(origin.map(|origin| ("Origin", origin)));
    headers
}
