//! Many tasks that tick: what they cost and how late they are, alone and beside tasks that never come to an end.

use std::time::Duration;

use super::Bench;
use crate::host::Host;
use crate::load;
use crate::procfs::resident_bytes;
use crate::raw_loop;
use crate::report::{Section, Unit, us};
use crate::window::Window;

/// How long a host without tasks is looked at.
const EMPTY_WINDOW: Duration = Duration::from_secs(3);

/// The most that guests may be entered late, at the 99th percentile.
const LATENESS_P99_GOAL_MS: f64 = 10.0;

/// The most that spinners may add to that.
const SPINNERS_COST_GOAL_MS: f64 = 5.0;

/// How processor time is named; lateness is worth nothing where others took what the host needed.
const CPU: &str = "CPU (100 % is one core)";
const CPU_OF_OTHERS: &str = "CPU of other programs meanwhile";

/// A host with nothing to do.
struct Empty {
    resident_bytes: u64,
    wake_ups_per_second: f64,
}

pub(super) async fn alone(bench: &Bench<'_>) -> anyhow::Result<Section> {
    let raw_cpu = raw_loop::cpu_per_run(bench.args.workers)?;
    let place = bench.place()?;
    let host = place.start().await?;
    let measured = ticks(bench, &host, raw_cpu).await;
    host.finish(measured.map(|(section, _)| section)).await
}

/// As [`alone`], and then again with spinners beside the same tasks.
pub(super) async fn beside_spinners(bench: &Bench<'_>) -> anyhow::Result<Vec<Section>> {
    let raw_cpu = raw_loop::cpu_per_run(bench.args.workers)?;
    let place = bench.place()?;
    let host = place.start().await?;
    let measured = async {
        let (alone, p99_ms) = ticks(bench, &host, raw_cpu).await?;
        Ok(vec![alone, spinners(bench, &host, p99_ms).await?])
    };
    let measured = measured.await;
    host.finish(measured).await
}

/// Measures the host empty and loaded. Answers with the 99th percentile of lateness too.
async fn ticks(bench: &Bench<'_>, host: &Host, raw_cpu: Duration) -> anyhow::Result<(Section, f64)> {
    let args = bench.args;
    let empty = empty(host).await?;
    let adding = load::add_tickers(host.client(), args.tasks, &args.every()).await?;
    load::wait_until_ticking(host, args.tasks, args.every).await?;
    let window = Window::settled(host, args.measured()).await?;
    let resident_bytes = resident_bytes(host.pid())?;

    let ticks = window.ended_in_all() - window.ended("skipped") - window.ended("missed");
    let due_per_second = f64::from(args.tasks) / args.every.as_secs_f64();
    let cpu = window.cpu();
    let cpu_per_tick = us(cpu) / ticks.max(1) as f64;
    let per_task = resident_bytes.saturating_sub(empty.resident_bytes) as f64 / f64::from(args.tasks);
    let lateness = window.lateness();

    let title = format!("{} tasks, every {}, a fresh sandbox for each run", args.tasks, args.every());
    let mut section = Section::new(title, bench.command("ticks", &flags(bench)));
    section.figure("ticks", window.per_second(ticks), Unit::PerSecond);
    section.figure("due times", due_per_second, Unit::PerSecond);
    section.goal("skipped", window.ended("skipped") as f64, Unit::Count, 0.0);
    section.goal("missed", window.ended("missed") as f64, Unit::Count, 0.0);
    section.goal("ended without success", (ticks - window.ended("success")) as f64, Unit::Count, 0.0);
    section.figure("lateness p50", lateness.p50, Unit::Ms);
    section.goal("lateness p99", lateness.p99, Unit::Ms, LATENESS_P99_GOAL_MS);
    section.figure("lateness max", lateness.max, Unit::Ms);
    section.figure("lateness is of the last", f64::from(lateness.window_s), Unit::S);
    section.figure(CPU, window.percent(cpu), Unit::Percent);
    section.figure(CPU_OF_OTHERS, window.percent(window.cpu_of_others()), Unit::Percent);
    section.figure("CPU per tick", cpu_per_tick, Unit::Us);
    for (thread, cpu) in window.cpu_by_thread().into_iter().filter(|(_, cpu)| !cpu.is_zero()) {
        section.figure(format!("  of it, thread {thread}"), us(cpu) / ticks.max(1) as f64, Unit::Us);
    }
    section.figure("CPU per run of the raw engine loop", us(raw_cpu), Unit::Us);
    section.figure("CPU per tick over the raw engine loop", cpu_per_tick / us(raw_cpu), Unit::Times);
    section.figure("wake-ups", window.per_second(window.wake_ups()), Unit::PerSecond);
    section.figure("wake-ups per tick", window.wake_ups() as f64 / ticks.max(1) as f64, Unit::Count);
    section.figure("wake-ups without tasks", empty.wake_ups_per_second, Unit::PerSecond);
    section.figure("written to disk per tick", window.written_bytes() as f64 / 1024.0 / ticks.max(1) as f64, Unit::KiB);
    section.figure("memory without tasks", empty.resident_bytes as f64 / f64::from(1 << 20), Unit::MiB);
    section.figure("memory with them", resident_bytes as f64 / f64::from(1 << 20), Unit::MiB);
    section.figure("memory per task", per_task / 1024.0, Unit::KiB);
    section.figure("adding them all, pipelined", adding.as_secs_f64(), Unit::S);
    Ok((section, lateness.p99))
}

/// Adds spinners to a host with tasks that tick, and measures those again.
async fn spinners(bench: &Bench<'_>, host: &Host, p99_alone_ms: f64) -> anyhow::Result<Section> {
    let args = bench.args;
    let skipped_before = skipped(host).await?;
    load::add_spinners(host, args.spinners).await?;
    let window = Window::settled(host, args.measured()).await?;
    let lateness = window.lateness();
    let skipped_spinners = load::spinners_ended(host.client(), "skipped").await?;
    let skipped_others = (skipped(host).await? - skipped_before).saturating_sub(skipped_spinners);
    let stopped_spinners = load::spinners_ended(host.client(), "timed_out").await?;

    let title = format!("the same tasks with {} beside them that never come to an end", args.spinners);
    let flags = format!("{} --spinners {}", flags(bench), args.spinners);
    let mut section = Section::new(title, bench.command("spinners", &flags));
    section.figure("ticks", window.per_second(window.ended("success")), Unit::PerSecond);
    section.goal("skipped since spinners were added", skipped_others as f64, Unit::Count, 0.0);
    section.figure("skipped of the spinners themselves", skipped_spinners as f64, Unit::Count);
    section.goal("missed", window.ended("missed") as f64, Unit::Count, 0.0);
    section.figure("lateness p50", lateness.p50, Unit::Ms);
    section.goal("lateness p99", lateness.p99, Unit::Ms, LATENESS_P99_GOAL_MS);
    section.figure("lateness p99 before", p99_alone_ms, Unit::Ms);
    section.goal("lateness p99, difference", lateness.p99 - p99_alone_ms, Unit::Ms, SPINNERS_COST_GOAL_MS);
    section.figure("lateness max", lateness.max, Unit::Ms);
    section.figure("runs of spinners stopped at their deadline", stopped_spinners as f64, Unit::Count);
    section.figure(CPU, window.percent(window.cpu()), Unit::Percent);
    section.figure(CPU_OF_OTHERS, window.percent(window.cpu_of_others()), Unit::Percent);
    Ok(section)
}

async fn empty(host: &Host) -> anyhow::Result<Empty> {
    let window = Window::of(host, EMPTY_WINDOW).await?;
    let wake_ups_per_second = window.per_second(window.wake_ups());
    Ok(Empty { resident_bytes: resident_bytes(host.pid())?, wake_ups_per_second })
}

async fn skipped(host: &Host) -> anyhow::Result<u64> {
    Ok(host.info().await?.runs.get("skipped").copied().unwrap_or(0))
}

fn flags(bench: &Bench<'_>) -> String {
    let args = bench.args;
    format!("--tasks {} --every {} --seconds {}", args.tasks, args.every(), args.seconds)
}
