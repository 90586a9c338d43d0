//! Lateness and CPU per tick from a thousand tasks to a million, as a table and as plots.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::{Bench, ticks};
use crate::loaded::Load;
use crate::plot::{self, Point};
use crate::report::{Section, Unit, grouped, median};

/// The most due times a second: tasks beyond that many are due less often than each second.
const MOST_DUE_PER_SECOND: u32 = 100_000;

pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Section> {
    let args = bench.args;
    if let Some(dir) = &args.plots {
        fs::create_dir_all(dir).with_context(|| format!("failed to make {}", dir.display()))?;
    }
    let plots = args.plots.as_ref().map(|dir| format!(" --plots {}", dir.display())).unwrap_or_default();
    let counts = args.counts.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let flags = format!("--counts {counts} --seconds {}{plots}", args.seconds);
    let mut section = Section::new("from few tasks to many", bench.command("sweep", &flags));
    let mut points = Vec::new();
    let mut raw_loop_us = Vec::new();
    for &tasks in &args.counts {
        let load = Load { tasks, every: every(tasks), measured: args.measured(), settled: true };
        eprintln!("taskbench: {tasks} tasks, every {}", load.every_text());
        let (loaded, raw_loop) = ticks::measure(bench, load).await?;
        let lateness = loaded.window.lateness();
        let point = Point {
            tasks,
            p50_ms: lateness.p50,
            p99_ms: lateness.p99,
            guests_p99_ms: loaded.guests_lateness_ms(0.99),
            cpu_per_tick_us: loaded.cpu_per_tick_us(),
        };
        let tasks = grouped(tasks.into());
        section.figure(format!("{tasks}: due times"), load.due_per_second(), Unit::PerSecond);
        section.median(format!("{tasks}: ticks"), loaded.window.runs_per_second(), Unit::PerSecond);
        section.figure(format!("{tasks}: lateness p50"), point.p50_ms, Unit::Ms);
        section.figure(format!("{tasks}: lateness p99"), point.p99_ms, Unit::Ms);
        section.figure(format!("{tasks}: p99 by the guests' clock"), point.guests_p99_ms, Unit::Ms);
        section.median(format!("{tasks}: CPU per tick"), loaded.window.cpu_per_run_us(), Unit::Us);
        section.figure(format!("{tasks}: raw engine loop, CPU per run"), raw_loop.cpu_per_run_us(), Unit::Us);
        section.figure(format!("{tasks}: memory per task"), loaded.bytes_per_task() / 1024.0, Unit::KiB);
        raw_loop_us.push(raw_loop.cpu_per_run_us());
        points.push(point);
    }
    if let Some(dir) = &args.plots {
        write(&dir.join("lateness.svg"), &plot::lateness(&points, ticks::LATENESS_P99_GOAL_MS)?)?;
        write(&dir.join("cpu.svg"), &plot::cpu(&points, median(&raw_loop_us), ticks::OVER_RAW_LOOP_GOAL)?)?;
    }
    Ok(section)
}

fn write(file: &Path, svg: &str) -> anyhow::Result<()> {
    fs::write(file, svg).with_context(|| format!("failed to write {}", file.display()))
}

/// How often each of so many tasks is due.
fn every(tasks: u32) -> Duration {
    Duration::from_secs(1).max(Duration::from_secs(tasks.into()) / MOST_DUE_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_due_than_a_hundred_thousand_a_second() {
        assert_eq!([1_000, 100_000, 300_000, 1_000_000].map(every), [1, 1, 3, 10].map(Duration::from_secs));
    }
}
