//! After a long outage: what was missed is made up for as each task says, without a burst, and all of it is accounted for.
//!
//! By default it is short and small. `TASKHOST_E2E_OUTAGE_S=600` makes it what is promised: ten minutes, with 10,000 tasks of each
//! policy.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::account::{Due, Said, assert_none, come_to_rest, differences, name_of, records, tasks};
use crate::support::{Host, TestEnv, eventually, guest, guest_bytes, sha256, time};

/// How long the host is down, in seconds, unless the environment says otherwise.
const SHORT_S: u64 = 15;

/// What is promised: an outage of so many seconds, with so many tasks of each policy. A shorter one has fewer, for they are due more
/// often.
const PROMISED_S: u64 = 600;
const PROMISED_TASKS: u64 = 10_000;

/// How many tasks one call adds.
const BATCH: usize = 5_000;

/// How often a task is due during the outage.
const DUE_TIMES: u64 = 8;

/// As `TestEnv::serve` has it.
const WORKERS: i32 = 2;

/// The part of a worker's time that may go into making up for due times: one in so many.
const SHARE: i32 = 10;

/// How many such runs may be going on at once on each worker.
const AT_ONCE: i32 = 4;

#[test]
fn after_an_outage_no_burst_comes_and_every_due_time_is_accounted_for() {
    let outage_s = std::env::var("TASKHOST_E2E_OUTAGE_S").map_or(SHORT_S, |text| text.parse().expect("seconds"));
    let count = PROMISED_TASKS * outage_s / PROMISED_S;
    let interval_ms = outage_s * 1_000 / DUE_TIMES;
    let interval = SignedDuration::from_millis(i64::try_from(interval_ms).expect("it is short"));
    let plugin = sha256(&guest_bytes("begin.wat"));
    let spec = |policy: &str, number: u64| {
        json!({
            "name": format!("{policy}-{number}"),
            "plugin": { "sha256": plugin },
            "schedules": [{ "every": format!("{interval_ms}ms") }],
            "missed": policy,
        })
    };
    let specs: Vec<Value> = ["skip", "run_once", "run_all"]
        .into_iter()
        .flat_map(|policy| (0..count).map(move |number| spec(policy, number)))
        .collect();

    let env = TestEnv::new();
    let host = env.host_with(&["--echo"]);
    host.ok(&["plugin", "put", guest("begin.wat").to_str().expect("a path of UTF-8")]);
    for batch in specs.chunks(BATCH) {
        host.call("TaskUnit.Apply", json!({ "tasks": batch }));
    }
    host.wait_successes(&format!("run_all-{}", count - 1), 1);
    let mut said = Said::default();
    said.hear(&host.stop_and_read());
    let down = Timestamp::now();
    std::thread::sleep(Duration::from_secs(outage_s));

    let host = env.host_with(&["--echo"]);
    let up = Timestamp::now();
    make_up(&host);
    come_to_rest(&host);
    said.hear(&host.stop_and_read());

    let host = env.host();
    let mut wrong = said.twice;
    let mut made_up = Vec::new();
    for task in tasks(&host) {
        let name = name_of(&task);
        let records = records(&host, name);
        let seen = said.seen.get(name).cloned().unwrap_or_default();
        let last = records.iter().map(|record| record.last).max().unwrap_or(down);
        let expected = Due::Every(interval).between(time(&task["added_at"]), last.max(time(&task["paused"]["since"])));
        wrong.extend(differences(name, &expected, &seen, &records, 0));

        let during: BTreeSet<_> = expected.into_iter().filter(|due| *due > down && *due < up).collect();
        let runs = host.runs(name);
        let caught_up: Vec<_> = runs.into_iter().filter(|run| run["reason"] == "catch_up").collect();
        let as_promised = match name.split('-').next() {
            Some("skip") => caught_up.is_empty(),
            // The newest of them; or one that came due while the host stopped or started.
            Some("run_once") => caught_up.len() == 1,
            _ => caught_up.len() + 1 >= during.len(),
        };
        if !as_promised {
            wrong.push(format!("{name}: {} of {} due times were made up for", caught_up.len(), during.len()));
        }
        made_up.extend(caught_up.iter().map(|run| (time(&run["started"]), time(&run["finished"]))));
    }
    assert_none("every due time is accounted for", &wrong);
    assert_no_burst(&made_up);
}

/// Waits until all is made up for. That may take long, but it goes on.
#[track_caller]
fn make_up(host: &Host<'_>) {
    let backlog = || tasks(host).iter().map(|task| task["backlog"].as_u64().unwrap_or(0)).sum::<u64>();
    let mut left = backlog();
    while left > 0 {
        left = eventually("more is made up for", || Some(backlog()).filter(|now| *now < left));
    }
}

/// Asserts that no more than a tenth of the first second went into making up for due times, however fast the machine is.
#[track_caller]
fn assert_no_burst(made_up: &[(Timestamp, Timestamp)]) {
    let first = made_up.iter().map(|(started, _)| *started).min().expect("something was made up for");
    let second = SignedDuration::from_secs(1);
    let took: Vec<_> = made_up
        .iter()
        .filter(|(started, _)| *started < first + second)
        .map(|(started, finished)| finished.duration_since(*started))
        .collect();
    let busy: SignedDuration = took.iter().sum();
    let longest = took.iter().max().copied().unwrap_or_default();
    let allowed = second * WORKERS / SHARE + longest * (WORKERS * AT_ONCE);
    eprintln!("{} of {} runs began in the first second, and took {busy:?} of {allowed:?}", took.len(), made_up.len());
    assert!(busy <= allowed, "{} runs took {busy:?} of the first second; {allowed:?} is allowed", took.len());
    assert!(took.len() < made_up.len(), "all of them came in the first second");
}
