//! How long a host with many tasks is away: killed, and stopped as it should be.

use std::time::Duration;

use anyhow::ensure;
use taskhost_core::time::format_duration;

use super::Bench;
use crate::host::{End, Host, Place};
use crate::load;
use crate::loaded::Load;
use crate::report::{Section, Unit, ms, quantile};

/// As many as the goal is for, where the command line says nothing else.
const TASKS: u32 = 100_000;
const EVERY: Duration = Duration::from_secs(1);

/// The longest that a host may take from exec until all its tasks are registered.
const READY_GOAL_MS: f64 = 1000.0;

pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Section> {
    let args = bench.args;
    let load = bench.load(TASKS, EVERY);
    let place = bench.place()?;
    let host = place.start().await?;
    let empty = host.ready_after();
    let loaded = put(&host, load, args.uptime).await;
    let (mut host, ()) = host.survived(loaded).await?;
    let mut killed = Vec::new();
    let mut stopped = Vec::new();
    let mut draining = Vec::new();
    for _ in 0..args.restarts {
        (host, _) = restart(&place, host, End::Kill, load.tasks).await?;
        killed.push(host.ready_after());
        // What was missed is told, and all tick as before.
        load::wait_until_ticking(&host, load.tasks, load.every).await?;
        let drained;
        (host, drained) = restart(&place, host, End::Terminate, load.tasks).await?;
        stopped.push(host.ready_after());
        draining.push(drained);
    }
    host.end(End::Terminate).await?;

    let title = format!("restart with {} tasks, every {}", load.tasks, load.every_text());
    let (every, uptime) = (load.every_text(), format_duration(args.uptime));
    let flags = format!("--tasks {} --every {every} --restarts {} --uptime {uptime}", load.tasks, args.restarts);
    let mut section = Section::new(title, bench.command("restart", &flags));
    section.figure("ready without tasks, from exec", ms(empty), Unit::Ms);
    section.figure("ready after SIGKILL, median", ms(quantile(&mut killed, 0.5)), Unit::Ms);
    section.goal("ready after SIGKILL, slowest", ms(quantile(&mut killed, 1.0)), Unit::Ms, READY_GOAL_MS);
    section.figure("ready after SIGTERM, median", ms(quantile(&mut stopped, 0.5)), Unit::Ms);
    section.goal("ready after SIGTERM, slowest", ms(quantile(&mut stopped, 1.0)), Unit::Ms, READY_GOAL_MS);
    section.figure("draining at SIGTERM, slowest", ms(quantile(&mut draining, 1.0)), Unit::Ms);
    Ok(section)
}

async fn put(host: &Host, load: Load, uptime: Duration) -> anyhow::Result<()> {
    load::add_ticking(host.client(), load.tasks, load.every).await?;
    load::wait_until_ticking(host, load.tasks, load.every).await?;
    tokio::time::sleep(uptime).await;
    Ok(())
}

/// Ends the host and starts the next, which must have the tasks from its first moment on.
async fn restart(place: &Place, host: Host, how: End, tasks: u32) -> anyhow::Result<(Host, Duration)> {
    let ending = host.end(how).await?;
    let host = place.start().await?;
    let registered = host.info().await?.tasks;
    ensure!(registered == u64::from(tasks), "the host is ready with {registered} of {tasks} tasks");
    Ok((host, ending))
}
