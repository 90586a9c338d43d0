//! How even the machine is: whether the same work takes the same time, over and over.
//!
//! What shares its caches and its way to memory (other machines on the same processor, mostly) makes work slower that needs them, for
//! some time. A host that uses three quarters of its cores gets behind then, and its lateness tells of the machine.

use std::num::Wrapping;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};

use super::Bench;
use crate::report::{Section, Unit, median};

/// What the work goes over, in bytes: what stays within a core's caches, and what does not, as is so with 100,000 tasks.
const MEMORIES: [(&str, usize); 2] = [("16 KiB", 16 << 10), ("100 MB", 100_000_000)];

/// How many times a piece of work takes something from memory, and how many pieces are a window: some 50 ms, when it is slow.
const TOUCHES: usize = 100_000;
const PIECES: usize = 40;

/// How many windows are looked at on each core.
const WINDOWS: usize = 100;

/// By how much longer than the median a window takes that counts as slow.
const SLOW: f64 = 1.2;

const CACHE_LINE_BYTES: usize = 64;

pub(super) fn measure(bench: &Bench<'_>) -> anyhow::Result<Section> {
    let mut section = Section::new("how even the machine is", bench.command("evenness", ""));
    let cores = thread::available_parallelism()?.get();
    for (name, bytes) in MEMORIES {
        let mut windows = Vec::new();
        thread::scope(|scope| {
            let threads: Vec<_> = (0..cores).map(|core| scope.spawn(move || work(bytes, core))).collect();
            for thread in threads {
                windows.push(thread.join().ok().context("the work has panicked")?);
            }
            anyhow::Ok(())
        })?;
        // Each core by itself: one may be slower all the time.
        let over_median = windows.iter().flat_map(|windows| windows.iter().map(|window| window / median(windows)));
        let over_median: Vec<f64> = over_median.collect();
        let slow = over_median.iter().filter(|over| **over > SLOW).count();
        let worst = over_median.iter().copied().fold(0.0, f64::max);
        section.median(format!("{name}: a window of work, median"), windows.concat(), Unit::Ms);
        section.figure(
            format!("  windows over {SLOW} × that"),
            100.0 * slow as f64 / over_median.len() as f64,
            Unit::Percent,
        );
        section.figure("  the slowest, over the median", worst, Unit::Times);
    }
    Ok(section)
}

/// Does the same work all the time; answers how much processor time each window of it took, in ms.
fn work(bytes: usize, seed: usize) -> Vec<f64> {
    let memory = vec![1_u8; bytes];
    let lines = bytes / CACHE_LINE_BYTES;
    // A xorshift generator: cheap beside what it asks of the memory.
    let mut random = Wrapping(0x9e37_79b9_7f4a_7c15_u64 ^ seed as u64);
    let mut sum = 0_u64;
    let windows = (0..WINDOWS).map(|_| {
        let before = cpu_time();
        for _ in 0..TOUCHES * PIECES {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            sum += u64::from(memory[random.0 as usize % lines * CACHE_LINE_BYTES]);
        }
        (cpu_time() - before).as_secs_f64() * 1e3
    });
    let windows = windows.collect();
    std::hint::black_box(sum);
    windows
}

/// The processor time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}
