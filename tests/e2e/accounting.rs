//! Every due time is accounted for, exactly once, whatever happens to the host: what the guests themselves say is held against
//! what the host has recorded.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::account::{Due, Said, assert_none, come_to_rest, differences, name_of, records, tasks};
use crate::support::{TestEnv, guest, guest_bytes, sha256, time};

/// How many guests begin between two crashes, and how many milliseconds the host is down then: the host gets no further than to
/// what it makes up for first, or runs on for some seconds; it is back at once, or later than it had claimed ahead.
const LIVES: [(usize, u64); 5] = [(4_000, 0), (4_000, 2_500), (800, 100), (3_000, 3_000), (1_500, 1_200)];

/// After so many the host has lived for some seconds.
const LONG_LIFE: usize = 3_000;

/// How far ahead the host claims the due times of fast schedules: after a crash, those may have run or not.
const CLAIM_AHEAD: SignedDuration = SignedDuration::from_secs(2);

/// How long after planning the first task is due that is due once: longer than it takes to ask for all of them, however busy the
/// machine is; and by far not as long as the host lives in all.
const FIRST_AT: SignedDuration = SignedDuration::from_secs(5);

/// A task to add.
struct Planned {
    due: Due,
    spec: Value,
}

/// About a thousand tasks of all speeds and policies.
fn planned() -> BTreeMap<String, Planned> {
    let plugin = sha256(&guest_bytes("begin.wat"));
    let mut tasks = BTreeMap::new();
    let mut add = |kind: &str, count: usize, due: Due, members: Value| {
        for number in 0..count {
            let name = format!("{kind}-{number}");
            let schedule = match due {
                Due::Every(interval) => json!({ "every": format!("{}ms", interval.as_millis()) }),
                Due::Seconds(step) => json!({ "cron": format!("*/{step} * * * * *") }),
                Due::At(at) => json!({ "at": at.to_string() }),
                Due::Delay => json!({ "delay": "150ms" }),
            };
            let mut spec = json!({ "name": name, "plugin": { "sha256": plugin }, "schedules": [schedule] });
            for (member, value) in members.as_object().expect("members") {
                spec[member] = value.clone();
            }
            tasks.insert(name, Planned { due, spec });
        }
    };
    let every = |milliseconds| Due::Every(SignedDuration::from_millis(milliseconds));
    add("10ms", 3, every(10), json!({}));
    add("100ms", 20, every(100), json!({}));
    add("100ms-run-once", 5, every(100), json!({ "missed": "run_once" }));
    add("100ms-run-all", 5, every(100), json!({ "missed": "run_all", "max_catchup": 10 }));
    add("1s", 120, every(1_000), json!({}));
    add("1s-run-all", 60, every(1_000), json!({ "missed": "run_all" }));
    add("1s-again", 20, every(1_000), json!({ "retry": { "attempts": 3, "on": ["abandoned"], "backoff": "10ms" } }));
    add("1s-jitter", 20, every(1_000), json!({ "jitter": { "max": "800ms" } }));
    add("5s", 200, every(5_000), json!({}));
    add("7s-run-once", 100, every(7_000), json!({ "missed": "run_once" }));
    add("90s", 200, every(90_000), json!({ "missed": "run_all" }));
    add("5m", 100, every(300_000), json!({}));
    for (kind, policy) in [
        ("skip", json!({})),
        ("buffer-one", json!({ "overlap": "buffer_one" })),
        ("buffer-all", json!({ "overlap": "buffer_all", "max_buffered": 3 })),
        ("buffer-all-run-all", json!({ "overlap": "buffer_all", "max_buffered": 3, "missed": "run_all" })),
        ("allow-all", json!({ "overlap": "allow_all", "max_running": 3 })),
    ] {
        let mut members = policy;
        members["args"] = json!(["700"]);
        add(&format!("slow-{kind}"), 5, every(200), members);
    }
    add("cron", 40, Due::Seconds(1), json!({}));
    add("cron-skip", 20, Due::Seconds(2), json!({ "missed": "skip" }));
    add("cron-run-all", 20, Due::Seconds(3), json!({ "missed": "run_all" }));
    add("delay", 20, Due::Delay, json!({}));
    add("delay-slow", 10, Due::Delay, json!({ "args": ["300"], "missed": "run_once" }));
    let now = Timestamp::now();
    for number in 0..60 {
        let at = now + FIRST_AT + SignedDuration::from_millis(400 * number);
        add(&format!("at-{number}"), 1, Due::At(at), json!({}));
    }
    tasks
}

#[test]
fn five_crashes_in_a_row_leave_every_due_time_with_one_record_that_no_guest_contradicts() {
    let env = TestEnv::new();
    let mut planned = BTreeMap::new();
    let mut said = Said::default();
    let mut outages: Vec<(usize, Timestamp, Timestamp)> = Vec::new();
    for (begun, down_ms) in LIVES {
        let host = env.host_with(&["--echo"]);
        if outages.is_empty() {
            host.ok(&["plugin", "put", guest("begin.wat").to_str().expect("a path of UTF-8")]);
            // Not before all is there that the host needs: it refuses what is due once and was due already.
            planned = self::planned();
            let specs: Vec<_> = planned.values().map(|planned| &planned.spec).collect();
            host.call("TaskUnit.Apply", json!({ "tasks": specs }));
        }
        let lines: Vec<String> = std::iter::repeat_with(|| host.line()).take(begun).collect();
        said.hear(&lines);
        said.hear(&host.kill_and_read());
        let died = Timestamp::now();
        std::thread::sleep(std::time::Duration::from_millis(down_ms));
        outages.push((begun, died, Timestamp::now()));
    }
    let host = env.host_with(&["--echo"]);
    come_to_rest(&host);
    said.hear(&host.stop_and_read());

    let host = env.host_with(&["--echo"]);
    let tasks = tasks(&host);
    assert_eq!(tasks.len(), planned.len());
    let mut all_differences = Vec::new();
    let mut unknown = Vec::new();
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for task in &tasks {
        let name = name_of(task);
        let records = records(&host, name);
        let seen = said.seen.get(name).cloned().unwrap_or_default();
        let added = time(&task["added_at"]);
        let last = records.iter().map(|record| record.last).max().unwrap_or(added);
        let paused = time(&task["paused"]["since"]);
        let expected = match planned[name].due {
            // What nobody can foretell is at least not denied.
            Due::Delay => records.iter().map(|record| record.last).chain(seen.iter().copied()).collect(),
            due => due.between(added, last.max(paused)),
        };
        all_differences.extend(differences(name, &expected, &seen, &records, task["backlog"].as_u64().unwrap_or(0)));
        let of_crash = records.iter().filter(|record| record.text.contains("unknown: the host died"));
        unknown.extend(of_crash.map(|record| (name, record.first, record.last)));
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for record in &records {
            *counts.entry(record.outcome.clone()).or_default() += record.times;
            *outcomes.entry(record.outcome.clone()).or_default() += record.times;
        }
        if task["counts"] != json!(counts) {
            all_differences.push(format!("{name}: counts {} and records {counts:?}", task["counts"]));
        }
    }
    // What the host can't know of is only what it had claimed when it died. But what a short life has found out is not kept: then
    // all that was due before it is unknown too.
    let lives_after = outages.iter().skip(1).map(|(begun, ..)| *begun).chain([usize::MAX]);
    let told: Vec<_> =
        outages.iter().zip(lives_after).filter(|(_, begun)| *begun >= LONG_LIFE).map(|(outage, _)| outage).collect();
    let outside = unknown.iter().filter(|(_, first, last)| {
        let is_outside = |due: &Timestamp| told.iter().any(|(_, died, up)| *due > *died + CLAIM_AHEAD && due < up);
        is_outside(first) || is_outside(last)
    });
    all_differences.extend(outside.map(|unknown| format!("{unknown:?} was not claimed when the host died")));
    all_differences.extend(said.twice.iter().map(|line| format!("begun twice: {line}")));
    eprintln!("{outcomes:?}, {} attempts begun", said.begun.len());
    assert_none("every due time has one record", &all_differences);
}
