//! Due times that come while a run is going on.

use super::*;

fn overlap(policy: &str) -> SpecPatch {
    SpecPatch { overlap: Some(Some(policy.to_owned())), ..SpecPatch::default() }
}

#[test]
fn with_skip_they_are_skipped_and_share_a_record() {
    let mut bench = Bench::added(SpecPatch::default());
    bench.wake(after_add(1));
    assert_eq!(bench.wake(after_add(2)), []);
    let detail = format!("the run due at {} was still going on", Told(after_add(1)));
    assert_eq!(bench.recorded(), [(Outcome::Skipped, 1, &*detail)]);
    bench.wake(after_add(3));
    assert_eq!(bench.count(Outcome::Skipped), 2);
    let record = &bench.unit.history.last_runs[0];
    assert_eq!((record.first_due(), record.key.due, record.times()), (after_add(2), after_add(3), 2));
    bench.finish(after_add(1), Outcome::Success, after_add(3));
    assert_eq!(bench.wake(after_add(4)), [after_add(4)]);
}

#[test]
fn with_buffer_one_the_first_waits_and_the_others_are_skipped() {
    let mut bench = Bench::added(overlap("buffer_one"));
    bench.wake(after_add(1));
    for n in 2..=4 {
        assert_eq!(bench.wake(after_add(n)), []);
    }
    assert_eq!(bench.count(Outcome::Skipped), 2);
    bench.finish(after_add(1), Outcome::Success, millis_after_add(4_500));
    assert_eq!(bench.started(), [after_add(2)], "in its turn, under its own due time");
    assert!(matches!(bench.actions[..], [.., Action::Start { noted: true, .. }]), "out of order, so it is noted");
}

#[test]
fn with_buffer_all_they_wait_in_order_up_to_a_bound() {
    let mut bench = Bench::added(SpecPatch { max_buffered: Some(Some(2)), ..overlap("buffer_all") });
    bench.wake(after_add(1));
    (2..=5).for_each(|n| drop(bench.wake(after_add(n))));
    assert_eq!(bench.count(Outcome::Skipped), 2);
    assert_eq!(bench.recorded(), [(Outcome::Skipped, 1, "2 due times waited, as many as may (`max_buffered`)")]);
    bench.finish(after_add(1), Outcome::Success, millis_after_add(5_500));
    assert_eq!(bench.started(), [after_add(2)]);
    bench.finish(after_add(2), Outcome::Success, millis_after_add(5_600));
    assert_eq!(bench.started(), [after_add(3)]);
}

#[test]
fn with_cancel_other_the_newest_runs_when_the_cancelled_one_has_ended() {
    let mut bench = Bench::added(overlap("cancel_other"));
    bench.wake(after_add(1));
    bench.wake(after_add(2));
    assert_eq!(bench.actions[0], Action::Cancel(RunKey::of(after_add(1))));
    bench.wake(after_add(3));
    let detail = format!("the due time {} took its place", Told(after_add(3)));
    assert_eq!(bench.recorded(), [(Outcome::Skipped, 1, &*detail)]);
    assert!(!bench.actions.iter().any(|action| matches!(action, Action::Cancel(_))), "it was told already");
    bench.finish(after_add(1), Outcome::Cancelled, millis_after_add(3_100));
    assert_eq!(bench.started(), [after_add(3)]);
}

#[test]
fn with_terminate_other_the_run_is_stopped_hard() {
    let mut bench = Bench::added(overlap("Replace"));
    bench.wake(after_add(1));
    assert_eq!(bench.wake(after_add(2)), []);
    assert_eq!(bench.actions[0], Action::Stop(RunKey::of(after_add(1))));
    bench.finish(after_add(1), Outcome::Cancelled, after_add(2));
    assert_eq!(bench.started(), [after_add(2)]);
}

#[test]
fn with_allow_all_they_run_beside_each_other_up_to_a_bound() {
    let mut bench = Bench::added(SpecPatch { max_running: Some(Some(2)), ..overlap("Allow") });
    assert_eq!(bench.wake(after_add(1)), [after_add(1)]);
    assert_eq!(bench.wake(after_add(2)), [after_add(2)]);
    assert_eq!(bench.wake(after_add(3)), []);
    let detail = "2 runs were going on, as many as may (`max_running`)";
    assert_eq!(bench.recorded(), [(Outcome::Skipped, 1, detail)]);
    bench.finish(after_add(2), Outcome::Success, after_add(3));
    assert_eq!(bench.unit.running().len(), 1);
    assert_eq!(bench.wake(after_add(4)), [after_add(4)]);
}

#[test]
fn a_manual_run_may_choose_another_policy() {
    let mut bench = Bench::added(SpecPatch::default());
    bench.wake(after_add(1));
    let now = millis_after_add(1_500);
    assert_eq!(bench.unit.would_skip(None), Some(RunKey::of(after_add(1))));
    assert_eq!(bench.unit.would_skip(Some(Overlap::BufferOne)), None);
    bench.step(Input::Run { overlap: Some(Overlap::BufferOne), trigger: None }, now);
    assert_eq!(bench.unit.queue().count(), 1);
    bench.finish(after_add(1), Outcome::Success, now);
    assert_eq!(bench.started(), [now]);
}

#[test]
fn a_cancel_ends_what_runs_and_what_waits_or_only_the_one() {
    let mut bench = Bench::added(overlap("buffer_all"));
    (1..=3).for_each(|n| drop(bench.wake(after_add(n))));
    bench.step(Input::Cancel { key: Some(RunKey::of(after_add(2))) }, after_add(3));
    assert_eq!(bench.recorded(), [(Outcome::Cancelled, 1, "cancelled while it waited for its turn")]);
    bench.step(Input::Cancel { key: None }, after_add(3));
    assert_eq!(bench.unit.queue().count(), 0);
    assert!(bench.actions.contains(&Action::Cancel(RunKey::of(after_add(1)))));
}
