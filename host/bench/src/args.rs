//! The command line of `taskbench`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use taskhost_core::time::{format_duration, parse_duration};

/// The widest help text, in columns.
const MAX_HELP_COLUMNS: usize = 100;

/// The name of the daemon's program.
const DAEMON: &str = "taskhost";

/// Measures a taskhost from outside, beside the raw engine loop in the same run.
#[derive(Debug, Parser)]
#[command(name = "taskbench", version, max_term_width = MAX_HELP_COLUMNS)]
#[command(after_help = "Figures of a build that is not optimised mean nothing: build both programs with --release.")]
pub(crate) struct Args {
    /// What to measure
    #[arg(value_enum, default_value_t = ScenarioName::All)]
    pub(crate) scenario: ScenarioName,
    /// How many tasks are loaded (ticks, spinners, restart, siege)
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tasks: u32,
    /// How often each of them runs (ticks, spinners, restart, siege)
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration)]
    pub(crate) every: Duration,
    /// How long is measured (ticks, spinners, siege); where that is shorter than the host's window of lateness, the rest of it
    /// is waited for first
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: u32,
    /// How many tasks that never come to an end are added beside the others (spinners)
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) spinners: u32,
    /// How many hostile tasks are added beside the others (siege)
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) hostile: u32,
    /// How many tasks are added one after the other (add)
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) adds: u32,
    /// How many tasks are added in each round with many on the way (add)
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pipelined_adds: u32,
    /// How many calls are made in each round (rpc)
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) calls: u32,
    /// How many times the host is killed, and how many times it is stopped (restart)
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) restarts: u32,
    /// How many worker threads the host has [default: the host's]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<u32>,
    /// The daemon's program [default: taskhost beside this program]
    #[arg(long, value_name = "PATH")]
    taskhost: Option<PathBuf>,
    /// The directory in which the hosts' data is kept while they run; its disk is measured too
    /// [default: the system's for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Write the report to this file too, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Exit with 3 if a goal was missed
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScenarioName {
    /// Every scenario but `siege`, with the ticks measured once
    All,
    /// Ticks a second, CPU, lateness and memory under N tasks
    Ticks,
    /// The same, and again with tasks beside them that never come to an end
    Spinners,
    /// Adding tasks whose plugin is known: the latency of one beside the disk's own, and the rate of many beside bare commits
    Add,
    /// Asking for a task over the Unix socket and over HTTP, beside servers with nothing in them
    Rpc,
    /// The time from exec until N tasks are registered and the host is ready
    Restart,
    /// N tasks beside hostile ones of every kind; not part of `all`
    Siege,
}

impl Args {
    /// The program to measure.
    pub(crate) fn daemon(&self) -> anyhow::Result<PathBuf> {
        let path = match &self.taskhost {
            Some(path) => path.clone(),
            None => std::env::current_exe().context("failed to find this program")?.with_file_name(DAEMON),
        };
        anyhow::ensure!(
            path.is_file(),
            "there is no {}: build it beside this program, or give --taskhost",
            path.display()
        );
        Ok(path)
    }

    /// Where hosts keep their data.
    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// How the tasks run, as the host reads it.
    pub(crate) fn every(&self) -> String {
        format_duration(self.every)
    }

    /// How long is measured.
    pub(crate) fn measured(&self) -> Duration {
        Duration::from_secs(self.seconds.into())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_plain_call_runs_everything_at_the_scale_of_the_goals() {
        let args = Args::try_parse_from(["taskbench"]).expect("nothing is required");
        assert_eq!(args.scenario, ScenarioName::All);
        assert_eq!((args.tasks, args.every().as_str(), args.spinners), (10_000, "1s", 50));
    }

    #[test]
    fn no_tasks_and_no_duration_are_usage_errors() {
        for wrong in [["ticks", "--tasks", "0"], ["ticks", "--every", "often"], ["tocks", "--tasks", "1"]] {
            assert!(Args::try_parse_from(["taskbench"].into_iter().chain(wrong)).is_err(), "{wrong:?}");
        }
    }
}
