//! A run that failed is tried again, as the same run.

use serde_json::json;

use crate::support::{Host, TestEnv, eventually, guest, time};

/// Adds a task of the guest that says what it begins, and fails on its first attempts.
#[track_caller]
fn add_failing(host: &Host<'_>, name: &str, flags: &[&str], attempts: &str) {
    host.add_plugin(name, &guest("begin.wat"), &[&["--manual"], flags].concat(), &["0", attempts]);
}

/// What its guests said when they began: the id of the run, and the number of the attempt.
fn begun(host: &Host<'_>, name: &str) -> Vec<(String, String)> {
    let logs = host.call("TaskUnit.Logs", json!({ "name": name }));
    let lines = logs["lines"].as_array().expect("lines").iter().map(|line| line["text"].as_str().expect("a text"));
    let words = lines.filter_map(|line| line.strip_prefix("begin ")).map(|line| line.split(' ').collect::<Vec<_>>());
    words.map(|words| (words[1].to_owned(), words[2].to_owned())).collect()
}

#[test]
fn every_attempt_has_the_runs_id_and_a_number_of_its_own() {
    let env = TestEnv::new();
    let host = env.host();
    add_failing(&host, "t", &["--retry", "3", "--retry-backoff", "10ms"], "2");
    let run = host.json(&["run", "t"])["run"].clone();
    assert_eq!((&run["outcome"], &run["attempts"]), (&json!("success"), &json!(3)), "{run}");
    let id = run["run_id"].as_str().expect("an id");
    let expected: Vec<_> = ["1", "2", "3"].map(|attempt| (id.to_owned(), attempt.to_owned())).into();
    assert_eq!(begun(&host, "t"), expected);
    assert_eq!(host.task("t")["counts"], json!({ "success": 1 }), "one run, however many attempts");
    let runs = host.ok(&["runs", "t"]);
    assert!(runs.contains("3 attempts"), "{runs}");
}

#[test]
fn a_run_whose_attempts_are_used_up_has_the_outcome_of_the_last() {
    let env = TestEnv::new();
    let host = env.host();
    add_failing(&host, "t", &["--retry", "3", "--retry-backoff", "1ms"], "99");
    let run = host.ctl(&["run", "t", "-o", "json"]).fails_with(8).json()["run"].clone();
    assert_eq!((&run["outcome"], &run["attempts"], &run["detail"]), (&json!("error"), &json!(3), &json!("attempt 3")));
    assert_eq!(begun(&host, "t").len(), 3);
}

#[test]
fn a_failure_that_is_permanent_is_not_tried_again() {
    let env = TestEnv::new();
    let host = env.host();
    host.add_probe("t", &["--manual", "--retry", "5", "--retry-backoff", "1ms"], &["fail-permanent", "no such bucket"]);
    let run = host.ctl(&["run", "t", "-o", "json"]).fails_with(8).json()["run"].clone();
    assert_eq!((&run["attempts"], &run["detail"]), (&json!(1), &json!("no such bucket")));
}

#[test]
fn only_the_outcomes_that_are_named_are_tried_again() {
    let env = TestEnv::new();
    let host = env.host();
    let flags = ["--manual", "--retry", "3", "--retry-backoff", "1ms", "--retry-on", "trapped"];
    host.add_probe("fails", &flags, &["fail", "x"]);
    host.add_probe("traps", &flags, &["panic", "x"]);
    for (name, attempts) in [("fails", 1), ("traps", 3)] {
        let run = host.ctl(&["run", name, "-o", "json"]).fails_with(8).json()["run"].clone();
        assert_eq!(run["attempts"], attempts, "{run}");
    }
}

#[test]
fn while_a_run_waits_for_its_next_attempt_it_says_when_and_can_be_cancelled() {
    let env = TestEnv::new();
    let host = env.host();
    add_failing(&host, "t", &["--retry", "2", "--retry-backoff", "1h", "--retry-max-backoff", "1h"], "1");
    host.ok(&["run", "t", "--no-wait"]);
    let run = host.wait_run("t", "it waits", |run| run["state"] == "retrying");
    // Of the backoff, the second half is left to chance.
    let wait = time(&run["next_attempt"]).duration_since(time(&run["due"]));
    assert!((29..=61).contains(&wait.as_mins()), "{run}");
    let runs = host.ok(&["runs", "t"]);
    assert!(runs.contains("retrying") && runs.contains("error: attempt 1"), "{runs}");
    host.ok(&["cancel", "t"]);
    let run = host.wait_run("t", "it ends", |run| run["state"] == "ended");
    assert_eq!((&run["outcome"], &run["attempts"]), (&json!("cancelled"), &json!(1)), "{run}");
}

#[test]
fn a_retry_that_is_due_goes_on_after_a_restart_and_after_a_crash() {
    for crash in [false, true] {
        let env = TestEnv::new();
        let host = env.host();
        // That an attempt failed is kept within a second or two; before that, a crash makes it one that was abandoned.
        let flags =
            ["--retry", "3", "--retry-on", "error,abandoned", "--retry-backoff", "2s", "--retry-max-backoff", "2s"];
        add_failing(&host, "t", &flags, "1");
        let started = host.json(&["run", "t", "--no-wait"])["run"]["run_id"].clone();
        host.wait_run("t", "it waits", |run| run["state"] == "retrying");
        if crash {
            host.kill();
        } else {
            host.stop();
        }
        let host = env.host();
        let run = host.wait_run("t", "it ends", |run| run["state"] == "ended");
        assert_eq!(run["run_id"], started);
        assert_eq!((&run["outcome"], &run["attempts"]), (&json!("success"), &json!(2)), "crash: {crash}: {run}");
        let last = begun(&host, "t").pop().expect("a guest began");
        assert_eq!(last, (started.as_str().expect("an id").to_owned(), "2".to_owned()));
    }
}

#[test]
fn an_abandoned_run_is_tried_again_only_by_a_task_that_asks_for_it() {
    let env = TestEnv::new();
    let host = env.host();
    for (name, flags) in [("once", &[][..]), ("again", &["--retry", "2", "--retry-on", "abandoned,error"])] {
        host.add_plugin(name, &guest("begin.wat"), &[&["--manual"], flags].concat(), &["1500"]);
        host.ok(&["run", name, "--no-wait"]);
        eventually("its guest has begun", || (!begun(&host, name).is_empty()).then_some(()));
    }
    host.kill();
    let host = env.host();
    let again = host.wait_run("again", "it ends", |run| run["state"] == "ended");
    assert_eq!((&again["outcome"], &again["attempts"]), (&json!("success"), &json!(2)), "{again}");
    let once = host.runs("once").remove(0);
    assert_eq!((&once["outcome"], &once["attempts"]), (&json!("abandoned"), &json!(1)), "{once}");
    assert_eq!(once["detail"], "started: the host died during it");
}
