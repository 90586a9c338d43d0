//! Runs that fail, and what follows.

use super::*;

fn retry(attempts: u32) -> RetryText {
    let second = Some("1s".to_owned());
    RetryText { attempts: Some(attempts), backoff: second.clone(), max_backoff: second, on: None }
}

fn retrying(attempts: u32) -> SpecPatch {
    SpecPatch { retry: Some(Some(retry(attempts))), ..schedules(vec![every("1h")]) }
}

const DUE: Time = Time(ADDED.0 + 3_600 * SECOND);

#[test]
fn a_failed_run_is_tried_again_under_its_id_until_its_attempts_are_used_up() {
    let mut bench = Bench::added(retrying(3));
    bench.wake(DUE);
    let mut now = DUE;
    for attempt in 2..=3 {
        bench.finish(DUE, Outcome::Error, now);
        assert_eq!(bench.recorded(), []);
        let again = bench.unit.first_wake().expect("it is tried again");
        assert!((500..=1_000).contains(&again.since(now).as_millis()), "{again}");
        now = again;
        bench.wake(now);
        assert_eq!(bench.actions[0], Action::Start { key: RunKey::of(DUE), attempt, noted: true });
    }
    bench.finish(DUE, Outcome::TimedOut, now);
    assert_eq!(bench.recorded(), [(Outcome::TimedOut, 1, "")]);
    assert_eq!(bench.unit.history.last_runs[0].attempts, 3);
    assert_eq!(bench.unit.failures(), 1, "a run fails once, however many attempts");
}

#[test]
fn a_permanent_failure_and_an_outcome_that_is_not_meant_are_not_tried_again() {
    let mut bench = Bench::added(retrying(3));
    bench.wake(DUE);
    bench.report(DUE, RunReport { permanent: true, ..RunReport::of(Outcome::Error) }, DUE);
    assert_eq!(bench.recorded().len(), 1);
    let on = Some(vec!["trapped".to_owned()]);
    let mut bench = Bench::added(SpecPatch { retry: Some(Some(RetryText { on, ..retry(3) })), ..retrying(3) });
    bench.wake(DUE);
    bench.finish(DUE, Outcome::Error, DUE);
    assert_eq!(bench.recorded().len(), 1);
}

#[test]
fn a_guest_may_ask_for_a_longer_wait() {
    let mut bench = Bench::added(retrying(2));
    bench.wake(DUE);
    let report = RunReport { retry_after: Some(Duration::from_secs(90)), ..RunReport::of(Outcome::Error) };
    bench.report(DUE, report, DUE);
    assert_eq!(bench.unit.first_wake(), Some(DUE.saturating_add(Duration::from_secs(90))));
}

#[test]
fn a_run_that_waits_for_its_next_attempt_still_goes_on_and_can_be_cancelled() {
    let mut bench = Bench::added(SpecPatch { retry: Some(Some(retry(3))), ..schedules(vec![every("10ms")]) });
    let due = millis_after_add(10);
    bench.wake(due);
    bench.finish(due, Outcome::Error, due);
    assert_eq!(bench.wake(millis_after_add(20)), []);
    assert_eq!(bench.count(Outcome::Skipped), 1, "its schedule sees it as going on");
    bench.step(Input::Cancel { key: None }, millis_after_add(21));
    assert_eq!(bench.recorded(), [(Outcome::Cancelled, 1, "")]);
    assert!(bench.unit.running().is_empty());
}

#[test]
fn a_delete_ends_a_run_that_waits_for_its_next_attempt() {
    let mut bench = Bench::added(retrying(3));
    bench.wake(DUE);
    bench.finish(DUE, Outcome::Error, DUE);
    bench.step(Input::Deleted, DUE);
    assert_eq!(bench.recorded(), [(Outcome::Error, 1, "")]);
    assert_eq!(bench.actions.last(), Some(&Action::Gone));
}

#[test]
fn a_task_pauses_itself_after_so_many_failures_in_a_row() {
    let mut bench = Bench::added(SpecPatch { pause_on_failure: Some(Some(2)), ..SpecPatch::default() });
    for (n, outcome) in [(1, Outcome::Error), (2, Outcome::Success), (3, Outcome::Trapped), (4, Outcome::Error)] {
        assert_eq!(bench.unit.paused(), None);
        bench.wake(after_add(n));
        bench.finish(after_add(n), outcome, after_add(n));
    }
    let pause = bench.unit.paused().expect("it is paused").clone();
    assert_eq!(pause.note.as_deref(), Some("2 runs in a row failed"));
    assert!(bench.actions.contains(&Action::Pause(pause)), "to be made durable");
    assert_eq!(bench.unit.first_wake(), None);
}

#[test]
fn failure_and_recovery_trigger_other_tasks_and_a_triggered_run_triggers_none() {
    let patch = SpecPatch {
        on_failure: Some(Some("alarm".into())),
        on_recovery: Some(Some("all-clear".into())),
        ..SpecPatch::default()
    };
    let mut bench = Bench::added(patch);
    let mut triggered = |outcome, n| {
        bench.wake(after_add(n));
        bench.finish(after_add(n), outcome, after_add(n));
        bench.actions.iter().find_map(|action| match action {
            Action::Trigger { task, outcome, .. } => Some((task.to_string(), *outcome)),
            _ => None,
        })
    };
    assert_eq!(triggered(Outcome::Success, 1), None, "nothing had failed");
    assert_eq!(triggered(Outcome::Error, 2), Some(("alarm".to_owned(), Outcome::Error)));
    assert_eq!(triggered(Outcome::Success, 3), Some(("all-clear".to_owned(), Outcome::Success)));
    assert_eq!(triggered(Outcome::Success, 4), None);
    let trigger = Trigger {
        task: TaskName::new("b").expect("a name"),
        run_id: RunId { task: 9, key: RunKey::of(ADDED) },
        outcome: Outcome::Error,
    };
    let now = millis_after_add(4_500);
    bench.step(Input::Run { overlap: None, trigger: Some(Box::new(trigger.clone())) }, now);
    assert_eq!(bench.unit.running()[0].reason, Reason::Triggered);
    bench.finish(now, Outcome::Error, now);
    assert!(!bench.actions.iter().any(|action| matches!(action, Action::Trigger { .. })));
    let more = bench.unit.history.last_runs.last().and_then(|run| run.more.clone()).expect("more");
    assert_eq!(more.trigger.as_deref(), Some(&trigger));
}
