//! How long a worker rests between what comes due.

use super::*;

#[test]
fn a_task_that_is_due_more_often_than_its_worker_looks_runs_at_each_of_its_due_times() {
    on_paused_clock(|| async {
        let bench = Bench::with_slack(Duration::from_millis(500));
        bench.add(1, "a", "10ms", &[]).await;
        pass(Duration::from_secs(5)).await;
        let counts = bench.counts("a").await;
        assert_eq!(
            counts.iter().map(|(outcome, _)| outcome).collect::<Vec<_>>(),
            [Outcome::Success],
            "nothing is missed"
        );
        // The last ones may wait for the slack.
        assert!((450..=500).contains(&counts.get(Outcome::Success)), "{}", counts.get(Outcome::Success));
    });
}

/// After a tick, at START; `due` later the next one is, and a hard stop if `stop` says when. Answers how long after START the worker
/// looks again, with 10 ms of slack.
fn looks_after(due: u64, stop: Option<u64>) -> Duration {
    let (states, _received) = mpsc::channel(RECORD_QUEUE);
    let shared = Shared { timer_slack: Duration::from_millis(10), ..shared(states, Arc::default()) };
    let mut worker = Worker::new(FakeRunner::default(), HandClock::start(), shared);
    let after = |millis| START.saturating_add(Duration::from_millis(millis));
    worker.timers.wake(0, Some(after(due)));
    if let Some(stop) = stop {
        worker.timers.stop(0, RunKey::of(START), after(stop));
    }
    worker.next_look(None).expect("there is something to do").since(START)
}

#[test]
fn what_comes_due_soon_after_a_tick_waits_for_the_slack_and_what_comes_later_and_a_hard_stop_do_not() {
    assert_eq!(looks_after(3, None), Duration::from_millis(10));
    assert_eq!(looks_after(12, None), Duration::from_millis(12));
    assert_eq!(looks_after(3, Some(4)), Duration::from_millis(4));
    assert_eq!(looks_after(3, Some(30)), Duration::from_millis(10));
}

#[test]
fn a_clock_that_was_set_back_makes_a_worker_rest_no_longer() {
    let later = START.saturating_add(Duration::from_secs(3600));
    assert_eq!(rests_until(START, later, TIMER_SLACK), START.saturating_add(TIMER_SLACK));
    assert_eq!(rests_until(later, START, TIMER_SLACK), START.saturating_add(TIMER_SLACK));
}

#[test]
fn runs_that_make_up_for_something_one_behind_the_other_are_rested_from_together() {
    let (states, _received) = mpsc::channel(RECORD_QUEUE);
    let mut worker = Worker::new(FakeRunner::default(), HandClock::start(), shared(states, Arc::default()));
    (0..4).for_each(|_| worker.caught_up(Duration::from_millis(1)));
    assert_eq!(worker.next_catch_up.since(START), Duration::from_millis(4 * 9));
}

#[test]
fn a_clock_that_was_set_back_does_not_put_off_a_hard_stop() {
    let (states, _received) = mpsc::channel(RECORD_QUEUE);
    let clock = HandClock::start();
    let mut worker = Worker::new(FakeRunner::default(), clock.clone(), shared(states, Arc::default()));
    let grace = worker.shared.cancel_grace;
    worker.timers.stop(0, RunKey::of(START), START.saturating_add(grace));
    let set_back = Time(START.0 - 3_600_000_000_000);
    clock.set(set_back);
    worker.look_at_clock();
    assert_eq!(worker.timers.next_stop(), Some(set_back.saturating_add(grace)));
}
