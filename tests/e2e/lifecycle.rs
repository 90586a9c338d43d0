//! Starting, stopping and starting again.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{HEEDING_HANGUP, Host, TestEnv, eventually, guest, probe, started_by};

/// A rate at which nothing runs during a test.
const NEVER: &str = "10y";

#[track_caller]
fn add_probe(host: &Host<'_>, name: &str, args: &[&str]) {
    let wasm = probe();
    let wasm = wasm.to_str().expect("a path of UTF-8");
    host.ok(&[&["add", name, "--wasm", wasm, "--every", NEVER, "--timeout", "1h", "--"], args].concat());
}

#[test]
fn a_restart_keeps_tasks_with_their_phase_counts_runs_and_logs() {
    let env = TestEnv::new();
    let host = env.host();
    add_probe(&host, "plugin", &["fail", "on purpose"]);
    host.ok(&["add", "hourly", "--every", "1h", "--label", "team=web"]);
    host.ok(&["edit", "hourly", "--timeout", "9s"]);
    host.ctl(&["run", "plugin"]).fails_with(8);
    host.ok(&["run", "hourly"]);
    host.ok(&["run", "hourly"]);
    host.ok(&["add", "gone"]);
    host.ok(&["del", "gone"]);
    let before = host.call("TaskUnit.List", json!({}));
    let runs_before = host.call("TaskUnit.Runs", json!({ "name": "hourly" }));
    let logs_before = host.call("TaskUnit.Logs", json!({ "name": "hourly" }));
    assert_eq!(logs_before["lines"].as_array().map(Vec::len), Some(2));
    host.stop();

    let host = env.host();
    assert_eq!(host.call("TaskUnit.List", json!({})), before);
    assert_eq!(host.call("TaskUnit.Runs", json!({ "name": "hourly" })), runs_before);
    assert_eq!(host.call("TaskUnit.Logs", json!({ "name": "hourly" })), logs_before);
    host.ok(&["run", "hourly"]);
    let logs = host.call("TaskUnit.Logs", json!({ "name": "hourly" }));
    assert_eq!(logs["lines"][2]["seq"], 3, "lines are counted on");
    host.ctl(&["run", "plugin"]).fails_with(8);
    assert_eq!(host.count("plugin", "error"), 2);
}

#[test]
fn due_times_stand_on_the_time_of_adding_whenever_the_host_is_started() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--every", "250ms"]);
    host.wait_successes("t", 1);
    host.stop();
    let host = env.host();
    let task = host.task("t");
    let instant = |member: &str| -> jiff::Timestamp {
        task[member].as_str().expect("a time").parse().expect("a time as of RFC 3339")
    };
    let since_added = instant("next_due").as_nanosecond() - instant("added_at").as_nanosecond();
    assert_eq!(since_added % 250_000_000, 0, "{task}");
}

#[test]
fn sigterm_waits_for_the_run_that_is_going_on() {
    let env = TestEnv::new();
    let host = env.host_with(&["--grace", "1h"]);
    add_probe(&host, "slow", &["sleep", "1500"]);
    host.ok(&["run", "slow", "--no-wait"]);
    host.stop();
    let host = env.host();
    let run = &host.call("TaskUnit.Runs", json!({ "name": "slow" }))["runs"][0];
    assert_eq!(run["outcome"], "success", "{run}");
}

#[test]
fn a_run_that_outlasts_the_grace_is_stopped_and_recorded() {
    let env = TestEnv::new();
    let host = env.host_with(&["--grace", "200ms"]);
    for file in ["spin.wat", "sleep.wat"] {
        let path = guest(file);
        host.ok(&["add", file, "--wasm", path.to_str().expect("a path of UTF-8"), "--every", NEVER, "--timeout", "1h"]);
        host.ok(&["run", file, "--no-wait"]);
    }
    host.stop();
    let host = env.host();
    for file in ["spin.wat", "sleep.wat"] {
        let run = &host.call("TaskUnit.Runs", json!({ "name": file }))["runs"][0];
        assert_eq!(run["outcome"], "cancelled", "{file}: {run}");
    }
}

#[test]
fn while_it_drains_changes_are_refused_and_a_second_signal_ends_the_waiting() {
    let env = TestEnv::new();
    let host = env.host_with(&["--grace", "1h"]);
    let mut stream = host.stream();
    add_probe(&host, "slow", &["sleep", "3600000"]);
    host.ok(&["run", "slow", "--no-wait"]);
    host.signal(Signal::TERM);
    let refused = eventually("changes are refused", || {
        stream.call("TaskUnit.Add", json!({ "name": "late", "replace": true })).err()
    });
    assert_eq!(refused.name, "shutting_down");
    assert_eq!(host.ctl(&["add", "later"]).code, Some(6), "as if the host was gone");
    host.signal(Signal::INT);
    assert!(host.wait().success());
}

#[test]
fn a_closed_terminal_ends_a_host_in_good_order_but_one_that_was_told_to_ignore_that() {
    let env = TestEnv::new();
    let host = Host::start(&env, started_by(&HEEDING_HANGUP, &env.serve()));
    add_probe(&host, "slow", &["sleep", "3000"]);
    host.ok(&["run", "slow", "--no-wait"]);
    // A shell tells it, and then the kernel.
    host.signal(Signal::HUP);
    eventually("it was heard", || (host.ctl(&["add", "late", "--replace"]).code == Some(6)).then_some(()));
    host.signal(Signal::HUP);
    assert!(host.wait().success());

    let host = Host::start(&env, started_by(&["nohup"], &env.serve()));
    assert_eq!(host.json(&["runs", "slow"])["runs"][0]["outcome"], "success", "it had its grace");
    host.signal(Signal::HUP);
    host.ok(&["add", "a"]);
    host.wait_successes("a", 1);
    host.stop();
}

#[test]
fn a_subscriber_hears_that_the_host_stops() {
    let env = TestEnv::new();
    let host = env.host();
    let mut watcher = host.stream();
    watcher.watch(json!({}));
    host.stop();
    watcher.event_of("shutdown");
    assert_eq!(watcher.line(), "", "the connection is closed");
}

#[test]
fn a_second_host_on_the_same_data_is_refused_and_names_the_first() {
    let env = TestEnv::new();
    let mut host = env.host();
    let ran = env.run_host(&[]).fails_with(1);
    ran.says(&["data", "is in use by another daemon", &format!("process {}", host.pid())]);
    assert!(host.is_alive());
    host.ok(&["add", "t"]);
}

#[test]
fn a_port_that_is_in_use_is_told_with_what_to_do() {
    let env = TestEnv::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let address = taken.local_addr().expect("it is bound").to_string();
    let ran = env.run_host(&["--listen", &address]).fails_with(1);
    ran.says(&[&format!("failed to listen on {address}"), "in use", "--listen"]);
}

#[test]
fn listening_past_loopback_is_refused_saying_why() {
    let env = TestEnv::new();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:3333"] {
        let ran = env.run_host(&["--listen", address]);
        assert_ne!(ran.code, Some(0), "{address}");
        ran.says(&["TLS", "token"]);
    }
    assert!(!env.socket().exists());
}

#[test]
fn wrong_settings_are_refused_with_their_place() {
    let env = TestEnv::new();
    let file = env.write("wrong.toml", "grace = \"10s\"\nlisen = []\n");
    let file = file.to_str().expect("a path of UTF-8");
    env.run_host(&["--config", file]).fails_with(2).says(&["wrong.toml", "lisen"]);
    env.run_host(&["--grace", "soon"]).fails_with(2).says(&["grace", "on the command line"]);
    env.run_host(&["--config", "/no/such.toml"]).fails_with(2).says(&["/no/such.toml"]);
}

#[test]
fn nobody_else_can_read_what_a_host_keeps() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t"]);
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&env.data_dir()), 0o700);
    assert_eq!(mode(&env.socket()), 0o600);
    assert_eq!(mode(&env.data_dir().join("definitions.db")), 0o600);
    host.stop();
    assert!(!env.socket().exists(), "the socket's file goes with the host");
}

#[test]
fn a_socket_that_a_dead_host_left_is_taken_over() {
    let env = TestEnv::new();
    env.host().kill();
    assert!(env.socket().exists());
    let host = env.host();
    host.ok(&["list"]);
}

#[test]
fn due_times_that_passed_while_the_host_was_down_do_not_come_in_a_burst() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--every", "50ms"]);
    host.wait_successes("t", 2);
    host.stop();
    let host = env.host();
    host.wait_successes("t", 4);
    let runs = host.call("TaskUnit.Runs", json!({ "name": "t" }));
    let runs = runs["runs"].as_array().expect("runs");
    let due: std::collections::BTreeSet<_> = runs.iter().map(|run| run["due"].as_str().expect("a time")).collect();
    assert_eq!(due.len(), runs.len(), "no due time runs twice");
    assert!(runs.iter().all(|run| run["outcome"] != Value::Null || run["finished"] == Value::Null), "{runs:?}");
}

#[test]
fn a_host_with_an_empty_socket_listens_on_tcp_only() {
    let env = TestEnv::new();
    let mut serve = env.taskhost(&["serve", "--listen", "127.0.0.1:0", "--socket", ""]);
    serve.arg("--data-dir").arg(env.data_dir());
    let host = Host::start(&env, serve);
    let listen = host.call("Host.Info", json!({}))["listen"].clone();
    assert_eq!(listen, json!([host.tcp().to_string()]));
}

#[test]
fn a_host_whose_log_nobody_reads_runs_its_tasks_and_stops() {
    let env = TestEnv::new();
    let (_unread, stderr) = std::io::pipe().expect("a pipe");
    let mut serve = env.serve();
    // So much that the pipe is full before the host is ready.
    serve.env("TASKHOST_LOG", "trace");
    let host = Host::start_logging_to(&env, serve, stderr);
    host.ok(&["add", "a", "--every", "100ms"]);
    host.wait_successes("a", 3);
    for number in 0..50 {
        add_probe(&host, &format!("failing-{number}"), &["fail", "on purpose"]);
        host.ctl(&["run", &format!("failing-{number}")]).fails_with(8);
    }
    let before = host.count("a", "success");
    host.wait_successes("a", before + 3);
    host.stop();
}
