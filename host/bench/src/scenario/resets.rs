//! What it costs to make a slot of the pool as good as new, in the ways that there are.

use taskhost_engine::floor::Reset;

use super::Bench;
use crate::raw_loop::cpu_per_run_with;
use crate::report::{Section, Unit};

/// How often each way is measured: they take turns, so that a machine that becomes slower does so for all.
const ROUNDS: usize = 5;

const KIB: usize = 1 << 10;

/// The ways, the host's own first. The built-in plugin has a memory of 128 KiB, and writes to a few pages of it.
const WAYS: [(&str, Reset); 5] = [
    ("pagemap scan, copies up to 128 KiB (the host's)", Reset { pagemap_scan: true, memory_bytes: 128 * KIB }),
    ("pagemap scan, copies nothing", Reset { pagemap_scan: true, memory_bytes: 0 }),
    ("no pagemap scan, copies up to 128 KiB", Reset { pagemap_scan: false, memory_bytes: 128 * KIB }),
    ("no pagemap scan, copies up to 64 KiB", Reset { pagemap_scan: false, memory_bytes: 64 * KIB }),
    ("no pagemap scan, copies nothing", Reset { pagemap_scan: false, memory_bytes: 0 }),
];

pub(super) fn measure(bench: &Bench<'_>) -> anyhow::Result<Section> {
    let mut section = Section::new("making a slot as good as new", bench.command("resets", ""));
    let mut samples = WAYS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for ((_, reset), samples) in WAYS.iter().zip(&mut samples) {
            samples.push(cpu_per_run_with(*reset)?);
        }
    }
    for ((way, _), samples) in WAYS.iter().zip(samples) {
        section.median(*way, samples, Unit::Us);
    }
    Ok(section)
}
