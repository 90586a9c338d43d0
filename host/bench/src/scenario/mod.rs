//! What can be measured, a file for each scenario. Each starts hosts of its own, in a place of its own.

mod add;
mod evenness;
mod idle;
mod million;
mod peers;
mod plugins;
mod quick;
mod resets;
mod restart;
mod rpc;
mod saturated;
mod siege;
mod sweep;
mod ticks;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::args::{Args, ScenarioName};
use crate::host::Place;
use crate::loaded::Load;
use crate::machine::Machine;
use crate::report::Report;

/// How many tasks tick, and how often, where the command line says nothing else.
const TASKS: u32 = 10_000;
const MANY_TASKS: u32 = 100_000;
const EVERY: Duration = Duration::from_secs(1);

/// Measures what the arguments ask for.
pub(crate) async fn run(args: &Args) -> anyhow::Result<Report> {
    let bench = Bench { args, program: args.daemon()? };
    let taskhost = version(&bench.program).await?;
    let sections = match args.scenario() {
        ScenarioName::All => {
            let mut sections = ticks::beside_spinners(&bench, bench.load(TASKS, EVERY)).await?;
            sections.push(ticks::alone(&bench, bench.load(MANY_TASKS, EVERY)).await?);
            sections.push(saturated::measure(&bench).await?);
            sections.push(idle::measure(&bench).await?);
            sections.extend(add::measure(&bench).await?);
            sections.extend(rpc::measure(&bench).await?);
            sections.push(restart::measure(&bench).await?);
            sections
        }
        ScenarioName::Ticks => vec![ticks::alone(&bench, bench.load(TASKS, EVERY)).await?],
        ScenarioName::Saturated => vec![saturated::measure(&bench).await?],
        ScenarioName::Spinners => ticks::beside_spinners(&bench, bench.load(TASKS, EVERY)).await?,
        ScenarioName::Idle => vec![idle::measure(&bench).await?],
        ScenarioName::Add => add::measure(&bench).await?,
        ScenarioName::Rpc => rpc::measure(&bench).await?,
        ScenarioName::Restart => vec![restart::measure(&bench).await?],
        ScenarioName::Million => vec![million::measure(&bench).await?],
        ScenarioName::Plugins => vec![plugins::measure(&bench).await?],
        ScenarioName::Sweep => vec![sweep::measure(&bench).await?],
        ScenarioName::Peers => vec![peers::measure(&bench).await?],
        ScenarioName::Resets => vec![resets::measure(&bench)?],
        ScenarioName::Evenness => vec![evenness::measure(&bench)?],
        ScenarioName::Siege => vec![siege::measure(&bench).await?],
        ScenarioName::Quick => vec![quick::measure(&bench).await?],
    };
    Ok(Report { taskhost, optimised: !cfg!(debug_assertions), machine: Machine::this()?, sections })
}

/// What scenarios have in common.
struct Bench<'a> {
    args: &'a Args,
    program: PathBuf,
}

impl Bench<'_> {
    fn place(&self) -> anyhow::Result<Place> {
        Place::new(self.program.clone(), self.args.host_options(), &self.args.dir())
    }

    /// As the command line has it, else as given here.
    fn load(&self, tasks: u32, every: Duration) -> Load {
        Load {
            tasks: self.args.tasks.unwrap_or(tasks),
            every: self.args.every.unwrap_or(every),
            measured: self.args.measured(),
            settled: true,
        }
    }

    /// The command that measures a scenario with these flags.
    fn command(&self, scenario: &str, flags: &str) -> String {
        let options = self.args.host_options().join(" ");
        let words = ["taskbench", scenario, flags, &options];
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// The version of a program, in its own words.
async fn version(program: &Path) -> anyhow::Result<String> {
    let output = Command::new(program).arg("--version").output().await;
    let output = output.with_context(|| format!("failed to start {}", program.display()))?;
    ensure!(output.status.success(), "{} is no taskhost: it does not tell its version", program.display());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
