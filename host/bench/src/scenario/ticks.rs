//! Many tasks that tick: what they cost and how late they are, alone and beside tasks that never come to an end.

use super::Bench;
use crate::host::Host;
use crate::load;
use crate::loaded::{CPU, CPU_OF_OTHERS, Load, Loaded};
use crate::raw_loop::{REST, RawLoop};
use crate::report::{Section, Unit};
use crate::window::Window;

/// The most that guests may be entered late, at the 99th percentile, up to so many due times a second.
pub(super) const LATENESS_P99_GOAL_MS: f64 = 2.0;
const LATENESS_GOAL_DUE_PER_SECOND: f64 = 100_000.0;

/// The most processor time that a host may take, up to so many due times a second. (100 % is one core.)
const CPU_GOAL_PERCENT: f64 = 10.0;
const CPU_GOAL_DUE_PER_SECOND: f64 = 10_000.0;

/// The most that a tick may cost, in runs of the raw loop, from so many due times a second on: below, a tick pays for being woken.
pub(super) const OVER_RAW_LOOP_GOAL: f64 = 1.5;
const OVER_RAW_LOOP_DUE_PER_SECOND: f64 = 10_000.0;

/// Up to which part of what the raw loop can do one is measured that makes as many runs as are due.
const MAX_PACE: f64 = 0.8;

/// The most memory that a task may take, from so many tasks on: below, buffers and caches that do not grow weigh more.
const MEMORY_GOAL_KIB: f64 = 1.0;
const MEMORY_GOAL_TASKS: u32 = 100_000;

/// The most that guests may be entered late beside spinners, and the most of it that may be the spinners' doing.
const BESIDE_SPINNERS_P99_GOAL_MS: f64 = 10.0;
const SPINNERS_COST_GOAL_MS: f64 = 5.0;

pub(super) async fn alone(bench: &Bench<'_>, load: Load) -> anyhow::Result<Section> {
    let (loaded, raw_loop) = measure(bench, load).await?;
    Ok(section(bench, &loaded, &raw_loop))
}

/// Measures a host of its own, between two measurements of the raw loop.
pub(super) async fn measure(bench: &Bench<'_>, load: Load) -> anyhow::Result<(Loaded, RawLoop)> {
    let mut raw_loop = RawLoop::new(bench.args.workers)?;
    if load.due_per_second() <= MAX_PACE * raw_loop.runs_per_second() {
        raw_loop = raw_loop.with_pace(load.due_per_second(), bench.args.timer_slack.unwrap_or(REST))?;
    }
    let place = bench.place()?;
    let host = place.start().await?;
    let loaded = Loaded::measure(&host, load).await;
    let loaded = host.finish(loaded).await?;
    raw_loop.sample()?;
    Ok((loaded, raw_loop))
}

/// As [`alone`], and then again with spinners beside the same tasks.
pub(super) async fn beside_spinners(bench: &Bench<'_>, load: Load) -> anyhow::Result<Vec<Section>> {
    let mut raw_loop = RawLoop::new(bench.args.workers)?;
    let place = bench.place()?;
    let host = place.start().await?;
    let measured = async {
        let loaded = Loaded::measure(&host, load).await?;
        let spinners = spinners(bench, &host, &loaded).await?;
        Ok((loaded, spinners))
    };
    let measured = measured.await;
    let (loaded, spinners) = host.finish(measured).await?;
    raw_loop.sample()?;
    Ok(vec![section(bench, &loaded, &raw_loop), spinners])
}

fn section(bench: &Bench<'_>, loaded: &Loaded, raw_loop: &RawLoop) -> Section {
    let Loaded { load, window, .. } = loaded;
    let due_per_second = load.due_per_second();
    let ticks = window.ran().max(1) as f64;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);

    let title = format!("{} tasks, every {}, a fresh sandbox for each run", load.tasks, load.every_text());
    let mut section = Section::new(title, bench.command("ticks", &load.flags()));
    loaded.show_ends(&mut section);
    // Who asks for slack wants them late.
    let has_goal = due_per_second <= LATENESS_GOAL_DUE_PER_SECOND && bench.args.timer_slack.is_none();
    loaded.show_lateness(&mut section, has_goal.then_some(LATENESS_P99_GOAL_MS));
    section.figure(CPU, window.percent(window.cpu()), Unit::Percent);
    if due_per_second <= CPU_GOAL_DUE_PER_SECOND {
        section.at_most(CPU_GOAL_PERCENT);
    }
    loaded.show_cpu(&mut section);
    raw_loop.show(&mut section);
    let over_raw_loop = loaded.cpu_per_tick_us() / raw_loop.cpu_per_run_us();
    section.figure("CPU per tick over the raw engine loop", over_raw_loop, Unit::Times);
    if due_per_second >= OVER_RAW_LOOP_DUE_PER_SECOND {
        section.at_most(OVER_RAW_LOOP_GOAL);
    }
    if let Some(at_pace) = raw_loop.cpu_per_run_at_pace_us() {
        section.figure("CPU per tick over the raw loop with rests", loaded.cpu_per_tick_us() / at_pace, Unit::Times);
    }
    section.figure("wake-ups", window.per_second(window.wake_ups()), Unit::PerSecond);
    section.figure("wake-ups per tick", window.wake_ups() as f64 / ticks, Unit::Count);
    section.figure("written to disk per tick", window.written_bytes() as f64 / 1024.0 / ticks, Unit::KiB);
    section.figure("memory without tasks", mib(loaded.empty_bytes), Unit::MiB);
    section.figure("memory with them", mib(loaded.resident_bytes), Unit::MiB);
    section.figure("memory per task", loaded.bytes_per_task() / 1024.0, Unit::KiB);
    if load.tasks >= MEMORY_GOAL_TASKS {
        section.at_most(MEMORY_GOAL_KIB);
    }
    section.figure("adding them all, many in a commit", loaded.adding.as_secs_f64(), Unit::S);
    section
}

/// Adds spinners to a host with tasks that tick, and measures those again.
async fn spinners(bench: &Bench<'_>, host: &Host, alone: &Loaded) -> anyhow::Result<Section> {
    let args = bench.args;
    let skipped_before = skipped(host).await?;
    load::add_spinners(host, args.spinners).await?;
    let window = Window::settled(host, alone.load.measured).await?;
    let lateness = window.lateness();
    let p99_alone_ms = alone.window.lateness().p99;
    let skipped_spinners = load::spinners_ended(host.client(), "skipped").await?;
    let skipped_others = (skipped(host).await? - skipped_before).saturating_sub(skipped_spinners);
    let stopped_spinners = load::spinners_ended(host.client(), "timed_out").await?;

    let title = format!("the same tasks with {} beside them that never come to an end", args.spinners);
    let flags = format!("{} --spinners {}", alone.load.flags(), args.spinners);
    let mut section = Section::new(title, bench.command("spinners", &flags));
    section.figure("ticks", window.per_second(window.ended("success")), Unit::PerSecond);
    section.goal("skipped since spinners were added", skipped_others as f64, Unit::Count, 0.0);
    section.figure("skipped of the spinners themselves", skipped_spinners as f64, Unit::Count);
    section.goal("missed", window.ended("missed") as f64, Unit::Count, 0.0);
    section.figure("lateness p50", lateness.p50, Unit::Ms);
    section.goal("lateness p99", lateness.p99, Unit::Ms, BESIDE_SPINNERS_P99_GOAL_MS);
    section.figure("lateness p99 before", p99_alone_ms, Unit::Ms);
    section.goal("lateness p99, difference", lateness.p99 - p99_alone_ms, Unit::Ms, SPINNERS_COST_GOAL_MS);
    section.figure("lateness max", lateness.max, Unit::Ms);
    section.figure("runs of spinners stopped at their deadline", stopped_spinners as f64, Unit::Count);
    section.figure(CPU, window.percent(window.cpu()), Unit::Percent);
    section.figure(CPU_OF_OTHERS, window.percent(window.cpu_of_others()), Unit::Percent);
    Ok(section)
}

async fn skipped(host: &Host) -> anyhow::Result<u64> {
    Ok(host.info().await?.runs.get("skipped").copied().unwrap_or(0))
}
