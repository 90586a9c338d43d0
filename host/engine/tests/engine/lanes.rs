//! Guests that do not come back give way to those that do.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use taskhost_core::outcome::Outcome;
use taskhost_core::ports::Engine;

use crate::guest::{ECHO, SLEEP_FOR_EVER, SPIN, preview1, task};
use crate::host::{Host, Task};

/// Whether the run ended in its first poll, and with what.
async fn ends_at_once(run: impl Future<Output = taskhost_core::outcome::RunReport>) -> (bool, Outcome) {
    let mut run = pin!(run);
    match poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx))).await {
        Poll::Ready(report) => (true, report.outcome),
        Poll::Pending => (false, run.await.outcome),
    }
}

#[tokio::test]
async fn an_honest_run_ends_in_its_first_poll_while_others_spin() {
    let host = Host::new();
    let spinner = Task::of(preview1(SPIN)).timeout_ms(1000);
    let spinners = [host.start(&spinner).await.run, host.start(&spinner).await.run];
    let honest = Task::of(task(ECHO));
    let job = host.prepare(&honest).await.expect("a plugin");
    let honest = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(host.engine.stats().slow_lane, 2);
        // On a busy machine a run of microseconds may be interrupted for longer than a slice; most are not.
        let mut at_once = 0;
        for _ in 0..100 {
            let (ended_at_once, outcome) = ends_at_once(host.start_job(&job, &honest, 1).run).await;
            assert_eq!(outcome, Outcome::Success);
            at_once += usize::from(ended_at_once);
            tokio::task::yield_now().await;
        }
        assert!(at_once > 50, "{at_once}");
    };
    let [first, second] = spinners;
    let (first, second, ()) = tokio::join!(first, second, honest);
    assert_eq!((first.outcome, second.outcome), (Outcome::TimedOut, Outcome::TimedOut));
    assert_eq!(host.engine.stats().slow_lane, 0);
}

#[tokio::test]
async fn a_task_that_was_slow_comes_back_to_the_fast_lane() {
    // Spins on its second attempt only.
    let body = format!("(if (i32.eq (i32.load offset=16 (local.get $tick)) (i32.const 2)) (then {SPIN})) {ECHO}");
    let (host, task) = (Host::new(), Task::of(task(&body)).timeout_ms(50));
    let job = host.prepare(&task).await.expect("a plugin");
    assert_eq!(ends_at_once(host.start_job(&job, &task, 2).run).await, (false, Outcome::TimedOut));
    let mut at_once = 0;
    for _ in 0..100 {
        let (ended_at_once, outcome) = ends_at_once(host.start_job(&job, &task, 1).run).await;
        assert_eq!(outcome, Outcome::Success);
        at_once += usize::from(ended_at_once);
    }
    assert!(at_once > 50, "{at_once}");
}

#[tokio::test]
async fn runs_past_the_pool_have_instances_of_their_own() {
    // More guests at once than the pool has slots.
    let host = Host::new();
    let sleeper = Task::of(preview1(SLEEP_FOR_EVER)).timeout_ms(200);
    let job = host.prepare(&sleeper).await.expect("a plugin");
    let mut runs: Vec<_> = (0..10).map(|_| Box::pin(host.start_job(&job, &sleeper, 1).run)).collect();
    let start = Instant::now();
    for run in &mut runs {
        assert!(poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx).is_pending())).await);
    }
    for run in runs {
        let report = run.await;
        assert_eq!(report.outcome, Outcome::TimedOut, "{report:?}");
        assert!(report.entry_delay.is_some());
    }
    assert!(start.elapsed() < Duration::from_secs(2), "they slept one after the other");
}

#[tokio::test]
async fn an_engine_that_is_dropped_stops_what_it_runs() {
    let host = Host::new();
    let started = host.start(&Task::of(preview1(SPIN))).await;
    let mut run = Box::pin(started.run);
    assert!(poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx).is_pending())).await);
    drop(host);
    let ended = std::thread::spawn(move || drop(run));
    ended.join().expect("the slow lane ends with its last run");
}
