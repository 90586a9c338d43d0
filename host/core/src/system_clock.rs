//! The system's wall clock, and waiting for a time on it, to the microsecond.
//!
//! tokio's timer keeps milliseconds, rounded up, and stands still while the machine is suspended. So a worker waits by a timer of
//! the kernel's (`timerfd_create(2)`), which is told the time itself and not how long it is until then: it wakes as well when the clock is
//! set, and at once after a suspension.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::ports::clock::{Alarm, Clock};
use crate::time::Time;

/// How long is waited at most without such a timer, since the clock may be set meanwhile.
pub(crate) const MAX_SLEEP: Duration = Duration::from_secs(1);

/// The system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    type Alarm = SystemAlarm;

    fn alarm(&self) -> SystemAlarm {
        SystemAlarm::new()
    }

    fn now(&self) -> Time {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Time::default().saturating_add(since_epoch)
    }
}

/// The system's alarm.
#[derive(Debug)]
pub enum SystemAlarm {
    Timer(Timer),
    /// The kernel refused a timer: tokio's has to do.
    Coarse,
}

/// A timer of the kernel's.
#[derive(Debug)]
pub struct Timer {
    fd: AsyncFd<OwnedFd>,
    /// What it is set to. `None` if it has gone off.
    set: Option<Time>,
}

impl SystemAlarm {
    /// Must be called inside the runtime that waits by it.
    pub(crate) fn new() -> Self {
        match Timer::new() {
            Ok(timer) => Self::Timer(timer),
            Err(error) => {
                tracing::warn!("the system refused a timer, so that tasks run up to 2 ms later: {error}");
                Self::Coarse
            }
        }
    }
}

impl Alarm for SystemAlarm {
    async fn until(&mut self, time: Time) {
        if let Self::Timer(timer) = self {
            match timer.until(time).await {
                Ok(()) => return,
                Err(error) => tracing::warn!("a timer of the system's failed; tasks run up to 2 ms later: {error}"),
            }
            *self = Self::Coarse;
        }
        tokio::time::sleep(time.since(SystemClock.now()).min(MAX_SLEEP)).await;
    }
}

impl Timer {
    fn new() -> std::io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[expect(unsafe_code, reason = "tokio wants to be told that the descriptor stays what it is")]
        // SAFETY: an `OwnedFd` names the same open file for as long as it lives, and `AsyncFd` keeps it until it has deregistered it.
        let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        Ok(Self { fd: fd.map_err(std::io::Error::from)?, set: None })
    }

    async fn until(&mut self, time: Time) -> std::io::Result<()> {
        if self.set != Some(time) {
            let at = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: timespec(time) };
            match timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &at) {
                Ok(_) => self.set = Some(time),
                // The clock was set since the last time: who waits looks at it first.
                Err(Errno::CANCELED) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        // What it went off for before it was set again has been forgotten by the kernel, and perhaps not by tokio: then this comes back too
        // early, once, and is called again.
        self.fd.readable().await?.clear_ready();
        self.set = None;
        Ok(())
    }
}

/// A time for the kernel, to whom nothing at all would mean that the timer is off.
fn timespec(time: Time) -> Timespec {
    const NANOS_PER_SECOND: i64 = 1_000_000_000;
    let nanos = time.0.max(1);
    Timespec { tv_sec: nanos / NANOS_PER_SECOND, tv_nsec: nanos % NANOS_PER_SECOND }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_goes_off_no_earlier_than_told_and_again_after_it_was_set_anew() {
        let mut timer = Timer::new().expect("a timer");
        let begin = SystemClock.now();
        let far = begin.saturating_add(Duration::from_secs(3600));
        // Dropped while it waits, as the loop of a worker does when something else comes first.
        let given_up = tokio::time::timeout(Duration::from_millis(1), timer.until(far)).await;
        assert!(given_up.is_err());
        for wait_ms in [0, 3, 1] {
            let until = SystemClock.now().saturating_add(Duration::from_millis(wait_ms));
            while SystemClock.now() < until {
                timer.until(until).await.expect("it goes off");
            }
        }
        timer.until(Time(i64::MIN)).await.expect("what is past goes off at once");
    }
}
