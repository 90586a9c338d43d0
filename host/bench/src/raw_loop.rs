//! What the engine alone takes for the same runs: the floor under the CPU of a tick, and the ceiling over ticks a second.
//!
//! Sampled before the host is started and again when it has ended, so that a machine that became slower is slower in both.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use taskhost_engine::floor::{self, Pace, Reset};

use crate::report::{Section, Unit, median, us};

/// The plugin that the tasks run: the built-in one.
pub(crate) const TICKER: &[u8] = include_bytes!("../../../plugins/ticker/ticker.wasm");

/// How often it is sampled at a time, and how long each sample takes.
const SAMPLES: usize = 3;
const SAMPLE_WALL: Duration = Duration::from_millis(700);

/// How long a loop that rests does so, like a worker of a host that was told nothing else.
pub(crate) const REST: Duration = Duration::from_millis(1);

/// All samples.
#[derive(Clone, Debug)]
pub(crate) struct RawLoop {
    /// As many as the host has workers.
    threads: usize,
    /// How a host rests with these tasks, where that is asked for.
    pace: Option<Pace>,
    at_pace: Vec<Speed>,
    /// Where that is more than one.
    on_one: Vec<Speed>,
    on_all: Vec<Speed>,
}

/// One sample.
#[derive(Clone, Copy, Debug)]
struct Speed {
    cpu_per_run: Duration,
    runs_per_second: f64,
}

impl RawLoop {
    /// Takes the first samples.
    pub(crate) fn new(workers: Option<u32>) -> anyhow::Result<Self> {
        let threads = match workers {
            Some(workers) => workers as usize,
            None => std::thread::available_parallelism()?.get(),
        };
        let (pace, at_pace) = (None, Vec::new());
        let mut raw_loop = Self { threads, pace, at_pace, on_one: Vec::new(), on_all: Vec::new() };
        raw_loop.sample()?;
        Ok(raw_loop)
    }

    /// Takes samples as well of a loop that makes so many runs a second, all threads together, and rests so long in between, as a worker
    /// does: a processor that has slept is slower at first.
    pub(crate) fn with_pace(mut self, runs_per_second: f64, rest: Duration) -> anyhow::Result<Self> {
        let between = Duration::from_secs_f64(self.threads as f64 / runs_per_second);
        let attempts = (rest.as_secs_f64() / between.as_secs_f64()).ceil().max(1.0);
        self.pace = Some(Pace { attempts: attempts as u64, period: between.mul_f64(attempts) });
        self.sample_pace()?;
        Ok(self)
    }

    fn sample_pace(&mut self) -> anyhow::Result<()> {
        for _ in 0..SAMPLES {
            self.at_pace
                .extend(self.pace.map(|pace| speed_with(self.threads, Reset::default(), Some(pace))).transpose()?);
        }
        Ok(())
    }

    /// Takes more samples. Blocks, and keeps all cores busy: never while a host is measured.
    pub(crate) fn sample(&mut self) -> anyhow::Result<()> {
        for _ in 0..SAMPLES {
            self.on_all.push(speed(self.threads)?);
            if self.threads > 1 {
                self.on_one.push(speed(1)?);
            }
        }
        self.sample_pace()
    }

    /// The processor time of one run, on as many threads as the host has workers.
    pub(crate) fn cpu_per_run_us(&self) -> f64 {
        median(&cpu_per_run_us(&self.on_all))
    }

    /// The same of a loop that rests, where that was asked for.
    pub(crate) fn cpu_per_run_at_pace_us(&self) -> Option<f64> {
        (!self.at_pace.is_empty()).then(|| median(&cpu_per_run_us(&self.at_pace)))
    }

    /// On as many threads as the host has workers.
    pub(crate) fn runs_per_second(&self) -> f64 {
        median(&runs_per_second(&self.on_all))
    }

    /// Shows what it takes.
    pub(crate) fn show(&self, section: &mut Section) {
        if !self.on_one.is_empty() {
            section.median("raw engine loop, CPU per run, 1 thread", cpu_per_run_us(&self.on_one), Unit::Us);
            section.median("raw engine loop, runs, 1 thread", runs_per_second(&self.on_one), Unit::PerSecond);
        }
        let threads = if self.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", self.threads) };
        section.median(format!("raw engine loop, CPU per run, {threads}"), cpu_per_run_us(&self.on_all), Unit::Us);
        section.median(format!("raw engine loop, runs, {threads}"), runs_per_second(&self.on_all), Unit::PerSecond);
        if !self.at_pace.is_empty() {
            section.median("raw engine loop with rests, CPU per run", cpu_per_run_us(&self.at_pace), Unit::Us);
            section.median("raw engine loop with rests, runs", runs_per_second(&self.at_pace), Unit::PerSecond);
        }
    }
}

fn speed(threads: usize) -> anyhow::Result<Speed> {
    speed_with(threads, Reset::default(), None)
}

/// The processor time of a run on one thread, in slots that are reset in some way.
pub(crate) fn cpu_per_run_with(reset: Reset) -> anyhow::Result<f64> {
    Ok(us(speed_with(1, reset, None)?.cpu_per_run))
}

fn speed_with(threads: usize, reset: Reset, pace: Option<Pace>) -> anyhow::Result<Speed> {
    let floor = floor::measure(&Bytes::from_static(TICKER), threads, SAMPLE_WALL, reset, pace);
    let floor = floor.context("failed to run the engine alone")?;
    let attempts = floor.attempts.max(1) as f64;
    Ok(Speed {
        cpu_per_run: floor.cpu.div_f64(attempts),
        runs_per_second: floor.attempts as f64 / SAMPLE_WALL.as_secs_f64(),
    })
}

fn cpu_per_run_us(speeds: &[Speed]) -> Vec<f64> {
    speeds.iter().map(|speed| us(speed.cpu_per_run)).collect()
}

fn runs_per_second(speeds: &[Speed]) -> Vec<f64> {
    speeds.iter().map(|speed| speed.runs_per_second).collect()
}
