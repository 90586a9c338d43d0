//! Every verb of `taskctl` against a real host: what it does, prints, and ends with.

use std::path::Path;

use serde_json::json;

use crate::support::{Host, TestEnv, eventually, guest, guest_bytes, probe, sha256};

/// A rate at which nothing runs during a test.
const NEVER: &str = "10y";

/// What differs from run to run, by what it is.
fn stable() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    for (pattern, word) in [
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "[time]"),
        (r"[0-9a-f]{16}-[0-9a-f]{16}", "[run id]"),
        (r"\b[0-9a-f]{64}\b", "[sha256]"),
        (r"\b[0-9a-f]{16}\b", "[short sha256]"),
        (r#""lateness_ms": [\d.e-]+"#, r#""lateness_ms": "[ms]""#),
        (r"success in [\d.]+(µs|ms|s)", "success in [duration]"),
        (r"in 36\d\dd", "in [days]"),
        (r#""size_bytes": \d+"#, r#""size_bytes": "[bytes]""#),
    ] {
        settings.add_filter(pattern, word);
    }
    settings
}

/// Adds a task of the probe that runs only when asked.
#[track_caller]
fn add_probe(host: &Host<'_>, name: &str, args: &[&str]) {
    let wasm = probe();
    let wasm = utf8(&wasm);
    host.ok(&[&["add", name, "--wasm", wasm, "--every", NEVER, "--"], args].concat());
}

fn utf8(path: &Path) -> &str {
    path.to_str().expect("the checkout has a path of UTF-8")
}

#[test]
fn a_task_is_the_ticker_every_second_unless_it_is_said_otherwise() {
    let env = TestEnv::new();
    let host = env.host();
    assert_eq!(
        host.ok(&["add", "hello"]),
        "added hello: runs every 1s (default); change it with `taskctl edit hello --every 5m`\n"
    );
    assert_eq!(host.task("hello")["spec"], json!({ "name": "hello", "plugin": { "builtin": "ticker" } }));
    let effective = host.json(&["show", "hello", "--effective"]);
    assert_eq!(effective["spec"]["schedules"], json!([{ "every": "1s" }]));
    assert_eq!(effective["spec"]["timeout"], "1m");
    assert_eq!(effective["spec"]["memory_bytes"], 128 << 20);
    assert_eq!(effective["spec"]["overlap"], "skip");
    host.wait_successes("hello", 1);
    let logged = eventually("the tick is in the log", || {
        let log = host.ok(&["logs", "hello"]);
        log.lines().next().map(str::to_owned)
    });
    assert!(logged.contains(" Task hello tick at 20"), "{logged}");
}

#[test]
fn a_followed_log_goes_on_until_its_task_is_deleted() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "tick", "--every", "100ms"]);
    let followed = host.follow(&["logs", "tick", "-f", "-o", "json"]);
    let seq = |line: String| {
        let line: serde_json::Value = serde_json::from_str(&line).expect("one object a line");
        line["seq"].as_u64().expect("a line has its number")
    };
    let first = seq(followed.line());
    for further in 1..5 {
        assert_eq!(seq(followed.line()), first + further, "no line is lost, and none shown twice");
    }
    host.ok(&["del", "tick"]);
    assert_eq!(followed.end(), Some(0));
}

#[test]
fn a_plugin_from_a_file_runs_with_its_arguments() {
    let env = TestEnv::new();
    let host = env.host();
    let wasm = probe();
    let added = host.ok(&["add", "job", "--wasm", utf8(&wasm), "--every", NEVER, "--", "summary", "all", "good"]);
    assert_eq!(
        added,
        format!(
            "added job: runs every {}\n",
            host.task("job")["spec"]["schedules"][0]["every"].as_str().expect("a rate")
        )
    );
    let ran = host.ctl(&["run", "job"]).ok();
    stable().bind(|| insta::assert_snapshot!("run", ran.stdout));

    let started = host.json(&["run", "job"]);
    assert_eq!(started["run"]["outcome"], "success");
    assert_eq!(started["run"]["result"], "all good");
    assert_eq!(started["run"]["reason"], "manual");
    assert_eq!(started["run"]["plugin_sha256"], sha256(&guest_bytes("probe/probe.wasm")));
    assert_eq!(host.count("job", "success"), 2);
}

#[test]
fn a_run_that_does_not_succeed_is_exit_code_8() {
    let env = TestEnv::new();
    let host = env.host();
    add_probe(&host, "fails", &["fail", "no", "luck"]);
    let ran = host.ctl(&["run", "fails"]).fails_with(8).says(&["see what it printed with `taskctl logs fails`"]);
    assert!(ran.stdout.contains("error") && ran.stdout.contains("no luck"), "{ran:?}");
    add_probe(&host, "panics", &["panic", "oh dear"]);
    let run = host.ctl(&["run", "panics", "-o", "json"]).fails_with(8).json();
    assert_eq!(run["run"]["outcome"], "trapped");
    let log = host.ok(&["logs", "panics"]);
    assert!(log.contains("stderr") && log.contains("oh dear"), "{log}");
    let failed = host.json(&["list", "--outcome", "trapped"]);
    assert_eq!(failed["tasks"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_task_added_with_now_is_due_at_once() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "once", "--every", NEVER, "--now"]);
    host.wait_successes("once", 1);
    let task = host.task("once");
    assert_eq!(task["last_run"]["due"], task["added_at"]);
    assert_eq!(task["last_run"]["reason"], "schedule");
    assert_eq!(host.count("once", "success"), 1, "and not due again");
}

#[test]
fn an_edit_changes_what_it_names_and_nothing_else() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--every", NEVER, "--label", "team=web", "--label", "env=dev", "--timeout", "5s"]);
    host.ok(&["run", "t"]);
    let before = host.task("t");
    assert_eq!(
        host.ok(&["edit", "t", "--label", "env-", "--timeout", "7s", "--if-revision", "1"]),
        "edited t: revision 2\n"
    );
    let after = host.task("t");
    assert_eq!(after["revision"], 2);
    assert_eq!(after["spec"]["timeout"], "7s");
    assert_eq!(after["spec"]["labels"], json!({ "team": "web" }));
    for kept in ["added_at", "next_due", "counts", "last_run"] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
    host.ok(&["edit", "t", "--timeout", "default"]);
    assert_eq!(host.task("t")["spec"].get("timeout"), None);
}

#[test]
fn an_edit_of_another_revision_conflicts_and_changes_nothing() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t"]);
    let refused = host.ctl(&["edit", "t", "--every", "5s", "--if-revision", "7"]).fails_with(4);
    let refused = refused.says(&["task `t` has revision 1, not 7", "hint: ", "taskctl show"]);
    assert_eq!(refused.stdout, "");
    assert_eq!(host.task("t")["revision"], 1);
    host.ctl(&["edit", "t"]).fails_with(2).says(&["nothing to change"]);
}

#[test]
fn an_edit_swaps_the_plugin_and_old_runs_keep_theirs() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--every", NEVER]);
    host.ok(&["run", "t"]);
    host.ok(&["edit", "t", "--wasm", utf8(&guest("exit.wat")), "--", "3"]);
    let run = host.ctl(&["run", "t", "-o", "json"]).fails_with(8).json();
    assert_eq!(run["run"]["exit_code"], 3);
    assert_eq!(run["run"]["revision"], 2);
    let exit = sha256(&guest_bytes("exit.wat"));
    let runs = host.json(&["runs", "t"]);
    let plugins: Vec<_> = runs["runs"].as_array().expect("runs").iter().map(|run| &run["plugin_sha256"]).collect();
    assert_eq!(plugins.len(), 2);
    assert_eq!(*plugins[0], exit);
    assert_ne!(*plugins[1], exit, "the first run was the ticker's");
}

#[test]
fn replacing_makes_a_task_exactly_what_is_said() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--label", "a=b", "--timeout", "5s"]);
    let exists = host.ctl(&["add", "t"]).fails_with(4).says(&["a task named `t` exists", "--replace"]);
    assert_eq!(exists.stdout, "");
    host.ok(&["add", "t", "--replace", "--every", "5s"]);
    let task = host.task("t");
    assert_eq!(task["revision"], 2);
    assert_eq!(
        task["spec"],
        json!({ "name": "t", "plugin": { "builtin": "ticker" }, "schedules": [{ "every": "5s" }] })
    );
}

#[test]
fn tasks_are_deleted_under_every_alias() {
    let env = TestEnv::new();
    let host = env.host();
    for name in ["a", "b", "c", "d"] {
        host.ok(&["add", name, "--every", NEVER]);
    }
    assert_eq!(host.ok(&["del", "a"]), "deleted a\n");
    assert_eq!(host.ok(&["delete", "b"]), "deleted b\n");
    assert_eq!(host.ok(&["rm", "--wait", "c"]), "deleted c\n");
    let partly = host.ctl(&["del", "a", "d"]).fails_with(3).says(&["no task is named `a`", "`taskctl list` shows"]);
    assert_eq!(partly.stdout, "deleted d\n", "the others are deleted all the same");
    assert_eq!(host.ok(&["del", "a", "--if-exists"]), "there was no `a`\n");
    assert_eq!(host.json(&["list"]), json!({ "tasks": [] }));
    host.ctl(&["list"]).ok().says(&["no tasks; add one with `taskctl add NAME`"]);
}

#[test]
fn lists_are_selected_and_in_order_of_name() {
    let env = TestEnv::new();
    let host = env.host();
    for (name, label) in [("b", "team=web"), ("c", "team=db"), ("a", "team=web")] {
        host.ok(&["add", name, "--every", NEVER, "--label", label]);
    }
    let names = |args: &[&str]| -> Vec<String> {
        let list = host.json(&[&["list"], args].concat());
        let tasks = list["tasks"].as_array().expect("tasks").clone();
        tasks.iter().map(|task| task["spec"]["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&[]), ["a", "b", "c"]);
    assert_eq!(names(&["--selector", "team=web"]), ["a", "b"]);
    assert_eq!(names(&["-l", "team!=web"]), ["c"]);
    assert_eq!(names(&["--state", "idle"]), ["a", "b", "c"]);
    assert!(names(&["--state", "running"]).is_empty());
    assert!(names(&["--outcome", "error"]).is_empty());
    host.ctl(&["list", "--state", "dancing"]).fails_with(5);
    host.ctl(&["list", "--selector", "=,="]).fails_with(5);
}

#[test]
fn a_run_that_is_going_on_can_be_cancelled() {
    let env = TestEnv::new();
    let host = env.host();
    add_probe(&host, "w", &["wait-cancel"]);
    host.ctl(&["cancel", "w"]).fails_with(3).says(&["task `w` has no run in progress"]);
    let started = host.json(&["run", "w", "--no-wait"]);
    assert_eq!(started["run"].get("outcome"), None);
    let run_id = started["run"]["run_id"].as_str().expect("a run has an id");
    assert_eq!(host.json(&["list", "--state", "running"])["tasks"].as_array().map(Vec::len), Some(1));
    host.ctl(&["run", "w"]).fails_with(4).says(&["is running", "taskctl cancel"]);
    host.ctl(&["cancel", "w", "0000000000000001-0000000000000002"]).fails_with(3);
    let (_, as_runs_shows_it) = run_id.split_once('-').expect("the task's number stands before the run's");
    assert!(host.ok(&["runs", "w"]).contains(&format!("\n{as_runs_shows_it} ")));
    assert_eq!(host.json(&["cancel", "w", as_runs_shows_it]), json!({ "run_id": run_id }));
    let again = host.ctl(&["cancel", "w", run_id]);
    assert!(matches!(again.code, Some(0 | 3)), "it may have ended: {again:?}");
    let run = eventually("the run ends", || {
        let run = host.json(&["runs", "w"])["runs"][0].clone();
        run.get("outcome").is_some().then_some(run)
    });
    assert_eq!(run["run_id"], run_id);
    assert_eq!(run["result"], "saw the cancel", "the guest was told, and given time");
}

#[test]
fn a_cancelled_guest_that_does_not_listen_is_stopped_after_the_grace() {
    let env = TestEnv::new();
    let mut serve = env.serve();
    serve.env("TASKHOST_CANCEL_GRACE", "100ms");
    let host = Host::start(&env, serve);
    for deaf in ["spin.wat", "sleep.wat"] {
        host.ok(&["add", deaf, "--wasm", utf8(&guest(deaf)), "--every", NEVER, "--timeout", "1h"]);
        host.ok(&["run", deaf, "--no-wait"]);
        host.ok(&["cancel", deaf]);
        let outcome = eventually("the run ends", || host.json(&["runs", deaf])["runs"][0].get("outcome").cloned());
        assert_eq!(outcome, "cancelled", "{deaf}");
    }
}

#[test]
fn a_run_of_a_deleted_task_is_cancelled_or_waited_for() {
    let env = TestEnv::new();
    let host = env.host();
    let mut watcher = host.stream();
    watcher.watch(json!({ "kinds": ["run_finished", "task_deleted"] }));
    for (name, args, mode, said) in [
        ("waited-for", &["sleep", "500"][..], "--wait", json!(null)),
        ("cancelled", &["wait-cancel"], "--cancel", json!("saw the cancel")),
    ] {
        add_probe(&host, name, args);
        host.ok(&["run", name, "--no-wait"]);
        assert_eq!(host.ok(&["del", name, mode]), format!("deleted {name}\n"));
        let finished = watcher.event();
        assert_eq!((&finished["kind"], &finished["run"]["outcome"]), (&json!("run_finished"), &json!("success")));
        assert_eq!(finished["run"]["result"], said);
        assert_eq!(watcher.event()["kind"], "task_deleted", "and not before its run has ended");
    }
}

#[test]
fn plugins_are_put_listed_shown_and_removed() {
    let env = TestEnv::new();
    let host = env.host();
    let file = probe();
    let sum = sha256(&guest_bytes("probe/probe.wasm"));
    assert_eq!(host.ok(&["plugin", "put", utf8(&file)]), format!("{sum}\n"));
    assert_eq!(host.ok(&["plugin", "put", utf8(&file)]), format!("{sum}\n"), "a second time is no error");
    let shown = host.json(&["plugin", "show", &sum[..8]]);
    assert_eq!((&shown["sha256"], &shown["kind"], &shown["tasks"]), (&json!(sum), &json!("task component"), &json!(0)));
    host.ok(&["add", "t", "--plugin", &sum[..8], "--every", NEVER, "--", "ok"]);
    host.ok(&["run", "t"]);
    let list = host.ok(&["plugin", "list"]);
    assert!(list.contains("ticker") && list.contains(&sum[..16]), "{list}");
    host.ctl(&["plugin", "rm", &sum]).fails_with(4).says(&["`t` among them"]);
    host.ctl(&["plugin", "rm", "ticker"]).fails_with(5).says(&["`ticker` is built in"]);
    host.ctl(&["plugin", "rm", "abcdef"]).fails_with(3).says(&["no plugin `abcdef` is stored", "taskctl plugin list"]);
    host.ok(&["del", "t"]);
    assert_eq!(host.ok(&["plugin", "rm", &sum]), format!("deleted {sum}\n"));
    assert!(!env.data_dir().join(format!("plugins/{sum}.wasm")).exists());
}

#[test]
fn pruning_takes_away_what_no_task_uses() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["plugin", "put", utf8(&guest("exit.wat"))]);
    add_probe(&host, "t", &["ok"]);
    let pruned = host.json(&["plugin", "prune"]);
    let exit = guest_bytes("exit.wat");
    assert_eq!(pruned, json!({ "sha256": [sha256(&exit)], "freed_bytes": exit.len() }));
    host.ok(&["run", "t"]);
}

#[test]
fn the_host_tells_what_it_is_and_how_it_does() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "tick", "--every", "10ms"]);
    host.wait_successes("tick", 3);
    let info = host.json(&["host"]);
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["wit"], json!(["taskhost:plugin@0.1.0"]));
    assert_eq!(info["workers"], 2);
    assert_eq!(info["tasks"], 1);
    assert_eq!(info["faults"], json!([]));
    let socket = format!("unix:{}", env.socket().display());
    assert_eq!(info["listen"], json!([host.tcp().to_string(), socket]));
    assert!(info["runs"]["success"].as_u64() >= Some(3), "{info}");
    assert!(info["lateness_ms"]["count"].as_u64() >= Some(3), "{info}");
    assert!(info["lateness_ms"]["p50"].as_f64() <= info["lateness_ms"]["max"].as_f64(), "{info}");
    assert!(info["memory_bytes"].as_u64() > Some(1 << 20), "{info}");
    assert!(info["pool_slots"].as_u64() > Some(0), "{info}");
    let table = host.ok(&["host"]);
    assert!(table.contains("taskhost:plugin@0.1.0"), "{table}");
}

#[test]
fn watching_shows_runs_as_they_end() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "tick", "--every", "50ms"]);
    host.ok(&["add", "other", "--every", "50ms"]);
    let watched = host.follow(&["watch", "tick", "-o", "json"]);
    for _ in 0..3 {
        let event: serde_json::Value = serde_json::from_str(&watched.line()).expect("one object a line");
        assert_eq!((&event["kind"], &event["task"]), (&json!("run_finished"), &json!("tick")), "{event}");
        assert_eq!(event["run"]["outcome"], "success");
    }
    host.stop();
    watched.line_with("shutdown");
    assert_eq!(watched.end(), Some(0));
}

#[test]
fn answers_have_the_shapes_that_programs_were_written_for() {
    let env = TestEnv::new();
    let host = env.host();
    add_probe(&host, "a", &["summary", "fine"]);
    host.ok(&["edit", "a", "--label", "team=web"]);
    host.ok(&["run", "a"]);
    host.ok(&["logs", "a"]);
    let text = |args: &[&str]| host.ok(&[&["-o", "json"], args].concat());
    stable().bind(|| {
        insta::assert_snapshot!("show-json", text(&["show", "a"]));
        insta::assert_snapshot!("runs-json", text(&["runs", "a"]));
        insta::assert_snapshot!("plugin-list-json", text(&["plugin", "list"]));
    });
}

#[test]
fn lists_read_as_people_know_them() {
    let env = TestEnv::new();
    let host = env.host();
    add_probe(&host, "backup", &["ok"]);
    host.ok(&["add", "eu/web/check", "--every", NEVER, "--label", "team=web"]);
    host.ok(&["add", "über", "--every", NEVER]);
    stable().bind(|| insta::assert_snapshot!("list", host.ok(&["list"])));
}

#[test]
fn every_message_says_what_happened_to_whom_and_what_to_type_next() {
    let env = TestEnv::new();
    let host = env.host();
    add_probe(&host, "busy", &["wait-cancel"]);
    host.ok(&["run", "busy", "--no-wait"]);
    let sum = sha256(&guest_bytes("probe/probe.wasm"));
    env.write("no-start.wat", guest_bytes("no-start.wat"));
    let missing = "0".repeat(64);
    let mut messages = String::new();
    for args in [
        &["show", "nobody"][..],
        &["add", "busy"],
        &["add", "../x"],
        &["add", "x", "--every", "1ns"],
        &["add", "x", "--every", "1"],
        &["add", "x", "--builtin", "nope"],
        &["add", "x", "--wasm", "no-start.wat"],
        &["add", "x", "--wasm", "no-such.wasm"],
        &["add", "x", "--plugin", &missing],
        &["edit", "busy", "--if-revision", "7", "--every", "5s"],
        &["run", "busy"],
        &["cancel", "busy", "0000000000000001-0000000000000002"],
        &["plugin", "rm", &sum],
    ] {
        let ran = host.ctl(args);
        let code = ran.code.expect("no signal ended it");
        messages.push_str(&format!("$ taskctl {}\n{}exit code {code}\n\n", args.join(" "), ran.stderr));
    }
    stable().bind(|| insta::assert_snapshot!("messages", messages));
}

#[test]
fn a_host_that_is_not_there_is_exit_code_6_and_usage_is_2() {
    let env = TestEnv::new();
    let nowhere = format!("unix:{}", env.path("nobody").display());
    let ran = env.run_taskctl(&["--host", &nowhere, "list"]).fails_with(6);
    ran.says(&["failed to reach the host at unix:", "start one with `taskhost`"]);
    env.run_taskctl(&["frobnicate"]).fails_with(2);
    env.run_taskctl(&["add"]).fails_with(2);
    env.run_taskctl(&["--host", "/a/path", "list"]).fails_with(2).says(&["unix:/a/path"]);
    env.run_taskctl(&["--host", &nowhere, "add", "x", "--wasm", "/no/such.wasm"]).fails_with(6);
    env.run_taskctl(&["--help"]).ok();
    let completions = env.run_taskctl(&["completions", "bash"]).ok();
    assert!(completions.stdout.contains("_taskctl"), "completions need no host");
}

#[test]
fn a_file_that_is_not_there_is_exit_code_2() {
    let env = TestEnv::new();
    let host = env.host();
    host.ctl(&["add", "x", "--wasm", "no-such.wasm"])
        .fails_with(2)
        .says(&["failed to read no-such.wasm", "no such file"]);
    assert_eq!(host.json(&["list"]), json!({ "tasks": [] }));
}

#[test]
fn echoed_lines_of_guests_are_on_the_hosts_stdout() {
    let env = TestEnv::new();
    let host = env.host_with(&["--echo"]);
    host.ok(&["add", "hello", "--every", NEVER]);
    host.ok(&["run", "hello"]);
    let line = host.line();
    assert!(line.contains("Task hello tick at "), "{line}");
}
