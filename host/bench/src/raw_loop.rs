//! What the engine alone takes for the same runs: the floor under the CPU of a tick.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use taskhost_engine::floor;

/// The plugin that the tasks run: the built-in one.
const TICKER: &[u8] = include_bytes!("../../../plugins/ticker/ticker.wasm");

/// How long it loops.
const WALL: Duration = Duration::from_secs(3);

/// The processor time of one run with nothing around it, on as many threads as the host has workers.
pub(crate) fn cpu_per_run(workers: Option<u32>) -> anyhow::Result<Duration> {
    let threads = match workers {
        Some(workers) => workers as usize,
        None => std::thread::available_parallelism()?.get(),
    };
    let floor = floor::measure(&Bytes::from_static(TICKER), threads, WALL).context("failed to run the engine alone")?;
    Ok(floor.cpu.div_f64(floor.attempts.max(1) as f64))
}
