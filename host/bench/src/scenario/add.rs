//! Adding tasks whose plugin is known: the latency of one, beside what the disk itself takes to make a write durable, and the
//! rate of many, beside bare commits of as many tasks as are on the way.
//!
//! Each takes turns with its floor, on the same disk and within the same seconds, so that a slow moment of the disk is in both.
//!
//! A bare group commit is what the store's own floor does: the rows of so many definitions, made ready beforehand, written with the
//! host's schema, pragmas and log in one transaction, one after the other, and nothing else.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::getpid;
use serde_json::json;
use taskhost_api::{AddTask, TaskUnitApiClient};
use taskhost_core::name::TaskName;
use taskhost_core::ports::{Actor, Clock, Definition, SystemClock};
use taskhost_core::schedule::{ScheduleText, Zone};
use taskhost_core::spec::{SpecPatch, TaskSpec};
use taskhost_store::floor::Floor;

use super::Bench;
use crate::disk::Probe;
use crate::host::{Host, Place};
use crate::load;
use crate::pipeline::{self, Calls, blocking};
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

/// How many adds are on the way at once, and how many tasks have a bare commit.
const IN_FLIGHT: usize = 64;

/// How often the rate is measured.
const ROUNDS: usize = 5;

/// The most that the rate of bare commits may be over that of adds.
const RATE_GOAL: f64 = 1.25;

pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Vec<Section>> {
    Ok(vec![one_at_a_time(bench).await?, many_at_a_time(bench).await?])
}

async fn one_at_a_time(bench: &Bench<'_>) -> anyhow::Result<Section> {
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

async fn many_at_a_time(bench: &Bench<'_>) -> anyhow::Result<Section> {
    let place = bench.place()?;
    let bare_place = bench.place()?;
    let host = place.start().await?;
    let (mut bare_rows, mut adds) = (Vec::new(), Vec::new());
    let (mut bare_cpu, mut cpu) = (Vec::new(), Vec::new());
    let count = bench.args.pipelined_adds;
    let measured = async {
        let socket = pipeline::unix_address(&host).await?;
        let mut floor = Floor::open(bare_place.path())?;
        for round in 0..ROUNDS as u32 {
            let numbers = round * count..(round + 1) * count;
            let bare = numbers.clone().map(definition).collect::<anyhow::Result<Vec<_>>>()?;
            let own_cpu = Used::of(getpid())?.cpu;
            let took;
            (floor, took) = blocking(move || {
                let took = floor.add(&bare, Actor::Uid(0), IN_FLIGHT)?;
                Ok((floor, took))
            })
            .await?;
            bare_rows.push(took / count);
            bare_cpu.push(Used::of(getpid())?.cpu.saturating_sub(own_cpu) / count);
            let before = Used::of(host.pid())?;
            let socket = socket.clone();
            let took = blocking(move || {
                let calls: Calls = numbers.map(|number| add_call(number) + "\n").collect();
                pipeline::over_unix(UnixStream::connect(socket)?, &calls, IN_FLIGHT)
            });
            adds.push(took.await? / count);
            cpu.push(Used::of(host.pid())?.cpu.saturating_sub(before.cpu) / count);
        }
        Ok(())
    };
    let measured = measured.await;
    host.finish(measured).await?;

    let title = format!("adding tasks, {IN_FLIGHT} on the way");
    let mut section = Section::new(title, bench.command("add", &format!("--pipelined-adds {count}")));
    let (adds, bare_rows) = (quantile(&mut adds, 0.5), quantile(&mut bare_rows, 0.5));
    section.figure("TaskUnit.Add", 1.0 / adds.as_secs_f64(), Unit::PerSecond);
    section.figure(format!("bare commits of {IN_FLIGHT}, tasks"), 1.0 / bare_rows.as_secs_f64(), Unit::PerSecond);
    section.goal("the bare rate over the host's", adds.div_duration_f64(bare_rows), Unit::Times, RATE_GOAL);
    let (cpu, bare_cpu) = (quantile(&mut cpu, 0.5), quantile(&mut bare_cpu, 0.5));
    section.figure("CPU of the host per Add", us(cpu), Unit::Us);
    section.figure("CPU of bare commits per task", us(bare_cpu), Unit::Us);
    section.figure("the host's CPU over the bare one's", cpu.div_duration_f64(bare_cpu), Unit::Times);
    Ok(section)
}

/// The task as the host stores it.
fn definition(number: u32) -> anyhow::Result<Definition> {
    let schedule = ScheduleText { every: Some(EVERY.to_owned()), ..ScheduleText::default() };
    let patch = SpecPatch { schedules: Some(Some(vec![schedule])), ..SpecPatch::default() };
    let spec = TaskSpec::default().patched(patch, &Zone::utc())?;
    Ok(Definition {
        // Spread over all numbers, as random ids are.
        id: u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1,
        name: TaskName::new(&many_name(number))?,
        revision: 1,
        spec: Arc::new(spec),
        added_at: SystemClock.now(),
        due_at_once: false,
        paused: None,
    })
}

fn add_call(number: u32) -> String {
    let request = load::ticker(&many_name(number), EVERY);
    json!({ "jsonrpc": "2.0", "id": number, "method": "TaskUnit.Add", "params": request }).to_string()
}

fn many_name(number: u32) -> String {
    format!("many-{number}")
}
