//! A stretch of time in which a host is left alone, seen from its two ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use taskhost_api::{HostInfo, LatenessMs};

use crate::host::Host;
use crate::procfs::Used;

/// What a host had done at one moment.
#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    info: HostInfo,
    used: Used,
}

/// What a host did between two moments.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    from: Sample,
    to: Sample,
}

impl Sample {
    async fn of(host: &Host) -> anyhow::Result<Self> {
        let info = host.info().await?;
        Ok(Self { at: Instant::now(), used: Used::of(host.pid())?, info })
    }
}

impl Window {
    /// Leaves the host alone for `length`, and looks at it before and after.
    pub(crate) async fn of(host: &Host, length: Duration) -> anyhow::Result<Self> {
        let from = Sample::of(host).await?;
        tokio::time::sleep(length).await;
        Ok(Self { from, to: Sample::of(host).await? })
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

    /// How many due times ended with this outcome.
    pub(crate) fn ended(&self, outcome: &str) -> u64 {
        let count = |sample: &Sample| sample.info.runs.get(outcome).copied().unwrap_or(0);
        count(&self.to) - count(&self.from)
    }

    /// How many due times ended, with whatever outcome.
    pub(crate) fn ended_in_all(&self) -> u64 {
        let count = |sample: &Sample| sample.info.runs.values().sum::<u64>();
        count(&self.to) - count(&self.from)
    }

    pub(crate) fn cpu(&self) -> Duration {
        self.to.used.cpu.saturating_sub(self.from.used.cpu)
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
