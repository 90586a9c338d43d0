//! `taskctl resume`

use clap::Args;
use jsonrpsee::core::client::Client;
use taskhost_api::{BulkAction, ResumeRequest, TaskUnitApiClient};

use super::target::{Deed, Target, Which};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::text::{absolute, quoted, relative};

/// Let a paused task go on; its phase stays
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskctl resume backup
  taskctl resume --all")]
pub(crate) struct Resume {
    #[command(flatten)]
    target: Target,
}

impl Resume {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let name = match self.target.which() {
            Which::One(name) => name,
            Which::Many(many) => {
                let deed = Deed { verb: "resume", done: "resumed" };
                return many.act(client, output, deed, BulkAction::Resume {}).await;
            }
        };
        let request = ResumeRequest { name: name.clone() };
        let task = client.resume(request).await.doing(|| format!("resume {}", quoted(&name)))?;
        if output.is_json() {
            output.document(&task)?;
            return Ok(Exit::Done);
        }
        let next = match task.next_due {
            Some(next) => format!("next due {} ({})", absolute(next), relative(next, output.now)),
            None => "it is not due again by itself".to_owned(),
        };
        output.line(&format!("resumed {}: {next}", task.spec.name))?;
        Ok(Exit::Done)
    }
}
