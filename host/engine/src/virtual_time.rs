//! Time that need not be waited for, where plugins are tried out: a year of ticks in a second.
//!
//! The clock goes on as real time does, and passes time over: from due time to due time, as whoever makes the ticks tells it, and within
//! a tick for a guest that waits for nothing but its clocks. That one comes back at once, with the time moved on. A guest that waits for
//! something else beside (an answer, and a timeout of its own) waits as long as it would in a host, since nobody knows what comes
//! first.
//!
//! An attempt ends as `timed_out` when its timeout is over by this clock. It is never slower than real time, so a guest that spins or
//! hangs ends as soon as it would in a host.
//!
//! WASI 0.3 reads this clock and waits in real time: wasmtime runs its guests' waits side by side, and does not tell what else is
//! waited for.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use taskhost_core::time::Time;
use tokio::time::Sleep;
use wasmtime_wasi::clocks::{HostMonotonicClock, HostWallClock};
use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::{WasiCtxBuilder, async_trait};

/// A clock that passes over what nobody needs to wait for.
#[derive(Debug)]
pub struct VirtualTime {
    /// Where it stands until it begins to go,
    start: Time,
    /// and when that was: when it was first advanced.
    began: OnceLock<Instant>,
    /// What it has passed over since, in nanoseconds.
    skipped_ns: AtomicU64,
    /// What the guest waits for. Locked for moments by the thread that runs the guest; a mutex only because what is shared must be
    /// `Sync`.
    awaited: Mutex<Awaited>,
}

/// The timers that were asked in one look at everything that the guest waits for, and were not over.
#[derive(Clone, Copy, Debug, Default)]
struct Awaited {
    timers: usize,
    /// When the first of them is over, as [`VirtualTime::monotonic_ns`] has it.
    first_ns: u64,
}

/// The timeout of the attempt is over by virtual time, and the guest must not go on.
#[derive(Debug, thiserror::Error)]
#[error("the attempt's timeout is over")]
pub(crate) struct OutOfTime;

impl VirtualTime {
    /// A clock that stands at this time until it is first advanced.
    pub fn starting_at(start: Time) -> Arc<Self> {
        Arc::new(Self { start, began: OnceLock::new(), skipped_ns: AtomicU64::new(0), awaited: Mutex::default() })
    }

    /// What it shows.
    pub fn now(&self) -> Time {
        self.start.saturating_add(Duration::from_nanos(self.monotonic_ns()))
    }

    /// Passes over what is left until this time. It is never set back.
    pub fn advance_to(&self, time: Time) {
        self.began.get_or_init(Instant::now);
        self.skip(time.since(self.now()));
    }

    /// Now, on the line on which deadlines and rates are kept: what was passed over is behind.
    pub(crate) fn instant(&self) -> Instant {
        self.shifted(Instant::now())
    }

    /// A point of real time, on that line.
    pub(crate) fn shifted(&self, real: Instant) -> Instant {
        real.checked_add(self.skipped()).unwrap_or(real)
    }

    /// Gives a guest this clock, as its wall clock and its monotonic one.
    pub(crate) fn give(self: &Arc<Self>, wasi: &mut WasiCtxBuilder) {
        wasi.wall_clock(GuestClock(Arc::clone(self))).monotonic_clock(GuestClock(Arc::clone(self)));
    }

    /// Since its start, in nanoseconds.
    pub(crate) fn monotonic_ns(&self) -> u64 {
        let elapsed = self.began.get().map_or(Duration::ZERO, Instant::elapsed);
        let ns = elapsed.saturating_add(self.skipped()).as_nanos();
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    fn skipped(&self) -> Duration {
        Duration::from_nanos(self.skipped_ns.load(Ordering::Relaxed))
    }

    fn skip(&self, time: Duration) {
        let skipped = self.skipped().saturating_add(time).as_nanos();
        // One thread at a time passes time over.
        self.skipped_ns.store(u64::try_from(skipped).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Passes over what is left until then, and says whether that is before the deadline; else no more than until the deadline.
    pub(crate) fn skip_to(&self, at_ns: u64, deadline: Instant) -> Result<(), OutOfTime> {
        let wanted = Duration::from_nanos(at_ns.saturating_sub(self.monotonic_ns()));
        let left = deadline.saturating_duration_since(self.instant());
        self.skip(wanted.min(left));
        if wanted <= left { Ok(()) } else { Err(OutOfTime) }
    }

    /// Waits for one of so many pollables, by passing time over if they are all timers.
    pub(crate) async fn wait<T>(
        &self,
        deadline: Instant,
        pollables: usize,
        waiting: impl Future<Output = T>,
    ) -> Result<T, OutOfTime> {
        let mut waiting = pin!(waiting);
        let mut over = pin!(tokio::time::sleep(deadline.saturating_duration_since(self.instant())));
        poll_fn(|cx| {
            loop {
                *self.awaited() = Awaited::default();
                if let Poll::Ready(done) = waiting.as_mut().poll(cx) {
                    return Poll::Ready(Ok(done));
                }
                let Awaited { timers, first_ns } = *self.awaited();
                if timers < pollables {
                    return over.as_mut().poll(cx).map(|()| Err(OutOfTime));
                }
                if let Err(out_of_time) = self.skip_to(first_ns, deadline) {
                    return Poll::Ready(Err(out_of_time));
                }
            }
        })
        .await
    }

    /// A timer is waited for that is over then.
    fn is_awaited(&self, at_ns: u64) {
        let mut awaited = self.awaited();
        awaited.first_ns = if awaited.timers == 0 { at_ns } else { awaited.first_ns.min(at_ns) };
        awaited.timers += 1;
    }

    fn awaited(&self) -> MutexGuard<'_, Awaited> {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The clocks of a guest.
struct GuestClock(Arc<VirtualTime>);

impl HostWallClock for GuestClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.0.now().since(Time::default())
    }
}

impl HostMonotonicClock for GuestClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.0.monotonic_ns()
    }
}

/// What a guest waits for that waits for a clock.
pub(crate) struct Timer {
    pub(crate) time: Arc<VirtualTime>,
    pub(crate) at_ns: u64,
}

#[async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        let Self { time, at_ns } = self;
        let mut sleep: Option<Pin<Box<Sleep>>> = None;
        poll_fn(move |cx| {
            let left_ns = at_ns.saturating_sub(time.monotonic_ns());
            if left_ns == 0 {
                return Poll::Ready(());
            }
            time.is_awaited(*at_ns);
            let sleep = sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_nanos(left_ns))));
            sleep.as_mut().poll(cx)
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn time() -> Arc<VirtualTime> {
        VirtualTime::starting_at(Time(0))
    }

    #[test]
    fn it_stands_until_it_is_advanced_and_is_never_set_back() {
        let time = time();
        assert_eq!((time.now(), time.now()), (Time(0), Time(0)));
        let due = Time(0).saturating_add(365 * 24 * 60 * MINUTE);
        time.advance_to(due);
        let shown = time.now();
        assert!(shown >= due && shown.since(due) < MINUTE, "{shown}");
        time.advance_to(Time(0));
        assert!(time.now() >= shown);
        assert!(time.instant() >= Instant::now() + 364 * 24 * 60 * MINUTE);
    }

    #[test]
    fn what_is_waited_for_past_the_deadline_ends_there() {
        let time = time();
        let deadline = time.instant() + MINUTE;
        let in_seconds = |seconds| time.monotonic_ns() + Duration::from_secs(seconds).as_nanos() as u64;
        time.skip_to(in_seconds(10), deadline).expect("there is a minute");
        assert!(time.now() >= Time(0).saturating_add(Duration::from_secs(10)));
        time.skip_to(in_seconds(3600), deadline).expect_err("there is less than a minute");
        assert!(time.instant() >= deadline && time.now() < Time(0).saturating_add(2 * MINUTE), "{}", time.now());
    }

    #[tokio::test]
    async fn timers_alone_are_not_waited_for_and_the_first_is_over_first() {
        let time = time();
        let timer = |ns: u64| Timer { time: Arc::clone(&time), at_ns: ns };
        let (mut first, mut second) = (timer(20_000_000_000), timer(30_000_000_000));
        let both = async {
            tokio::select! {
                () = second.ready() => "the second",
                () = first.ready() => "the first",
            }
        };
        let waited = time.wait(time.instant() + MINUTE, 2, both).await;
        assert_eq!(waited.expect("within the minute"), "the first");
        let shown = time.now();
        assert!(shown >= Time(20_000_000_000) && shown < Time(30_000_000_000), "{shown}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_timer_beside_something_else_is_waited_for() {
        let time = time();
        let mut timer = Timer { time: Arc::clone(&time), at_ns: 20_000_000_000 };
        let something = tokio::time::sleep(Duration::from_secs(1));
        let both = async {
            tokio::select! {
                () = timer.ready() => "the timer",
                () = something => "something else",
            }
        };
        let waited = time.wait(time.instant() + MINUTE, 2, both).await;
        assert_eq!(waited.expect("within the minute"), "something else");
        assert!(time.now() < Time(20_000_000_000));
    }
}
