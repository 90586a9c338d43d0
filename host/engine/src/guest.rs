//! A guest on its way through one attempt, as whichever lane has it polls it.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use taskhost_core::outcome::{Outcome, RunReport};
use taskhost_core::ports::{Attempt, RunControl};
use taskhost_core::spec::Limit;
use taskhost_core::time::format_duration;

use tokio::sync::SetOnce;

use crate::attempt::attempt;
use crate::epoch::Beat;
use crate::job::JobInner;
use crate::load::Loaded;
use crate::report::ran_longer_than;
use crate::threads::thread_cpu;
use crate::turn::Probe;

/// How long one attempt may be polled in the fast lane, all its polls together. A slice bounds a poll, but neither a guest that works
/// and waits by turns, nor what never looks at the epoch: filling a big memory, or making an instance of one.
const FAST_LANE_BUDGET: Duration = Duration::from_millis(5);

/// When an attempt must end whose timeout is past all counting.
const FAR_FUTURE: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// A guest in its store, on its way through one attempt. Dropping it stops it and frees its slot.
pub(crate) struct Guest {
    future: GuestFuture,
    probe: Arc<Probe>,
    job: Arc<JobInner>,
    /// Whether its plugin was loaded when it began. Else it waits for that in the slow lane, where a first instance may take long.
    pub(crate) is_loaded: bool,
    control: Arc<RunControl>,
    timeout: Duration,
    /// When its attempt must end, once its plugin is loaded: what the host takes for that is not the guest's.
    deadline: Result<Instant, Arc<SetOnce<Instant>>>,
    /// How long it was polled, all its polls together.
    spent: Duration,
    used_up: bool,
    /// Where its task has a limit on processor time, and only there: looking at that clock is a system call.
    cpu: Option<CpuMeter>,
}

type GuestFuture = Pin<Box<dyn Future<Output = RunReport> + Send>>;

/// How an attempt begins.
pub(crate) enum Begins {
    /// With a plugin that is loaded, and a deadline.
    Loaded(Arc<Loaded>, Instant),
    /// Its plugin must be loaded, and its deadline set then.
    Unloaded(Arc<SetOnce<Instant>>),
}

/// When an attempt must end that begins now.
pub(crate) fn deadline(now: Instant, timeout: Duration) -> Instant {
    now.checked_add(timeout).unwrap_or_else(|| now + FAR_FUTURE)
}

/// How a poll of a guest ended, unless the guest waits.
pub(crate) enum Slice {
    Ended(RunReport),
    /// The guest is not at its end, and has been polled for long enough, now or in all.
    UsedUp,
}

/// Ends when the guest must: at its deadline, or when somebody stops it.
pub(crate) type Watch = Pin<Box<dyn Future<Output = Outcome> + Send>>;

impl Guest {
    pub(crate) fn new(job: Arc<JobInner>, of: Attempt) -> Self {
        let started = Instant::now();
        let probe = Probe::new(started);
        let (control, timeout) = (Arc::clone(&of.control), of.timeout);
        let cpu = CpuMeter::new(job.setup.bounds.of(Limit::CpuMs));
        let loaded = job.loaded(started).map(|loaded| (loaded, deadline(started, timeout)));
        let is_loaded = loaded.is_some();
        let (begins, deadline) = match loaded {
            Some((loaded, deadline)) => (Begins::Loaded(loaded, deadline), Ok(deadline)),
            None => {
                let deadline = Arc::<SetOnce<Instant>>::default();
                (Begins::Unloaded(Arc::clone(&deadline)), Err(deadline))
            }
        };
        let future = Box::pin(attempt(Arc::clone(&job), begins, of, Arc::clone(&probe)));
        Self { future, probe, job, is_loaded, control, timeout, deadline, spent: Duration::ZERO, used_up: false, cpu }
    }

    pub(crate) fn poll_slice(&mut self, cx: &mut Context<'_>, beat: &Beat) -> Poll<Slice> {
        self.probe.resumed();
        let cpu_began = self.cpu.as_ref().map(|_| thread_cpu());
        let polled = beat.during(|| poll_caught(&mut self.future, cx));
        self.spent += self.probe.polled_for();
        self.used_up |= self.probe.has_yielded() || self.spent > FAST_LANE_BUDGET;
        let polled = match (&mut self.cpu, cpu_began) {
            (Some(cpu), Some(began)) => {
                cpu.spent += thread_cpu().saturating_sub(began);
                // One that is at its end has not been stopped in time.
                if polled.is_pending() && cpu.spent >= cpu.most { Poll::Ready(self.out_of_cpu()) } else { polled }
            }
            _ => polled,
        };
        match polled {
            Poll::Ready(report) => {
                self.job.lane.ran(!self.used_up);
                Poll::Ready(Slice::Ended(RunReport { entry_delay: self.probe.entry_delay(), ..report }))
            }
            Poll::Pending if self.used_up => Poll::Ready(Slice::UsedUp),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The guest has had all the processor time that it may have.
    fn out_of_cpu(&self) -> RunReport {
        self.job.setup.services.hits.count(Limit::CpuMs);
        RunReport::of(Outcome::LimitExceeded).with_detail(Limit::CpuMs.as_str())
    }

    /// The deadline counts from the start of the attempt, whatever it has done since; or from when its plugin was loaded.
    pub(crate) fn watch(&self) -> Watch {
        let control = Arc::clone(&self.control);
        let deadline = self.deadline.clone();
        let timed_out = async move {
            let deadline = match deadline {
                Ok(deadline) => deadline,
                Err(deadline) => *deadline.wait().await,
            };
            tokio::time::sleep_until(deadline.into()).await;
        };
        Box::pin(async move {
            tokio::select! {
                biased;
                () = control.stopped() => Outcome::Cancelled,
                () = timed_out => Outcome::TimedOut,
            }
        })
    }

    /// The report of a guest that was stopped for this reason.
    pub(crate) fn stopped(&self, outcome: Outcome) -> RunReport {
        self.job.lane.ran(!self.used_up);
        let report = RunReport { entry_delay: self.probe.entry_delay(), ..RunReport::of(outcome) };
        match outcome {
            // It was not its turn: that is no fault of its own.
            Outcome::TimedOut if self.probe.is_waiting_for_memory() => {
                let used_up = self.job.setup.services.budget.used_up();
                let detail = format!("waited {} for memory: {used_up}", format_duration(self.timeout));
                RunReport { outcome: Outcome::HostError, ..report }.with_detail(&detail)
            }
            Outcome::TimedOut => report.with_detail(&ran_longer_than(self.timeout)),
            _ => report,
        }
    }
}

/// The processor time of an attempt.
struct CpuMeter {
    spent: Duration,
    most: Duration,
}

impl CpuMeter {
    /// For a limit in milliseconds, if there is one.
    fn new(most_ms: u64) -> Option<Self> {
        (most_ms != u64::MAX).then(|| Self { spent: Duration::ZERO, most: Duration::from_millis(most_ms) })
    }
}

/// Polls a guest. A panic of the host's own, in a function that the guest called, ends this run and not the thread with all others.
fn poll_caught(future: &mut GuestFuture, cx: &mut Context<'_>) -> Poll<RunReport> {
    // Nothing of a guest that panicked is looked at again: its run is over, and the store goes with it.
    let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
    polled.unwrap_or_else(|panic| Poll::Ready(panicked(&*panic)))
}

fn panicked(panic: &(dyn Any + Send)) -> RunReport {
    let message = panic.downcast_ref::<&str>().copied();
    let message = message.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    RunReport::of(Outcome::HostError).with_detail(&format!("the host panicked: {message}"))
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_panic_of_the_host_ends_one_run_only() {
        let mut future: GuestFuture = Box::pin(async { panic!("at {}", "once") });
        let polled = poll_caught(&mut future, &mut Context::from_waker(Waker::noop()));
        let Poll::Ready(report) = polled else { panic!("it goes on") };
        assert_eq!(
            (report.outcome, report.detail.as_deref()),
            (Outcome::HostError, Some("the host panicked: at once"))
        );
    }
}
