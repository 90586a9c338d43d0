//! `taskctl cancel`

use clap::Args;
use jsonrpsee::core::client::Client;
use taskhost_api::{CancelRequest, TaskUnitApiClient};

use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::text::quoted;

/// Cancel the run of a task that is going on
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The task
    name: String,

    /// Only this run, as `taskctl runs` names it [default: whichever is going on]
    run_id: Option<String>,
}

impl Cancel {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { name, run_id } = self;
        let request = CancelRequest { name: name.clone(), run_id };
        let cancelled = client.cancel(request).await.doing(|| format!("cancel {}", quoted(&name)))?;
        if output.is_json() {
            output.document(&cancelled)?;
        } else {
            output.line(&format!("cancelled {name}: run {}", cancelled.run_id))?;
        }
        Ok(Exit::Done)
    }
}
