//! `taskctl run`

use clap::Args;
use jsonrpsee::core::client::Client;
use taskhost_api::{RunRequest, TaskUnitApiClient};

use super::{outcome, remark, took};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::{Cell, Output, Style};
use crate::text::{quoted, shell_word};

/// The outcome that is none to worry about.
const SUCCESS: &str = "success";

/// Run a task once, now, beside its schedules, and show its outcome
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The task
    name: String,

    /// Return when the run has started, not when it has finished
    #[arg(long)]
    no_wait: bool,
}

impl Run {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { name, no_wait } = self;
        let request = RunRequest { name: name.clone(), wait: !no_wait };
        let started = client.run(request).await.doing(|| format!("run {}", quoted(&name)))?;
        let run = &started.run;
        let exit = match run.outcome.as_deref() {
            Some(SUCCESS) => Exit::Done,
            None if no_wait => Exit::Done,
            Some(_) | None => Exit::RunFailed,
        };
        if output.is_json() {
            output.document(&started)?;
            return Ok(exit);
        }
        if run.outcome.is_none() {
            output.line(&format!("started {name}: run {}", run.run_id))?;
            return Ok(exit);
        }
        let took = took(run).map(|took| format!("in {took}")).unwrap_or_default();
        let run_id = Cell::new(format!("(run {})", run.run_id), Style::Dim);
        let cells = [Cell::plain(format!("{name}:")), Cell::outcome(outcome(run)), Cell::plain(took), run_id];
        output.cells(&cells.into_iter().filter(|cell| !cell.text.is_empty()).collect::<Vec<_>>())?;
        for line in remark(run).unwrap_or_default().lines() {
            output.line(line)?;
        }
        if exit == Exit::RunFailed {
            output.hint(&format!("see what it printed with `taskctl logs {}`", shell_word(&name)));
        }
        Ok(exit)
    }
}
