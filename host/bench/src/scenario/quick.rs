//! What a machine that builds and tests can tell in a minute: ratios, and only whether they are grossly worse than they were.

use std::time::Duration;

use super::saturated::Saturated;
use super::{Bench, idle};
use crate::loaded::{CPU_OF_OTHERS, Load, Loaded};
use crate::raw_loop::RawLoop;
use crate::report::{Section, Unit};

/// Few enough for a build that is not optimised, on a machine with something else to do.
const LOAD: Load =
    Load { tasks: 1000, every: Duration::from_secs(1), measured: Duration::from_secs(10), settled: false };
const SATURATED: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(10);

/// About three times the worst that was seen of a build without optimisation, which is what CI has: 2.5 to 5 times the raw loop at so
/// few ticks that each pays for being woken, 3 times it when saturated, and 0.4 of its runs, whether or not other programs took
/// most of the two cores. Wake-ups are a count, and as steady as a ratio: 2.5 a second were seen, and the goal is 10.
const CPU_OVER_RAW_LOOP: f64 = 15.0;
const SATURATED_CPU_OVER_RAW_LOOP: f64 = 9.0;
const SATURATED_TICKS_OVER_RAW_LOOP: f64 = 0.13;
const IDLE_WAKE_UPS_PER_SECOND: f64 = 30.0;

/// A machine that gives the host nothing for seconds makes its logs old, but not most of them.
const STALE_LOGS_PERCENT: f64 = 50.0;

pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Section> {
    let mut raw_loop = RawLoop::new(bench.args.workers)?;
    let place = bench.place()?;
    let host = place.start().await?;
    let loaded = Loaded::measure(&host, LOAD).await;
    let loaded = host.finish(loaded).await?;
    raw_loop.sample()?;
    let saturated = Saturated::measure(bench, SATURATED).await?;
    let (idle, _) = idle::look(bench, IDLE).await?;

    let window = &loaded.window;
    let mut section = Section::new("gross regressions", bench.command("--quick", ""));
    section.goal("ended without success", (window.ran() - window.ended("success")) as f64, Unit::Count, 0.0);
    let stale = loaded.logs.stale as f64 / loaded.logs.asked.max(1) as f64 * 100.0;
    section.goal("logs without a fresh line", stale, Unit::Percent, STALE_LOGS_PERCENT);
    section.figure(CPU_OF_OTHERS, window.percent(window.cpu_of_others()), Unit::Percent);
    section.median("CPU per tick", window.cpu_per_run_us(), Unit::Us);
    raw_loop.show(&mut section);
    section.figure(
        "CPU per tick over the raw engine loop",
        loaded.cpu_per_tick_us() / raw_loop.cpu_per_run_us(),
        Unit::Times,
    );
    section.at_most(CPU_OVER_RAW_LOOP);
    section.figure("saturated: the same", saturated.cpu_over_raw_loop(), Unit::Times);
    section.at_most(SATURATED_CPU_OVER_RAW_LOOP);
    section.figure("saturated: ticks over raw loop's runs", saturated.ticks_over_raw_loop(), Unit::Times);
    section.at_least(SATURATED_TICKS_OVER_RAW_LOOP);
    section.goal("wake-ups without tasks", idle.per_second(idle.wake_ups()), Unit::PerSecond, IDLE_WAKE_UPS_PER_SECOND);
    Ok(section)
}
