//! A stretch of time in which a host is left alone, seen from its two ends and from a few moments in between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use taskhost_api::{HostInfo, LatenessMs};

use crate::host::Host;
use crate::procfs::Used;
use crate::report::us;

/// How long one slice of a window is at least. A host is looked at between them; of what is told per slice, the median is shown.
const SLICE: Duration = Duration::from_secs(5);

/// What a host had done at one moment.
#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    time: Timestamp,
    info: HostInfo,
    used: Used,
}

/// What a host did between two moments.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    from: Sample,
    between: Vec<Sample>,
    to: Sample,
}

/// The outcomes of due times that did not run.
const NOT_RUN: [&str; 2] = ["skipped", "missed"];

impl Sample {
    async fn of(host: &Host) -> anyhow::Result<Self> {
        let info = host.info().await?;
        Ok(Self { at: Instant::now(), time: Timestamp::now(), used: Used::of(host.pid())?, info })
    }

    fn ended(&self, outcome: &str) -> u64 {
        self.info.runs.get(outcome).copied().unwrap_or(0)
    }

    fn ended_in_all(&self) -> u64 {
        self.info.runs.values().sum()
    }

    fn ran(&self) -> u64 {
        self.ended_in_all() - NOT_RUN.iter().map(|outcome| self.ended(outcome)).sum::<u64>()
    }
}

impl Window {
    /// Leaves the host alone for `length`, but for a look at it in each slice.
    pub(crate) async fn of(host: &Host, length: Duration) -> anyhow::Result<Self> {
        let from = Sample::of(host).await?;
        let slices = slices(length);
        let mut between = Vec::new();
        for slice in 1..=slices {
            tokio::time::sleep_until((from.at + length * slice / slices).into()).await;
            between.push(Sample::of(host).await?);
        }
        let to = between.pop().expect("a window has a slice at least");
        Ok(Self { from, between, to })
    }

    /// As [`Window::of`], but looks at the ends only: to be asked wakes a host that has nothing else to do.
    pub(crate) async fn undisturbed(host: &Host, length: Duration) -> anyhow::Result<Self> {
        let from = Sample::of(host).await?;
        tokio::time::sleep(length).await;
        Ok(Self { from, between: Vec::new(), to: Sample::of(host).await? })
    }

    /// As [`Window::of`], but waits first for as long as it takes until the host's own window of lateness, which can be
    /// longer, has nothing in it from before.
    pub(crate) async fn settled(host: &Host, length: Duration) -> anyhow::Result<Self> {
        let remembered = Duration::from_secs(host.info().await?.lateness_ms.window_s.into());
        let settling = remembered.saturating_sub(length);
        eprintln!("taskbench: measuring for {} s", (settling + length).as_secs());
        tokio::time::sleep(settling).await;
        Self::of(host, length).await
    }

    pub(crate) fn length(&self) -> Duration {
        self.to.at - self.from.at
    }

    /// By the clock on the wall.
    pub(crate) fn times(&self) -> (Timestamp, Timestamp) {
        (self.from.time, self.to.time)
    }

    /// How many due times ended with this outcome.
    pub(crate) fn ended(&self, outcome: &str) -> u64 {
        self.to.ended(outcome) - self.from.ended(outcome)
    }

    /// How many due times ended, with whatever outcome.
    pub(crate) fn ended_in_all(&self) -> u64 {
        self.to.ended_in_all() - self.from.ended_in_all()
    }

    /// How many due times had a run that ended.
    pub(crate) fn ran(&self) -> u64 {
        self.to.ran() - self.from.ran()
    }

    pub(crate) fn cpu(&self) -> Duration {
        self.to.used.cpu.saturating_sub(self.from.used.cpu)
    }

    /// The processor time of the host per run, slice by slice.
    pub(crate) fn cpu_per_run_us(&self) -> Vec<f64> {
        self.slices(|from, to| us(to.used.cpu.saturating_sub(from.used.cpu)) / (to.ran() - from.ran()).max(1) as f64)
    }

    /// How many runs ended each second, slice by slice.
    pub(crate) fn runs_per_second(&self) -> Vec<f64> {
        self.slices(|from, to| (to.ran() - from.ran()) as f64 / (to.at - from.at).as_secs_f64())
    }

    fn slices(&self, told: impl Fn(&Sample, &Sample) -> f64) -> Vec<f64> {
        let ends = || self.between.iter().chain([&self.to]);
        [&self.from].into_iter().chain(ends()).zip(ends()).map(|(from, to)| told(from, to)).collect()
    }

    /// What everything else on the machine took, which a host then had to do without.
    pub(crate) fn cpu_of_others(&self) -> Duration {
        self.to.used.machine_cpu.saturating_sub(self.from.used.machine_cpu).saturating_sub(self.cpu())
    }

    /// By the name of the thread, without its number.
    pub(crate) fn cpu_by_thread(&self) -> BTreeMap<String, Duration> {
        self.to.used.cpu_by_thread_since(&self.from.used)
    }

    /// Of one core.
    pub(crate) fn percent(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() / self.length().as_secs_f64() * 100.0
    }

    pub(crate) fn wake_ups(&self) -> u64 {
        self.to.used.wake_ups_since(&self.from.used)
    }

    /// By the name of the thread, without its number.
    pub(crate) fn wake_ups_by_thread(&self) -> BTreeMap<String, u64> {
        self.to.used.wake_ups_by_thread_since(&self.from.used)
    }

    pub(crate) fn written_bytes(&self) -> u64 {
        self.to.used.written_bytes.saturating_sub(self.from.used.written_bytes)
    }

    /// As the host says at the end.
    pub(crate) fn lateness(&self) -> LatenessMs {
        self.to.info.lateness_ms
    }

    /// Per second of the window.
    pub(crate) fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.length().as_secs_f64()
    }
}

/// Into how many slices a window is cut.
fn slices(length: Duration) -> u32 {
    u32::try_from(length.as_nanos() / SLICE.as_nanos()).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_is_five_seconds_long_or_the_whole_of_a_short_window() {
        let seconds = |length| slices(Duration::from_secs(length));
        assert_eq!([1, 5, 9, 10, 20, 31].map(seconds), [1, 1, 1, 2, 4, 6]);
    }
}
