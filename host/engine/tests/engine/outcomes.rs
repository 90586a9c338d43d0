//! What becomes of a run that goes wrong, and that it goes wrong alone.

use std::time::{Duration, Instant};

use taskhost_core::outcome::{MAX_RESULT_BYTES, Outcome};

use crate::guest::{ECHO, SLEEP_FOR_EVER, SPIN, preview1, task};
use crate::host::{Host, Task};

#[tokio::test]
async fn a_failure_is_an_error_with_its_message() {
    let (report, _) = Host::new().run(&Task::of(task("(call $fail)"))).await;
    assert_eq!((report.outcome, report.detail.as_deref()), (Outcome::Error, Some("went wrong")));
    assert!(report.permanent);
    assert_eq!(report.retry_after, Some(Duration::from_millis(1500)));
}

#[tokio::test]
async fn a_long_summary_is_cut() {
    let (report, _) = Host::new().run(&Task::of(task("(call $ok (i32.const 65536) (i32.const 5000))"))).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
    assert_eq!(report.result.map(|result| result.len()), Some(MAX_RESULT_BYTES));
}

#[tokio::test]
async fn an_answer_that_is_no_text_is_the_guests_fault() {
    let body = "(i32.store (i32.const 65536) (i32.const 255)) (call $ok (i32.const 65536) (i32.const 4))";
    let (report, _) = Host::new().run(&Task::of(task(body))).await;
    assert_eq!(report.outcome, Outcome::Trapped, "{report:?}");
    assert!(report.detail.is_some_and(|detail| detail.contains("utf-8")));
}

#[tokio::test]
async fn a_trap_says_what_and_where() {
    let (report, _) = Host::new().run(&Task::of(preview1("unreachable"))).await;
    assert_eq!(report.outcome, Outcome::Trapped);
    let detail = report.detail.expect("a trap has a detail");
    assert_eq!(&*detail, "wasm trap: wasm `unreachable` instruction executed, in start");
}

#[tokio::test]
async fn a_function_is_told_by_the_name_that_it_has() {
    let module = r#"(module (memory (export "memory") 1) (func $i unreachable) (func $_ZN1a1bE (call $i))
        (func $_start (export "_start") (call $_ZN1a1bE)))"#;
    let (report, _) = Host::new().run(&Task::of(module)).await;
    let detail = report.detail.expect("a trap has a detail");
    assert!(detail.ends_with("executed, in i < a::b < _start"), "no `int`, as C++ has it: {detail}");
}

#[tokio::test]
async fn an_access_out_of_bounds_traps() {
    let (report, _) = Host::new().run(&Task::of(preview1("(drop (i32.load (i32.const -8)))"))).await;
    assert_eq!(report.outcome, Outcome::Trapped);
    let detail = report.detail.expect("a trap has a detail");
    assert!(detail.contains("out of bounds memory access"), "{detail}");
}

#[tokio::test]
async fn recursion_without_end_traps_as_stack_overflow() {
    let (report, _) = Host::new().run(&Task::of(preview1("(drop (call $recurse (i32.const 0)))"))).await;
    assert_eq!(report.outcome, Outcome::Trapped, "{report:?}");
    let detail = report.detail.expect("a trap has a detail");
    assert!(detail.contains("call stack exhausted"), "{detail}");
}

#[tokio::test]
async fn memory_past_the_limit_is_denied_and_the_trap_that_follows_says_so() {
    let body = "(loop $again (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable)) (br $again))";
    let (report, _) = Host::new().run(&Task::of(preview1(body)).memory_bytes(4 << 20)).await;
    assert_eq!((report.outcome, report.detail.as_deref()), (Outcome::LimitExceeded, Some("memory_bytes")));
}

#[tokio::test]
async fn a_guest_that_copes_with_denied_memory_succeeds() {
    let body = "(drop (memory.grow (i32.const 60000)))";
    let (report, _) = Host::new().run(&Task::of(preview1(body))).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
}

#[tokio::test]
async fn a_memory_that_begins_past_the_limit_is_never_made() {
    let (report, _) = Host::new().run(&Task::of(preview1("")).memory_bytes(64 << 10)).await;
    assert_eq!(
        (report.outcome, report.detail.as_deref()),
        (Outcome::LimitExceeded, Some("memory_bytes")),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_loop_without_end_is_timed_out() {
    let (report, _) = Host::new().run(&Task::of(preview1(SPIN)).timeout_ms(50)).await;
    assert_eq!((report.outcome, report.detail.as_deref()), (Outcome::TimedOut, Some("ran longer than 50ms")));
    assert!(report.entry_delay.is_some());
}

#[tokio::test]
async fn a_start_function_that_never_ends_is_timed_out_too() {
    let guest = format!(r#"(module (func $spin {SPIN}) (start $spin) (func (export "_start")))"#);
    let (report, _) = Host::new().run(&Task::of(guest).timeout_ms(50)).await;
    assert_eq!(report.outcome, Outcome::TimedOut, "{report:?}");
}

#[tokio::test]
async fn a_sleep_without_end_is_timed_out() {
    let (report, _) = Host::new().run(&Task::of(preview1(SLEEP_FOR_EVER)).timeout_ms(50)).await;
    assert_eq!((report.outcome, report.detail.as_deref()), (Outcome::TimedOut, Some("ran longer than 50ms")));
}

#[tokio::test]
async fn a_stop_ends_a_guest_that_spins_and_one_that_sleeps() {
    let host = Host::new();
    for body in [SPIN, SLEEP_FOR_EVER] {
        let started = host.start(&Task::of(preview1(body))).await;
        let control = started.control;
        let stopped_at = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            control.stop();
            Instant::now()
        };
        let (report, stopped_at) = tokio::join!(started.run, stopped_at);
        assert_eq!(report.outcome, Outcome::Cancelled, "{body}");
        assert!(stopped_at.elapsed() < Duration::from_secs(5), "{body} went on");
    }
}

#[tokio::test]
async fn a_guest_sees_that_it_is_cancelled_and_may_end_by_itself() {
    let until_cancelled = format!("(loop $again (br_if $again (i32.eqz (call $cancelled)))) {ECHO}");
    let host = Host::new();
    let started = host.start(&Task::of(task(&until_cancelled))).await;
    let control = started.control;
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        control.cancel();
    };
    let (report, ()) = tokio::join!(started.run, cancel);
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
}

#[tokio::test]
async fn a_guest_sees_how_long_it_has_left() {
    // Fails unless some time between 1 ms and 60 s is left.
    let body = format!(
        "(call $remaining_ms (i32.const 600))
         (if (i64.gt_u (i64.sub (i64.load (i32.const 608)) (i64.const 1)) (i64.const 60000)) (then (return (call $fail))))
         {ECHO}"
    );
    let (report, _) = Host::new().run(&Task::of(task(&body))).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
}

#[tokio::test]
async fn nothing_leaks_from_run_to_run() {
    // Fails if the byte it leaves behind is there at the start.
    let body = format!(
        "(if (i32.load8_u (i32.const 700)) (then (return (call $fail)))) (i32.store8 (i32.const 700) (i32.const 1)) {ECHO}"
    );
    let (host, task) = (Host::new(), Task::of(task(&body)));
    for _ in 0..20 {
        assert_eq!(host.run(&task).await.0.outcome, Outcome::Success);
    }
}
