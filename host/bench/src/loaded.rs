//! A host under many tasks that tick: what is measured of it, whichever scenario wants to know.

use std::time::Duration;

use taskhost_core::time::format_duration;

use crate::fresh_logs::FreshLogs;
use crate::guest_clock;
use crate::host::Host;
use crate::load;
use crate::procfs::resident_bytes;
use crate::report::{Section, Unit, median, ms, quantile, us};
use crate::window::Window;

/// How processor time is named; lateness is worth nothing where others took what the host needed.
pub(crate) const CPU: &str = "CPU (100 % is one core)";
pub(crate) const CPU_OF_OTHERS: &str = "CPU of other programs meanwhile";

/// How long a host has been ready before its memory is looked at.
const REST: Duration = Duration::from_secs(1);

/// What is put onto a host, and how long is looked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) tasks: u32,
    pub(crate) every: Duration,
    pub(crate) measured: Duration,
    /// Whether the host's own window of lateness must have nothing in it from before.
    pub(crate) settled: bool,
}

/// What was seen.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) load: Load,
    /// Of the host without tasks.
    pub(crate) empty_bytes: u64,
    pub(crate) resident_bytes: u64,
    pub(crate) adding: Duration,
    pub(crate) window: Window,
    pub(crate) logs: FreshLogs,
    /// By the guests' own clock.
    guests_lateness: Vec<Duration>,
}

impl Load {
    pub(crate) fn due_per_second(&self) -> f64 {
        f64::from(self.tasks) / self.every.as_secs_f64()
    }

    /// As the host reads it.
    pub(crate) fn every_text(&self) -> String {
        format_duration(self.every)
    }

    /// What asks for the same again.
    pub(crate) fn flags(&self) -> String {
        format!("--tasks {} --every {} --seconds {}", self.tasks, self.every_text(), self.measured.as_secs())
    }
}

impl Loaded {
    /// Puts the tasks onto a host that has none, and looks at it.
    pub(crate) async fn measure(host: &Host, load: Load) -> anyhow::Result<Self> {
        let Load { tasks, every, measured, settled } = load;
        tokio::time::sleep(REST).await;
        let empty_bytes = resident_bytes(host.pid())?;
        let adding = load::add_ticking(host.client(), tasks, every).await?;
        load::wait_until_ticking(host, tasks, every).await?;
        let window =
            async { if settled { Window::settled(host, measured).await } else { Window::of(host, measured).await } };
        let (logs, window) = FreshLogs::while_doing(host.client(), tasks, every, window).await?;
        let resident_bytes = resident_bytes(host.pid())?;
        let guests_lateness = guest_clock::lateness(host.client(), tasks, window.times()).await?;
        Ok(Self { load, empty_bytes, resident_bytes, adding, window, logs, guests_lateness })
    }

    /// The median of the slices.
    pub(crate) fn cpu_per_tick_us(&self) -> f64 {
        median(&self.window.cpu_per_run_us())
    }

    pub(crate) fn bytes_per_task(&self) -> f64 {
        self.resident_bytes.saturating_sub(self.empty_bytes) as f64 / f64::from(self.load.tasks)
    }

    /// By the guests' own clock.
    pub(crate) fn guests_lateness_ms(&self, part: f64) -> f64 {
        ms(quantile(&mut self.guests_lateness.clone(), part))
    }

    /// What became of the due times.
    pub(crate) fn show_ends(&self, section: &mut Section) {
        let window = &self.window;
        section.median("ticks", window.runs_per_second(), Unit::PerSecond);
        section.figure("due times", self.load.due_per_second(), Unit::PerSecond);
        section.goal("skipped", window.ended("skipped") as f64, Unit::Count, 0.0);
        section.goal("missed", window.ended("missed") as f64, Unit::Count, 0.0);
        section.goal("ended without success", (window.ran() - window.ended("success")) as f64, Unit::Count, 0.0);
        section.figure("logs asked for meanwhile", self.logs.asked as f64, Unit::Count);
        section.goal("logs without a fresh line", self.logs.stale as f64, Unit::Count, 0.0);
    }

    /// By both clocks. The 99th percentile should be at most `p99_goal_ms`, where there is a goal.
    pub(crate) fn show_lateness(&self, section: &mut Section, p99_goal_ms: Option<f64>) {
        let lateness = self.window.lateness();
        section.figure("lateness p50", lateness.p50, Unit::Ms);
        section.figure("lateness p99", lateness.p99, Unit::Ms);
        p99_goal_ms.into_iter().for_each(|goal| section.at_most(goal));
        section.figure("lateness max", lateness.max, Unit::Ms);
        section.figure("lateness is of the last", f64::from(lateness.window_s), Unit::S);
        section.figure("lateness p50 by the guests' clock", self.guests_lateness_ms(0.5), Unit::Ms);
        section.figure("lateness p99 by the guests' clock", self.guests_lateness_ms(0.99), Unit::Ms);
        p99_goal_ms.into_iter().for_each(|goal| section.at_most(goal));
        section.figure("lateness max by the guests' clock", self.guests_lateness_ms(1.0), Unit::Ms);
        section.figure("runs that looked at their clock", self.guests_lateness.len() as f64, Unit::Count);
    }

    /// What the ticks of all the window took, thread by thread.
    pub(crate) fn show_cpu(&self, section: &mut Section) {
        let (window, ticks) = (&self.window, self.window.ran().max(1) as f64);
        section.figure(CPU_OF_OTHERS, window.percent(window.cpu_of_others()), Unit::Percent);
        section.median("CPU per tick", window.cpu_per_run_us(), Unit::Us);
        for (thread, cpu) in window.cpu_by_thread().into_iter().filter(|(_, cpu)| !cpu.is_zero()) {
            section.figure(format!("  of it, thread {thread}"), us(cpu) / ticks, Unit::Us);
        }
    }
}
