//! Instances that are kept for the next run, and those that are not.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use taskhost_core::outcome::{Outcome, RunReport};
use taskhost_core::plugin::PluginError;
use taskhost_core::ports::Engine;
use taskhost_engine::Job;

use crate::guest::{SLEEP_FOR_EVER, command, preview1, printing_task_module, task};
use crate::host::{Host, POOL_SLOTS, Started, Task, texts};

/// A task that answers with the number of its calls, after `body`, which finds it in `$calls`.
fn counter(body: &str) -> Task {
    Task::of(task(&format!(
        "(local $calls i32) (local $n i32)
         (local.set $calls (i32.add (i32.load8_u (i32.const 700)) (i32.const 1)))
         (i32.store8 (i32.const 700) (local.get $calls))
         (i32.store8 (i32.const 704) (i32.add (i32.const 48) (local.get $calls)))
         {body}
         (call $ok (i32.const 704) (i32.const 1))"
    )))
}

/// Does something in the second call only.
fn in_second_call(what: &str) -> String {
    format!("(if (i32.eq (local.get $calls) (i32.const 2)) (then {what}))")
}

async fn run(host: &Host, job: &Job, task: &Task) -> RunReport {
    host.start_job(job, task, 1).run.await
}

/// The answers of so many runs, `-` for one that had none.
async fn answers(host: &Host, task: &Task, runs: usize) -> String {
    let job = host.prepare(task).await.expect("a plugin");
    let mut answers = String::new();
    for _ in 0..runs {
        answers += run(host, &job, task).await.result.as_deref().unwrap_or("-");
    }
    answers
}

#[tokio::test]
async fn a_kept_instance_goes_on_where_it_was_and_a_fresh_one_begins() {
    let host = Host::new();
    assert_eq!(answers(&host, &counter("").keep(), 4).await, "1234");
    assert_eq!(answers(&host, &counter(""), 4).await, "1111");
}

#[tokio::test]
async fn a_kept_instance_goes_with_its_job() {
    let host = Host::new();
    let task = counter("").keep();
    let job = host.prepare(&task).await.expect("a plugin");
    run(&host, &job, &task).await;
    assert_eq!(host.engine.stats().kept_instances, 1);
    assert!(host.engine.stats().guest_memory_bytes > 0, "what is kept is counted");
    // As at an edit.
    let edited = host.prepare(&task).await.expect("a plugin");
    drop(job);
    assert_eq!((host.engine.stats().kept_instances, host.engine.stats().guest_memory_bytes), (0, 0));
    assert_eq!(run(&host, &edited, &task).await.result.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_failure_that_the_guest_tells_keeps_its_instance_and_nothing_else_does() {
    let host = Host::new();
    let fails = in_second_call("(return (call $fail))");
    assert_eq!(answers(&host, &counter(&fails).keep(), 3).await, "1-3");
    let traps = in_second_call("unreachable");
    assert_eq!(answers(&host, &counter(&traps).keep(), 3).await, "1-1");
    let spins = in_second_call("(loop $again (br $again))");
    assert_eq!(answers(&host, &counter(&spins).keep().timeout_ms(300), 3).await, "1-1");
    let grows =
        in_second_call("(if (i32.eq (memory.grow (i32.const 60000)) (i32.const -1)) (then (return (call $fail))))");
    assert_eq!(answers(&host, &counter(&grows).keep(), 3).await, "1-1");
}

#[tokio::test]
async fn a_stopped_run_drops_its_instance() {
    let (host, task) = (Host::new(), counter(&in_second_call("(loop $again (br $again))")).keep());
    let job = host.prepare(&task).await.expect("a plugin");
    run(&host, &job, &task).await;
    let mut started = host.start_job(&job, &task, 1);
    assert!(begin(&mut started).await);
    started.control.stop();
    assert_eq!(started.run.await.outcome, Outcome::Cancelled);
    assert_eq!(run(&host, &job, &task).await.result.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_kept_instance_that_was_in_the_slow_lane_comes_back() {
    let host = Host::new();
    let works = "(local.set $n (i32.const 30000000))
        (loop $again (br_if $again (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))";
    let task = counter(&in_second_call(works)).keep();
    assert_eq!(answers(&host, &task, 4).await, "1234");
    assert_eq!(host.engine.stats().slow_lane, 0);
}

async fn begin(started: &mut Started) -> bool {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut started.run).poll(cx).is_pending())).await
}

#[tokio::test]
async fn of_two_runs_at_once_one_has_a_fresh_instance_and_one_is_kept() {
    let until_cancelled = "(loop $again (br_if $again (i32.eqz (call $cancelled))))";
    let (host, task) = (Host::new(), counter(until_cancelled).keep());
    let job = host.prepare(&task).await.expect("a plugin");
    let (mut first, mut second) = (host.start_job(&job, &task, 1), host.start_job(&job, &task, 1));
    assert!(begin(&mut first).await && begin(&mut second).await);
    first.control.cancel();
    second.control.cancel();
    let (first, second) = tokio::join!(first.run, second.run);
    assert_eq!((first.result.as_deref(), second.result.as_deref()), (Some("1"), Some("1")));
    assert_eq!(host.engine.stats().kept_instances, 1);
    let third = host.start_job(&job, &task, 1);
    third.control.cancel();
    assert_eq!(third.run.await.result.as_deref(), Some("2"));
}

#[tokio::test]
async fn at_most_half_of_the_slots_are_kept_and_the_oldest_gives_way() {
    const MOST: usize = POOL_SLOTS as usize / 2;
    let (host, task) = (Host::new(), counter("").keep());
    let mut jobs = Vec::new();
    for _ in 0..=MOST {
        let job = host.prepare(&task).await.expect("a plugin");
        run(&host, &job, &task).await;
        jobs.push(job);
    }
    assert_eq!(host.engine.stats().kept_instances, MOST as u64);
    assert_eq!(run(&host, &jobs[MOST], &task).await.result.as_deref(), Some("2"));
    assert_eq!(run(&host, &jobs[0], &task).await.result.as_deref(), Some("1"));
}

#[tokio::test]
async fn kept_instances_give_way_to_runs_that_need_their_slots() {
    let (host, task) = (Host::new(), counter("").keep());
    let job = host.prepare(&task).await.expect("a plugin");
    run(&host, &job, &task).await;
    let sleeper = Task::of(preview1(SLEEP_FOR_EVER));
    let sleeping = host.prepare(&sleeper).await.expect("a plugin");
    let mut sleepers: Vec<_> = (0..POOL_SLOTS).map(|_| host.start_job(&sleeping, &sleeper, 1)).collect();
    for sleeper in &mut sleepers {
        assert!(begin(sleeper).await);
    }
    assert_eq!(host.engine.stats().kept_instances, 0);
    assert_eq!(run(&host, &job, &task).await.result.as_deref(), Some("1"));
    sleepers.iter().for_each(|sleeper| sleeper.control.stop());
}

#[tokio::test]
async fn kept_instances_give_way_to_runs_that_need_their_memory() {
    // Room for one instance of eight pages, and a table.
    let (host, task) = (Host::with_budget(12 * (64 << 10)), counter("").keep());
    let (one, other) = (host.prepare(&task).await.expect("a plugin"), host.prepare(&task).await.expect("a plugin"));
    for _ in 0..2 {
        for job in [&one, &other] {
            let report = run(&host, job, &task).await;
            assert_eq!((report.outcome, report.result.as_deref()), (Outcome::Success, Some("1")), "{report:?}");
            assert_eq!(host.engine.stats().kept_instances, 1);
        }
    }
    assert_eq!(run(&host, &other, &task).await.result.as_deref(), Some("2"));
}

#[tokio::test]
async fn each_run_of_a_kept_instance_prints_to_its_own_log() {
    let (host, task) = (Host::new(), Task::of(printing_task_module()).keep());
    let job = host.prepare(&task).await.expect("a plugin");
    for _ in 0..3 {
        let started = host.start_job(&job, &task, 1);
        assert_eq!(started.run.await.outcome, Outcome::Success);
        assert_eq!(texts(&started.log.tail(0, usize::MAX)), ["stdout: hello"]);
    }
    assert_eq!(host.engine.stats().kept_instances, 1);
}

#[tokio::test]
async fn a_command_cannot_be_kept() {
    let host = Host::new();
    for task in [Task::of(preview1("")), Task::of(command("(i32.const 0)"))] {
        match host.prepare(&task.keep()).await {
            Err(PluginError::Invalid { message, hint }) => {
                assert!(message.contains("can't be entered twice"), "{message}");
                assert!(hint.is_some_and(|hint| hint.contains("taskhost:plugin/guest@0.1.0")));
            }
            _ => panic!("it should be refused"),
        }
    }
}

#[tokio::test]
async fn nothing_of_one_run_is_visible_to_the_next_unless_it_is_kept() {
    // Leaves something behind everywhere, closes its stdout, and traps if it finds any of that at the start.
    let guest = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
        (memory (export "memory") 1 8)
        (global $left (mut i32) (i32.const 0))
        (table $left 1 8 funcref)
        (elem declare func $some)
        (func $some)
        (data (i32.const 1024) "hello\n")
        (func (export "_start")
            (drop (call $environ_sizes_get (i32.const 0) (i32.const 4)))
            (if (i32.or (i32.or (i32.load (i32.const 0)) (i32.load (i32.const 40000))) (global.get $left)) (then unreachable))
            (if (i32.eqz (ref.is_null (table.get $left (i32.const 0)))) (then unreachable))
            (if (i32.or (i32.ne (memory.size) (i32.const 1)) (i32.ne (table.size $left) (i32.const 1))) (then unreachable))
            (i32.store (i32.const 8) (i32.const 1024))
            (i32.store (i32.const 12) (i32.const 6))
            (if (call $fd_write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)) (then unreachable))
            (if (call $fd_close (i32.const 1)) (then unreachable))
            (i32.store (i32.const 40000) (i32.const 1))
            (global.set $left (i32.const 1))
            (table.set $left (i32.const 0) (ref.func $some))
            (drop (memory.grow (i32.const 1)))
            (i32.store (i32.const 70000) (i32.const 1))
            (drop (table.grow $left (ref.func $some) (i32.const 1)))))"#;
    let (host, task) = (Host::new(), Task::of(guest));
    let job = host.prepare(&task).await.expect("a plugin");
    // More runs than there are slots: each slot is used again.
    for _ in 0..3 * POOL_SLOTS {
        let started = host.start_job(&job, &task, 1);
        let report = started.run.await;
        assert_eq!(report.outcome, Outcome::Success, "{report:?}");
        assert_eq!(texts(&started.log.tail(0, usize::MAX)), ["stdout: hello"]);
    }
    assert_eq!(host.engine.stats().kept_instances, 0);
}

#[tokio::test]
async fn what_a_kept_guest_lacked_is_told_when_its_run_has_failed() {
    let host = Host::new();
    let task = Task::reach(&["dirs", "fail"]).keep();
    let job = host.prepare(&task).await.expect("a plugin that this host runs");
    let started = host.start_job(&job, &task, 1);
    assert_eq!(started.run.await.outcome, Outcome::Error);
    let told = started.log.tail(0, usize::MAX);
    assert!(told.iter().any(|line| line.text.starts_with("the plugin asked for folders and has none")), "{told:?}");
}
