//! `taskctl del`

use clap::Args;
use jsonrpsee::core::client::Client;
use taskhost_api::{Accepted, BulkAction, DeleteMode, DeleteRequest, DeleteTask, TaskUnitApiClient};

use super::target::{Deed, ManyFlags, one_or_many};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::text::quoted;

/// Delete tasks; no run of them starts after this
#[derive(Debug, Args)]
#[command(visible_aliases = ["delete", "rm"], group = one_or_many(), after_help = "\
Examples:
  taskctl del hello backup
  taskctl del --selector team=web --dry-run")]
pub(crate) struct Del {
    /// The tasks
    #[arg(id = "name", value_name = "NAME")]
    names: Vec<String>,

    #[command(flatten)]
    many: ManyFlags,

    /// Let a run that is going on end by itself, and wait for it
    #[arg(long, conflicts_with = "cancel")]
    wait: bool,

    /// Cancel a run that is going on: the default
    #[arg(long)]
    cancel: bool,

    /// Let a task that doesn't exist be no error
    #[arg(long, conflicts_with_all = ["selector", "all"])]
    if_exists: bool,
}

impl Del {
    /// Deletes what can be deleted, and ends as the first failure says.
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let mode = if self.wait { DeleteMode::Wait } else { DeleteMode::Cancel };
        if self.many.is_given() {
            let deed = Deed { verb: "delete", done: "deleted" };
            return self.many.many().act(client, output, deed, BulkAction::Delete { mode }).await;
        }
        let mut exit = Exit::Done;
        for name in self.names {
            let request = DeleteRequest { name: name.clone(), mode, if_exists: self.if_exists };
            let deleted =
                client.delete(DeleteTask::Request(request)).await.doing(|| format!("delete {}", quoted(&name)));
            match deleted {
                Ok(answer) if output.is_json() => output.object(&answer)?,
                Ok(Accepted::With(answer)) if !answer.deleted => {
                    output.line(&format!("there was no {}", quoted(&name)))?
                }
                Ok(_) => output.line(&format!("deleted {name}"))?,
                Err(failure) => {
                    let failed = output.report(&failure);
                    exit = if exit == Exit::Done { failed } else { exit };
                }
            }
        }
        Ok(exit)
    }
}
