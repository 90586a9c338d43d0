//! A host without tasks.

use std::time::Duration;

use super::Bench;
use crate::procfs::resident_bytes;
use crate::report::{Section, Unit};
use crate::window::Window;

/// How long the host has been ready before it is looked at.
const REST: Duration = Duration::from_secs(3);

/// How long it is looked at, at least: what happens each second or less often is to happen a few times.
const SHORTEST_WINDOW: Duration = Duration::from_secs(20);

/// The most that its threads may wake up, all together.
const WAKE_UPS_GOAL_PER_SECOND: f64 = 10.0;

/// The most memory that it may have: 25 MB.
const MEMORY_GOAL_MIB: f64 = 25e6 / (1 << 20) as f64;

pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Section> {
    let length = bench.args.measured().max(SHORTEST_WINDOW);
    let (window, resident_bytes) = look(bench, length).await?;
    let flags = format!("--seconds {}", length.as_secs());
    let mut section = Section::new("a host without tasks", bench.command("idle", &flags));
    section.goal("wake-ups", window.per_second(window.wake_ups()), Unit::PerSecond, WAKE_UPS_GOAL_PER_SECOND);
    for (thread, wake_ups) in window.wake_ups_by_thread().into_iter().filter(|(_, wake_ups)| *wake_ups > 0) {
        section.figure(format!("  of them, thread {thread}"), window.per_second(wake_ups), Unit::PerSecond);
    }
    section.figure("CPU (100 % is one core)", window.percent(window.cpu()), Unit::Percent);
    section.goal("memory", resident_bytes as f64 / f64::from(1 << 20), Unit::MiB, MEMORY_GOAL_MIB);
    Ok(section)
}

/// Leaves a host alone for so long; answers with its memory too.
pub(super) async fn look(bench: &Bench<'_>, length: Duration) -> anyhow::Result<(Window, u64)> {
    let place = bench.place()?;
    let host = place.start().await?;
    let looked = async {
        tokio::time::sleep(REST).await;
        let window = Window::undisturbed(&host, length).await?;
        Ok((window, resident_bytes(host.pid())?))
    };
    let looked = looked.await;
    host.finish(looked).await
}
