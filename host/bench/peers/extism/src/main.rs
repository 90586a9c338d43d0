//! A fresh instance by Extism for every tick: one after the other, as fast as can be, on one thread.

use std::error::Error;
use std::time::{Duration, Instant};

use extism::{CompiledPlugin, Manifest, Plugin, PluginBuilder, Wasm};
use rustix::time::{ClockId, clock_gettime};

const GUEST_WAT: &str = include_str!("tick.wat");
const WARM_UP: Duration = Duration::from_secs(1);
const INPUT: &str = "tick-1 tick at 2026-01-01T00:00:00.000000Z";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, _tasks, seconds] = arguments.as_slice() else { return Err("usage: peer-extism TASKS SECONDS".into()) };
    let measured = Duration::from_secs(seconds.parse()?);
    let manifest = Manifest::new([Wasm::data(wat::parse_str(GUEST_WAT)?)]);
    let plugin = CompiledPlugin::new(PluginBuilder::new(manifest).with_cache_disabled())?;

    ticks(&plugin, WARM_UP)?;
    let (started, cpu) = (Instant::now(), cpu());
    let ticks = ticks(&plugin, measured)? as f64;
    let (took, cpu) = (started.elapsed(), self::cpu() - cpu);
    println!(
        r#"{{"ticks_per_second": {:.1}, "cpu_per_tick_us": {:.3}}}"#,
        ticks / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / ticks
    );
    Ok(())
}

fn ticks(plugin: &CompiledPlugin, wall: Duration) -> Result<u64, Box<dyn Error>> {
    let started = Instant::now();
    let mut ticks = 0;
    while started.elapsed() < wall {
        let line: String = Plugin::new_from_compiled(plugin)?.call("run", INPUT)?;
        assert!(line.starts_with("Task tick-1"));
        ticks += 1;
    }
    Ok(ticks)
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
