//! A task that is paused stays paused, and says why.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::support::{TestEnv, eventually, time, told};

#[test]
fn a_paused_task_stands_still_until_it_is_resumed_and_keeps_its_phase() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--every", "200ms"]);
    host.wait_successes("t", 1);
    let said = host.ok(&["pause", "t", "--note", "the disk is being replaced"]);
    assert_eq!(said, "paused t: no due time runs until `taskctl resume t`\n");
    let paused = host.task("t");
    assert_eq!((&paused["state"], paused.get("next_due")), (&json!("paused"), None));
    assert_eq!(paused["paused"]["note"], "the disk is being replaced");
    assert_eq!(paused["paused"]["by"], format!("uid {}", rustix::process::getuid().as_raw()));
    host.ok(&["run", "t"]);
    let listed = host.json(&["list", "--state", "paused"]);
    assert_eq!(listed["tasks"][0]["spec"]["name"], "t");
    assert!(host.ok(&["show", "t"]).contains("the disk is being replaced"));
    let skipped_before = host.count("t", "skipped");
    let ran = host.count("t", "success");
    assert!(host.ok(&["resume", "t"]).starts_with("resumed t: next due 20"));
    host.wait_successes("t", ran + 2);
    let skipped = host.runs("t").into_iter().find(|run| run["outcome"] == "skipped").map(|run| run["detail"].clone());
    if host.count("t", "skipped") > skipped_before {
        let detail = skipped.expect("a record of what was skipped");
        let detail = detail.as_str().expect("a detail");
        assert!(detail.starts_with("paused since 20") && detail.ends_with(": the disk is being replaced"), "{detail}");
    }
    let task = host.task("t");
    let since_added = time(&task["last_run"]["due"]).as_nanosecond() - time(&task["added_at"]).as_nanosecond();
    assert_eq!(since_added % 200_000_000, 0, "{task}");
}

#[test]
fn a_pause_survives_a_crash_and_what_came_due_meanwhile_is_skipped() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--every", "100ms"]);
    host.ok(&["pause", "t", "--note", "no"]);
    let before = host.task("t")["paused"].clone();
    let due_meanwhile = time(&before["since"]) + SignedDuration::from_millis(200);
    host.kill();
    eventually("a due time has passed", || (Timestamp::now() > due_meanwhile).then_some(()));
    let host = env.host();
    let task = host.task("t");
    assert_eq!((&task["state"], &task["paused"]), (&json!("paused"), &before));
    let ran = host.count("t", "success");
    host.ok(&["resume", "t"]);
    host.wait_successes("t", ran + 1);
    let skipped = host.wait_run("t", "a due time was skipped", |run| run["outcome"] == "skipped");
    let since = told(&before["since"]);
    let by = before["by"].as_str().expect("somebody");
    assert_eq!(skipped["detail"], format!("paused since {since} by {by}: no"));
    assert_eq!(host.task("t")["counts"].get("missed"), None, "it was not the host's being down: {}", host.task("t"));
}

#[test]
fn a_pause_with_an_end_ends_by_itself_even_while_the_host_is_down() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--every", "100ms"]);
    host.wait_successes("t", 1);
    let said = host.ok(&["pause", "t", "--until", "+500ms"]);
    assert!(said.starts_with("paused t: no due time runs until 20"), "{said}");
    let until = time(&host.task("t")["paused"]["until"]);
    let ran = host.count("t", "success");
    host.wait_successes("t", ran + 1);
    let first = host.runs("t").into_iter().rev().map(|run| run["span"].get("first_due").unwrap_or(&run["due"]).clone());
    let first_after = first.map(|due| time(&due)).find(|due| *due > until);
    assert!(first_after.is_some(), "{:?}", host.runs("t"));
    assert!(host.task("t").get("paused").is_none());

    host.ok(&["pause", "t", "--until", "+1h"]);
    host.stop();
    let host = env.host();
    assert_eq!(host.task("t")["state"], "paused");
    host.ok(&["resume", "t"]);
    host.ok(&["pause", "t", "--until", "+300ms"]);
    let until = time(&host.task("t")["paused"]["until"]);
    host.stop();
    eventually("the pause is over", || (Timestamp::now() > until).then_some(()));
    let host = env.host();
    assert_eq!(host.task("t")["state"], "idle");
    let ran = host.count("t", "success");
    host.wait_successes("t", ran + 1);
}

#[test]
fn a_pause_into_the_past_is_refused() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--manual"]);
    host.ctl(&["pause", "t", "--until", "-1h"]).fails_with(5);
    host.ctl(&["pause", "t", "--until", "tomorrow"]).fails_with(5).says(&["`tomorrow` is no point in time"]);
    host.ctl(&["pause", "nobody"]).fails_with(3);
    host.ctl(&["resume", "nobody"]).fails_with(3);
    assert_eq!(host.task("t")["state"], "idle");
}

#[test]
fn resuming_what_is_not_paused_changes_nothing() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--manual"]);
    host.ok(&["resume", "t"]);
    assert_eq!(host.task("t")["revision"], 1);
}

#[test]
fn a_task_that_fails_too_often_in_a_row_is_paused_by_the_host_for_good() {
    let env = TestEnv::new();
    let host = env.host();
    let mut watcher = host.stream();
    watcher.watch(json!({ "kinds": ["task_paused"] }));
    host.add_probe("t", &["--every", "100ms", "--pause-on-failure", "3"], &["fail", "no luck"]);
    assert_eq!(watcher.event_of("task_paused")["task"], "t");
    let paused = host.task("t");
    assert_eq!((&paused["state"], &paused["counts"]), (&json!("paused"), &json!({ "error": 3 })));
    assert_eq!(paused["paused"]["by"], "the host");
    assert_eq!(paused["paused"]["note"], "3 runs in a row failed");
    host.kill();
    let host = env.host();
    assert_eq!(host.task("t")["paused"], paused["paused"]);
    let changes = host.ok(&["changes", "t"]);
    assert!(changes.contains("paused by the host"), "{changes}");
    host.ok(&["edit", "t", "--", "ok"]);
    host.ok(&["resume", "t"]);
    host.wait_successes("t", 1);
    assert_eq!(host.task("t").get("failures"), None);
}

#[test]
fn the_end_of_a_run_triggers_another_task_which_is_told_of_it() {
    let env = TestEnv::new();
    let host = env.host();
    host.add_probe("alert", &["--manual"], &["tick"]);
    host.add_probe("all-clear", &["--manual"], &["tick"]);
    host.add_probe("job", &["--manual", "--on-failure", "alert", "--on-recovery", "all-clear"], &["fail", "no luck"]);
    let told = |watched: &str, outcome: &str, run: &serde_json::Value| {
        let id = run["run_id"].as_str().expect("an id");
        let triggered = host.wait_run(watched, "it was triggered", |run| run["trigger"]["run_id"] == id);
        assert_eq!(triggered["reason"], "triggered");
        assert_eq!(triggered["trigger"], json!({ "task": "job", "run_id": id, "outcome": outcome }));
        let line = format!("reason triggered job {id} {outcome}");
        eventually("its guest was told", || host.ok(&["logs", watched]).contains(&line).then_some(()));
    };
    let failed = host.ctl(&["run", "job", "-o", "json"]).fails_with(8).json();
    told("alert", "error", &failed["run"]);
    host.ok(&["edit", "job", "--", "ok"]);
    let recovered = host.json(&["run", "job"]);
    told("all-clear", "success", &recovered["run"]);
    let runs = host.ok(&["runs", "alert"]);
    assert!(runs.contains("triggered by job: error"), "{runs}");
    host.ok(&["run", "job"]);
    assert_eq!(host.task("all-clear")["counts"], json!({ "success": 1 }), "only the first success after a failure");
}

#[test]
fn tasks_that_trigger_each_other_do_not_do_so_for_ever() {
    let env = TestEnv::new();
    let host = env.host();
    host.add_probe("a", &["--manual", "--on-failure", "b"], &["fail", "a"]);
    host.add_probe("b", &["--manual", "--on-failure", "a"], &["fail", "b"]);
    host.ctl(&["run", "a"]).fails_with(8);
    host.wait_run("b", "it was triggered", |run| run["reason"] == "triggered" && run["state"] == "ended");
    // What b's end would have triggered would have come before this.
    host.ctl(&["run", "a"]).fails_with(8);
    host.wait_run("b", "it was triggered again", |_| host.count("b", "error") == 2);
    assert_eq!(host.count("a", "error"), 2);
}
