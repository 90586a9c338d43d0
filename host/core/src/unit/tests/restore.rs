//! Tasks that the host knew before it stopped.

use super::*;
use crate::ports::{Actor, HostRun};

/// The host died, or stopped, at a time; it had claimed two seconds more.
fn outage(down: Time, stopped: bool, up_at: Time) -> Outage {
    let claimed = down.saturating_add(Duration::from_secs(2));
    let run = HostRun { started: ADDED, seen: down, stopped: stopped.then_some(down), claimed };
    Outage::after(Some(run), up_at)
}

impl Bench {
    /// The task as it is after an outage.
    fn restored(&self, starts: Vec<OpenRun>, outage: &Outage, definition: &Definition) -> Self {
        let mut actions = Vec::new();
        let unit = Unit::restored(definition, self.unit.state(), starts, outage, &mut actions);
        Self { unit, actions }
    }
}

fn started(due: Time, attempt: u32) -> OpenRun {
    OpenRun {
        key: RunKey::of(due),
        reason: Reason::Schedule,
        trigger: None,
        revision: 1,
        progress: Progress::Started { attempt },
    }
}

#[test]
fn after_a_stop_in_good_order_what_was_due_meanwhile_is_missed_and_the_phase_stays() {
    let mut bench = Bench::added(SpecPatch::default());
    bench.pass(after_add(10));
    let outage = outage(millis_after_add(10_500), true, millis_after_add(20_500));
    let bench = bench.restored(vec![], &outage, &definition(SpecPatch::default()));
    let detail =
        format!("the host was down from {} to {}", Told(millis_after_add(10_500)), Told(millis_after_add(20_500)));
    assert_eq!(bench.recorded(), [(Outcome::Missed, 10, &*detail)]);
    assert_eq!(bench.unit.next_due(), Some(after_add(21)));
    assert_eq!(bench.count(Outcome::Success), 10);
}

#[test]
fn after_a_crash_the_claimed_due_times_of_a_fast_schedule_are_abandoned_and_the_later_ones_missed() {
    let mut bench = Bench::added(SpecPatch::default());
    bench.pass(after_add(10));
    // The state was written after 10 s, the host died after 12.
    let outage = outage(after_add(12), false, millis_after_add(20_500));
    let bench = bench.restored(vec![], &outage, &definition(SpecPatch::default()));
    assert_eq!((bench.count(Outcome::Abandoned), bench.count(Outcome::Missed)), (4, 6), "11 to 14, and 15 to 20");
    assert_eq!(bench.unit.next_due(), Some(after_add(21)));
}

#[test]
fn after_a_crash_a_slow_due_time_whose_start_was_not_noted_did_not_run() {
    let patch = || schedules(vec![every("2m")]);
    let bench = Bench::added(patch());
    let outage = outage(after_add(121), false, after_add(130));
    let bench = bench.restored(vec![], &outage, &definition(patch()));
    assert_eq!((bench.count(Outcome::Abandoned), bench.count(Outcome::Missed)), (0, 1));
}

#[test]
fn a_noted_start_without_an_end_is_abandoned_and_never_begun_again() {
    let patch = || SpecPatch { missed: Some(Some("run_all".into())), ..schedules(vec![every("2m")]) };
    let bench = Bench::added(patch());
    let outage = outage(after_add(300), false, after_add(500));
    let mut bench = bench.restored(vec![started(after_add(240), 1)], &outage, &definition(patch()));
    assert_eq!(bench.recorded().iter().map(|record| record.0).collect::<Vec<_>>(), [Outcome::Abandoned]);
    assert!(bench.actions.contains(&Action::Ended(RunKey::of(after_add(240)))), "the note is taken back");
    let made_up: Vec<_> = bench.catch_up(after_add(500)).iter().map(|key| key.due).collect();
    assert_eq!(made_up, [120, 360, 480].map(after_add));
}

#[test]
fn a_task_that_asks_for_it_runs_an_abandoned_due_time_again_under_its_id() {
    let on = Some(vec!["abandoned".to_owned()]);
    let retry = RetryText { attempts: Some(2), on, ..RetryText::default() };
    let patch = || SpecPatch { retry: Some(Some(retry.clone())), ..schedules(vec![every("2m")]) };
    let bench = Bench::added(patch());
    let outage = outage(after_add(121), false, after_add(130));
    let mut bench = bench.restored(vec![started(after_add(120), 1)], &outage, &definition(patch()));
    assert_eq!(bench.recorded(), []);
    bench.wake(after_add(130));
    assert_eq!(bench.actions[0], Action::Start { key: RunKey::of(after_add(120)), attempt: 2, noted: true });
}

#[test]
fn a_wait_for_the_next_attempt_goes_on_over_a_restart() {
    let retry = RetryText { attempts: Some(3), backoff: Some("1h".into()), max_backoff: Some("1h".into()), on: None };
    let patch = || SpecPatch { retry: Some(Some(retry.clone())), ..schedules(vec![every("1d")]) };
    let mut bench = Bench::added(patch());
    let due = after_add(86_400);
    bench.wake(due);
    bench.finish(due, Outcome::Error, due);
    let again = bench.unit.first_wake();
    let outage = outage(after_add(86_410), false, after_add(86_420));
    let bench = bench.restored(vec![started(due, 1)], &outage, &definition(patch()));
    assert_eq!(bench.recorded(), []);
    assert_eq!((bench.unit.first_wake(), bench.unit.running()[0].attempt()), (again, 1));
}

#[test]
fn what_waited_for_its_turn_did_not_run() {
    let patch = || SpecPatch { overlap: Some(Some("buffer_all".into())), ..SpecPatch::default() };
    let mut bench = Bench::added(patch());
    (1..=3).for_each(|n| drop(bench.wake(after_add(n))));
    let outage = outage(millis_after_add(3_500), true, millis_after_add(3_600));
    let bench = bench.restored(vec![], &outage, &definition(patch()));
    let outcomes: Vec<_> = bench.recorded().iter().map(|record| (record.0, record.2)).collect();
    let waited = "the host stopped while it waited for its turn";
    assert_eq!(
        outcomes,
        [
            (Outcome::Abandoned, "started: the host died during it"),
            (Outcome::Missed, waited),
            (Outcome::Missed, waited)
        ]
    );
}

#[test]
fn a_backlog_goes_on_where_it_was_and_repeats_nothing_that_was_noted() {
    let patch = || SpecPatch { missed: Some(Some("run_all".into())), ..schedules(vec![every("10s")]) };
    let mut bench = Bench::added(patch());
    bench.wake(after_add(35));
    let outage = outage(after_add(36), false, after_add(37));
    let noted = OpenRun { reason: Reason::CatchUp, ..started(after_add(10), 1) };
    let mut bench = bench.restored(vec![noted], &outage, &definition(patch()));
    assert_eq!(bench.recorded().len(), 1, "the noted one is abandoned");
    assert_eq!(bench.catch_up(after_add(37)), [20, 30].map(|due| RunKey::of(after_add(due))));
}

#[test]
fn a_pause_covers_the_outage_and_one_that_ended_meanwhile_does_not() {
    let pause = |until| Some(Pause { since: ADDED, until, note: None, by: Actor::Uid(7) });
    let bench = Bench::added(SpecPatch::default());
    let outage = outage(after_add(1), true, millis_after_add(10_500));
    let paused = Definition { paused: pause(None).map(Box::new), ..definition(SpecPatch::default()) };
    let covered = bench.restored(vec![], &outage, &paused);
    assert_eq!((covered.count(Outcome::Skipped), covered.count(Outcome::Missed)), (10, 0));
    let paused =
        Definition { paused: pause(Some(millis_after_add(4_500))).map(Box::new), ..definition(SpecPatch::default()) };
    let ended = bench.restored(vec![], &outage, &paused);
    assert_eq!((ended.count(Outcome::Skipped), ended.count(Outcome::Missed)), (4, 6));
    assert_eq!(ended.unit.next_due(), Some(after_add(11)));
}

#[test]
fn a_delay_that_came_due_meanwhile_is_missed_or_made_up_for() {
    let delay = || ScheduleText { delay: Some("10s".into()), ..ScheduleText::default() };
    let bench = Bench::added(schedules(vec![delay()]));
    let outage = outage(after_add(1), true, after_add(100));
    let skipped = bench.restored(vec![], &outage, &definition(schedules(vec![delay()])));
    assert_eq!(skipped.count(Outcome::Missed), 1);
    assert_eq!(skipped.unit.next_due(), Some(after_add(110)));
    let once = SpecPatch { missed: Some(Some("run_once".into())), ..schedules(vec![delay()]) };
    let mut made_up = bench.restored(vec![], &outage, &definition(once));
    assert_eq!(made_up.catch_up(after_add(100)), [RunKey::of(after_add(10))]);
    assert_eq!(made_up.unit.next_due(), Some(after_add(110)));
}

#[test]
fn a_clock_that_was_set_back_meanwhile_runs_no_due_time_twice() {
    let mut bench = Bench::added(SpecPatch::default());
    bench.pass(after_add(3_600));
    let outage = outage(millis_after_add(3_600_500), true, after_add(1_800));
    let bench = bench.restored(vec![], &outage, &definition(SpecPatch::default()));
    assert_eq!(bench.unit.next_due(), Some(after_add(3_601)));
}

#[test]
fn a_due_time_at_once_that_did_not_run_before_a_crash_is_not_forgotten() {
    let at_once = Definition { due_at_once: true, ..definition(schedules(vec![every("1h")])) };
    let bench = Bench { unit: Unit::added(&at_once), actions: Vec::new() };
    let outage = outage(ADDED, false, after_add(5));
    let bench = bench.restored(vec![], &outage, &at_once);
    assert_eq!(bench.count(Outcome::Missed), 1);
}
