//! A process for every tick: this program once more, which writes a line and ends. One after the other, on one thread.

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

const WARM_UP: Duration = Duration::from_secs(1);
const INPUT: &str = "tick-1 tick at 2026-01-01T00:00:00.000000Z";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let seconds = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "tick", what] => {
            println!("Task {what}");
            return Ok(());
        }
        [_, _tasks, seconds] => seconds,
        _ => return Err("usage: peer-process TASKS SECONDS".into()),
    };
    let measured = Duration::from_secs(seconds.parse()?);
    ticks(WARM_UP)?;
    let (started, cpu_us) = (Instant::now(), cpu_us()?);
    let ticks = ticks(measured)? as f64;
    let (took, cpu_us) = (started.elapsed(), self::cpu_us()? - cpu_us);
    println!(
        r#"{{"ticks_per_second": {:.1}, "cpu_per_tick_us": {:.3}}}"#,
        ticks / took.as_secs_f64(),
        cpu_us as f64 / ticks
    );
    Ok(())
}

fn ticks(wall: Duration) -> Result<u64, Box<dyn Error>> {
    let program = std::env::current_exe()?;
    let started = Instant::now();
    let mut ticks = 0;
    while started.elapsed() < wall {
        let output = Command::new(&program).args(["tick", INPUT]).output()?;
        assert!(output.status.success() && output.stdout.starts_with(b"Task tick-1"));
        ticks += 1;
    }
    Ok(ticks)
}

/// Of this process and of its children that ended.
fn cpu_us() -> Result<i64, Box<dyn Error>> {
    let mut sum = 0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who)?;
        sum += usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    }
    Ok(sum)
}
