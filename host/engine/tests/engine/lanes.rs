//! Guests that do not come back give way to those that do.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use taskhost_core::outcome::Outcome;
use taskhost_core::ports::{Engine, RunControl};
use taskhost_engine::{Job, Run};

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
async fn a_guest_that_waits_in_host_calls_stays_in_the_fast_lane() {
    let host = Host::new();
    // The loop is where a guest looks at the epoch.
    let short_loop =
        "(local.set $n (i32.const 100)) (loop $l (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))";
    let body = format!("(local $n i32) {}", format!("(call $sleep (i64.const 20000000)) {short_loop}").repeat(10));
    // On a busy machine a guest may be interrupted for a slice when it has just come back; not every time.
    for _ in 0..5 {
        // Epochs go by while the guest sleeps; the spinner sees to that.
        let spinner = host.start(&Task::of(preview1(SPIN)).timeout_ms(500)).await.run;
        let sleeper = host.start(&Task::of(preview1(&body))).await.run;
        let most_in_slow_lane = async {
            let mut most = 0;
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                most = most.max(host.engine.stats().slow_lane);
            }
            most
        };
        let (spinner, sleeper, slow) = tokio::join!(spinner, sleeper, most_in_slow_lane);
        assert_eq!((spinner.outcome, sleeper.outcome), (Outcome::TimedOut, Outcome::Success));
        if slow == 1 {
            // Only the spinner.
            return;
        }
    }
    panic!("the guest was moved to the slow lane whenever it had slept");
}

#[tokio::test]
async fn a_guest_that_works_and_waits_by_turns_goes_to_the_slow_lane() {
    // Nowhere in its turns does it look at the epoch: there is no loop, and no function but the host's is called.
    let turn = "
        (memory.fill (i32.const 65536) (i32.const 1) (i32.const 4194304))
        (drop (call $poll_oneoff (i32.const 256) (i32.const 320) (i32.const 1) (i32.const 400)))";
    let body = format!("(drop (memory.grow (i32.const 64))) (call $sleep (i64.const 100000)) {}", turn.repeat(100));
    let host = Host::new();
    let run = host.start(&Task::of(preview1(&body))).await.run;
    let moved = async {
        while host.engine.stats().slow_lane == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let (report, moved) = tokio::join!(run, tokio::time::timeout(Duration::from_secs(5), moved));
    assert_eq!(report.outcome, Outcome::Success);
    assert!(moved.is_ok(), "it stayed in the fast lane");
}

#[tokio::test]
async fn a_task_that_fills_a_big_memory_starts_in_the_slow_lane_next_time() {
    let body = "(drop (memory.grow (i32.const 1900))) (memory.fill (i32.const 0) (i32.const 1) (i32.const 124518400))";
    let (host, task) = (Host::new(), Task::of(preview1(body)));
    let job = host.prepare(&task).await.expect("a plugin");
    assert_eq!(ends_at_once(host.start_job(&job, &task, 1).run).await, (true, Outcome::Success));
    assert_eq!(ends_at_once(host.start_job(&job, &task, 1).run).await, (false, Outcome::Success));
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

/// Begins so many runs that do not end soon.
async fn begin_many(
    host: &Host,
    job: &Job,
    task: &Task,
    count: usize,
) -> (FuturesUnordered<Pin<Box<Run>>>, Vec<Arc<RunControl>>) {
    let started = (0..count).map(|_| host.start_job(job, task, 1));
    let (mut runs, controls): (Vec<_>, Vec<_>) = started.map(|run| (Box::pin(run.run), run.control)).unzip();
    for run in &mut runs {
        assert!(poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx).is_pending())).await);
    }
    (runs.into_iter().collect(), controls)
}

#[tokio::test]
async fn five_hundred_guests_that_wait_in_host_calls_cost_nobody_anything() {
    let host = Host::new();
    let (sleeper, honest) = (Task::of(preview1(SLEEP_FOR_EVER)), Task::of(task(ECHO)));
    let job = host.prepare(&sleeper).await.expect("a plugin");
    let (sleepers, controls) = begin_many(&host, &job, &sleeper, 500).await;
    let job = host.prepare(&honest).await.expect("a plugin");
    let mut at_once = 0;
    for _ in 0..100 {
        let (ended_at_once, outcome) = ends_at_once(host.start_job(&job, &honest, 1).run).await;
        assert_eq!(outcome, Outcome::Success);
        at_once += usize::from(ended_at_once);
    }
    assert!(at_once > 50, "{at_once}");
    // On a busy machine one may be interrupted for a slice before it waits.
    assert!(host.engine.stats().slow_lane < 50);
    controls.iter().for_each(|control| control.stop());
    assert_eq!(sleepers.collect::<Vec<_>>().await.len(), 500);
}

#[tokio::test]
async fn a_guest_in_a_crowded_slow_lane_ends_at_its_deadline_and_not_at_its_turn() {
    // A round of them takes half a second at least.
    const SPINNERS: usize = 500;
    const SHORT: usize = 15;
    let host = Host::new();
    let long = Task::of(preview1(SPIN));
    let job = host.prepare(&long).await.expect("a plugin");
    let (spinners, controls) = begin_many(&host, &job, &long, SPINNERS).await;
    let spinners = async { assert_eq!(spinners.collect::<Vec<_>>().await.len(), SPINNERS) };
    let kills = async {
        while host.engine.stats().slow_lane < SPINNERS as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let kills: FuturesUnordered<_> = (0..SHORT as u64)
            .map(|number| {
                let timeout = Duration::from_millis(1000 + 70 * number);
                let (began, task) = (Instant::now(), Task { timeout, ..Task::of(preview1(SPIN)) });
                let run = host.start_job(&job, &task, 1).run;
                async move {
                    assert_eq!(run.await.outcome, Outcome::TimedOut);
                    began.elapsed().saturating_sub(timeout)
                }
            })
            .collect();
        let mut late: Vec<_> = kills.collect().await;
        late.sort();
        // On a busy machine some are late; those that wait for their turn would be late by half a round.
        assert!(late[SHORT / 2] < Duration::from_millis(150), "{late:?}");
        controls.iter().for_each(|control| control.stop());
    };
    tokio::join!(spinners, kills);
}

#[tokio::test]
async fn runs_past_the_pool_have_instances_of_their_own() {
    // More guests at once than the pool has slots.
    let host = Host::new();
    let sleeper = Task::of(preview1(SLEEP_FOR_EVER)).timeout_ms(1000);
    let job = host.prepare(&sleeper).await.expect("a plugin");
    let mut runs: Vec<_> = (0..10).map(|_| Box::pin(host.start_job(&job, &sleeper, 1).run)).collect();
    let start = Instant::now();
    for run in &mut runs {
        assert!(poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx).is_pending())).await);
    }
    for report in join_all(runs).await {
        assert_eq!(report.outcome, Outcome::TimedOut, "{report:?}");
        assert!(report.entry_delay.is_some());
    }
    assert!(start.elapsed() < Duration::from_secs(5), "they slept one after the other");
}

#[tokio::test]
async fn runs_past_every_instance_are_refused_and_those_before_go_on() {
    // The slots of the pool, and what there is without it.
    const INSTANCES: usize = 4 + 4_000;
    const REFUSED: usize = 10;
    let host = Host::new();
    let sleeper = Task::of(preview1(SLEEP_FOR_EVER));
    let job = host.prepare(&sleeper).await.expect("a plugin");
    let started = (0..INSTANCES + REFUSED).map(|_| host.start_job(&job, &sleeper, 1));
    let (mut runs, controls): (FuturesUnordered<_>, Vec<_>) = started.map(|run| (run.run, run.control)).unzip();
    for _ in 0..REFUSED {
        let report = runs.next().await.expect("there are runs");
        assert_eq!(report.outcome, Outcome::HostError);
        assert_eq!(report.detail.as_deref(), Some("too many runs at once: no instance is left"));
    }
    controls.iter().for_each(|control| control.stop());
    let others: Vec<_> = runs.collect().await;
    assert!(others.iter().all(|report| report.outcome == Outcome::Cancelled));
    assert_eq!(host.run(&Task::of(preview1(""))).await.0.outcome, Outcome::Success);
}

#[test]
fn an_engine_that_is_dropped_stops_what_it_runs() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut run = None;
    runtime.block_on(async {
        let host = Host::new();
        let run = run.insert(host.start(&Task::of(preview1(SPIN))).await.run);
        assert!(poll_fn(|cx| Poll::Ready(run.poll_unpin(cx).is_pending())).await);
    });
    // The slow lane ends with its last run, and its thread is waited for: not within a runtime.
    drop(run);
}
