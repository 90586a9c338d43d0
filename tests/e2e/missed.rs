//! Due times that nothing ran: the host was down, or stood still. Each has its record, and what is made up for is what the task says.

use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Host, TestEnv, eventually, time};

/// How long the host is down or stands still: for several due times of each task.
const OUTAGE: Duration = Duration::from_secs(5);

/// Lets the host be down for a while; when it was down for certain, and the host that is up again.
fn outage<'e>(env: &'e TestEnv, host: Host<'e>, crash: bool) -> (Timestamp, Timestamp, Host<'e>) {
    if crash {
        host.kill();
    } else {
        host.stop();
    }
    let down = Timestamp::now();
    std::thread::sleep(OUTAGE);
    let up = Timestamp::now();
    (down, up, env.host())
}

/// How many due times of a task at one a second lie in a stretch of time.
fn due_between(host: &Host<'_>, name: &str, after: Timestamp, until: Timestamp) -> u64 {
    let next = host.call("TaskUnit.Next", json!({ "name": name, "from": after.to_string(), "limit": 100 }));
    let due = next["due"].as_array().expect("due times").iter().map(time);
    due.filter(|due| *due <= until).count() as u64
}

/// How many due times of runs that pass a test there are.
fn times(runs: &[Value], is_meant: impl Fn(&Value) -> bool) -> u64 {
    runs.iter().filter(|run| is_meant(run)).map(|run| run["span"]["times"].as_u64().unwrap_or(1)).sum()
}

/// Waits until a task has nothing to make up for and has run in its turn again; its runs.
#[track_caller]
fn after_catch_up(host: &Host<'_>, name: &str, up: Timestamp) -> Vec<Value> {
    eventually(&format!("{name} runs again"), || {
        let runs = host.runs(name);
        let is_new = |run: &Value| run["reason"] == "schedule" && run["outcome"] == "success" && time(&run["due"]) > up;
        (host.task(name).get("backlog").is_none() && runs.iter().any(is_new)).then_some(runs)
    })
}

#[test]
fn after_an_outage_each_policy_makes_up_for_what_it_says_and_records_the_rest() {
    for crash in [false, true] {
        let env = TestEnv::new();
        let host = env.host();
        for (name, flags) in [
            ("skip", &["--every", "1s", "--missed", "skip"][..]),
            ("run-once", &["--every", "1s", "--missed", "run_once"]),
            ("run-all", &["--every", "1s", "--missed", "run_all"]),
            ("bounded", &["--every", "1s", "--missed", "run_all", "--max-catchup", "2"]),
            ("cron", &["--cron", "* * * * * *"]),
            ("cron-skip", &["--cron", "* * * * * *", "--missed", "skip"]),
        ] {
            host.ok(&[&["add", name], flags].concat());
        }
        host.wait_successes("cron-skip", 1);
        let (down, up, host) = outage(&env, host, crash);
        for (name, made_up) in [
            ("skip", Some(0)),
            ("run-once", Some(1)),
            ("run-all", None),
            ("bounded", Some(2)),
            ("cron", Some(1)),
            ("cron-skip", Some(0)),
        ] {
            let runs = after_catch_up(&host, name, up);
            let all = due_between(&host, name, time(&host.task(name)["added_at"]), time(&runs[0]["due"]));
            assert_eq!(
                times(&runs, |run| time(&run["due"]) <= time(&runs[0]["due"])),
                all,
                "{name}: each once: {runs:#?}"
            );
            let caught_up = times(&runs, |run| run["reason"] == "catch_up");
            let missed = times(&runs, |run| run["outcome"] == "missed");
            let abandoned = times(&runs, |run| run["outcome"] == "abandoned");
            assert!(caught_up + missed + abandoned >= due_between(&host, name, down, up), "{name}: {runs:#?}");
            match made_up {
                Some(made_up) => assert_eq!(caught_up, made_up, "{name}: {runs:#?}"),
                None => assert_eq!(missed, 0, "{name}: {runs:#?}"),
            }
            for run in runs.iter().filter(|run| run["outcome"] == "missed") {
                let detail = run["detail"].as_str().expect("a detail");
                assert!(detail.starts_with("the host was down from 20"), "{name}: {detail}");
            }
            if !crash {
                assert_eq!(abandoned, 0, "a host that stops in good order leaves nothing in doubt");
            }
        }
    }
}

#[test]
fn what_is_longer_ago_than_the_window_is_not_made_up_for() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--every", "1s", "--missed", "run_all", "--catchup-window", "2s"]);
    host.wait_successes("t", 1);
    let (down, up, host) = outage(&env, host, false);
    let runs = after_catch_up(&host, "t", up);
    let caught_up = times(&runs, |run| run["reason"] == "catch_up");
    assert!((1..=3).contains(&caught_up), "{runs:#?}");
    let missed = times(&runs, |run| run["outcome"] == "missed");
    assert!(caught_up + missed >= due_between(&host, "t", down, up) && missed >= 2, "{runs:#?}");
}

#[test]
fn a_time_that_passed_while_the_host_was_down_runs_once_unless_the_task_says_otherwise() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "once", "--at", "+2s"]);
    host.ok(&["add", "never", "--at", "+2s", "--missed", "skip"]);
    host.ok(&["add", "rests", "--delay", "2s", "--missed", "run_once"]);
    let (_, _, host) = outage(&env, host, false);
    let run = host.wait_run("once", "it was made up for", |run| run["outcome"] == "success");
    assert_eq!(run["reason"], "catch_up");
    assert_eq!(host.wait_run("never", "it has its record", |run| run["state"] == "ended")["outcome"], "missed");
    host.wait_run("rests", "it was made up for", |run| run["outcome"] == "success" && run["reason"] == "catch_up");
    for name in ["once", "never"] {
        assert_eq!(host.runs(name).len(), 1);
        assert_eq!(host.task(name).get("next_due"), None);
    }
    host.wait_run("rests", "it goes on", |run| run["reason"] == "schedule");
}

#[test]
fn a_host_that_stood_still_says_how_late_it_was() {
    let env = TestEnv::new();
    let host = env.host();
    for (name, policy) in [("skip", "skip"), ("run-all", "run_all")] {
        host.ok(&["add", name, "--every", "500ms", "--missed", policy]);
        host.wait_successes(name, 1);
    }
    host.signal(Signal::STOP);
    std::thread::sleep(OUTAGE);
    host.signal(Signal::CONT);
    let up = Timestamp::now();
    for name in ["skip", "run-all"] {
        let runs = after_catch_up(&host, name, up);
        let all = due_between(&host, name, time(&host.task(name)["added_at"]), time(&runs[0]["due"]));
        assert_eq!(times(&runs, |run| time(&run["due"]) <= time(&runs[0]["due"])), all, "{name}: each once: {runs:#?}");
    }
    let runs = host.runs("skip");
    let missed = times(&runs, |run| run["outcome"] == "missed");
    assert!(missed >= 5, "{runs:#?}");
    let detail = runs.iter().find(|run| run["outcome"] == "missed").map(|run| run["detail"].clone());
    let detail = detail.as_ref().and_then(Value::as_str).expect("a detail");
    assert!(detail.starts_with("the host was ") && detail.ends_with(" late"), "{detail}");
    assert!(times(&host.runs("run-all"), |run| run["reason"] == "catch_up") >= 5, "{:#?}", host.runs("run-all"));
}

#[test]
fn a_schedule_that_is_new_when_the_host_dies_has_no_due_times_before_it() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--every", "1h", "--missed", "run_all"]);
    let a_while = Timestamp::now() + jiff::SignedDuration::from_secs(2);
    eventually("it has been there for a while", || (Timestamp::now() > a_while).then_some(()));
    let before = Timestamp::now();
    host.ok(&["edit", "t", "--every", "100ms"]);
    host.kill();
    let host = env.host();
    host.wait_successes("t", 1);
    for run in host.runs("t") {
        let first = run["span"].get("first_due").unwrap_or(&run["due"]);
        assert!(time(first) > before, "the schedule is of {before}: {run}");
    }
}

#[test]
fn a_backfill_runs_a_stretch_of_time_again_under_ids_of_its_own() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--every", "200ms"]);
    host.wait_successes("t", 4);
    host.ok(&["edit", "t", "--every", "200ms", "--overlap", "buffer_all"]);
    host.ok(&["pause", "t"]);
    let added = time(&host.task("t")["added_at"]);
    let until = added + jiff::SignedDuration::from_millis(700);
    let (from, until) = (added.to_string(), until.to_string());
    let range = ["--from", &from, "--until", &until];
    let dry = host.ok(&[&["backfill", "t", "--dry-run"][..], &range].concat());
    assert_eq!(dry, "would run 3 due times of t again; nothing was done\n");
    let before = host.runs("t");
    host.ok(&["resume", "t"]);
    let said = host.ctl(&[&["backfill", "t"][..], &range].concat()).ok();
    assert_eq!(said.stdout, "backfill 1 of t: 3 due times to run\n");
    let done = |number: u32| {
        eventually("the backfill is done", || {
            let runs = host.runs("t");
            let of_it = |run: &&Value| run["run_id"].as_str().is_some_and(|id| id.ends_with(&format!("-b{number}")));
            let runs: Vec<_> = runs.iter().filter(of_it).cloned().collect();
            (runs.len() == 3 && runs.iter().all(|run| run["outcome"] == "success")).then_some(runs)
        })
    };
    let runs = done(1);
    assert!(runs.iter().all(|run| run["reason"] == "backfill"), "{runs:?}");
    for place in 1..=3 {
        let due = added + jiff::SignedDuration::from_millis(200) * place;
        assert!(runs.iter().any(|run| time(&run["due"]) == due), "{runs:?}");
    }
    let again = host.json(&[&["backfill", "t"][..], &range].concat());
    assert_eq!(again, json!({ "due_times": 3, "backfill": 2 }));
    done(2);
    let kept = host.runs("t").iter().filter(|run| before.contains(run)).count();
    assert_eq!(kept, before.len(), "what ran before is not touched");
}

#[test]
fn a_backfill_of_what_can_not_be_is_refused() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--every", "10ms"]);
    let backfill = |from: &str, until: &str| host.ctl(&["backfill", "t", "--from", from, "--until", until]);
    backfill("-1h", "+1h").fails_with(5).says(&["not beyond now", "what is due later than now comes by itself"]);
    backfill("-1h", "-2h").fails_with(5).says(&["from a time to a later one"]);
    backfill("yesterday", "now").fails_with(5).says(&["`yesterday` is no point in time"]);
    host.ok(&["add", "seconds", "--cron", "* * * * * *"]);
    host.ctl(&["backfill", "seconds", "--from", "-1d", "--until", "now"]).fails_with(5).says(&["10000"]);
    host.ctl(&["backfill", "nobody", "--from", "-1h", "--until", "now"]).fails_with(3);
}
