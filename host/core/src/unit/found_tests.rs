//! What the simulator found (`docs/simulator.md`), each as the shortest story that shows it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::outcome::Outcome;
use crate::ports::Actor;
use crate::schedule::{Cron, Every, Interval, Schedule, Zone};
use crate::spec::{Jitter, Missed, Retry};

/// On a whole second, and no local time of a change of the clock.
const ADDED: Time = Time(1_790_000_000_000_000_000);

const DAY: Duration = Duration::from_secs(86_400);

/// So long after the task was added.
fn at(seconds: f64) -> Time {
    ADDED.saturating_add(Duration::from_secs_f64(seconds))
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn every(interval: Duration) -> Schedule {
    Schedule::Every(Every::of(Interval::new(interval).expect("an interval")))
}

fn delay(interval: Duration) -> Schedule {
    Schedule::Delay(Interval::new(interval).expect("an interval"))
}

fn spec(schedules: Vec<Schedule>) -> TaskSpec {
    TaskSpec { schedules: Some(schedules), ..TaskSpec::default() }
}

fn definition(spec: TaskSpec) -> Definition {
    Definition {
        id: 7,
        name: TaskName::new("a").expect("a name"),
        revision: 1,
        spec: Arc::new(spec),
        added_at: ADDED,
        due_at_once: false,
        paused: None,
    }
}

/// A unit that is told what happens, and remembers what it asked for.
struct Told {
    unit: Unit,
    actions: Vec<Action>,
}

impl Told {
    fn added(spec: TaskSpec) -> Self {
        Self { unit: Unit::added(&definition(spec)), actions: Vec::new() }
    }

    /// Brought back from a state and noted starts, after a crash at `died` (with what was claimed then) and some time down.
    fn restored(definition: &Definition, state: UnitState, starts: Vec<OpenRun>, died: Time, up_at: Time) -> Self {
        let outage = Outage { down_since: Some(died), claimed: Some(died.saturating_add(secs(2))), up_at };
        let mut actions = Vec::new();
        let unit = Unit::restored(definition, state, starts, &outage, &mut actions);
        Self { unit, actions }
    }

    fn tell(&mut self, input: Input, now: Time) -> &mut Self {
        self.unit.handle(input, now, &mut self.actions);
        self
    }

    fn succeed(&mut self, due: Time, now: Time) -> &mut Self {
        self.end(due, Outcome::Success, now)
    }

    fn end(&mut self, due: Time, outcome: Outcome, now: Time) -> &mut Self {
        self.tell(Input::Finished { key: RunKey::of(due), began: now, report: RunReport::of(outcome) }, now)
    }

    /// The outcomes told, with their due times and how many they stand for.
    fn records(&self) -> Vec<(Outcome, Time, u64)> {
        let record = |action: &Action| match action {
            Action::Record { record, .. } => Some((record.outcome, record.key.due, record.times())),
            _ => None,
        };
        self.actions.iter().filter_map(record).collect()
    }

    /// The due times that were begun.
    fn begun(&self) -> Vec<Time> {
        let start = |action: &Action| match action {
            Action::Start { key, .. } => Some(key.due),
            _ => None,
        };
        self.actions.iter().filter_map(start).collect()
    }

    fn made_up(&self) -> Vec<Time> {
        self.unit.backlogs().flat_map(|backlog| backlog.due.iter().copied()).collect()
    }
}

#[test]
fn a_clock_that_was_far_ahead_does_not_hold_up_what_comes_next() {
    let mut told = Told::added(spec(vec![every(secs(10))]));
    let ahead = at(400.0 * 86_400.0);
    told.tell(Input::Wake, ahead).tell(Input::ClockSetBack, at(5.0));
    assert_eq!(told.actions.last(), Some(&Action::Wake(Some(at(10.0)))));
}

#[test]
fn a_clock_that_was_set_back_while_the_host_was_down_does_not_hold_up_a_delay() {
    let definition = definition(spec(vec![delay(secs(60))]));
    let state = UnitState { accounted: at(7200.0), rested_since: Some(at(7200.0)), ..UnitState::default() };
    let told = Told::restored(&definition, state, Vec::new(), at(7200.0), at(3600.0));
    assert_eq!(told.unit.next_due(), Some(at(3660.0)));
}

#[test]
fn what_waits_for_its_jitter_and_is_not_settled_is_missed_and_not_forgotten() {
    for pause in [false, true] {
        let jitter = Some(Jitter { max: secs(3600), stable: false });
        let mut told = Told::added(TaskSpec { jitter, ..spec(vec![every(secs(1))]) });
        let input = if pause {
            let pause = Pause { since: at(5.0), until: None, note: None, by: Actor::Host };
            Input::Paused { pause: Box::new(pause), revision: 2 }
        } else {
            Input::Edited { spec: Arc::new(spec(vec![every(secs(60))])), revision: 2 }
        };
        told.tell(input, at(5.0));
        assert_eq!(told.records(), [(Outcome::Missed, at(5.0), 5)]);
    }
}

fn noted(due: Time, reason: Reason, attempt: u32) -> OpenRun {
    let progress = Progress::Started { attempt };
    OpenRun { key: RunKey::of(due), reason, trigger: None, revision: 1, progress }
}

fn state(accounted: Time) -> UnitState {
    UnitState { accounted, rested_since: Some(accounted), ..UnitState::default() }
}

fn again() -> Option<Retry> {
    let mut retry = Retry { attempts: 3, ..Retry::none() };
    retry.on.push(Outcome::Abandoned);
    Some(retry)
}

fn paused(since: Time, until: Option<Time>) -> Option<Pause> {
    Some(Pause { since, until, note: None, by: Actor::Host })
}

#[test]
fn what_may_have_run_is_not_begun_again_when_the_clock_was_set_back_meanwhile() {
    let definition = definition(spec(vec![every(secs(1))]));
    let told = Told::restored(&definition, state(at(100.0)), Vec::new(), at(101.5), at(50.0));
    assert_eq!(told.records(), [(Outcome::Abandoned, at(103.0), 3)]);
    assert_eq!(told.unit.next_due(), Some(at(104.0)));
}

#[test]
fn what_may_have_run_is_abandoned_however_much_it_is() {
    let definition = definition(spec(vec![every(Duration::from_millis(10))]));
    let told = Told::restored(&definition, state(at(0.0)), Vec::new(), at(300.0), at(400.0));
    let of = |wanted| told.records().iter().filter(|(outcome, ..)| *outcome == wanted).map(|(.., times)| times).sum();
    let (abandoned, missed): (u64, u64) = (of(Outcome::Abandoned), of(Outcome::Missed));
    assert_eq!((abandoned, missed), (30_200, 9_800));
}

#[test]
fn what_was_being_made_up_for_at_a_second_crash_is_abandoned_once() {
    for (missed, made_up) in [(Missed::RunOnce, vec![]), (Missed::RunAll, vec![at(36_000.0)])] {
        let spec = TaskSpec { missed: Some(missed), ..spec(vec![every(secs(3600))]) };
        // The first crash was hours ago; nothing was written since but that this one was about to start.
        let due = if missed == Missed::RunOnce { at(36_000.0) } else { at(32_400.0) };
        let starts = vec![noted(due, Reason::CatchUp, 1)];
        let told = Told::restored(&definition(spec), state(at(0.0)), starts, at(36_001.0), at(36_010.0));
        let of_run = told.records().iter().filter(|(_, key, _)| *key == due).count();
        assert_eq!((of_run, told.made_up()), (1, made_up), "{missed:?}: {:?}", told.records());
    }
}

#[test]
fn an_abandoned_run_of_a_delay_that_is_tried_again_is_the_only_one() {
    let definition = definition(TaskSpec { retry: again(), ..spec(vec![delay(secs(60))]) });
    let starts = vec![noted(at(60.0), Reason::Schedule, 1)];
    let mut told = Told::restored(&definition, state(at(0.0)), starts, at(61.0), at(600.0));
    assert_eq!(told.records(), []);
    told.tell(Input::Wake, at(600.0));
    assert_eq!(told.begun(), [at(60.0)]);
}

#[test]
fn the_number_of_a_backfill_and_the_key_of_a_manual_run_are_not_given_again_after_a_crash() {
    let definition = definition(spec(vec![every(secs(3600))]));
    let backfilled = OpenRun { key: RunKey { due: at(3600.0), backfill: 1 }, ..noted(at(3600.0), Reason::Backfill, 1) };
    let starts = vec![backfilled, noted(at(4000.0), Reason::Manual, 1)];
    let mut told = Told::restored(&definition, state(at(3600.0)), starts, at(4001.0), at(3990.0));
    told.tell(Input::Backfill { due: VecDeque::from([at(3600.0)]) }, at(3995.0));
    assert_eq!(told.unit.backfills(), 2);
    told.tell(Input::Run { overlap: None, trigger: None }, at(4000.0));
    assert_eq!(told.begun(), [Time(at(4000.0).0 + 1)]);
}

#[test]
fn a_due_time_does_not_begin_when_what_it_took_the_place_of_has_paused_the_task() {
    let retry = Some(Retry { attempts: 2, backoff: secs(60), ..Retry::none() });
    let overlap = Some(Overlap::CancelOther);
    let mut told = Told::added(TaskSpec { retry, overlap, pause_on_failure: Some(1), ..spec(vec![every(secs(10))]) });
    told.tell(Input::Wake, at(10.0)).end(at(10.0), Outcome::Error, at(10.0)).tell(Input::Wake, at(20.0));
    assert_eq!(told.begun(), [at(10.0)]);
    assert_eq!(told.records(), [(Outcome::Error, at(10.0), 1), (Outcome::Skipped, at(20.0), 1)]);
}

#[test]
fn the_last_run_of_max_runs_that_another_takes_the_place_of_is_not_lost() {
    let overlap = Some(Overlap::TerminateOther);
    let mut told = Told::added(TaskSpec { overlap, max_runs: Some(1), ..spec(vec![every(secs(10))]) });
    told.tell(Input::Run { overlap: None, trigger: None }, at(5.0));
    let first = told.begun()[0];
    told.tell(Input::Wake, at(10.0)).tell(Input::Run { overlap: None, trigger: None }, at(11.0));
    assert_eq!(told.records(), [(Outcome::Skipped, at(10.0), 1)]);
    told.end(first, Outcome::Cancelled, at(12.0));
    assert_eq!(told.unit.next_due(), Some(at(20.0)));
}

#[test]
fn no_more_are_made_up_for_than_may_be_and_what_may_have_run_is_not_missed() {
    let definition = definition(TaskSpec {
        retry: again(),
        max_catchup: Some(2),
        missed: Some(Missed::Skip),
        ..spec(vec![every(secs(1))])
    });
    let mut backlog = state(at(10.0));
    let due = VecDeque::from([at(9.0)]);
    backlog.backlogs = vec![Backlog { reason: Reason::CatchUp, backfill: 0, due }];
    let told = Told::restored(&definition, backlog, Vec::new(), at(12.5), at(14.9));
    assert_eq!(told.made_up(), [at(9.0), at(14.0)]);
    assert!(told.records().iter().all(|(outcome, ..)| *outcome == Outcome::Abandoned), "{:?}", told.records());
}

#[test]
fn what_is_made_up_for_stays_in_its_order() {
    let definition = definition(TaskSpec { missed: Some(Missed::RunAll), ..spec(vec![every(secs(3600))]) });
    let mut before = state(at(7200.0));
    before.open = vec![OpenRun { progress: Progress::Queued, ..noted(at(3600.0), Reason::Schedule, 0) }];
    let due = VecDeque::from([at(7200.0)]);
    before.backlogs = vec![Backlog { reason: Reason::CatchUp, backfill: 0, due }];
    let told = Told::restored(&definition, before, Vec::new(), at(7300.0), at(7400.0));
    assert_eq!(told.made_up(), [at(3600.0), at(7200.0)]);
}

#[test]
fn what_may_have_run_after_a_pause_that_ended_is_abandoned() {
    let mut definition = definition(spec(vec![every(secs(1))]));
    definition.paused = paused(at(10.5), Some(at(20.5))).map(Box::new);
    let told = Told::restored(&definition, state(at(30.0)), Vec::new(), at(32.5), at(40.5));
    assert_eq!(told.records(), [(Outcome::Abandoned, at(34.0), 4), (Outcome::Missed, at(40.0), 6)]);
    assert!(told.unit.paused().is_none());
}

#[test]
fn what_may_have_run_is_abandoned_though_the_task_pauses_itself_for_it() {
    let definition = definition(TaskSpec { pause_on_failure: Some(1), ..spec(vec![every(secs(1))]) });
    let starts = vec![noted(at(101.0), Reason::Schedule, 2)];
    let told = Told::restored(&definition, state(at(100.0)), starts, at(103.5), at(50.0));
    assert!(told.unit.paused().is_some());
    assert_eq!(told.unit.cursor(), at(105.0));
}

#[test]
fn a_clock_that_was_years_ahead_does_not_let_the_past_be_missed_again() {
    let definition = definition(spec(vec![every(secs(60))]));
    let ahead = at(400.0 * 86_400.0);
    let mut before = state(ahead);
    let due = VecDeque::from([at(3000.0), ahead]);
    before.backlogs = vec![Backlog { reason: Reason::CatchUp, backfill: 0, due }];
    let outage = Outage { down_since: Some(ahead), claimed: None, up_at: at(3630.0) };
    let mut actions = Vec::new();
    let unit = Unit::restored(&definition, before, Vec::new(), &outage, &mut actions);
    let told = Told { unit, actions };
    assert_eq!((told.records(), told.made_up()), (vec![], vec![at(3000.0)]));
    assert_eq!(told.unit.next_due(), Some(at(3660.0)));
}

#[test]
fn a_run_of_a_delay_has_no_due_time_that_the_schedule_before_an_edit_had() {
    let mut told = Told::added(spec(vec![every(secs(30))]));
    told.tell(Input::Wake, at(30.0)).succeed(at(30.0), at(30.0));
    told.tell(Input::Wake, at(60.0)).succeed(at(60.0), at(60.0));
    told.tell(Input::Run { overlap: None, trigger: None }, at(61.0)).succeed(at(61.0), at(61.0));
    let delayed = spec(vec![Schedule::Delay(Interval::new(Duration::from_millis(29_000)).expect("an interval"))]);
    told.tell(Input::Wake, at(90.0)).succeed(at(90.0), at(61.0));
    told.tell(Input::Edited { spec: Arc::new(delayed), revision: 2 }, at(95.0)).tell(Input::Wake, at(95.0));
    let begun = told.begun();
    assert_eq!(begun[4], Time(at(95.0).0 + 1), "{begun:?}");
}

#[test]
fn a_run_that_is_tried_again_does_not_take_away_what_is_still_to_be_made_up_for() {
    let definition = definition(TaskSpec { missed: Some(Missed::RunAll), ..spec(vec![every(secs(3600))]) });
    let mut before = state(at(7200.0));
    let progress = Progress::Retrying { attempt: 1, outcome: Outcome::Error, detail: None, at: at(9000.0) };
    before.open = vec![OpenRun { progress, ..noted(at(7200.0), Reason::CatchUp, 1) }];
    let due = VecDeque::from([at(3600.0)]);
    before.backlogs = vec![Backlog { reason: Reason::CatchUp, backfill: 0, due }];
    let starts = vec![noted(at(7200.0), Reason::CatchUp, 1)];
    let told = Told::restored(&definition, before, starts, at(7300.0), at(7400.0));
    assert_eq!(told.made_up(), [at(3600.0)]);
}

#[test]
fn the_start_of_what_is_settled_is_noted_since_nobody_asked_for_the_claim() {
    let mut told = Told::added(spec(vec![every(secs(1))]));
    told.tell(Input::Settle, at(1.0));
    assert_eq!(told.actions[0], Action::Start { key: RunKey::of(at(1.0)), attempt: 1, noted: true });
}

#[test]
fn what_may_have_run_after_a_seldom_due_time_is_abandoned_all_the_same() {
    // The last minute of an hour is seldom: the next one is a day later.
    let zone = Zone::utc();
    let cron = Schedule::Cron(Cron::parse("* 14 * * *", zone).expect("an expression"));
    let definition = definition(spec(vec![cron]));
    // 2026-09-21T14:59:00Z is seldom, and was skipped without a trace; a day later it is the turn of 14:00, 14:01.
    let last = Time(1_790_002_740_000_000_000);
    let died = last.saturating_add(DAY - secs(59 * 60) + secs(70));
    let told = Told::restored(&definition, state(Time(last.0 - 1)), Vec::new(), died, died.saturating_add(secs(10)));
    let outcomes: Vec<_> = told.records().iter().map(|(outcome, ..)| *outcome).collect();
    assert_eq!(outcomes, [Outcome::Missed, Outcome::Abandoned, Outcome::Abandoned]);
    assert!(told.made_up().is_empty());
}

#[test]
fn the_time_of_adding_is_the_newest_due_time_even_if_the_schedule_has_older_ones() {
    let before = Time(ADDED.0 - 5_000_000_000);
    let at_once = Definition { due_at_once: true, ..definition(spec(vec![Schedule::At(before)])) };
    let unit = Unit::added(&at_once);
    let after = Time(before.0 - 1);
    assert_eq!((unit.newest_slot(after, ADDED), unit.count_slots(after, ADDED).due), (Some(ADDED), 2));
}
