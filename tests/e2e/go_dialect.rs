//! JSON-RPC 1.0 byte for byte as Go's `net/rpc/jsonrpc` writes and reads it: the client of the original demo works unchanged.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::support::TestEnv;

/// How many calls are sent before an answer is read.
const PIPELINED_CALLS: u64 = 200;

#[test]
fn the_calls_of_the_original_demo_are_answered_as_go_expects() {
    let env = TestEnv::new();
    let host = env.host();
    let mut go = host.stream();
    go.send("{\"method\":\"TaskUnit.Add\",\"params\":[\"x\"],\"id\":0}\n");
    assert_eq!(go.line(), "{\"id\":0,\"result\":true,\"error\":null}\n");
    host.wait_successes("x", 1);
    go.send("{\"method\":\"TaskUnit.Delete\",\"params\":[\"x\"],\"id\":1}\n");
    assert_eq!(go.line(), "{\"id\":1,\"result\":true,\"error\":null}\n");
    assert_eq!(host.call("Host.Info", json!({}))["tasks"], 0);
}

#[test]
fn an_error_is_a_string_in_go() {
    let env = TestEnv::new();
    let host = env.host();
    let mut go = host.stream();
    go.send("{\"method\":\"TaskUnit.Delete\",\"params\":[\"x\"],\"id\":18446744073709551615}\n");
    assert_eq!(
        go.line(),
        "{\"id\":18446744073709551615,\"result\":null,\"error\":\"no task is named `x` (`taskctl list` shows the tasks that exist)\"}\n"
    );
    go.send("{\"method\":\"TaskUnit.Frob\",\"params\":[\"x\"],\"id\":2}\n");
    let answer = go.value();
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("TaskUnit.Frob")), "{answer}");
    go.send("{\"method\":\"TaskUnit.Add\",\"params\":[\"still works\"],\"id\":3}\n");
    assert_eq!(go.value(), json!({ "id": 3, "result": true, "error": null }));
}

#[test]
fn two_hundred_pipelined_calls_are_all_answered() {
    let env = TestEnv::new();
    let host = env.host();
    let mut go = host.stream();
    let mut answered = |method: &str| {
        let calls = (0..PIPELINED_CALLS).fold(String::new(), |mut calls, id| {
            writeln!(calls, "{{\"method\":\"TaskUnit.{method}\",\"params\":[\"t{id}\"],\"id\":{id}}}")
                .expect("a string");
            calls
        });
        go.send(calls);
        let answers: BTreeSet<u64> = (0..PIPELINED_CALLS)
            .map(|_| {
                let answer = go.value();
                assert_eq!((&answer["result"], &answer["error"]), (&json!(true), &Value::Null), "{answer}");
                answer["id"].as_u64().expect("an id as it was sent")
            })
            .collect();
        assert_eq!(answers, (0..PIPELINED_CALLS).collect());
    };
    answered("Add");
    assert_eq!(host.call("Host.Info", json!({}))["tasks"], PIPELINED_CALLS);
    answered("Delete");
    assert_eq!(host.call("Host.Info", json!({}))["tasks"], 0);
}
