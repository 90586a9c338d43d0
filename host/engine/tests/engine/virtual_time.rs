//! Time that is not waited for, and what is noted of a guest that is tried out.

use std::sync::Arc;
use std::time::Duration;

use taskhost_core::events::EventBus;
use taskhost_core::log::TaskLog;
use taskhost_core::outcome::{Outcome, RunReport};
use taskhost_core::spec::Limit;
use taskhost_core::time::Time;
use taskhost_engine::VirtualTime;

use crate::guest::{SLEEP_FOR_EVER, SPIN, foreign, preview1};
use crate::host::{DUE, Host, Task, texts};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const HOUR_MS: u64 = 3_600_000;

/// Runs a task at its due time; how that went, and how long it took by virtual time.
async fn run(task: &Task) -> (RunReport, Duration) {
    let time = VirtualTime::starting_at(Time(0));
    let host = Host::with_virtual_time(&time);
    time.advance_to(DUE);
    let (report, _) = host.run(task).await;
    (report, time.now().since(DUE))
}

fn probe(args: &[&str]) -> Task {
    Task::of(&include_bytes!("../../../../tests/guests/probe/probe.wasm")[..]).args(args)
}

#[tokio::test]
async fn a_guest_that_sleeps_wakes_at_once_and_later() {
    for task in [Task::of(preview1(SLEEP_FOR_EVER)), probe(&["sleep", "3600000"])] {
        let (report, took) = run(&task.timeout_ms(2 * HOUR_MS)).await;
        assert_eq!(report.outcome, Outcome::Success, "{report:?}");
        assert!(took >= HOUR && took < 2 * HOUR, "{took:?}");
    }
}

#[tokio::test]
async fn a_sleep_past_the_timeout_times_out_when_that_is_over() {
    for task in [Task::of(preview1(SLEEP_FOR_EVER)), probe(&["sleep", "3600000"])] {
        let (report, took) = run(&task.timeout_ms(60_000)).await;
        let told = (report.outcome, report.detail.as_deref());
        assert_eq!(told, (Outcome::TimedOut, Some("ran longer than 1m")));
        assert!(took >= 60 * SECOND && took < 120 * SECOND, "{took:?}");
    }
}

#[tokio::test]
async fn what_was_slept_counts_to_the_timeout_of_a_guest_that_spins() {
    let sleep_most = "(call $sleep (i64.const 3599500000000))";
    let (report, took) = run(&Task::of(preview1(&format!("{sleep_most} {SPIN}"))).timeout_ms(HOUR_MS)).await;
    let told = (report.outcome, report.detail.as_deref());
    assert_eq!(told, (Outcome::TimedOut, Some("ran longer than 1h")));
    assert!(took >= HOUR && took < HOUR + 600 * SECOND, "{took:?}");
}

#[tokio::test]
async fn a_guest_that_spins_is_stopped_as_in_a_host() {
    let (report, _) = run(&Task::of(preview1(SPIN)).timeout_ms(200)).await;
    assert_eq!(report.outcome, Outcome::TimedOut, "{report:?}");
}

#[tokio::test]
async fn a_guest_sees_what_is_left_of_its_timeout() {
    let time = VirtualTime::starting_at(Time(0));
    let host = Host::with_virtual_time(&time);
    time.advance_to(DUE);
    let (report, _) = host.run(&probe(&["remaining"]).timeout_ms(HOUR_MS)).await;
    let left_ms: u64 = report.result.expect("a number").parse().expect("a number");
    assert!(left_ms <= HOUR_MS && left_ms > HOUR_MS / 2, "what passed before it began does not count: {left_ms}");
}

#[tokio::test]
async fn a_component_that_waits_for_the_first_of_two_clocks_wakes_with_it() {
    // Sleeps until the earlier of an hour and two from now, and fails unless it is the first that is over.
    let wit = "package wasi:cli@0.2.0;
        interface run { run: func() -> result; }
        world command { import wasi:clocks/monotonic-clock@0.2.0; import wasi:io/poll@0.2.0; export run; }
        package wasi:io@0.2.0 { interface poll { resource pollable; poll: func(in: list<borrow<pollable>>) -> list<u32>; } }
        package wasi:clocks@0.2.0 { interface monotonic-clock {
            use wasi:io/poll@0.2.0.{pollable};
            subscribe-duration: func(when: u64) -> pollable;
        } }";
    let module = r#"(module
        (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
        (memory (export "memory") 1)
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 256))
        (func (export "wasi:cli/run@0.2.0#run") (result i32)
            (i32.store (i32.const 16) (call $subscribe (i64.const 7200000000000)))
            (i32.store (i32.const 20) (call $subscribe (i64.const 3600000000000)))
            (call $poll (i32.const 16) (i32.const 2) (i32.const 32))
            ;; One is ready, the second.
            (i32.or
                (i32.ne (i32.load (i32.const 36)) (i32.const 1))
                (i32.ne (i32.load (i32.load (i32.const 32))) (i32.const 1)))))"#;
    let (report, took) = run(&Task::of(foreign(wit, "command", module)).timeout_ms(3 * HOUR_MS)).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
    assert!(took >= HOUR && took < 2 * HOUR, "{took:?}");
}

#[tokio::test]
async fn what_a_task_may_log_in_a_minute_is_by_virtual_time() {
    let time = VirtualTime::starting_at(Time(0));
    let host = Host::with_virtual_time(&time);
    let task = probe(&["print", "a line"]).limit(Limit::LogLinesPerMinute, 1);
    let job = host.prepare(&task).await.expect("a plugin that this host runs");
    let clock = Arc::clone(&time);
    let log = TaskLog::detached_on(7, task.name.clone(), EventBus::new(), move || clock.now());
    for minute in [0, 2, 2] {
        time.advance_to(DUE.saturating_add(minute * 60 * SECOND));
        host.start_logged(&job, &task, 1, Arc::clone(&log)).run.await;
    }
    let lines = texts(&log.tail(0, usize::MAX));
    assert_eq!(lines[..2], ["stdout: a line", "stdout: a line"]);
    assert!(lines[2].starts_with("host: more than 1 lines in a minute"), "{lines:?}");
}
