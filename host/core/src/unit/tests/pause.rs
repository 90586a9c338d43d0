//! Tasks that rest because somebody said so.

use super::*;
use crate::ports::Actor;

fn pause(since: Time, until: Option<Time>) -> Input {
    let pause = Pause { since, until, note: Some("maintenance".into()), by: Actor::Uid(7) };
    Input::Paused { pause: Box::new(pause), revision: 2 }
}

#[test]
fn due_times_of_a_pause_are_skipped_with_its_reason() {
    let mut bench = Bench::added(SpecPatch::default());
    bench.pass(after_add(2));
    assert_eq!(bench.step(pause(millis_after_add(2_500), None), millis_after_add(2_500)), [Action::Wake(None)]);
    assert_eq!(bench.unit.next_due(), None);
    bench.step(Input::Resumed { revision: 3 }, millis_after_add(12_500));
    let detail = format!("paused since {} by uid 7: maintenance", Told(millis_after_add(2_500)));
    assert_eq!(bench.recorded(), [(Outcome::Skipped, 10, &*detail)]);
    assert_eq!(bench.pass(after_add(14)), [13, 14].map(after_add));
}

#[test]
fn a_pause_with_an_end_ends_by_itself() {
    let mut bench = Bench::added(SpecPatch::default());
    bench.step(pause(ADDED, Some(millis_after_add(5_500))), ADDED);
    assert_eq!(bench.unit.first_wake(), Some(millis_after_add(5_500)));
    assert_eq!(bench.pass(after_add(7)), [6, 7].map(after_add));
    assert_eq!(bench.count(Outcome::Skipped), 5);
    assert_eq!(bench.unit.paused(), None);
}

#[test]
fn an_edit_during_a_pause_accounts_for_what_the_old_schedule_had_until_then() {
    let mut bench = Bench::added(SpecPatch::default());
    bench.step(pause(ADDED, None), ADDED);
    let edited = Input::Edited { spec: spec(schedules(vec![every("10s")])), revision: 3 };
    bench.step(edited, millis_after_add(5_500));
    assert_eq!(bench.count(Outcome::Skipped), 5);
    bench.step(Input::Resumed { revision: 4 }, millis_after_add(25_500));
    assert_eq!(bench.count(Outcome::Skipped), 7);
    assert_eq!(bench.pass(after_add(30)), [after_add(30)]);
}

#[test]
fn a_run_can_be_asked_for_during_a_pause_and_the_backlog_waits() {
    let patch = SpecPatch { missed: Some(Some("run_all".into())), ..schedules(vec![every("10s")]) };
    let mut bench = Bench::added(patch);
    bench.wake(after_add(35));
    bench.step(pause(after_add(35), None), after_add(35));
    bench.step(Input::CatchUp, after_add(36));
    assert_eq!(bench.started(), []);
    bench.step(Input::Run { overlap: None, trigger: None }, after_add(36));
    assert_eq!(bench.started(), [after_add(36)]);
    bench.finish(after_add(36), Outcome::Success, after_add(36));
    bench.step(Input::Resumed { revision: 3 }, after_add(37));
    assert!(bench.actions.contains(&Action::WantCatchUp));
}
