use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::name::TaskName;
use crate::schedule::Interval;
use crate::spec::TaskSpec;

const SECOND: i64 = 1_000_000_000;
const ADDED: Time = Time(1_000 * SECOND + 5);

fn definition(due_at_once: bool) -> Definition {
    let spec = Arc::new(TaskSpec::new(TaskName::new("a").expect("a name")));
    Definition { id: 7, revision: 1, spec, added_at: ADDED, due_at_once }
}

fn after_add(seconds: i64) -> Time {
    Time(ADDED.0 + seconds * SECOND)
}

fn every(text: &str) -> Schedule {
    Schedule::Every(Interval::parse(text).expect("an interval"))
}

fn step(unit: &mut Unit, input: Input, now: Time) -> Vec<Action> {
    let mut actions = Vec::new();
    unit.handle(input, now, &mut actions);
    actions
}

fn finish(unit: &mut Unit, outcome: Outcome, now: Time) -> Vec<Action> {
    step(unit, Input::Finished { began: now, report: RunReport::of(outcome) }, now)
}

/// What a step started, if anything.
fn started(actions: &[Action]) -> Option<(Time, Reason)> {
    actions.iter().find_map(|action| match action {
        Action::Start { due, reason } => Some((*due, *reason)),
        _ => None,
    })
}

#[test]
fn the_first_due_time_is_one_interval_after_adding() {
    assert_eq!(Unit::added(&definition(false)).next_due(), Some(after_add(1)));
    assert_eq!(Unit::added(&definition(true)).next_due(), Some(ADDED));
}

#[test]
fn due_times_keep_their_phase_however_late_they_run() {
    let mut unit = Unit::added(&definition(false));
    let late = Time(after_add(1).0 + 400_000_000);
    assert_eq!(
        step(&mut unit, Input::Wake, late),
        [Action::Start { due: after_add(1), reason: Reason::Schedule }, Action::Wake(Some(after_add(2)))]
    );
    finish(&mut unit, Outcome::Success, late);
    assert_eq!(unit.last_runs[0].lateness_us, None, "this report did not say when the guest was entered");
    assert_eq!(unit.last_success, Some(after_add(1)));
}

#[test]
fn an_early_wake_starts_nothing() {
    let mut unit = Unit::added(&definition(false));
    assert_eq!(step(&mut unit, Input::Wake, ADDED), [Action::Wake(Some(after_add(1)))]);
}

#[test]
fn a_due_time_that_comes_during_a_run_is_skipped_and_counted() {
    let mut unit = Unit::added(&definition(false));
    step(&mut unit, Input::Wake, after_add(1));
    let actions = step(&mut unit, Input::Wake, after_add(2));
    assert_eq!(started(&actions), None);
    step(&mut unit, Input::Wake, after_add(3));
    assert_eq!(unit.counts.get(Outcome::Skipped), 2);
    assert_eq!(unit.last_runs.len(), 1, "skips in a row share a record");
    let more = unit.last_runs[0].more.as_ref().expect("a detail");
    assert_eq!(more.further, 1);
    assert!(more.detail.as_ref().expect("a detail").starts_with("the run due at 1970-01-01T00:16:41"));
    finish(&mut unit, Outcome::Success, after_add(3));
    assert!(started(&step(&mut unit, Input::Wake, after_add(4))).is_some());
}

#[test]
fn a_host_that_stood_still_runs_the_newest_due_time_once_and_counts_the_others() {
    let mut unit = Unit::added(&definition(false));
    let now = Time(after_add(100).0 + 7);
    let actions = step(&mut unit, Input::Wake, now);
    assert_eq!(started(&actions), Some((after_add(100), Reason::Schedule)));
    assert_eq!(unit.counts.get(Outcome::Missed), 99);
    assert_eq!(unit.next_due(), Some(after_add(101)));
}

#[test]
fn a_long_interval_that_is_late_still_runs() {
    let mut unit = Unit::added(&definition(false));
    step(&mut unit, Input::Edited { schedule: every("1h"), revision: 2 }, ADDED);
    let actions = step(&mut unit, Input::Wake, after_add(3_605));
    assert_eq!(started(&actions), Some((after_add(3_600), Reason::Schedule)));
    assert_eq!(unit.counts.get(Outcome::Missed), 0);
}

#[test]
fn an_edit_keeps_the_phase_and_touches_no_run() {
    let mut unit = Unit::added(&definition(false));
    step(&mut unit, Input::Wake, after_add(1));
    let actions = step(&mut unit, Input::Edited { schedule: every("10s"), revision: 2 }, after_add(1));
    assert_eq!(actions, [Action::Wake(Some(after_add(10)))]);
    finish(&mut unit, Outcome::Success, after_add(2));
    assert_eq!(unit.last_runs[0].revision, 1, "the run was of the old revision");
    step(&mut unit, Input::Wake, after_add(10));
    finish(&mut unit, Outcome::Success, after_add(10));
    assert_eq!(unit.last_runs[1].revision, 2);
}

#[test]
fn an_edit_of_something_else_moves_no_due_time() {
    let mut unit = Unit::added(&definition(false));
    assert!(step(&mut unit, Input::Edited { schedule: every("1s"), revision: 2 }, ADDED).is_empty());
}

#[test]
fn an_edit_does_not_lose_a_due_time_that_waits_for_its_turn() {
    let mut unit = Unit::added(&definition(false));
    let late = Time(after_add(1).0 + 1);
    step(&mut unit, Input::Edited { schedule: every("10s"), revision: 2 }, late);
    assert_eq!(started(&step(&mut unit, Input::Wake, late)), Some((after_add(1), Reason::Schedule)));
    assert_eq!(unit.next_due(), Some(after_add(10)));
}

#[test]
fn a_manual_run_stands_beside_the_schedule_with_an_id_of_its_own() {
    let mut unit = Unit::added(&definition(false));
    assert_eq!(started(&step(&mut unit, Input::Run, after_add(1))), Some((Time(after_add(1).0 + 1), Reason::Manual)));
    finish(&mut unit, Outcome::Success, after_add(1));
    assert_eq!(started(&step(&mut unit, Input::Wake, after_add(1))), Some((after_add(1), Reason::Schedule)));
    finish(&mut unit, Outcome::Success, after_add(1));
    let again = started(&step(&mut unit, Input::Run, after_add(1))).expect("a run");
    assert_eq!(again.0, Time(after_add(1).0 + 2), "no id is given twice, even within a nanosecond");
}

#[test]
fn nothing_starts_after_a_delete_and_the_last_run_is_waited_for() {
    let mut unit = Unit::added(&definition(false));
    step(&mut unit, Input::Wake, after_add(1));
    assert_eq!(step(&mut unit, Input::Deleted, after_add(1)), [Action::Wake(None)]);
    assert_eq!(started(&step(&mut unit, Input::Wake, after_add(2))), None);
    assert_eq!(started(&step(&mut unit, Input::Run, after_add(2))), None);
    assert_eq!(finish(&mut unit, Outcome::Success, after_add(2)).last(), Some(&Action::Gone));
    assert_eq!(step(&mut Unit::added(&definition(false)), Input::Deleted, ADDED), [Action::Wake(None), Action::Gone]);
}

#[test]
fn a_restart_keeps_the_phase_and_passes_over_what_was_due_meanwhile() {
    let now = Time(after_add(10).0 + 3);
    let unit = Unit::restored(&definition(false), Counts::default(), Vec::new(), None, now);
    assert_eq!(unit.next_due(), Some(after_add(11)));
}

#[test]
fn a_clock_set_back_during_a_restart_runs_no_due_time_twice() {
    let mut unit = Unit::added(&definition(false));
    step(&mut unit, Input::Wake, after_add(5));
    finish(&mut unit, Outcome::Success, after_add(5));
    let runs = unit.last_runs.into();
    let unit = Unit::restored(&definition(false), unit.counts, runs, None, after_add(2));
    assert_eq!(unit.next_due(), Some(after_add(6)));
}

#[test]
fn a_clock_that_was_years_ahead_for_a_moment_does_not_silence_a_task() {
    let mut unit = Unit::added(&definition(false));
    step(&mut unit, Input::Wake, after_add(1_000_000_000));
    finish(&mut unit, Outcome::Success, after_add(1_000_000_000));
    let unit = Unit::restored(&definition(false), unit.counts, unit.last_runs.into(), None, after_add(2));
    assert_eq!(unit.next_due(), Some(after_add(3)));
}

#[test]
fn failures_are_kept_longer_than_successes() {
    let mut unit = Unit::added(&definition(false));
    for n in 1..=100 {
        step(&mut unit, Input::Wake, after_add(n));
        let outcome = if n <= 15 { Outcome::Error } else { Outcome::Success };
        finish(&mut unit, outcome, after_add(n));
    }
    let failures = unit.last_runs.iter().filter(|run| run.outcome == Outcome::Error).count();
    assert_eq!((unit.last_runs.len(), failures), (LAST_RUNS, LAST_RUNS - LAST_SUCCESSES));
    assert_eq!(unit.last_runs.back().map(|run| run.due), Some(after_add(100)));
}

#[test]
fn lateness_is_guest_entry_minus_due_time() {
    let mut unit = Unit::added(&definition(false));
    let began = Time(after_add(1).0 + 2_000_000);
    step(&mut unit, Input::Wake, began);
    let report = RunReport { entry_delay: Some(Duration::from_micros(5)), ..RunReport::of(Outcome::Success) };
    step(&mut unit, Input::Finished { began, report }, Time(began.0 + 105_000));
    assert_eq!((unit.last_runs[0].lateness_us, unit.last_runs[0].took_us), (Some(2_005), 100));
}
