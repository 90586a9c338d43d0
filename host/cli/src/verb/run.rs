//! `taskctl run`

use clap::Args;
use jsonrpsee::core::client::Client;
use taskhost_api::{BulkAction, RunRequest, RunState, TaskUnitApiClient, shell_word};

use super::target::{Deed, Target, Which};
use super::{outcome, remark, took};
use crate::cell::{Cell, Style};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::text::quoted;

/// The outcome that is none to worry about.
const SUCCESS: &str = "success";

/// Run a task once, now, beside its schedules, and show its outcome
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskctl run backup
  taskctl run backup --overlap allow_all --no-wait
  taskctl run --selector team=web       # starts them, and does not wait")]
pub(crate) struct Run {
    #[command(flatten)]
    target: Target,

    /// What to do if a run is going on, in place of the task's own policy: skip, buffer_one, buffer_all, cancel_other,
    /// terminate_other or allow_all
    #[arg(long, value_name = "POLICY")]
    overlap: Option<String>,

    /// Return when the run has started, not when it has finished
    #[arg(long)]
    no_wait: bool,
}

impl Run {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { target, overlap, no_wait } = self;
        let name = match target.which() {
            Which::One(name) => name,
            Which::Many(many) => {
                let deed = Deed { verb: "run", done: "started" };
                return many.act(client, output, deed, BulkAction::Run { overlap }).await;
            }
        };
        let request = RunRequest { name: name.clone(), wait: !no_wait, overlap };
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
            let done = if run.state == RunState::Queued { "queued" } else { "started" };
            output.line(&format!("{done} {name}: run {}", run.run_id))?;
            return Ok(exit);
        }
        let took = took(run).map(|took| format!("in {took}")).unwrap_or_default();
        let run_id = Cell::new(format!("(run {})", run.run_id), Style::Dim);
        let cells = [Cell::plain(format!("{name}:")), Cell::outcome(outcome(run)), Cell::plain(took), run_id];
        output.cells(&cells.into_iter().filter(|cell| !cell.text.is_empty()).collect::<Vec<_>>())?;
        for line in remark(run).unwrap_or_default().lines() {
            output.line(line)?;
        }
        if exit == Exit::RunFailed && run.attempts > 0 {
            output.hint(&format!("see what it printed with `taskctl logs {}`", shell_word(&name)));
        }
        Ok(exit)
    }
}
