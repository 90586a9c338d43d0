//! Honest tasks beside a hundred that mean harm, of all kinds that the tests of the sandbox know.

use std::time::Duration;

use super::Bench;
use crate::hostile;
use crate::load;
use crate::procfs::{peak_resident_bytes, resident_bytes};
use crate::report::{Section, Unit};
use crate::window::Window;

/// The honest ones, where the command line says nothing else.
const TASKS: u32 = 10_000;
const EVERY: Duration = Duration::from_secs(1);

/// The most that guests may be entered late, at the 99th percentile, hostile ones among them.
const LATENESS_P99_GOAL_MS: f64 = 10.0;

/// The most memory that the attack may cost beyond what the tasks have: what attackers may have at once, and buffers.
const MEMORY_GOAL_MIB: f64 = 2048.0;

pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Section> {
    let place = bench.place()?;
    let host = place.start().await?;
    let measured = async {
        let args = bench.args;
        let load = bench.load(TASKS, EVERY);
        load::add_ticking(host.client(), load.tasks, load.every).await?;
        load::wait_until_ticking(&host, load.tasks, load.every).await?;
        let before = resident_bytes(host.pid())?;
        hostile::add(host.client(), args.hostile).await?;
        let (skipped_before, otherwise_before) = hostile::honest_ended_badly(&host).await?;
        let window = Window::settled(&host, args.measured()).await?;
        let (skipped, otherwise) = hostile::honest_ended_badly(&host).await?;
        let lateness = window.lateness();
        let hostile = hostile::ended(host.client()).await?;

        let title = format!("{} tasks, every {}, beside {} hostile ones", load.tasks, load.every_text(), args.hostile);
        let flags = format!("{} --hostile {}", load.flags(), args.hostile);
        let mut section = Section::new(title, bench.command("siege", &flags));
        section.figure("runs that ended with success", window.per_second(window.ended("success")), Unit::PerSecond);
        section.goal("honest due times skipped", skipped.saturating_sub(skipped_before) as f64, Unit::Count, 0.0);
        section.goal(
            "honest due times that ended otherwise",
            otherwise.saturating_sub(otherwise_before) as f64,
            Unit::Count,
            0.0,
        );
        section.figure("lateness p50", lateness.p50, Unit::Ms);
        section.goal("lateness p99, of all", lateness.p99, Unit::Ms, LATENESS_P99_GOAL_MS);
        section.figure("lateness max, of all", lateness.max, Unit::Ms);
        for (outcome, times) in hostile {
            section.figure(format!("hostile runs that ended as {outcome}"), times as f64, Unit::Count);
        }
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        section.figure("memory before the attack", mib(before), Unit::MiB);
        let peak = peak_resident_bytes(host.pid())?;
        section.goal("memory at most, beyond that", mib(peak.saturating_sub(before)), Unit::MiB, MEMORY_GOAL_MIB);
        section.figure("memory at the end", mib(resident_bytes(host.pid())?), Unit::MiB);
        section.figure("CPU (100 % is one core)", window.percent(window.cpu()), Unit::Percent);
        Ok(section)
    };
    let measured = measured.await;
    host.finish(measured).await
}
