//! Plugins that mean harm, or are only badly written: each fails alone, and its neighbours keep their time.

use serde_json::{Value, json};

use crate::support::{Host, TestEnv, eventually, guest};

/// A rate at which nothing runs during a test.
const NEVER: &str = "10y";

/// What an honest neighbour does while the others misbehave.
const NEIGHBOUR: &str = "honest";

#[track_caller]
fn add(host: &Host<'_>, guest_file: &str, every: &str, timeout: &str) {
    let file = guest(guest_file);
    let file = file.to_str().expect("a path of UTF-8");
    host.ok(&["add", guest_file, "--wasm", file, "--every", every, "--timeout", timeout]);
}

/// Asserts that the neighbour ran all the while, every time with success.
#[track_caller]
fn neighbour_kept_its_time(host: &Host<'_>, successes_before: u64) {
    host.wait_successes(NEIGHBOUR, successes_before + 3);
    let counts = host.task(NEIGHBOUR)["counts"].clone();
    let successes = counts["success"].as_u64().unwrap_or_default();
    // On a loaded machine a due time may find the run before it still waiting for a core; no other outcome is excused.
    let skipped = counts["skipped"].as_u64().unwrap_or_default();
    let others = counts
        .as_object()
        .expect("counts")
        .keys()
        .filter(|outcome| !["success", "skipped"].contains(&outcome.as_str()));
    assert_eq!(others.count(), 0, "{counts}");
    assert!(skipped * 4 <= successes + 4, "{counts}");
}

#[track_caller]
fn run(host: &Host<'_>, name: &str) -> Value {
    host.call("TaskUnit.Run", json!({ "name": name, "wait": true }))["run"].clone()
}

#[test]
fn each_fails_alone_with_its_own_outcome() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", NEIGHBOUR, "--every", "100ms"]);
    host.wait_successes(NEIGHBOUR, 1);
    let cases = [
        ("trap.wat", "1m", "trapped", "unreachable"),
        ("out-of-bounds.wat", "1m", "trapped", "out of bounds"),
        ("recurse.wat", "1m", "trapped", "stack"),
        ("allocate.wat", "1m", "limit_exceeded", "memory_bytes"),
        ("allocate-table.wat", "1m", "limit_exceeded", "table_elements"),
        ("big-memory.wat", "1m", "limit_exceeded", "memory_bytes"),
        ("spin.wat", "500ms", "timed_out", "ran longer than 500ms"),
        ("spin-in-start.wat", "500ms", "timed_out", "ran longer than 500ms"),
        ("sleep.wat", "500ms", "timed_out", "ran longer than 500ms"),
        ("flood-lines.wat", "500ms", "timed_out", "ran longer than 500ms"),
    ];
    for (file, timeout, ..) in cases {
        add(&host, file, NEVER, timeout);
    }
    let before = host.count(NEIGHBOUR, "success");
    std::thread::scope(|scope| {
        for (file, _, outcome, detail) in cases {
            let mut stream = host.stream();
            scope.spawn(move || {
                let ran = stream.call("TaskUnit.Run", json!({ "name": file, "wait": true })).expect("it runs");
                let run = &ran["run"];
                assert_eq!(run["outcome"], outcome, "{file}: {run}");
                assert!(run["detail"].as_str().is_some_and(|said| said.contains(detail)), "{file}: {run}");
            });
        }
    });
    neighbour_kept_its_time(&host, before);
}

#[test]
fn a_gibibyte_without_a_newline_costs_no_memory_and_one_cut_line() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", NEIGHBOUR, "--every", "100ms"]);
    host.wait_successes(NEIGHBOUR, 1);
    add(&host, "flood.wat", NEVER, "10m");
    let (memory_before, before) = (host.peak_memory_bytes(), host.count(NEIGHBOUR, "success"));
    let run = run(&host, "flood.wat");
    assert_eq!(run["outcome"], "success", "{run}");
    assert!(host.peak_memory_bytes() - memory_before < 64 << 20);
    let logs = host.call("TaskUnit.Logs", json!({ "name": "flood.wat" }));
    let lines = logs["lines"].as_array().expect("lines");
    assert_eq!((lines.len(), &lines[0]["truncated"]), (1, &json!(true)));
    neighbour_kept_its_time(&host, before);
}

#[test]
fn a_guest_that_writes_without_end_is_cut_off_and_told_so_in_its_log() {
    let env = TestEnv::new();
    let host = env.host();
    add(&host, "flood-lines.wat", NEVER, "1s");
    assert_eq!(run(&host, "flood-lines.wat")["outcome"], "timed_out");
    let logs = host.call("TaskUnit.Logs", json!({ "name": "flood-lines.wat", "limit": 1 }));
    let line = &logs["lines"][0];
    assert_eq!(line["stream"], "host", "{logs}");
    assert!(line["text"].as_str().is_some_and(|text| text.contains("the rest is dropped")), "{logs}");
}

#[test]
fn a_task_that_spins_at_every_due_time_skips_its_own_and_no_others() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", NEIGHBOUR, "--every", "100ms"]);
    host.wait_successes(NEIGHBOUR, 1);
    let before = host.count(NEIGHBOUR, "success");
    for number in 0..10 {
        let file = guest("spin.wat");
        let file = file.to_str().expect("a path of UTF-8");
        host.ok(&["add", &format!("spin{number}"), "--wasm", file, "--every", "100ms", "--timeout", "1s"]);
    }
    for number in 0..10 {
        let name = format!("spin{number}");
        eventually("it has timed out and skipped", || {
            (host.count(&name, "timed_out") >= 1 && host.count(&name, "skipped") >= 5).then_some(())
        });
    }
    neighbour_kept_its_time(&host, before);
}

#[test]
fn a_task_whose_run_never_ends_can_be_deleted_and_its_name_taken() {
    let env = TestEnv::new();
    let mut serve = env.serve();
    serve.env("TASKHOST_CANCEL_GRACE", "100ms");
    let host = Host::start(&env, serve);
    for file in ["spin.wat", "sleep.wat", "spin-in-start.wat"] {
        add(&host, file, NEVER, "1h");
        host.ok(&["run", file, "--no-wait"]);
        assert_eq!(host.task(file)["state"], "running");
        assert_eq!(host.ok(&["del", file]), format!("deleted {file}\n"));
        host.ctl(&["show", file]).fails_with(3);
        host.ok(&["add", file]);
    }
    assert_eq!(host.call("Host.Info", json!({}))["slow_lane"], 0, "nothing spins on");
}

#[test]
fn nothing_leaks_from_one_run_to_the_next() {
    let env = TestEnv::new();
    let host = env.host();
    let file = crate::support::probe();
    host.ok(&["add", "calls", "--wasm", file.to_str().expect("a path of UTF-8"), "--every", NEVER, "--", "calls"]);
    for _ in 0..3 {
        assert_eq!(run(&host, "calls")["result"], "1", "every run has an instance of its own");
    }
}
