//! Due times that nothing ran in time.

use super::*;

fn missed(policy: &str, texts: Vec<ScheduleText>) -> SpecPatch {
    SpecPatch { missed: Some(Some(policy.to_owned())), ..schedules(texts) }
}

#[test]
fn a_host_that_stood_still_leaves_old_due_times_and_runs_the_one_in_time() {
    let mut bench = Bench::added(SpecPatch::default());
    let now = millis_after_add(100_500);
    bench.wake(now);
    assert_eq!(bench.recorded(), [(Outcome::Missed, 99, "the host was 1m39s500ms late")]);
    assert_eq!(bench.wake(now), [after_add(100)], "half a second is no lateness to speak of");
    assert_eq!(bench.unit.next_due(), Some(after_add(101)));
}

#[test]
fn when_one_is_too_late_all_that_have_come_go_with_it_but_the_newest() {
    let mut bench = Bench::added(schedules(vec![every("100ms")]));
    assert_eq!(bench.wake(millis_after_add(1_050)), [millis_after_add(100)], "each is in time for a second");
    bench.finish(millis_after_add(100), Outcome::Success, millis_after_add(1_250));
    assert_eq!(bench.wake(millis_after_add(1_250)), []);
    assert_eq!(bench.recorded(), [(Outcome::Missed, 10, "the host was 1s50ms late")]);
    assert_eq!(bench.wake(millis_after_add(1_250)), [millis_after_add(1_200)]);
}

#[test]
fn a_due_time_is_in_time_for_a_tenth_of_the_way_to_the_next_one() {
    let mut bench = Bench::added(schedules(vec![every("1h")]));
    assert_eq!(bench.wake(after_add(3_600 + 59)), [after_add(3_600)]);
    bench.finish(after_add(3_600), Outcome::Success, after_add(3_700));
    assert_eq!(bench.wake(after_add(7_200 + 61)), []);
    assert_eq!(bench.recorded(), [(Outcome::Missed, 1, "the host was 1m1s late")]);
    let mut bench = Bench::added(schedules(vec![every("20s")]));
    assert_eq!(bench.wake(after_add(22)), [after_add(20)]);
}

#[test]
fn with_run_once_the_newest_is_made_up_for() {
    let mut bench = Bench::added(missed("run_once", vec![every("10s")]));
    let now = after_add(1_005);
    bench.wake(now);
    assert_eq!(bench.recorded(), [(Outcome::Missed, 99, "the host was 16m35s late")]);
    assert!(bench.actions.contains(&Action::WantCatchUp));
    assert_eq!(bench.catch_up(now), [RunKey::of(after_add(1_000))]);
    let record = bench.unit.history.last_runs.last().expect("a record");
    assert_eq!((record.reason, record.outcome), (Reason::CatchUp, Outcome::Success));
    assert_eq!(bench.pass(after_add(1_010)), [after_add(1_010)], "and the schedule goes on");
}

#[test]
fn with_run_all_the_newest_are_made_up_for_within_window_and_bound() {
    let patch = SpecPatch {
        catchup_window: Some(Some("55s".into())),
        max_catchup: Some(Some(3)),
        ..missed("run_all", vec![every("10s")])
    };
    let mut bench = Bench::added(patch);
    let now = after_add(1_005);
    bench.wake(now);
    assert_eq!(bench.count(Outcome::Missed), 97);
    assert_eq!(bench.catch_up(now), [980, 990, 1_000].map(|due| RunKey::of(after_add(due))), "the bound");
    bench.wake(after_add(2_005));
    let edit = SpecPatch { catchup_window: Some(Some("25s".into())), ..missed("run_all", vec![every("10s")]) };
    let mut bench = Bench::added(edit);
    bench.wake(now);
    assert_eq!(bench.catch_up(now), [980, 990, 1_000].map(|due| RunKey::of(after_add(due))), "the window");
}

#[test]
fn a_million_missed_due_times_are_one_record() {
    let mut bench = Bench::added(SpecPatch::default());
    let year = 365 * 86_400;
    bench.wake(Time(after_add(year).0 + SECOND / 2));
    assert_eq!(bench.count(Outcome::Missed), year as u64 - 1);
    assert_eq!(bench.unit.history.last_runs.len(), 1);
    let cron = ScheduleText { cron: Some("* * * * *".into()), ..ScheduleText::default() };
    let mut bench = Bench::added(missed("run_all", vec![cron]));
    bench.wake(after_add(2 * year));
    assert_eq!(bench.unit.backlog(), 100, "the bound of the default");
    let accounted = bench.count(Outcome::Missed) + 100;
    assert!(accounted.abs_diff(2 * 365 * 1_440) <= 1, "{accounted}");
}

#[test]
fn the_backlog_waits_while_a_run_is_going_on() {
    let mut bench = Bench::added(missed("run_all", vec![every("10s")]));
    let now = after_add(35);
    bench.wake(now);
    bench.step(Input::Run { overlap: None, trigger: None }, now);
    bench.step(Input::CatchUp, now);
    assert_eq!(bench.started(), []);
    assert!(!bench.actions.contains(&Action::WantCatchUp), "it does not ask again before the run has ended");
    bench.finish(now, Outcome::Success, now);
    assert!(bench.actions.contains(&Action::WantCatchUp));
}

#[test]
fn a_backfill_runs_due_times_again_under_ids_of_its_own() {
    let mut bench = Bench::added(SpecPatch::default());
    bench.pass(after_add(3));
    bench.step(Input::Backfill { due: [after_add(1), after_add(2)].into() }, after_add(3));
    let ran = bench.catch_up(after_add(3));
    assert_eq!(ran, [1, 2].map(|n| RunKey { due: after_add(n), backfill: 1 }));
    assert_eq!(bench.unit.run_id(ran[0]).to_string().split("-b").nth(1), Some("1"));
    let record = bench.unit.history.last_runs.last().expect("a record");
    assert_eq!(record.reason, Reason::Backfill);
}

#[test]
fn local_times_that_do_not_exist_are_skipped_with_a_record() {
    let cron = ScheduleText {
        cron: Some("*/20 2 * * *".into()),
        timezone: Some("Europe/Berlin".into()),
        ..ScheduleText::default()
    };
    let added: Time = "2027-03-27T12:00:00Z".parse::<jiff::Timestamp>().map(Time::from_timestamp).expect("a time");
    let definition = Definition { added_at: added, ..definition(schedules(vec![cron])) };
    let mut bench = Bench { unit: Unit::added(&definition), actions: Vec::new() };
    let until = added.saturating_add(Duration::from_secs(86_400));
    assert_eq!(bench.pass(until), []);
    assert_eq!(bench.count(Outcome::Skipped), 3);
    let detail = bench.unit.history.last_runs[0].detail().map(str::to_owned);
    assert_eq!(
        detail.as_deref(),
        Some("2027-03-28T02:00:00 does not exist in Europe/Berlin: the clock was set forward")
    );
}
