//! What can be measured, a file for each scenario. Each starts hosts of its own, in a place of its own.

mod add;
mod restart;
mod rpc;
mod siege;
mod ticks;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::args::{Args, ScenarioName};
use crate::host::Place;
use crate::machine::Machine;
use crate::report::Report;

/// Measures what the arguments ask for.
pub(crate) async fn run(args: &Args) -> anyhow::Result<Report> {
    let bench = Bench { args, program: args.daemon()? };
    let taskhost = version(&bench.program).await?;
    let sections = match args.scenario {
        ScenarioName::All => {
            let mut sections = ticks::beside_spinners(&bench).await?;
            sections.extend(add::measure(&bench).await?);
            sections.extend(rpc::measure(&bench).await?);
            sections.push(restart::measure(&bench).await?);
            sections
        }
        ScenarioName::Ticks => vec![ticks::alone(&bench).await?],
        ScenarioName::Spinners => ticks::beside_spinners(&bench).await?,
        ScenarioName::Add => add::measure(&bench).await?,
        ScenarioName::Rpc => rpc::measure(&bench).await?,
        ScenarioName::Restart => vec![restart::measure(&bench).await?],
        ScenarioName::Siege => vec![siege::measure(&bench).await?],
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
        Place::new(self.program.clone(), self.args.workers, &self.args.dir())
    }

    /// The command that measures a scenario with these flags.
    fn command(&self, scenario: &str, flags: &str) -> String {
        let workers = self.args.workers.map(|workers| format!(" --workers {workers}")).unwrap_or_default();
        format!("taskbench {scenario} {flags}{workers}")
    }
}

/// The version of a program, in its own words.
async fn version(program: &Path) -> anyhow::Result<String> {
    let output = Command::new(program).arg("--version").output().await;
    let output = output.with_context(|| format!("failed to start {}", program.display()))?;
    ensure!(output.status.success(), "{} is no taskhost: it does not tell its version", program.display());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
