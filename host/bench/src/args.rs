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
    scenario: ScenarioName,
    /// Measure little, in about a minute, and exit with 3 if ratios are grossly worse than they were: for CI
    #[arg(long, conflicts_with = "scenario")]
    quick: bool,
    /// How many tasks are loaded [default: 10000; 100000 (restart); 1000000 (million); as many as nobody can run (saturated)]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tasks: Option<u32>,
    /// How often each of them runs [default: 1s; 60s (million)]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) every: Option<Duration>,
    /// How long is measured; where that is shorter than the host's window of lateness, and lateness is told, the rest of it is
    /// waited for first
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
    /// How long the tasks have run before that, so that the host has a history to read (restart)
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    pub(crate) uptime: Duration,
    /// How many distinct plugins are sent (plugins)
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) plugins: u32,
    /// How many tasks are loaded, one number after the other (sweep)
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    #[arg(default_values_t = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000])]
    pub(crate) counts: Vec<u32>,
    /// Draw lateness and CPU against the number of tasks, as SVG, in this directory (sweep)
    #[arg(long, value_name = "DIR")]
    pub(crate) plots: Option<PathBuf>,
    /// How many worker threads the host has [default: the host's]
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<u32>,
    /// How long due times wait for others in the host, and the raw loop with rests rests [default: 1ms, as the host's]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timer_slack: Option<Duration>,
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
    check: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScenarioName {
    /// `spinners`, `ticks` with 100000 tasks, `saturated`, `idle`, `add`, `rpc` and `restart`
    All,
    /// Ticks a second, CPU, lateness and memory under N tasks
    Ticks,
    /// Ticks a second of a host that is given more than it can do
    Saturated,
    /// The same as `ticks`, and again with tasks beside them that never come to an end
    Spinners,
    /// Wake-ups and memory of a host without tasks
    Idle,
    /// Adding tasks whose plugin is known: the latency of one beside the disk's own, and the rate of many beside bare commits
    Add,
    /// Asking for a task over the Unix socket and over HTTP, beside servers with nothing in them
    Rpc,
    /// The time from exec until N tasks are registered and the host is ready
    Restart,
    /// A million tasks, each once a minute
    Million,
    /// Many distinct plugins: how often they are compiled, mappings and memory
    Plugins,
    /// Lateness and CPU per tick from a thousand tasks to a million, with plots
    Sweep,
    /// Extism, a process per tick, tokio-cron-scheduler and a Go ticker beside the host; builds them with cargo and go
    Peers,
    /// N tasks beside hostile ones of every kind
    Siege,
    /// The raw engine loop with slots that are made as good as new in several ways
    Resets,
    /// Whether the machine takes the same time for the same work, over and over
    Evenness,
    /// What `--quick` asks for
    #[value(skip)]
    Quick,
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

    /// The options of its own that a host is started with.
    pub(crate) fn host_options(&self) -> Vec<String> {
        let workers = self.workers.map(|workers| format!("--workers={workers}"));
        let timer_slack = self.timer_slack.map(|slack| format!("--timer-slack={}", format_duration(slack)));
        [workers, timer_slack].into_iter().flatten().collect()
    }

    /// What to measure.
    pub(crate) fn scenario(&self) -> ScenarioName {
        if self.quick { ScenarioName::Quick } else { self.scenario }
    }

    /// Whether a missed goal is a failure.
    pub(crate) fn is_checked(&self) -> bool {
        self.check || self.quick
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
        assert_eq!(args.scenario(), ScenarioName::All);
        assert_eq!((args.tasks, args.every, args.spinners, args.is_checked()), (None, None, 50, false));
    }

    #[test]
    fn a_quick_call_is_one_of_its_own_and_checked() {
        let args = Args::try_parse_from(["taskbench", "--quick"]).expect("it needs no more");
        assert_eq!((args.scenario(), args.is_checked()), (ScenarioName::Quick, true));
        assert!(Args::try_parse_from(["taskbench", "ticks", "--quick"]).is_err());
        assert!(Args::try_parse_from(["taskbench", "quick"]).is_err(), "there is one way to ask for it");
    }

    #[test]
    fn a_sweep_takes_a_list_of_numbers() {
        let args = Args::try_parse_from(["taskbench", "sweep", "--counts", "10,200"]).expect("a list");
        assert_eq!(args.counts, [10, 200]);
    }

    #[test]
    fn no_tasks_and_no_duration_are_usage_errors() {
        for wrong in [["ticks", "--tasks", "0"], ["ticks", "--every", "often"], ["tocks", "--tasks", "1"]] {
            assert!(Args::try_parse_from(["taskbench"].into_iter().chain(wrong)).is_err(), "{wrong:?}");
        }
    }
}
