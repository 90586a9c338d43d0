//! `taskctl export`

use clap::Args;
use jsonrpsee::core::client::Client;
use taskhost_api::{ApplyRequest, ListRequest, Spec};

use super::list::fetch;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::task_file;

/// Print the definitions of tasks as `apply` reads them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskctl export > tasks.toml
  taskctl export --selector team=web")]
pub(crate) struct Export {
    /// Only tasks with these labels: team=web,env!=dev,owner,!legacy
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
}

impl Export {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let request = ListRequest { selector: self.selector, ..ListRequest::default() };
        let tasks: Vec<Spec> = fetch(client, request).await?.into_iter().map(|task| task.spec).collect();
        if output.is_json() {
            // As `TaskUnit.Apply` takes it.
            output.document(&ApplyRequest { tasks, ..ApplyRequest::default() })?;
        } else {
            output.write(&task_file::write(&tasks))?;
        }
        Ok(Exit::Done)
    }
}
