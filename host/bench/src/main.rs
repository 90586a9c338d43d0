//! `taskbench`: measures the real daemon from outside, beside the raw engine loop in the same run.
//!
//! It boots `taskhost` on a directory and socket of its own, loads it over the stream as any client would, and then reads
//! what the host says of itself (`Host.Info`) and what the kernel says of its process (`/proc`). While a window is measured
//! this program does as good as nothing, so that it takes nothing from what it measures. One file per scenario in [`scenario`].

mod args;
mod bare;
mod disk;
mod fresh_logs;
mod guest_clock;
mod host;
mod hostile;
mod load;
mod loaded;
mod machine;
mod pipeline;
mod plot;
mod procfs;
mod raw_loop;
mod report;
mod scenario;
mod window;

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Args;
use crate::report::Report;

/// As in the daemon, so that the raw loop is measured with the same.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A goal was missed, and `--check` or `--quick` was given.
const EXIT_GOAL_MISSED: u8 = 3;

/// As shells tell that a program was interrupted.
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let args = Args::parse();
    match bench(&args) {
        Ok(Some(report)) if args.is_checked() && report.missed().next().is_some() => ExitCode::from(EXIT_GOAL_MISSED),
        Ok(Some(_)) => ExitCode::SUCCESS,
        Ok(None) => ExitCode::from(EXIT_INTERRUPTED),
        Err(error) => {
            eprintln!("taskbench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what the arguments ask for and shows it; `None` if it was interrupted.
fn bench(args: &Args) -> anyhow::Result<Option<Report>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Some(report) = runtime.block_on(until_interrupted(scenario::run(args)))? else { return Ok(None) };
    write!(io::stdout(), "{report}").context("failed to write the table")?;
    if let Some(file) = &args.json {
        let json = serde_json::to_string_pretty(&report)? + "\n";
        fs::write(file, json).with_context(|| format!("failed to write {}", file.display()))?;
    }
    Ok(Some(report))
}

/// What `work` comes to; dropped, and with it the host that it started, when Ctrl-C or SIGTERM comes first.
async fn until_interrupted<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<Option<T>> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = work => done.map(Some),
        interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| None).context("failed to wait for Ctrl-C"),
        _ = terminate.recv() => Ok(None),
    }
}
