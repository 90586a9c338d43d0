//! What becomes of a due time that comes while a run is going on: the six policies, with a guest that takes its time.

use serde_json::{Value, json};

use crate::support::{Host, TestEnv, eventually, guest, time, told};

/// Says what it begins and ends, and takes longer than the rate at which it is due.
#[track_caller]
fn add_slow(host: &Host<'_>, name: &str, flags: &[&str]) {
    host.add_plugin(name, &guest("begin.wat"), &[&["--every", "200ms"], flags].concat(), &["500"]);
}

/// What a task's guests said, a word and a run's id each.
fn said(host: &Host<'_>, name: &str) -> Vec<(String, String)> {
    let logs = host.call("TaskUnit.Logs", json!({ "name": name, "limit": 10000 }));
    let lines = logs["lines"].as_array().expect("lines").iter();
    let texts =
        lines.map(|line| line["text"].as_str().expect("a text").split(' ').map(str::to_owned).collect::<Vec<_>>());
    texts.map(|words| (words[0].clone(), words[2].clone())).collect()
}

/// The most guests that were going on at once.
fn most_at_once(said: &[(String, String)]) -> usize {
    let mut now = 0_usize;
    let counts = said.iter().map(|(word, _)| {
        now = if word == "begin" { now + 1 } else { now.saturating_sub(1) };
        now
    });
    counts.max().unwrap_or_default()
}

/// The dues of the runs that ended so, oldest first, and the details that they have.
fn dues(runs: &[Value], outcome: &str) -> Vec<jiff::Timestamp> {
    runs.iter().rev().filter(|run| run["outcome"] == outcome).map(|run| time(&run["due"])).collect()
}

#[test]
fn skip_passes_over_what_comes_meanwhile_and_says_for_which_run() {
    let env = TestEnv::new();
    let host = env.host();
    add_slow(&host, "t", &[]);
    host.wait_successes("t", 3);
    assert_eq!(most_at_once(&said(&host, "t")), 1);
    let runs = host.runs("t");
    let first = told(&json!(dues(&runs, "success")[0].to_string()));
    let skipped = runs.iter().rev().find(|run| run["outcome"] == "skipped").expect("a due time came meanwhile");
    assert_eq!(skipped["detail"], format!("the run due at {first} was still going on"));
    assert!(skipped.get("started").is_none() && skipped["attempts"] == 0, "{skipped}");
}

#[test]
fn buffer_one_runs_one_of_those_that_come_meanwhile_when_the_run_has_ended() {
    let env = TestEnv::new();
    let host = env.host();
    add_slow(&host, "t", &["--overlap", "buffer_one"]);
    host.wait_successes("t", 3);
    assert_eq!(most_at_once(&said(&host, "t")), 1);
    let runs = host.runs("t");
    let ran = dues(&runs, "success");
    let interval = jiff::SignedDuration::from_millis(200);
    assert_eq!(ran[1], ran[0] + interval, "the first that came meanwhile");
    let skipped = runs.iter().find(|run| run["outcome"] == "skipped").expect("more came than may wait");
    assert_eq!(skipped["detail"], "another due time waited already");
}

#[test]
fn buffer_all_runs_all_of_them_in_their_order_up_to_its_bound() {
    let env = TestEnv::new();
    let host = env.host();
    add_slow(&host, "t", &["--overlap", "buffer_all", "--max-buffered", "2"]);
    host.wait_successes("t", 4);
    let said = said(&host, "t");
    assert_eq!(most_at_once(&said), 1);
    let began: Vec<&String> = said.iter().filter(|(word, _)| word == "begin").map(|(_, id)| id).collect();
    assert!(began.is_sorted(), "the ids of a task's runs are in the order of their due times: {began:?}");
    let skipped = host.wait_run("t", "more came than may wait", |run| run["outcome"] == "skipped");
    assert_eq!(skipped["detail"], "2 due times waited, as many as may (`max_buffered`)");
}

#[test]
fn allow_all_runs_them_beside_each_other_up_to_its_bound() {
    let env = TestEnv::new();
    let host = env.host();
    add_slow(&host, "t", &["--overlap", "allow_all", "--max-running", "2"]);
    host.wait_successes("t", 4);
    assert_eq!(most_at_once(&said(&host, "t")), 2);
    let skipped = host.wait_run("t", "more came than may go on", |run| run["outcome"] == "skipped");
    assert_eq!(skipped["detail"], "2 runs were going on, as many as may (`max_running`)");
}

#[test]
fn cancel_other_tells_the_guest_that_is_going_on_and_lets_it_finish() {
    let env = TestEnv::new();
    let host = env.host();
    host.add_probe("t", &["--every", "300ms", "--overlap", "cancel_other"], &["wait-cancel"]);
    let run = host.wait_run("t", "it was told", |run| run["outcome"] == "success");
    assert_eq!(run["result"], "saw the cancel");
    let next = eventually("the next one has begun", || {
        host.runs("t").into_iter().find(|next| next["state"] == "running" && next["due"] != run["due"])
    });
    assert!(time(&next["due"]) > time(&run["due"]));
}

#[test]
fn cancel_other_stops_a_deaf_guest_after_the_grace_and_the_newest_due_time_takes_its_place() {
    let env = TestEnv::new();
    let mut serve = env.serve();
    serve.env("TASKHOST_CANCEL_GRACE", "500ms");
    let host = Host::start(&env, serve);
    host.add_plugin("t", &guest("spin.wat"), &["--every", "200ms", "--overlap", "cancel_other"], &[]);
    host.wait_run("t", "it was stopped", |run| run["outcome"] == "cancelled");
    let skipped = host.wait_run("t", "one gave way to a newer one", |run| run["outcome"] == "skipped");
    let detail = skipped["detail"].as_str().expect("a detail");
    assert!(detail.starts_with("the due time 20") && detail.ends_with(" took its place"), "{detail}");
}

#[test]
fn terminate_other_stops_the_guest_at_once() {
    let env = TestEnv::new();
    let mut serve = env.serve();
    serve.env("TASKHOST_CANCEL_GRACE", "1h");
    let host = Host::start(&env, serve);
    for (name, policy) in [("t", "terminate_other"), ("alias", "Replace")] {
        host.add_plugin(name, &guest("spin.wat"), &["--every", "300ms", "--overlap", policy, "--timeout", "1h"], &[]);
        host.wait_run(name, "it was stopped", |run| run["outcome"] == "cancelled");
    }
}

#[test]
fn kubernetes_names_mean_the_same() {
    let env = TestEnv::new();
    let host = env.host();
    for (alias, policy) in [("Forbid", "skip"), ("Replace", "terminate_other"), ("Allow", "allow_all")] {
        host.ok(&["add", alias, "--manual", "--overlap", alias]);
        assert_eq!(host.json(&["show", alias])["spec"]["overlap"], policy);
    }
}

#[test]
fn a_run_by_hand_goes_by_the_policy_or_by_the_one_that_it_brings() {
    let env = TestEnv::new();
    let host = env.host();
    host.add_probe("t", &["--manual"], &["wait-cancel"]);
    let first = host.json(&["run", "t", "--no-wait"])["run"]["run_id"].clone();
    let first = first.as_str().expect("an id");
    host.ctl(&["run", "t"]).fails_with(4).says(&["is running", first, "its overlap policy is `skip`"]);
    host.ctl(&["run", "t", "--overlap", "Forbid"]).fails_with(4);
    host.ctl(&["run", "t", "--overlap", "dance"]).fails_with(5).says(&["`dance` is no overlap policy"]);
    assert!(host.ok(&["run", "t", "--no-wait", "--overlap", "buffer_one"]).starts_with("queued t: run "));
    let beside = host.json(&["run", "t", "--no-wait", "--overlap", "Allow"]);
    assert_eq!(beside["run"]["state"], "running");
    let states: Vec<_> = host.runs("t").iter().map(|run| run["state"].clone()).collect();
    assert_eq!(states.iter().filter(|state| **state == "running").count(), 2, "{states:?}");
    assert_eq!(states.iter().filter(|state| **state == "queued").count(), 1, "{states:?}");
    host.ok(&["run", "t", "--no-wait", "--overlap", "terminate_other"]);
    eventually("only the last one goes on", || {
        let runs = host.runs("t");
        let open: Vec<_> = runs.iter().filter(|run| run.get("outcome").is_none()).collect();
        (open.len() == 1 && open[0]["run_id"] != first && open[0]["run_id"] != beside["run"]["run_id"]).then_some(())
    });
    host.ok(&["cancel", "t"]);
    eventually("it ends", || host.runs("t").iter().all(|run| run["state"] == "ended").then_some(()));
    assert_eq!(host.count("t", "cancelled"), 2, "{:?}", host.runs("t"));
    assert_eq!(host.count("t", "skipped"), 1, "the one that waited gave way");
    assert_eq!(host.count("t", "success"), 1, "the last one was told and had its time");
}
