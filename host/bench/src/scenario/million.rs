//! A million tasks, each once a minute.

use std::time::Duration;

use super::{Bench, ticks};
use crate::loaded::{CPU, Load, Loaded};
use crate::report::{Section, Unit};

const TASKS: u32 = 1_000_000;
const EVERY: Duration = Duration::from_secs(60);

/// The most that guests may be entered late, at the 99th percentile.
const LATENESS_P99_GOAL_MS: f64 = 20.0;

/// The most memory that the host may have in all: 1.2 GB.
const MEMORY_GOAL_MIB: f64 = 1.2e9 / (1 << 20) as f64;

pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Section> {
    let load = bench.load(TASKS, EVERY);
    // All of them once at least.
    let load = Load { measured: load.measured.max(load.every), ..load };
    let (loaded, raw_loop) = ticks::measure(bench, load).await?;
    let Loaded { window, .. } = &loaded;

    let title = format!("{} tasks, every {}", load.tasks, load.every_text());
    let mut section = Section::new(title, bench.command("million", &load.flags()));
    loaded.show_ends(&mut section);
    loaded.show_lateness(&mut section, Some(LATENESS_P99_GOAL_MS));
    section.figure(CPU, window.percent(window.cpu()), Unit::Percent);
    loaded.show_cpu(&mut section);
    raw_loop.show(&mut section);
    let over_raw_loop = loaded.cpu_per_tick_us() / raw_loop.cpu_per_run_us();
    section.figure("CPU per tick over the raw engine loop", over_raw_loop, Unit::Times);
    section.figure("memory in all", loaded.resident_bytes as f64 / f64::from(1 << 20), Unit::MiB);
    section.at_most(MEMORY_GOAL_MIB);
    section.figure("memory per task", loaded.bytes_per_task() / 1024.0, Unit::KiB);
    section.figure("adding them all, many in a commit", loaded.adding.as_secs_f64(), Unit::S);
    Ok(section)
}
