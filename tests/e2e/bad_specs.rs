//! Bad names and bad settings: each refused with a message that says what is wrong, and nothing changed.

use std::sync::{Arc, Barrier};

use serde_json::{Value, json};

use crate::support::TestEnv;

/// How many clients want the same name.
const RIVALS: usize = 100;

#[test]
fn a_bad_name_is_refused_with_what_is_wrong_with_it() {
    let env = TestEnv::new();
    let host = env.host();
    let mut stream = host.stream();
    let long = "x".repeat(10 * 1024);
    for (name, message) in [
        ("", "a task's name is empty"),
        (long.as_str(), "10240 bytes long; at most 128"),
        ("../x", "empty, `.` or `..` segment"),
        ("/etc/passwd", "empty, `.` or `..` segment"),
        ("a\0b", "U+0000"),
        ("a\u{1b}[2Jb", "U+001B"),
        ("a\u{202e}b", "U+202E"),
        ("p\u{430}ypal", "mixes scripts"),
        ("-rf", "begins with `-`"),
        (" a", "begins or ends with a space"),
    ] {
        for params in [json!(name), json!({ "name": name })] {
            let refused = stream.refused("TaskUnit.Add", params);
            assert_eq!(refused.name, "spec_invalid", "{name:?}");
            assert!(refused.message.contains(message), "{name:?}: {refused:?}");
            assert!(!refused.message.contains(['\0', '\u{1b}', '\u{202e}']), "safe to print: {refused:?}");
        }
        // Whoever asks for it is told what is wrong with it too.
        assert_eq!(stream.refused("TaskUnit.Get", json!({ "name": name })).name, "spec_invalid", "{name:?}");
    }
    assert_eq!(host.call("TaskUnit.List", json!({})), json!({ "tasks": [] }));
}

#[test]
fn a_name_on_the_command_line_that_is_bad_is_exit_code_5() {
    let env = TestEnv::new();
    let host = env.host();
    host.ctl(&["add", "../x"]).fails_with(5).says(&["failed to add `../x`", "segment", "hint: give it a name like"]);
    host.ctl(&["add", "a\u{202e}b"]).fails_with(5);
    host.ctl(&["add", "--", "-rf"]).fails_with(2);
    host.ctl(&["add", "ok name"]).ok();
}

#[test]
fn a_name_that_is_written_in_two_ways_is_one_name() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "u\u{308}ber"]);
    host.ctl(&["add", "über"]).fails_with(4);
    host.ok(&["del", "über"]);
}

#[test]
fn what_is_asked_of_a_task_that_does_not_exist_is_exit_code_3() {
    let env = TestEnv::new();
    let host = env.host();
    for verb in [
        &["edit", "x", "--every", "5s"][..],
        &["del", "x"],
        &["show", "x"],
        &["logs", "x"],
        &["logs", "-f", "x"],
        &["runs", "x"],
        &["run", "x"],
        &["cancel", "x"],
    ] {
        let ran = host.ctl(verb).fails_with(3).says(&["no task is named `x`", "hint: `taskctl list` shows the tasks"]);
        assert_eq!(ran.stdout, "", "{verb:?}");
    }
}

#[test]
fn of_a_hundred_who_add_one_name_at_once_exactly_one_succeeds() {
    let env = TestEnv::new();
    let host = env.host();
    let start = Arc::new(Barrier::new(RIVALS));
    let rivals: Vec<_> = (0..RIVALS)
        .map(|_| {
            let (mut stream, start) = (host.stream(), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                stream.call("TaskUnit.Add", json!("wanted"))
            })
        })
        .collect();
    let answers: Vec<_> = rivals.into_iter().map(|rival| rival.join().expect("no panic")).collect();
    let added = answers.iter().filter(|answer| **answer == Ok(Value::Bool(true))).count();
    let refused =
        answers.iter().filter(|answer| answer.as_ref().is_err_and(|error| error.name == "task_exists")).count();
    assert_eq!((added, refused), (1, RIVALS - 1));
    assert_eq!(host.call("Host.Info", json!({}))["tasks"], 1);
}

#[test]
fn a_bad_interval_is_refused_with_the_range_or_the_notation() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--every", "5s"]);
    for (every, message) in [
        ("0s", "the interval 0s is out of range; it must be from 10ms to 10y"),
        ("1ns", "the interval 1ns is out of range"),
        ("9ms", "the interval 9ms is out of range"),
        ("11y", "is out of range"),
        ("-1s", "`-1s` is negative"),
        ("1e400", "`1e400` is no duration; write it like"),
        ("0", "is no duration"),
        ("soon", "is no duration"),
        ("", "is no duration"),
    ] {
        let every = format!("--every={every}");
        host.ctl(&["add", "x", every.as_str()]).fails_with(5).says(&[message]);
        host.ctl(&["edit", "t", every.as_str()]).fails_with(5).says(&[message]);
    }
    let task = host.task("t");
    assert_eq!((&task["revision"], &task["spec"]["schedules"]), (&json!(1), &json!([{ "every": "5s" }])));
    assert_eq!(host.call("Host.Info", json!({}))["tasks"], 1);
}

#[test]
fn members_of_the_wrong_shape_are_refused_by_name() {
    let env = TestEnv::new();
    let host = env.host();
    let mut stream = host.stream();
    for (params, message) in [
        (r#"{"name":"x","schedules":[{"every":1e400}]}"#, "number out of range"),
        (r#"{"name":"x","schedules":[{"every":5}]}"#, "invalid type"),
        (r#"{"name":"x","timeout":-1}"#, "invalid type"),
        (r#"{"name":"x","memory_bytes":-1}"#, "invalid value"),
        (r#"{"name":"x","memory_bytes":1.5}"#, "invalid type"),
        (r#"{"name":"x","name":"y"}"#, "duplicate field `name`"),
        (r#"{"name":"x","labels":{"x":"1","x":"2"}}"#, "`x` is given twice"),
        (r#"{"name":"x","shedules":[]}"#, "unknown field `shedules`"),
        (r#"{"schedules":[]}"#, "missing field `name`"),
        (r#"{"name":"x","plugin":{"builtin":"ticker","sha256":"00"}}"#, "invalid params"),
        (r#"["x","y"]"#, "one parameter"),
        ("7", "a task's name or an object"),
    ] {
        stream.send(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"TaskUnit.Add","params":{params}}}"#));
        let answer = stream.value();
        assert_eq!(answer["error"]["data"]["name"], "invalid_params", "{params}: {answer}");
        let said = answer["error"]["message"].as_str().expect("a message");
        assert!(said.contains(message), "{params}: {said}");
    }
    for (spec, message) in [
        (json!({ "name": "x", "schedules": [] }), "0 schedules"),
        (
            json!({ "name": "x", "schedules": [{}] }),
            "a schedule has none of `every`, `delay`, `cron`, `at` and `manual`",
        ),
        (json!({ "name": "x", "timeout": "8d" }), "from 1ms to 7d"),
        (json!({ "name": "x", "memory_bytes": 1 }), "from 64 KiB to 4 GiB"),
        (json!({ "name": "x", "overlap": "dance" }), "`dance` is no overlap policy"),
        (json!({ "name": "x", "labels": { "": "x" } }), "label key"),
        (json!({ "name": "x", "args": ["a\0b"] }), "NUL"),
        (json!({ "name": "x", "args": ["x".repeat(40_000)] }), "at most 32768"),
    ] {
        let refused = stream.refused("TaskUnit.Add", spec);
        assert_eq!(refused.name, "spec_invalid", "{refused:?}");
        assert!(refused.message.contains(message), "{refused:?}");
    }
    assert_eq!(host.call("TaskUnit.List", json!({})), json!({ "tasks": [] }));
}

#[test]
fn a_plugin_that_the_host_does_not_have_is_exit_code_3() {
    let env = TestEnv::new();
    let host = env.host();
    host.ctl(&["add", "x", "--builtin", "nope"])
        .fails_with(3)
        .says(&["no built-in plugin is named `nope`; there is `ticker`"]);
    let sum = "0".repeat(64);
    let refused = host.stream().refused("TaskUnit.Add", json!({ "name": "x", "plugin": { "sha256": sum } }));
    assert_eq!(refused.name, "plugin_not_found");
}
