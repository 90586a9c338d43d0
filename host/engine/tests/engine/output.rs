//! What guests print comes out as lines, and costs no more than the bounds say.

use taskhost_core::log::{MAX_LINE_BYTES, Stream};
use taskhost_core::outcome::Outcome;

use crate::guest::{SPIN, preview1};
use crate::host::{Host, Task, texts};

#[tokio::test]
async fn both_streams_are_cut_into_lines_and_the_last_needs_no_newline() {
    let body = "
        (call $write (i32.const 1) (i32.const 1024) (i32.const 3))
        (call $write (i32.const 2) (i32.const 1024) (i32.const 6))
        (call $write (i32.const 1) (i32.const 1027) (i32.const 7))";
    let (_, lines) = Host::new().run(&Task::of(preview1(body))).await;
    assert_eq!(texts(&lines), ["stderr: hello", "stdout: hello", "stdout: half"]);
}

#[tokio::test]
async fn an_unfinished_line_of_a_run_that_is_stopped_is_kept() {
    let body = format!("(call $write (i32.const 1) (i32.const 1030) (i32.const 4)) {SPIN}");
    let (report, lines) = Host::new().run(&Task::of(preview1(&body)).timeout_ms(30)).await;
    assert_eq!(report.outcome, Outcome::TimedOut);
    assert_eq!(texts(&lines), ["stdout: half"]);
}

#[tokio::test]
async fn a_gibibyte_without_a_newline_is_one_line_cut_short() {
    let body = "
        (memory.fill (i32.const 65536) (i32.const 120) (i32.const 65536))
        (loop $again
            (call $write (i32.const 1) (i32.const 65536) (i32.const 65536))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 16384))))";
    let (report, lines) = Host::new().run(&Task::of(preview1(body))).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
    assert_eq!(lines.len(), 1);
    assert!(lines[0].truncated);
    assert_eq!(lines[0].text.len(), MAX_LINE_BYTES);
}

#[tokio::test]
async fn a_run_that_prints_too_much_is_told_once_and_goes_on() {
    let body = "
        (loop $again
            (call $write (i32.const 1) (i32.const 1024) (i32.const 6))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 200000))))";
    let (report, lines) = Host::new().run(&Task::of(preview1(body))).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
    let told: Vec<_> = lines.iter().filter(|line| line.stream == Stream::Host).collect();
    assert_eq!(told.len(), 1);
    assert_eq!(lines.last().map(|line| line.stream), Some(Stream::Host));
    // The default of 10,000 lines is less than that of 1 MiB.
    assert_eq!(lines.last().expect("there are lines").seq, 10_000 + 1);
}
