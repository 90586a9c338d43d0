//! `taskctl why`

use clap::Args;
use jsonrpsee::core::client::Client;
use taskhost_api::{TaskUnitApiClient, WhyRequest};

use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::text::quoted;
use crate::value::when;

/// Explain why a task ran at a time, or did not
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskctl why backup                          # why it runs now, or does not
  taskctl why backup --at 2027-01-31T03:00:00+01:00")]
pub(crate) struct Why {
    /// The task
    name: String,

    /// What happened, or did not, at this time: RFC 3339, or from now like -1h [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    at: Option<String>,
}

impl Why {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { name, at } = self;
        let request = WhyRequest { name: name.clone(), at: at.map(|at| when(&at, output.now)) };
        let explanation = client.why(request).await.doing(|| format!("explain {}", quoted(&name)))?;
        if output.is_json() {
            output.document(&explanation)?;
        } else {
            for line in &explanation.text {
                output.line(line)?;
            }
        }
        Ok(Exit::Done)
    }
}
