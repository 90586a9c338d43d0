//! Why a task ran at a time, or did not: what the host tells people who ask.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::support::{Host, TestEnv, eventually, time};

/// How long the host is down: for a due time or two.
const OUTAGE: Duration = Duration::from_millis(2_500);

/// What is told of a task at a time.
#[track_caller]
fn why(host: &Host<'_>, name: &str, at: Timestamp) -> String {
    host.ok(&["why", name, "--at", &at.to_string()])
}

#[test]
fn a_due_time_that_came_during_a_run_says_which_run_was_in_its_way() {
    let env = TestEnv::new();
    let host = env.host();
    host.add_probe("t", &["--every", "300ms"], &["sleep", "400"]);
    let skipped = host.wait_run("t", "one was skipped", |run| run["outcome"] == "skipped");
    let first = time(&host.task("t")["added_at"]) + SignedDuration::from_millis(300);
    let told = why(&host, "t", time(&skipped["due"]));
    assert!(told.starts_with("skipped ") && told.contains(": the run due at 20"), "{told}");
    assert!(told.contains(" was still going on"), "{told}");
    let now = host.ok(&["why", "t"]);
    assert!(now.contains("next due at 20"), "{now}");
    let before = why(&host, "t", first - SignedDuration::from_secs(3600));
    assert!(before.contains("the task was added only at 20"), "{before}");
    let later = why(&host, "t", Timestamp::now() + SignedDuration::from_secs(3600));
    assert!(later.contains("is still to come"), "{later}");
    host.ctl(&["why", "nobody"]).fails_with(3);
    host.ctl(&["why", "t", "--at", "noon"]).fails_with(5).says(&["`noon` is no point in time"]);
}

#[test]
fn a_due_time_while_the_host_was_down_says_so_and_whether_it_was_stopped_or_died() {
    for (crash, how) in [(false, "(it was stopped)"), (true, "(it died)")] {
        let env = TestEnv::new();
        let host = env.host();
        host.ok(&["add", "t", "--every", "1s"]);
        host.ok(&["add", "rare", "--every", "10y"]);
        host.wait_successes("t", 1);
        if crash {
            host.kill()
        } else {
            host.stop()
        }
        let down = Timestamp::now();
        std::thread::sleep(OUTAGE);
        let host = env.host();
        let at = down + SignedDuration::from_millis(1_200);
        let told = why(&host, "t", at);
        let expected = if crash { ["missed ", "abandoned "] } else { ["missed "; 2] };
        assert!(expected.iter().any(|word| told.starts_with(word)), "{told}");
        assert!(told.contains("the host was down from 20") && told.contains(how), "{told}");
        let rare = why(&host, "rare", at);
        assert!(rare.contains(how), "a task that was not due is told of it too: {rare}");
    }
}

#[test]
fn changes_are_told_with_who_made_them_and_what_they_changed() {
    let env = TestEnv::new();
    let host = env.host();
    let uid = rustix::process::getuid().as_raw();
    host.ok(&["add", "t", "--every", "1h"]);
    host.ok(&["edit", "t", "--every", "2h", "--label", "team=web"]);
    host.ok(&["pause", "t", "--note", "disk full"]);
    let told = host.ok(&["why", "t"]);
    assert!(told.contains(&format!("by uid {uid} (revision 2)")), "{told}");
    assert!(told.contains("it is paused since 20") && told.contains(&format!("by uid {uid}: disk full")), "{told}");
    assert!(told.ends_with("nothing comes due while it is paused\n"), "{told}");
    host.ok(&["resume", "t"]);

    let changes = host.json(&["changes", "t"]);
    let changes = changes["changes"].as_array().expect("changes");
    let kinds: Vec<_> = changes.iter().map(|change| (change["revision"].clone(), change["kind"].clone())).collect();
    let expected = [(4, "resume"), (3, "pause"), (2, "edit"), (1, "add")];
    assert_eq!(kinds, expected.map(|(revision, kind)| (json!(revision), json!(kind))));
    assert!(changes.iter().all(|change| change["by"] == format!("uid {uid}")), "{changes:?}");
    assert_eq!(changes[1]["note"], "disk full");
    assert_eq!(
        changes[2]["diff"],
        json!([
            { "member": "labels.team", "to": "web" },
            { "member": "schedules", "from": [{ "every": "1h" }], "to": [{ "every": "2h" }] },
        ])
    );
    let table = host.ok(&["changes", "t", "-n", "3"]);
    for line in ["4 20", "resumed by uid", "  note: disk full", "  schedules: every 1h → every 2h"] {
        assert!(table.contains(line), "{table}");
    }
    host.kill();
    let host = env.host();
    assert_eq!(host.json(&["changes", "t"])["changes"].as_array(), Some(changes), "they survive a crash");
}

#[test]
fn a_run_that_failed_is_told_with_its_attempts_and_message() {
    let env = TestEnv::new();
    let host = env.host();
    host.add_probe("t", &["--manual", "--retry", "2", "--retry-backoff", "1ms"], &["fail", "no luck"]);
    host.ctl(&["run", "t"]).fails_with(8);
    let told = host.ok(&["why", "t"]);
    assert!(told.contains("(manual)") && told.contains("error after 2 attempts: no luck"), "{told}");
    let explained = host.json(&["why", "t"]);
    assert_eq!(explained["run"]["detail"], "no luck");
    assert_eq!(explained["due"], explained["run"]["due"]);
}

#[test]
fn runs_are_found_by_time_and_outcome() {
    let env = TestEnv::new();
    let host = env.host();
    host.add_probe("t", &["--manual"], &["ok"]);
    for told in [&["ok"][..], &["fail", "x"], &["panic", "x"], &["ok"]] {
        host.ok(&[&["edit", "t", "--"], told].concat());
        host.ctl(&["run", "t"]);
    }
    let of = |flags: &[&str]| {
        let runs = host.json(&[&["runs", "t"], flags].concat());
        let runs = runs["runs"].as_array().expect("runs").clone();
        runs.iter().map(|run| run["outcome"].as_str().expect("an outcome").to_owned()).collect::<Vec<_>>()
    };
    let all = host.runs("t");
    assert_eq!(of(&[]), ["success", "trapped", "error", "success"], "newest first");
    assert_eq!(of(&["--outcome", "error,trapped"]), ["trapped", "error"]);
    assert_eq!(of(&["-n", "1"]), ["success"]);
    let second = all[2]["due"].as_str().expect("a time");
    assert_eq!(of(&["--from", second]), ["success", "trapped", "error"]);
    assert_eq!(of(&["--until", second]), ["success"]);
    assert_eq!(of(&["--from", second, "--until", all[1]["due"].as_str().expect("a time")]), ["error"]);
    assert!(of(&["--until", "-1h"]).is_empty());
    host.ctl(&["runs", "t", "--outcome", "nope"]).fails_with(5).says(&["`nope` is no outcome; outcomes are success"]);
    host.ctl(&["runs", "t", "--outcome", "missed"]).ok().says(&["no such runs of t"]);
    host.stop();
    let host = env.host();
    eventually("it is the same after a restart", || (host.runs("t") == all).then_some(()));
}
