//! A week of mixed tasks in virtual time: the core's state machines run through it within seconds, the real store keeps what they did,
//! and a real host reads it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use taskhost_core::name::TaskName;
use taskhost_core::outcome::{Outcome, RunKey, RunReport};
use taskhost_core::ports::{Actor, Change, ChangeKind, Clock, Definition, HistoryBatch, HostRun, Store, SystemClock};
use taskhost_core::schedule::{ScheduleText, Zone};
use taskhost_core::spec::{SpecPatch, TaskSpec};
use taskhost_core::time::Time;
use taskhost_core::unit::{Action, Input, Outage, Unit};
use taskhost_store::SqliteStore;

use crate::support::TestEnv;

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;

/// Each night the host is down from 02:58 to 03:07 of its days.
const DOWN_FROM: i64 = 2 * HOUR + 58 * 60 * SECOND;
const DOWN_UNTIL: i64 = 3 * HOUR + 7 * 60 * SECOND;

/// A task in virtual time.
struct Task {
    definition: Definition,
    unit: Unit,
    /// Runs that are going on, and when they end how.
    going_on: BTreeMap<(Time, RunKey), RunReport>,
    catch_up: bool,
    random: SmallRng,
}

impl Task {
    fn new(id: u64, name: &str, patch: SpecPatch, added_at: Time) -> Self {
        let spec = TaskSpec::default().patched(patch, &Zone::utc()).expect("a spec");
        let spec = Arc::new(spec);
        let name = TaskName::new(name).expect("a name");
        let definition = Definition { id, name, revision: 1, spec, added_at, due_at_once: false, paused: None };
        let unit = Unit::added(&definition);
        Self { definition, unit, going_on: BTreeMap::new(), catch_up: false, random: SmallRng::seed_from_u64(id) }
    }

    /// Lives until a time.
    fn live(&mut self, until: Time) {
        loop {
            let end = self.going_on.keys().next().copied();
            let wake = self.unit.first_wake();
            let (input, now) = match (end, wake) {
                (Some((at, key)), wake) if wake.is_none_or(|wake| at <= wake) && at <= until => {
                    let report = self.going_on.remove(&(at, key)).expect("it goes on");
                    (Input::Finished { key, began: at, report }, at)
                }
                (_, Some(wake)) if wake <= until => (Input::Wake, wake),
                _ => return,
            };
            self.step(input, now);
        }
    }

    fn step(&mut self, input: Input, now: Time) {
        let mut actions = Vec::new();
        self.unit.handle(input, now, &mut actions);
        self.act(actions, now);
        while std::mem::take(&mut self.catch_up) {
            self.step(Input::CatchUp, now);
        }
    }

    fn act(&mut self, actions: Vec<Action>, now: Time) {
        for action in actions {
            match action {
                Action::Start { key, .. } => {
                    // Mostly short, seldom long, and seldom a failure: records that are no successes are kept up to a bound.
                    let long = self.random.random_ratio(1, 5_000);
                    let took = self.random.random_range(0..if long { 600 * SECOND } else { SECOND / 5 });
                    let failed = self.random.random_ratio(1, 5_000);
                    let report = RunReport::of(if failed { Outcome::Error } else { Outcome::Success });
                    self.going_on.insert((Time(now.0 + took), key), report);
                }
                Action::WantCatchUp => self.catch_up = true,
                _ => {}
            }
        }
    }

    /// Is stopped in good order, and started again later.
    fn restart(&mut self, down: Time, up: Time, batch: &mut HistoryBatch) {
        self.step(Input::Halt, down);
        while let Some(((_, key), _)) = self.going_on.pop_first() {
            self.step(Input::Finished { key, began: down, report: RunReport::of(Outcome::Cancelled) }, down);
        }
        self.keep(batch);
        let run = HostRun { started: Time(0), seen: down, stopped: Some(down), claimed: down };
        let mut actions = Vec::new();
        let outage = Outage::after(Some(run), up);
        self.unit = Unit::restored(&self.definition, self.unit.state(), Vec::new(), &outage, &mut actions);
        self.act(actions, up);
        if std::mem::take(&mut self.catch_up) {
            self.step(Input::CatchUp, up);
        }
    }

    fn keep(&mut self, batch: &mut HistoryBatch) {
        let id = self.definition.id;
        batch.records.extend(self.unit.history.take_unwritten().into_iter().map(|record| (id, record)));
        batch.states.push((id, self.unit.state()));
    }
}

fn tasks(added_at: Time) -> Vec<Task> {
    let text = ScheduleText::default;
    let every = |every: &str| ScheduleText { every: Some(every.into()), ..text() };
    let cron = |cron: &str, zone: &str| ScheduleText { cron: Some(cron.into()), timezone: Some(zone.into()), ..text() };
    let delay = |delay: &str| ScheduleText { delay: Some(delay.into()), ..text() };
    let with = |schedules: Vec<ScheduleText>, overlap: &str, missed: &str| SpecPatch {
        schedules: Some(Some(schedules)),
        overlap: Some(Some(overlap.into())),
        missed: Some(Some(missed.into())),
        ..SpecPatch::default()
    };
    let patches = [
        ("tick", with(vec![every("1s")], "skip", "skip")),
        ("minutely", with(vec![every("1m")], "buffer_one", "skip")),
        ("quarter", with(vec![cron("*/15 * * * *", "Europe/Berlin")], "allow_all", "run_all")),
        ("nightly", with(vec![cron("0 3 * * *", "UTC")], "skip", "run_once")),
        ("rounds", with(vec![delay("10m")], "skip", "run_once")),
        ("mixed", with(vec![every("7m"), cron("0 * * * *", "UTC")], "cancel_other", "skip")),
    ];
    (1..).zip(patches).map(|(id, (name, patch))| Task::new(id, name, patch, added_at)).collect()
}

/// Lives through the last week, in a data directory.
fn live_a_week(env: &TestEnv) -> Time {
    // Whole days of UTC, the last of them before today.
    let begin = Time(SystemClock.now().0 / DAY * DAY - 7 * DAY);
    let store = SqliteStore::open(&env.data_dir()).expect("a new data directory");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let mut tasks = tasks(begin);
        let added = tasks.iter().map(|task| Change {
            kind: ChangeKind::Add(task.definition.clone()),
            at: begin,
            by: Actor::Uid(1001),
        });
        store.commit(added.collect()).await.expect("the tasks are added");
        let mut started = begin;
        for day in 0..7 {
            let midnight = begin.0 + day * DAY;
            let (down, up) = (Time(midnight + DOWN_FROM), Time(midnight + DOWN_UNTIL));
            let mut batch = HistoryBatch::default();
            for task in &mut tasks {
                task.live(down);
                task.restart(down, up, &mut batch);
            }
            batch.host = Some(HostRun { started, seen: down, stopped: Some(down), claimed: down });
            store.record(Arc::new(batch)).await.expect("a day is kept");
            started = up;
        }
        let end = Time(begin.0 + 7 * DAY);
        let mut batch = HistoryBatch::default();
        for task in &mut tasks {
            task.live(end);
            task.restart(end, end, &mut batch);
        }
        batch.host = Some(HostRun { started, seen: end, stopped: Some(end), claimed: end });
        store.record(Arc::new(batch)).await.expect("the rest is kept");
        store.close().await.expect("the store is closed");
    });
    begin
}

/// How many due times the runs of an answer stand for, by outcome.
fn account(runs: &Value) -> BTreeMap<String, u64> {
    let mut account = BTreeMap::new();
    for run in runs["runs"].as_array().expect("runs") {
        let times = run["span"]["times"].as_u64().unwrap_or(1);
        let outcome = run["outcome"].as_str().expect("it has ended");
        *account.entry(outcome.to_owned()).or_default() += times;
    }
    account
}

#[test]
fn a_week_of_mixed_tasks_is_accounted_for_and_can_be_read_afterwards() {
    let env = TestEnv::new();
    let begun = std::time::Instant::now();
    let begin = live_a_week(&env);
    eprintln!("a week took {:.1} s", begun.elapsed().as_secs_f64());
    let host = env.host();
    let at = |offset: i64| Time(begin.0 + offset).to_string();
    let week = |name: &str| {
        let (from, until) = (at(1), at(7 * DAY));
        account(&host.json(&["runs", name, "--from", &from, "--until", &until, "-n", "1000"]))
    };
    // Of the week up to its last moment; at that itself, the hosts change.
    let due = |account: &BTreeMap<String, u64>| account.values().sum::<u64>();
    assert_eq!(due(&week("minutely")), 7 * 24 * 60 - 1);
    let nightly = week("nightly");
    assert_eq!(due(&nightly), 7, "{nightly:?}");
    let missed = week("minutely").get("missed").copied();
    assert_eq!(missed, Some(7 * 9), "nine minutes each night");
    let quarter = week("quarter");
    assert_eq!(quarter.get("missed"), None, "all were made up for: {quarter:?}");
    assert!(host.json(&["runs", "quarter", "-n", "1000"]).to_string().contains("catch_up"));

    // One night in detail.
    let (from, until) = (at(2 * DAY + DOWN_FROM - HOUR), at(2 * DAY + DOWN_UNTIL));
    let night = account(&host.json(&["runs", "tick", "--from", &from, "--until", &until, "-n", "1000"]));
    assert!(night.get("missed").is_some_and(|missed| (540..=541).contains(missed)), "{night:?}");
    let why = host.ok(&["why", "tick", "--at", &at(2 * DAY + DOWN_FROM + 60 * SECOND)]);
    assert!(why.contains("the host was down from") && why.contains("(it was stopped)"), "{why}");
    let failures = host.call("TaskUnit.Runs", json!({ "name": "tick", "outcomes": ["error"], "limit": 1000 }));
    assert!(failures["runs"].as_array().is_some_and(|runs| runs.len() > 50), "{failures}");
    host.stop();
}
