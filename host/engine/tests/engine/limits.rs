//! Every limit of a task, and what becomes of a run that hits it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use taskhost_core::log::{Stream, TaskLog};
use taskhost_core::outcome::{Outcome, RunReport};
use taskhost_core::plugin::PluginError;
use taskhost_core::ports::Engine;
use taskhost_core::spec::Limit;

use crate::guest::{ECHO, SPIN, preview1, printing_task_module, task};
use crate::host::{Host, Task, texts};

/// Asserts that the run ended for this limit, and that it was counted.
#[track_caller]
fn ended_for(host: &Host, report: &RunReport, limit: Limit) {
    assert_eq!(
        (report.outcome, report.detail.as_deref()),
        (Outcome::LimitExceeded, Some(limit.as_str())),
        "{report:?}"
    );
    assert_eq!(host.hits(limit), 1, "{limit}");
}

#[tokio::test]
async fn a_guest_that_has_had_its_processor_time_is_not_resumed() {
    let (host, began) = (Host::new(), Instant::now());
    let (report, _) = host.run(&Task::of(preview1(SPIN)).limit(Limit::CpuMs, 30)).await;
    ended_for(&host, &report, Limit::CpuMs);
    assert!(began.elapsed() < Duration::from_secs(30), "long before its timeout");
    assert!(report.entry_delay.is_some());
    assert_eq!(host.engine.stats().slow_lane, 0);
}

#[tokio::test]
async fn processor_time_adds_up_over_host_calls_and_waiting_costs_none() {
    // Each turn is far shorter than a slice, and waits for a moment.
    let turn = "(memory.fill (i32.const 65536) (i32.const 1) (i32.const 4194304)) (call $sleep (i64.const 100000))";
    let body = format!("(drop (memory.grow (i32.const 64))) (loop $again {turn} (br $again))");
    let host = Host::new();
    let (report, _) = host.run(&Task::of(preview1(&body)).limit(Limit::CpuMs, 20)).await;
    ended_for(&host, &report, Limit::CpuMs);
    let sleeper = Task::of(preview1("(call $sleep (i64.const 300000000))")).limit(Limit::CpuMs, 100);
    assert_eq!(host.run(&sleeper).await.0.outcome, Outcome::Success);
}

#[tokio::test]
async fn a_table_that_grows_past_its_limit_ends_the_run_that_needs_it() {
    let guest = r#"(module (table 10 funcref) (func (export "_start")
        (if (i32.eq (table.grow (ref.null func) (i32.const 91)) (i32.const -1)) (then unreachable))))"#;
    let host = Host::new();
    assert_eq!(host.run(&Task::of(guest).limit(Limit::TableElements, 101)).await.0.outcome, Outcome::Success);
    let (report, _) = host.run(&Task::of(guest).limit(Limit::TableElements, 100)).await;
    ended_for(&host, &report, Limit::TableElements);
}

#[tokio::test]
async fn more_tables_memories_or_instances_than_a_task_may_have_are_never_made() {
    let tables = r#"(module (table 1 funcref) (table 1 funcref) (func (export "_start")))"#;
    let memories = r#"(module (memory 1) (memory 1) (func (export "_start")))"#;
    // One that uses preview 1 through the adapter has its instances beside its own.
    let instances = printing_task_module();
    let cases = [
        (Limit::Tables, Task::of(tables)),
        (Limit::Memories, Task::of(memories)),
        (Limit::Instances, Task::of(instances)),
    ];
    for (limit, task) in cases {
        let host = Host::new();
        let (report, _) = host.run(&task.limit(limit, 1)).await;
        ended_for(&host, &report, limit);
        assert_eq!(report.entry_delay, None, "it was never entered");
    }
    assert_eq!(Host::new().run(&Task::of(memories)).await.0.outcome, Outcome::Success);
}

#[tokio::test]
async fn what_a_collector_keeps_is_memory_of_the_guest() {
    // A list that grows for ever.
    let guest = r#"(module
        (type $bytes (array (mut i8)))
        (type $node (struct (field (ref null $node)) (field (ref $bytes))))
        (global $list (mut (ref null $node)) (ref.null $node))
        (func (export "_start") (loop $again
            (global.set $list (struct.new $node (global.get $list) (array.new_default $bytes (i32.const 10000))))
            (br $again))))"#;
    let host = Host::new();
    let (report, _) = host.run(&Task::of(guest).memory_bytes(4 << 20)).await;
    ended_for(&host, &report, Limit::MemoryBytes);
}

#[tokio::test]
async fn lines_and_bytes_past_their_limits_are_dropped_and_told_once() {
    let six_lines = "(call $write (i32.const 1) (i32.const 1024) (i32.const 6))".repeat(6);
    let task = || Task::of(preview1(&six_lines));
    let host = Host::new();
    for (task, limit, told) in [
        (task().limit(Limit::LogLines, 2), Limit::LogLines, "the run wrote more than 2 lines (`log_lines`)"),
        (task().limit(Limit::LogBytes, 17), Limit::LogBytes, "the run wrote more than 17 bytes (`log_bytes`)"),
    ] {
        let (report, lines) = host.run(&task).await;
        assert_eq!(report.outcome, Outcome::Success, "{report:?}");
        let told = format!("host: {told}; the rest is dropped");
        assert_eq!(texts(&lines), ["stdout: hello", "stdout: hello", &told]);
        assert_eq!(host.hits(limit), 1);
    }
}

#[tokio::test]
async fn the_lines_of_a_minute_are_those_of_all_runs_together() {
    let host = Host::new();
    let two_lines = "(call $write (i32.const 1) (i32.const 1024) (i32.const 6))".repeat(2);
    for (limit, most) in [(Limit::LogLinesPerMinute, 3), (Limit::LogBytesPerMinute, 20)] {
        let task = Task::of(preview1(&two_lines)).limit(limit, most);
        let job = host.prepare(&task).await.expect("a plugin");
        let log = TaskLog::detached(7, task.name.clone());
        for _ in 0..3 {
            let started = host.start_logged(&job, &task, 1, Arc::clone(&log));
            assert_eq!(started.run.await.outcome, Outcome::Success);
        }
        let lines = log.tail(0, usize::MAX);
        let streams: Vec<_> = lines.iter().map(|line| line.stream).collect();
        assert_eq!(streams, [Stream::Stdout, Stream::Stdout, Stream::Stdout, Stream::Host]);
        assert!(lines[3].text.ends_with("the rest of the minute is dropped"), "{lines:?}");
        assert_eq!(host.hits(limit), 1);
    }
}

#[tokio::test]
async fn a_summary_and_a_failures_message_are_cut_and_counted() {
    let host = Host::new();
    let (report, _) = host.run(&Task::of(task(ECHO)).limit(Limit::ResultBytes, 3)).await;
    assert_eq!((report.outcome, report.result.as_deref()), (Outcome::Success, Some("the")));
    let (report, _) = host.run(&Task::of(task("(call $fail)")).limit(Limit::ResultBytes, 4)).await;
    assert_eq!((report.outcome, report.detail.as_deref()), (Outcome::Error, Some("went")));
    assert_eq!(host.hits(Limit::ResultBytes), 2);
}

#[tokio::test]
async fn a_guest_that_takes_more_handles_than_it_may_have_ends_for_that() {
    let print = preview1("(call $write (i32.const 1) (i32.const 1024) (i32.const 6))");
    for task in [Task::of(print), Task::of(printing_task_module())] {
        let host = Host::new();
        assert_eq!(host.run(&task).await.0.outcome, Outcome::Success);
        let (report, _) = host.run(&task.limit(Limit::Handles, 1)).await;
        ended_for(&host, &report, Limit::Handles);
    }
}

#[tokio::test]
async fn a_guest_that_copes_with_a_denial_succeeds_and_is_counted() {
    let host = Host::new();
    let (report, _) = host.run(&Task::of(preview1("(drop (memory.grow (i32.const 60000)))"))).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
    assert_eq!(host.hits(Limit::MemoryBytes), 1);
}

#[tokio::test]
async fn what_no_limit_would_see_is_refused_at_the_door() {
    let host = Host::new();
    for (guest, feature) in [
        (r#"(module (memory 1 1 shared) (func (export "_start")))"#, "threads"),
        (r#"(module (memory i64 1) (func (export "_start")))"#, "memory64"),
    ] {
        match host.engine.admit(guest.into()).await {
            Err(PluginError::Invalid { message, .. }) => assert!(message.contains(feature), "{message}"),
            other => panic!("{feature}: {other:?}"),
        }
    }
}
