//! What a task keeps from run to run: seen by its runs and by `taskctl` alike, durable when it is answered, bounded, and gone with the
//! task. And settings, secrets and levels, as far as it takes a whole host to show them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::support::{Host, TestEnv, eventually, guest};

/// The variable of the secret `api.key`.
const SECRET_VARIABLE: &str = "TASKHOST_SECRET_API_KEY";

/// Adds a task that takes these steps whenever it is asked to run.
#[track_caller]
fn add(host: &Host<'_>, name: &str, more: Value, steps: &[&str]) {
    let wasm = guest("keeper/keeper.wasm");
    let sha256 = host.ok(&["plugin", "put", wasm.to_str().expect("the checkout has a path of UTF-8")]);
    let mut task = json!({
        "name": name,
        "plugin": { "sha256": sha256.trim() },
        "schedules": [{ "every": "10y" }],
        "grants": { "kv": true },
        "args": steps,
    });
    let members = more.as_object().expect("members").clone();
    task.as_object_mut().expect("a task").extend(members);
    host.call("TaskUnit.Add", task);
}

/// Runs a task, which must succeed; the last line that it printed.
#[track_caller]
fn run(host: &Host<'_>, name: &str) -> String {
    host.ok(&["run", name]);
    last_line(host, name)
}

#[track_caller]
fn last_line(host: &Host<'_>, name: &str) -> String {
    let logs = host.json(&["logs", name, "-n", "1"]);
    logs["lines"][0]["text"].as_str().expect("a line").to_owned()
}

#[test]
fn what_a_run_sets_taskctl_gets_and_the_other_way_round_over_restarts_and_crashes() {
    let env = TestEnv::new();
    let host = env.host();
    add(&host, "t", json!({}), &["set", "by run", "one", ";", "get", "by hand"]);
    assert_eq!(run(&host, "t"), "get: none");
    assert_eq!(host.ok(&["kv", "get", "t", "by run"]), "one", "byte for byte");
    assert_eq!(host.ok(&["kv", "set", "t", "by hand", "-two"]), "set by hand of t\n");
    assert_eq!(run(&host, "t"), "get: some -two");
    let file = env.write("value", [0xff, 0, b'\n']);
    host.ok(&["kv", "set", "t", "file", "--file", file.to_str().expect("text")]);
    host.kill();
    let host = env.host();
    assert_eq!(run(&host, "t"), "get: some -two", "answered, so it is there after kill -9");
    host.ctl_reading(&["kv", "set", "t", "stdin", "--file", "-"], &file).ok();
    host.stop();
    let host = env.host();
    let base64 = host.json(&["kv", "get", "t", "stdin"]);
    assert_eq!(base64, json!({ "key": "stdin", "base64": "/wAK" }));
    let list = host.ctl(&["kv", "list", "t"]).ok();
    assert!(list.stdout.contains("by hand") && list.stderr.contains("4 keys, "), "{}{}", list.stdout, list.stderr);

    assert_eq!(host.ok(&["kv", "rm", "t", "by run", "file"]), "removed 2 keys of t\n");
    host.ctl(&["kv", "get", "t", "file"]).fails_with(3).says(&["task `t` has no key `file`", "taskctl kv list t"]);
    host.ctl(&["kv", "rm", "t", "file", "stdin"]).fails_with(3).says(&["1 of the keys"]);
    assert_eq!(host.ok(&["kv", "rm", "t", "--all"]), "removed 1 key of t\n");
    host.ctl(&["kv", "list", "nobody"]).fails_with(3).says(&["no task is named `nobody`"]);
    let long = "k".repeat(1025);
    host.ctl(&["kv", "set", "t", &long, "x"]).fails_with(5).says(&["from 1 to 1024 bytes", "give a shorter key"]);
}

#[test]
fn whatever_was_answered_before_a_crash_is_there_after_it() {
    const AT_LEAST: u64 = 30;
    let env = TestEnv::new();
    let host = env.host();
    add(&host, "t", json!({}), &["get", "n"]);
    let answered = Arc::new(AtomicU64::new(0));
    let mut stream = host.stream();
    let setting = {
        let answered = Arc::clone(&answered);
        std::thread::spawn(move || {
            for number in 1.. {
                let set = json!({ "name": "t", "key": "n", "value": format!("{number}") });
                match stream.try_call("KeyValue.Set", set) {
                    Ok(set) => set.map(|_| answered.store(number, Ordering::SeqCst)).expect("it fits"),
                    // The host is gone.
                    Err(_) => break,
                }
            }
        })
    };
    eventually("some are answered", || (answered.load(Ordering::SeqCst) >= AT_LEAST).then_some(()));
    host.kill();
    setting.join().expect("it ends with the host");
    let (host, answered) = (env.host(), answered.load(Ordering::SeqCst));
    let kept: u64 = host.ok(&["kv", "get", "t", "n"]).parse().expect("a number");
    assert!(kept == answered || kept == answered + 1, "{kept} is there, and {answered} was answered");
}

#[test]
fn each_task_has_keys_of_its_own_which_go_with_it_and_stay_over_edits() {
    let env = TestEnv::new();
    let host = env.host();
    for name in ["a", "b"] {
        add(&host, name, json!({}), &["set", "k", name, ";", "get", "k"]);
    }
    assert_eq!(run(&host, "a"), "get: some a");
    assert_eq!(host.json(&["kv", "list", "b"])["usage"]["keys"], 0);
    host.ok(&["edit", "a", "--every", "9y"]);
    assert_eq!(host.ok(&["kv", "get", "a", "k"]), "a");
    host.ok(&["del", "a"]);
    host.ctl(&["kv", "get", "a", "k"]).fails_with(3);
    add(&host, "a", json!({ "grants": {} }), &["get", "k"]);
    let list = host.ctl(&["kv", "list", "a"]).ok();
    assert!(list.stderr.contains("0 keys") && list.stderr.contains("not granted these (--kv)"), "{}", list.stderr);
    host.ok(&["kv", "set", "a", "k", "for later"]);
    assert_eq!(run(&host, "a"), "get: error access denied", "who looks after the host gets at it, and runs do not");
}

#[test]
fn increments_of_many_runs_at_once_add_up_and_swaps_lose_nothing() {
    const RUNS: usize = 50;
    let env = TestEnv::new();
    let host = env.host();
    let at_once = json!({ "overlap": "allow_all", "max_running": RUNS });
    let steps = ["increment", "n", "1", ";", "draft2", "increment", "n", "1", ";", "draft2", "append", "text", "x"];
    add(&host, "t", at_once, &steps);
    let mut stream = host.stream();
    for _ in 0..RUNS {
        stream.call("TaskUnit.Run", json!({ "name": "t" })).expect("a run of its own");
    }
    host.wait_successes("t", RUNS as u64);
    assert_eq!(host.ok(&["kv", "get", "t", "n"]), (2 * RUNS).to_string());
    assert_eq!(host.ok(&["kv", "get", "t", "text"]), "x".repeat(RUNS));
}

#[test]
fn the_quota_holds_for_runs_and_for_taskctl() {
    let env = TestEnv::new();
    let host = env.host();
    add(&host, "t", json!({ "limits": { "kv_bytes": 100 } }), &["must", "set", "k", "#100"]);
    host.ctl(&["run", "t"]).fails_with(8);
    let failed = &host.runs("t")[0];
    assert_eq!((&failed["outcome"], &failed["detail"]), (&json!("limit_exceeded"), &json!("kv_bytes")));
    host.ok(&["kv", "set", "t", "k", &"x".repeat(99)]);
    let refused = host.ctl(&["kv", "set", "t", "l", ""]).fails_with(5);
    refused.says(&["would keep 101 bytes", "`kv_bytes` is 100", "taskctl kv rm t KEY"]);
    assert!(host.ctl(&["kv", "list", "t"]).ok().stderr.starts_with("1 key, 100 B of 100 B"));
}

#[test]
fn the_value_of_a_secret_shows_nowhere_and_is_written_nowhere() {
    const SECRET: &str = "correct-horse-battery";
    let env = TestEnv::new();
    let mut serve = env.serve();
    serve.env(SECRET_VARIABLE, SECRET);
    let host = Host::start(&env, serve);
    let granted = json!({ "grants": { "secrets": ["api.key"], "config": { "url": "here" } } });
    let steps = ["print", "@url", ";", "log", "error", "auth", "@api.key", ";", "summary", "@api.key"];
    add(&host, "t", granted.clone(), &steps);
    assert_eq!(run(&host, "t"), "auth: ***");
    add(&host, "fails", granted, &["fail", "@api.key"]);
    host.ctl(&["run", "fails"]).fails_with(8);
    let mut told = host.json(&["show", "t"]).to_string();
    for args in [&["export"][..], &["runs", "t"], &["runs", "fails"], &["logs", "t"], &["why", "t"], &["changes", "t"]]
    {
        told += &host.ctl(args).ok().stdout;
    }
    assert!(!told.contains(SECRET) && told.contains("***") && told.contains("api.key"), "{told}");
    host.stop();
    for entry in std::fs::read_dir(env.data_dir()).expect("a folder") {
        let path = entry.expect("an entry").path();
        let is_in = path.is_file()
            && std::fs::read(&path).expect("a file").windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes());
        assert!(!is_in, "in {}", path.display());
    }
}

#[test]
fn lines_are_shown_from_a_level_up_and_the_limit_counts_those() {
    let env = TestEnv::new();
    let host = env.host();
    let steps =
        ["log", "warn", "disk", "full", ";", "log", "critical", "", "out", ";", "print", "1", ";", "print", "2"];
    add(&host, "t", json!({}), &steps);
    let followed = host.follow(&["logs", "t", "-f", "--level", "warn"]);
    host.ok(&["run", "t"]);
    let texts = |args: &[&str]| {
        let logs = host.json(&[&["logs", "t"], args].concat());
        let lines = logs["lines"].as_array().expect("lines").clone();
        lines.iter().map(|line| format!("{} {}", line["level"], line["text"])).collect::<Vec<_>>()
    };
    assert_eq!(texts(&["--level", "warn"]), [r#""warn" "disk: full""#, r#""critical" "out""#]);
    assert_eq!(texts(&["--level", "warn", "-n", "1"]), [r#""critical" "out""#]);
    assert_eq!(texts(&["--level", "info", "-n", "1"]), [r#"null "2""#], "plain output counts as info");
    let shown = host.ok(&["logs", "t", "--level", "error"]);
    assert!(shown.lines().count() == 1 && shown.ends_with("critical out\n"), "{shown}");
    assert!(followed.line().ends_with("warn   disk: full"));
    assert!(followed.line().ends_with("critical out"));
    host.ctl(&["logs", "t", "--level", "loud"]).fails_with(5).says(&["`trace`, `debug`, `info`"]);
}
