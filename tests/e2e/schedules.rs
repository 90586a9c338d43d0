//! Every kind of schedule runs as it says, and one that can't is refused.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{Host, Stream, TestEnv, eventually, time};

/// Waits for so many ends of runs of a task, missed due times among them, in the order in which they came.
#[track_caller]
fn ends(watcher: &mut Stream, task: &str, count: usize) -> Vec<Value> {
    let mut ends = Vec::new();
    while ends.len() < count {
        let event = watcher.event();
        if event["task"] == task {
            ends.push(event["run"].clone());
        }
    }
    ends
}

/// A subscriber to the runs of one task.
#[track_caller]
fn watch_runs(host: &Host<'_>, task: &str) -> Stream {
    let mut watcher = host.stream();
    watcher.watch(json!({ "name": task, "kinds": ["run_finished"] }));
    watcher
}

fn due(run: &Value) -> Timestamp {
    time(&run["due"])
}

/// Asserts that these are the due times from `first` on at this rate, each of them once; a host that stood still for a moment
/// tells of several in one.
#[track_caller]
fn assert_rate(ends: &[Value], first: Timestamp, interval: SignedDuration) {
    let mut expected = first;
    for run in ends {
        let span = &run["span"];
        assert_eq!(if span.is_null() { due(run) } else { time(&span["first_due"]) }, expected, "{run}");
        let times = i32::try_from(span["times"].as_u64().unwrap_or(1)).expect("they are few");
        assert_eq!(due(run), expected + interval * (times - 1), "{run}");
        expected = due(run) + interval;
    }
}

fn milliseconds(count: i64) -> SignedDuration {
    SignedDuration::from_millis(count)
}

/// How far past a multiple of `interval` since the epoch.
fn past_multiple(time: Timestamp, interval: SignedDuration) -> SignedDuration {
    SignedDuration::from_nanos_i128(time.as_nanosecond().rem_euclid(interval.as_nanos()))
}

/// Adds a task of the ticker; when it was added.
#[track_caller]
fn added(host: &Host<'_>, name: &str, flags: &[&str]) -> Timestamp {
    host.ok(&[&["add", name], flags].concat());
    time(&host.task(name)["added_at"])
}

#[test]
fn every_counts_from_the_time_of_adding_and_its_phase_puts_it_off() {
    let env = TestEnv::new();
    let host = env.host();
    for (name, flags, first) in [
        ("plain", &["--every", "200ms"][..], milliseconds(200)),
        ("put-off", &["--every", "200ms", "--phase", "70ms"], milliseconds(70)),
    ] {
        let mut watcher = watch_runs(&host, name);
        let added = added(&host, name, flags);
        let ends = ends(&mut watcher, name, 4);
        assert_rate(&ends, added + first, milliseconds(200));
        assert!(ends.iter().all(|run| run["reason"] == "schedule"), "{ends:?}");
    }
}

#[test]
fn an_aligned_rate_stands_on_the_wall_clock() {
    let env = TestEnv::new();
    let host = env.host();
    for (name, flags, phase) in [
        ("aligned", &["--every", "500ms", "--align"][..], milliseconds(0)),
        ("put-off", &["--every", "500ms", "--align", "--phase", "120ms"], milliseconds(120)),
    ] {
        let mut watcher = watch_runs(&host, name);
        let added = added(&host, name, flags);
        let ends = ends(&mut watcher, name, 3);
        assert!(due(&ends[0]) > added && due(&ends[0]) <= added + milliseconds(500), "{added}: {ends:?}");
        assert_eq!(past_multiple(due(&ends[0]), milliseconds(500)), phase, "{ends:?}");
        assert_rate(&ends, due(&ends[0]), milliseconds(500));
    }
}

#[test]
fn delay_counts_from_the_end_of_the_run_before() {
    let env = TestEnv::new();
    let host = env.host();
    let mut watcher = watch_runs(&host, "d");
    host.add_probe("d", &["--delay", "100ms"], &["sleep", "150"]);
    let added = time(&host.task("d")["added_at"]);
    let ends = ends(&mut watcher, "d", 4);
    assert_eq!(due(&ends[0]), added + milliseconds(100));
    for pair in ends.windows(2) {
        // The end of a run is told in whole microseconds.
        let rest = due(&pair[1]).duration_since(time(&pair[0]["finished"])) - milliseconds(100);
        assert!(rest.abs() <= milliseconds(5), "{rest:?}: {pair:?}");
    }
}

#[test]
fn cron_with_six_fields_runs_on_its_seconds() {
    let env = TestEnv::new();
    let host = env.host();
    let mut watcher = watch_runs(&host, "c");
    let added = added(&host, "c", &["--cron", "* * * * * *"]);
    let ends = ends(&mut watcher, "c", 3);
    let first = due(&ends[0]);
    assert!(first > added && first <= added + milliseconds(1000), "{added}: {first}");
    assert_eq!(past_multiple(first, milliseconds(1000)), milliseconds(0));
    assert_rate(&ends, first, milliseconds(1000));
}

#[test]
fn at_runs_once_at_its_time_and_manual_only_when_told() {
    let env = TestEnv::new();
    let host = env.host();
    let mut watcher = watch_runs(&host, "once");
    host.ok(&["add", "once", "--at", "+1s"]);
    host.ok(&["add", "by-hand", "--manual"]);
    let at = host.task("once")["spec"]["schedules"][0]["at"].clone();
    let run = ends(&mut watcher, "once", 1).remove(0);
    assert_eq!(due(&run), time(&at));
    let once = host.task("once");
    assert_eq!((once.get("next_due"), &once["counts"]), (None, &json!({ "success": 1 })), "and not again");
    let by_hand = host.task("by-hand");
    assert_eq!((by_hand.get("next_due"), &by_hand["counts"]), (None, &json!({})));
    assert_eq!(host.json(&["run", "by-hand"])["run"]["reason"], "manual");
    host.ok(&["run", "once"]);
    assert_eq!(host.count("once", "success"), 2);
}

#[test]
fn what_next_shows_of_a_list_of_schedules_is_what_then_runs() {
    let env = TestEnv::new();
    let host = env.host();
    let mut watcher = watch_runs(&host, "many");
    let added =
        added(&host, "many", &["--every", "700ms", "--every", "1s", "--cron", "*/2 * * * * *", "--at", "+1500ms"]);
    let next = host.json(&["next", "many", "--from", &added.to_string(), "-n", "8"]);
    let foretold: Vec<Timestamp> = next["due"].as_array().expect("due times").iter().map(time).collect();
    assert_eq!(foretold.len(), 8);
    let ran: Vec<Timestamp> = ends(&mut watcher, "many", 8).iter().map(due).collect();
    assert_eq!(ran, foretold);
    let list = host.ok(&["list"]);
    assert!(list.contains("700ms +3"), "{list}");
}

#[test]
fn no_due_time_is_before_the_start_or_from_the_expiry_on() {
    let env = TestEnv::new();
    let host = env.host();
    let added = added(&host, "t", &["--every", "100ms", "--starts-at", "+300ms", "--expires-at", "+900ms"]);
    let spec = host.task("t")["spec"].clone();
    let (starts, expires) = (time(&spec["starts_at"]), time(&spec["expires_at"]));
    let expected = (1..).map(|place| added + milliseconds(100) * place);
    let expected: Vec<_> = expected.skip_while(|due| *due < starts).take_while(|due| *due < expires).collect();
    eventually("it has nothing more to do", || host.task("t").get("next_due").is_none().then_some(()));
    let next = host.json(&["next", "t", "--from", &added.to_string()]);
    let foretold: Vec<Timestamp> = next["due"].as_array().expect("due times").iter().map(time).collect();
    assert_eq!(foretold, expected);
    assert_eq!(host.task("t")["counts"], json!({ "success": expected.len() }));
    host.ctl(&["next", "t"]).ok().says(&["it is not due again by itself"]);
}

#[test]
fn a_task_has_no_more_runs_than_it_may() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--every", "50ms", "--max-runs", "3", "--overlap", "buffer_all"]);
    eventually("it has had its runs", || (host.count("t", "success") == 3).then_some(()));
    assert_eq!(host.task("t").get("next_due"), None);
    host.ok(&["run", "t"]);
    assert_eq!(host.task("t")["counts"], json!({ "success": 4 }), "by hand it runs all the same");
    host.kill();
    let host = env.host();
    assert_eq!(host.task("t").get("next_due"), None, "a crash gives it no further ones");
    host.ok(&["edit", "t", "--max-runs", "5"]);
    let ran = || host.count("t", "success") + host.count("t", "abandoned");
    eventually("it has had two more", || (ran() == 6).then_some(()));
    assert_eq!(host.task("t").get("next_due"), None);
}

#[test]
fn jitter_spreads_runs_and_moves_no_due_time() {
    let env = TestEnv::new();
    let host = env.host();
    let mut watcher = watch_runs(&host, "j");
    let added = added(&host, "j", &["--every", "500ms", "--jitter", "400ms"]);
    let ends = ends(&mut watcher, "j", 6);
    assert_rate(&ends, added + milliseconds(500), milliseconds(500));
    // By chance alone all six would be so early once in 10^7 times.
    assert!(ends.iter().any(|run| run["lateness_ms"].as_f64() > Some(25.0)), "{ends:?}");
    assert!(host.ok(&["show", "j"]).contains("400ms"));
}

#[test]
fn timer_slack_has_due_times_wait_for_each_other_and_moves_none() {
    let env = TestEnv::new();
    let mut serve = env.serve();
    serve.args(["--timer-slack", "500ms"]);
    let host = Host::start(&env, serve);
    let mut watcher = watch_runs(&host, "a");
    // On a loaded machine one may still be going on when the next is begun.
    let added = added(&host, "a", &["--every", "10ms", "--overlap", "buffer_all"]);
    let ends = ends(&mut watcher, "a", 150);
    assert_rate(&ends, added + milliseconds(10), milliseconds(10));
    // Each but the first waits for the end of a rest, those that came at its begin longest.
    assert!(ends.iter().any(|run| run["lateness_ms"].as_f64() > Some(300.0)), "{ends:?}");
}

#[test]
fn a_preview_of_cron_tells_due_times_in_its_zone_and_what_surprises() {
    let env = TestEnv::new();
    let host = env.host();
    let preview = |args: &[&str]| host.json(&[&["next"], args].concat());
    let berlin =
        preview(&["--cron", "30 2 * * *", "--timezone", "Europe/Berlin", "--from", "2027-03-27T00:00:00Z", "-n", "2"]);
    assert_eq!(berlin["due"], json!(["2027-03-27T01:30:00Z", "2027-03-29T00:30:00Z"]));
    assert_eq!(berlin["local"], json!(["2027-03-27T02:30:00+01:00", "2027-03-29T02:30:00+02:00"]));
    let gap = "02:30 does not exist on 2027-03-28 in Europe/Berlin: that due time is skipped";
    let fold = "02:30 exists twice on 2027-10-31 in Europe/Berlin: it runs once, at the first";
    let warnings = berlin["warnings"].as_array().expect("warnings");
    assert!(warnings.contains(&json!(gap)) && warnings.contains(&json!(fold)), "{berlin}");

    let often = "due times are 1s apart, and an attempt may take 1m: what comes during a run goes by `overlap`";
    let seconds = preview(&["--cron", "* * * * * *", "--from", "2027-01-01T00:00:00Z", "-n", "1"]);
    assert_eq!(seconds["due"], json!(["2027-01-01T00:00:01Z"]));
    assert_eq!(seconds["warnings"], json!([often]));
    assert_eq!(preview(&["--every", "2m"])["warnings"], json!([]));
    assert_eq!(preview(&["--every", "2s", "--timeout", "2s"])["warnings"], json!([]));

    let leap = preview(&["--cron", "0 0 29 2 *", "--from", "2027-01-01T00:00:00Z", "-n", "2"]);
    assert_eq!(leap["due"], json!(["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]));
    assert_eq!(preview(&["--manual"])["warnings"], json!(["it never runs by itself (`manual`)"]));
    let past = preview(&["--at", "2020-01-01T00:00:00Z"]);
    assert_eq!(past["due"], json!([]));
    assert_eq!(past["warnings"], json!(["it is due no more: the last due time was 2020-01-01T00:00:00Z"]));
}

#[test]
fn schedules_and_policies_read_as_people_write_them() {
    let env = TestEnv::new();
    let host = env.host();
    let mut answers = String::new();
    for args in [
        &["add", "aligned", "--every", "1h", "--align", "--phase", "5m", "--jitter", "30s"][..],
        &["add", "delayed", "--delay", "2h", "--overlap", "buffer_all", "--max-buffered", "3"],
        &[
            "add",
            "report",
            "--cron",
            "0 3 1 1 *",
            "--timezone",
            "Europe/Berlin",
            "--retry",
            "3",
            "--on-failure",
            "alert",
        ],
        &["add", "launch", "--at", "2099-12-31T23:59:59Z", "--missed", "run_all", "--catchup-window", "2d"],
        &["add", "alert", "--manual"],
        &["add", "several", "--cron", "0 3 1 1 *", "--every", "1y", "--at", "2099-01-01T00:00:00Z"],
        &["add", "bounded", "--every", "1d", "--starts-at", "2098-01-01T00:00:00Z", "--max-runs", "2"],
        &["list"],
        &["show", "report"],
        &["show", "bounded"],
    ] {
        answers.push_str(&format!("$ taskctl {}\n{}\n", args.join(" "), host.ok(args)));
    }
    assert!(answers.lines().filter(|line| !line.starts_with('$')).all(|line| line.chars().count() <= 120), "{answers}");
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"\(in \d+[smhdy]\)", "(in [time])");
    settings.add_filter(r"in \d+[smhdy] +", "in [time]  ");
    settings.add_filter(r"(added +)20\d\d-\d\d-\d\dT[\d:]+Z", "${1}[time]");
    settings.add_filter(r"next (due +)?20\d\d-\d\d-\d\dT[\d:.]+Z", "next ${1}[time]");
    settings.bind(|| insta::assert_snapshot!("schedules", answers));
}

#[test]
fn a_schedule_that_can_not_be_is_refused_saying_what_can() {
    let env = TestEnv::new();
    let host = env.host();
    let seventeen: Vec<String> = (1..=17).flat_map(|seconds| ["--every".to_owned(), format!("{seconds}s")]).collect();
    let seventeen: Vec<&str> = seventeen.iter().map(String::as_str).collect();
    let mut messages = String::new();
    for flags in [
        &["--cron", "0 0 30 2 *"][..],
        &["--cron", "* * * *"],
        &["--cron", "61 * * * *"],
        &["--cron", "0 0 * * *", "--timezone", "Europe/Atlantis"],
        &["--every", "1s", "--phase", "2s"],
        &["--at", "2020-01-01T00:00:00Z"],
        &["--at", "yesterday"],
        &["--manual", "--every", "1s"],
        &seventeen,
        &["--expires-at", "2020-01-01T00:00:00Z"],
        &["--starts-at", "2099-02-01T00:00:00Z", "--expires-at", "2099-01-01T00:00:00Z"],
        &["--max-runs", "0"],
        &["--jitter", "2d"],
        &["--overlap", "dance"],
        &["--max-running", "1000"],
        &["--max-buffered", "0"],
        &["--missed", "maybe"],
        &["--catchup-window", "0"],
        &["--catchup-window", "0s"],
        &["--catchup-window", "100y"],
        &["--max-catchup", "1000000"],
        &["--retry", "0"],
        &["--retry", "1000000"],
        &["--retry", "3", "--retry-on", "success"],
        &["--retry", "3", "--retry-backoff", "1m", "--retry-max-backoff", "1s"],
        &["--pause-on-failure", "0"],
        &["--on-failure", "../x"],
    ] {
        let ran = host.ctl(&[&["add", "x"], flags].concat()).fails_with(5);
        assert_eq!(ran.stdout, "", "{flags:?}");
        messages.push_str(&format!("$ taskctl add x {}\n{}\n", flags.join(" "), ran.stderr));
    }
    assert_eq!(host.json(&["list"]), json!({ "tasks": [] }), "nothing was added");
    insta::assert_snapshot!("bad-schedules", messages);
}

#[test]
fn two_kinds_in_one_schedule_are_refused_on_the_wire() {
    let env = TestEnv::new();
    let host = env.host();
    let mut stream = host.stream();
    for (schedule, message) in [
        (
            json!({ "every": "1s", "delay": "1s" }),
            "a schedule has both `every` and `delay`; give each a schedule of its own",
        ),
        (json!({ "every": "1s", "timezone": "UTC" }), "timezone"),
        (json!({ "cron": "* * * * *", "phase": "1s" }), "phase"),
        (json!({ "manual": true, "at": "2099-01-01T00:00:00Z" }), "a schedule has both `at` and `manual`"),
        (json!({ "timezone": "UTC" }), "none of"),
    ] {
        let refused = stream.refused("TaskUnit.Add", json!({ "name": "x", "schedules": [schedule] }));
        assert_eq!(refused.name, "spec_invalid", "{refused:?}");
        assert!(refused.message.contains(message), "{refused:?}");
    }
    assert_eq!(host.json(&["list"]), json!({ "tasks": [] }));
}
