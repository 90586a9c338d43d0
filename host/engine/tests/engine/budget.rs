//! The memory that all guests may have together.

use std::future::poll_fn;
use std::task::Poll;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use taskhost_core::outcome::Outcome;
use taskhost_core::ports::Engine;

use crate::guest::{SLEEP_FOR_EVER, preview1};
use crate::host::{Host, Started, Task};

const PAGE_BYTES: u64 = 64 << 10;

/// What [`preview1`] guests begin with.
const GUEST_PAGES: u64 = 2;

/// A host with room for so many of them, and one page more.
fn host_for(guests: u64) -> Host {
    Host::with_budget((guests * GUEST_PAGES + 1) * PAGE_BYTES)
}

/// Polls a run once: it begins, or waits.
async fn begin(started: &mut Started) -> bool {
    poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut started.run).poll(cx).is_pending())).await
}

#[tokio::test]
async fn a_run_that_does_not_fit_waits_until_another_has_ended() {
    let host = host_for(2);
    let sleeper = Task::of(preview1(SLEEP_FOR_EVER));
    let (mut first, mut second) = (host.start(&sleeper).await, host.start(&sleeper).await);
    assert!(begin(&mut first).await && begin(&mut second).await);
    assert_eq!(host.engine.stats().guest_memory_bytes, 2 * GUEST_PAGES * PAGE_BYTES);
    assert_eq!(host.engine.stats().waiting_for_memory, 0);
    let mut third = host.start(&Task::of(preview1(""))).await;
    assert!(begin(&mut third).await);
    assert_eq!(host.engine.stats().waiting_for_memory, 1);
    first.control.stop();
    let (first, third) = tokio::join!(first.run, third.run);
    assert_eq!((first.outcome, third.outcome), (Outcome::Cancelled, Outcome::Success));
    second.control.stop();
    second.run.await;
    assert_eq!((host.engine.stats().guest_memory_bytes, host.engine.stats().waiting_for_memory), (0, 0));
}

#[tokio::test]
async fn nobody_overtakes_a_big_one_that_waits() {
    let host = host_for(2);
    let sleeper = Task::of(preview1(SLEEP_FOR_EVER));
    let mut first = host.start(&sleeper).await;
    assert!(begin(&mut first).await);
    let big = format!(r#"(module (memory {}) (func (export "_start")))"#, 2 * GUEST_PAGES);
    let mut big = host.start(&Task::of(big)).await;
    let mut small = host.start(&Task::of(preview1(""))).await;
    assert!(begin(&mut big).await);
    assert!(begin(&mut small).await, "there is room for it, but it is not its turn");
    assert_eq!(host.engine.stats().waiting_for_memory, 2);
    first.control.stop();
    assert_eq!(first.run.await.outcome, Outcome::Cancelled);
    let runs: FuturesOrdered<_> = [big.run, small.run].into_iter().collect();
    let outcomes: Vec<_> = runs.map(|report| report.outcome).collect().await;
    assert_eq!(outcomes, [Outcome::Success; 2]);
}

#[tokio::test]
async fn a_small_one_does_not_wait_behind_a_big_one() {
    const PAGES: u64 = 256;
    let host = Host::with_budget(PAGES * PAGE_BYTES);
    let big = |body| Task::of(preview1(body).replacen("\"memory\") 2)", &format!("\"memory\") {})", PAGES / 2), 1));
    let (mut first, mut second) = (host.start(&big(SLEEP_FOR_EVER)).await, host.start(&big("")).await);
    assert!(begin(&mut first).await && begin(&mut second).await);
    assert_eq!(host.engine.stats().waiting_for_memory, 1, "not all of the budget is theirs");
    let (report, _) = host.run(&Task::of(preview1(""))).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
    first.control.stop();
    let (first, second) = tokio::join!(first.run, second.run);
    assert_eq!((first.outcome, second.outcome), (Outcome::Cancelled, Outcome::Success));
    assert_eq!(host.engine.stats().guest_memory_bytes, 0);
}

#[tokio::test]
async fn the_deadline_counts_while_a_run_waits_and_is_not_held_against_the_guest() {
    let host = host_for(1);
    let mut first = host.start(&Task::of(preview1(SLEEP_FOR_EVER))).await;
    assert!(begin(&mut first).await);
    let (report, _) = host.run(&Task::of(preview1("")).timeout_ms(50)).await;
    assert_eq!(report.outcome, Outcome::HostError);
    let detail = "waited 50ms for memory: the host's memory budget of 196608 bytes is used up";
    assert_eq!(report.detail.as_deref(), Some(detail));
    assert_eq!(host.engine.stats().waiting_for_memory, 0);
}

#[tokio::test]
async fn a_guest_that_grows_past_the_budget_is_denied_as_by_the_host() {
    let host = host_for(1);
    let grow = "(if (i32.eq (memory.grow (i32.const 2)) (i32.const -1)) (then unreachable))";
    let (report, _) = host.run(&Task::of(preview1(grow))).await;
    assert_eq!(report.outcome, Outcome::HostError);
    assert_eq!(report.detail.as_deref(), Some("the host's memory budget of 196608 bytes is used up"));
    assert!(!report.permanent, "it may be tried again");
    assert_eq!(host.engine.stats().limits_hit, []);
    let (report, _) = host.run(&Task::of(preview1("(drop (memory.grow (i32.const 2)))"))).await;
    assert_eq!(report.outcome, Outcome::Success, "it copes");
    let (report, _) = host.run(&Task::of(preview1(&grow.replace("const 2", "const 1")))).await;
    assert_eq!(report.outcome, Outcome::Success, "there is one page more");
}

#[tokio::test]
async fn a_plugin_that_begins_with_more_than_the_budget_does_not_wait_for_it() {
    let host = host_for(0);
    let (report, _) = host.run(&Task::of(preview1(""))).await;
    assert_eq!(report.outcome, Outcome::HostError);
    let detail = "its first memory is too much: the host's memory budget of 65536 bytes is used up";
    assert_eq!(report.detail.as_deref(), Some(detail));
}
