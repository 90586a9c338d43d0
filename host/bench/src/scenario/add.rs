//! The latency of adding one task whose plugin is known, beside what the disk itself takes to make a write durable.
//!
//! Adds and writes take turns, on the same disk and within the same seconds, so that a slow moment of the disk is in both.

use std::time::{Duration, Instant};

use anyhow::Context;
use taskhost_api::{AddTask, TaskUnitApiClient};

use super::Bench;
use crate::disk::Probe;
use crate::host::{Host, Place};
use crate::load;
use crate::procfs::Used;
use crate::report::{Section, Unit, ms, quantile, us};

/// Often enough to be a task like any other, so seldom that none runs meanwhile.
const EVERY: &str = "1d";

/// How many adds go before those that are measured, while the host still grows its logs.
const WARM_UP_ADDS: u32 = 50;

/// The most that adding a task may take beyond the disk's write.
const BEYOND_DISK_GOAL_MS: f64 = 1.0;

/// How long each took.
#[derive(Default)]
struct Latencies {
    add: Vec<Duration>,
    overwrite: Vec<Duration>,
    append: Vec<Duration>,
    written_bytes: u64,
    cpu: Duration,
}

pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Section> {
    let place = bench.place()?;
    let host = place.start().await?;
    let latencies = take_turns(&place, &host, bench.args.adds).await;
    let Latencies { mut add, mut overwrite, mut append, written_bytes, cpu } = host.finish(latencies).await?;

    let adds = f64::from(bench.args.adds);
    let flags = format!("--adds {}", bench.args.adds);
    let mut section = Section::new("adding one task at a time, its plugin being known", bench.command("add", &flags));
    let (add_p50, overwrite_p50) = (quantile(&mut add, 0.5), quantile(&mut overwrite, 0.5));
    section.figure("TaskUnit.Add, median", ms(add_p50), Unit::Ms);
    section.figure("TaskUnit.Add, p99", ms(quantile(&mut add, 0.99)), Unit::Ms);
    section.figure("fdatasync of an overwrite, median", ms(overwrite_p50), Unit::Ms);
    section.figure("fdatasync of an overwrite, p99", ms(quantile(&mut overwrite, 0.99)), Unit::Ms);
    section.figure("fdatasync of an append, median", ms(quantile(&mut append, 0.5)), Unit::Ms);
    section.figure("fdatasync of an append, p99", ms(quantile(&mut append, 0.99)), Unit::Ms);
    let beyond = ms(add_p50) - ms(overwrite_p50);
    section.goal("Add beyond the overwrite, medians", beyond, Unit::Ms, BEYOND_DISK_GOAL_MS);
    section.figure("written to disk per Add", written_bytes as f64 / 1024.0 / adds, Unit::KiB);
    section.figure("CPU of the host per Add", us(cpu) / adds, Unit::Us);
    Ok(section)
}

async fn take_turns(place: &Place, host: &Host, adds: u32) -> anyhow::Result<Latencies> {
    let mut overwriting = Probe::overwriting(place.path())?;
    let mut appending = Probe::appending(place.path())?;
    for number in 0..WARM_UP_ADDS {
        add_one(host, &format!("warm-up-{number}")).await?;
    }
    let mut latencies = Latencies::default();
    let before = Used::of(host.pid())?;
    for number in 0..adds {
        latencies.add.push(add_one(host, &format!("add-{number}")).await?);
        latencies.overwrite.push(overwriting.write().context("failed to overwrite")?);
        latencies.append.push(appending.write().context("failed to append")?);
    }
    let after = Used::of(host.pid())?;
    latencies.written_bytes = after.written_bytes.saturating_sub(before.written_bytes);
    latencies.cpu = after.cpu.saturating_sub(before.cpu);
    Ok(latencies)
}

/// Adds a task; answers how long that took.
async fn add_one(host: &Host, name: &str) -> anyhow::Result<Duration> {
    let request = AddTask::Spec(Box::new(load::ticker(name, EVERY)));
    let asked = Instant::now();
    host.client().add(request).await.with_context(|| format!("failed to add `{name}`"))?;
    Ok(asked.elapsed())
}
