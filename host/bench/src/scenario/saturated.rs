//! A host that is given more than it can do: how many ticks a second it makes, beside what the engine alone makes.

use std::time::Duration;

use super::Bench;
use crate::load;
use crate::loaded::{CPU, CPU_OF_OTHERS};
use crate::raw_loop::RawLoop;
use crate::report::{Section, Unit, median};
use crate::window::Window;

/// How often each task is due: so often that a due time that is late is passed over for the next.
const EVERY: Duration = Duration::from_millis(100);

/// How many due times there are for each run that the raw loop makes. No host can do them all.
const DUE_PER_RAW_RUN: f64 = 1.0;

/// How long the host is loaded before it is measured.
const WARM_UP: Duration = Duration::from_secs(5);

/// The least that a host should make of what the raw loop makes.
const OVER_RAW_LOOP_GOAL: f64 = 0.65;

/// What became of it.
pub(super) struct Saturated {
    tasks: u32,
    window: Window,
    raw_loop: RawLoop,
}

pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Section> {
    let saturated = Saturated::measure(bench, bench.args.measured()).await?;
    let Saturated { tasks, window, raw_loop } = &saturated;

    let title = format!("more than the host can do: {tasks} tasks every {} ms", EVERY.as_millis());
    let given = bench.args.tasks.map(|tasks| format!("--tasks {tasks} ")).unwrap_or_default();
    let flags = format!("{given}--seconds {}", bench.args.seconds);
    let mut section = Section::new(title, bench.command("saturated", &flags));
    section.median("ticks", window.runs_per_second(), Unit::PerSecond);
    section.figure("due times", f64::from(*tasks) / EVERY.as_secs_f64(), Unit::PerSecond);
    section.figure(
        "passed over, as they must be",
        window.per_second(window.ended_in_all() - window.ran()),
        Unit::PerSecond,
    );
    section.goal("ended without success", (window.ran() - window.ended("success")) as f64, Unit::Count, 0.0);
    section.figure(CPU, window.percent(window.cpu()), Unit::Percent);
    section.figure(CPU_OF_OTHERS, window.percent(window.cpu_of_others()), Unit::Percent);
    section.median("CPU per tick", window.cpu_per_run_us(), Unit::Us);
    raw_loop.show(&mut section);
    section.figure("CPU per tick over the raw engine loop", saturated.cpu_over_raw_loop(), Unit::Times);
    section.figure("ticks over the raw engine loop's runs", saturated.ticks_over_raw_loop(), Unit::Times);
    section.at_least(OVER_RAW_LOOP_GOAL);
    Ok(section)
}

impl Saturated {
    pub(super) async fn measure(bench: &Bench<'_>, measured: Duration) -> anyhow::Result<Self> {
        let mut raw_loop = RawLoop::new(bench.args.workers)?;
        let tasks = bench.args.tasks.unwrap_or_else(|| tasks(raw_loop.runs_per_second()));
        let place = bench.place()?;
        let host = place.start().await?;
        let window = async {
            load::add_ticking(host.client(), tasks, EVERY).await?;
            load::wait_until_ticking(&host, tasks, EVERY).await?;
            tokio::time::sleep(WARM_UP).await;
            Window::of(&host, measured).await
        };
        let window = window.await;
        let window = host.finish(window).await?;
        raw_loop.sample()?;
        Ok(Self { tasks, window, raw_loop })
    }

    pub(super) fn ticks_over_raw_loop(&self) -> f64 {
        median(&self.window.runs_per_second()) / self.raw_loop.runs_per_second()
    }

    pub(super) fn cpu_over_raw_loop(&self) -> f64 {
        median(&self.window.cpu_per_run_us()) / self.raw_loop.cpu_per_run_us()
    }
}

/// How many tasks have as many due times as the raw loop could make runs.
fn tasks(raw_runs_per_second: f64) -> u32 {
    (raw_runs_per_second * DUE_PER_RAW_RUN * EVERY.as_secs_f64()).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_due_as_the_raw_loop_makes() {
        assert_eq!(tasks(200_000.0), 20_000);
    }
}
