//! What the guests say and what the host has recorded, held against each other: every due time has one record, and no record
//! contradicts a guest.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::host::Host;
use super::{eventually, time};

/// How many records one answer has at most.
const PAGE: usize = 1_000;

/// How many differences a failing test shows.
const MAX_SHOWN: usize = 40;

/// When a task is due, as the test itself reckons it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Due {
    /// So often from the time of adding on.
    Every(SignedDuration),
    /// On every wall-clock second that is a multiple of this.
    Seconds(i64),
    At(Timestamp),
    /// As nobody can foretell.
    Delay,
}

impl Due {
    /// The due times after `added` and not after `until`.
    pub(crate) fn between(self, added: Timestamp, until: Timestamp) -> BTreeSet<Timestamp> {
        match self {
            Self::Every(interval) => std::iter::successors(Some(added + interval), |due| Some(*due + interval))
                .take_while(|due| *due <= until)
                .collect(),
            Self::Seconds(step) => (added.as_second() + 1..=until.as_second())
                .filter(|second| second % step == 0)
                .map(|second| Timestamp::from_second(second).expect("it is in this century"))
                .collect(),
            Self::At(at) => [at].into_iter().filter(|at| *at <= until).collect(),
            Self::Delay => BTreeSet::new(),
        }
    }
}

/// What the guests of all the host's lives said.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) begun: HashSet<(String, String)>,
    pub(crate) twice: Vec<String>,
    /// The due times whose guests began, by task.
    pub(crate) seen: BTreeMap<String, BTreeSet<Timestamp>>,
}

impl Said {
    pub(crate) fn hear(&mut self, lines: &[String]) {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let ["begin", task, run_id, attempt, _] = words[..] else { continue };
            // A task that asks for runs that were abandoned to be tried again runs at least once, and not at most.
            if !self.begun.insert((run_id.to_owned(), attempt.to_owned())) && !task.starts_with("1s-again") {
                self.twice.push(line.clone());
            }
            self.seen.entry(task.to_owned()).or_default().insert(due_of(run_id));
        }
    }
}

/// The second half of a run's id is its due time.
fn due_of(run_id: &str) -> Timestamp {
    let (_, due) = run_id.split_once('-').expect("a run's id has two halves");
    let nanoseconds = u64::from_str_radix(due, 16).expect("a run's id is of hex digits");
    Timestamp::from_nanosecond(nanoseconds.into()).expect("it is in this century")
}

/// A record of a task: of `times` due times from `first` to `last`.
pub(crate) struct Record {
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    pub(crate) times: usize,
    pub(crate) outcome: String,
    pub(crate) text: String,
}

impl Record {
    fn of(run: &Value) -> Self {
        let last = time(&run["due"]);
        let span = run.get("span");
        let outcome = run["outcome"].as_str().unwrap_or("open").to_owned();
        let detail = run["detail"].as_str().unwrap_or_default();
        let times = span.map_or(1, |span| span["times"].as_u64().expect("a number"));
        let first = span.map_or(last, |span| time(&span["first_due"]));
        let reason = run["reason"].as_str().expect("a reason");
        Self {
            first,
            last,
            times: usize::try_from(times).expect("it is small"),
            text: format!("{outcome} ×{times} ({reason}) {first} to {last} {detail}"),
            outcome,
        }
    }

    /// Whether it says that nothing ran.
    pub(crate) fn is_unrun(&self) -> bool {
        ["missed", "skipped"].contains(&&*self.outcome)
    }
}

/// All records of a task.
pub(crate) fn records(host: &Host<'_>, task: &str) -> Vec<Record> {
    let answer = host.call("TaskUnit.Runs", json!({ "name": task, "limit": PAGE }));
    assert_eq!(answer["history_lost"], 0, "{task}");
    let runs = answer["runs"].as_array().expect("runs");
    assert!(runs.len() < PAGE, "{task} has more records than one answer has");
    runs.iter().map(Record::of).collect()
}

/// Whether each due time is in exactly one record, and none in a record that contradicts its guest. A record of several due
/// times between which others lie does not say which they are, so that they are dealt out: to each due time the record that
/// ends first.
/// So many of them are still to be made up for and have no record yet.
pub(crate) fn differences(
    task: &str,
    expected: &BTreeSet<Timestamp>,
    seen: &BTreeSet<Timestamp>,
    records: &[Record],
    backlog: u64,
) -> Vec<String> {
    let mut differences = Vec::new();
    let mut left: Vec<usize> = records.iter().map(|record| record.times).collect();
    let mut order: Vec<usize> = (0..records.len()).collect();
    order.sort_by_key(|at| (records[*at].last, std::cmp::Reverse(records[*at].first)));
    // Those that guests spoke of have the smaller choice.
    let choosy = expected.iter().map(|due| (due, true)).filter(|(due, _)| seen.contains(due));
    let others = expected.iter().map(|due| (due, false)).filter(|(due, _)| !seen.contains(due));
    for (due, has_run) in choosy.chain(others) {
        let fits = |at: &&usize| {
            let record = &records[**at];
            left[**at] > 0 && record.first <= *due && *due <= record.last && !(has_run && record.is_unrun())
        };
        match order.iter().find(fits) {
            Some(at) => left[*at] -= 1,
            None => {
                let near = records.iter().filter(|record| record.first <= *due && *due <= record.last);
                let near: Vec<_> = near.map(|record| record.text.as_str()).collect();
                let ran = if has_run { " (its guest ran)" } else { "" };
                differences.push(format!("{task}: due {due}{ran} has no record; around it: {near:?}"));
            }
        }
    }
    if !differences.is_empty() && differences.len() as u64 == backlog {
        differences.clear();
    }
    let too_many = left.iter().zip(records).filter(|(left, _)| **left > 0);
    differences.extend(too_many.map(|(left, record)| format!("{task}: {left} too many in {}", record.text)));
    differences
}

#[track_caller]
pub(crate) fn assert_none(what: &str, differences: &[String]) {
    let shown = differences.iter().take(MAX_SHOWN).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{what}: {} differences\n{shown}", differences.len());
}

/// The tasks, all pages.
pub(crate) fn tasks(host: &Host<'_>) -> Vec<Value> {
    let mut tasks = Vec::new();
    let mut cursor = Value::Null;
    loop {
        let page = host.call("TaskUnit.List", json!({ "limit": 1000, "cursor": cursor }));
        tasks.extend(page["tasks"].as_array().expect("tasks").iter().cloned());
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            return tasks;
        }
    }
}

/// Waits until nothing is to be made up for, pauses all tasks, and waits until nothing goes on.
#[track_caller]
pub(crate) fn come_to_rest(host: &Host<'_>) {
    // But for tasks that never rest, which never have room for it.
    let is_made_up = |task: &Value| name_of(task).starts_with("slow-") || task.get("backlog").is_none();
    eventually("all is made up for", || tasks(host).iter().all(is_made_up).then_some(()));
    host.ok(&["pause", "--all"]);
    eventually("nothing goes on any more", || {
        host.json(&["list", "--state", "running"])["tasks"].as_array().is_some_and(Vec::is_empty).then_some(())
    });
    let open = |task: &Value| host.runs(name_of(task)).iter().any(|run| run["state"] != "ended");
    eventually("nothing waits any more", || (!tasks(host).iter().any(open)).then_some(()));
}

pub(crate) fn name_of(task: &Value) -> &str {
    task["spec"]["name"].as_str().expect("a name")
}
