//! `taskctl pause`

use clap::Args;
use jsonrpsee::core::client::Client;
use taskhost_api::{BulkAction, PauseRequest, TaskUnitApiClient, shell_word};

use super::target::{Deed, Target, Which};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::text::{absolute, quoted, relative};
use crate::value::when;

/// Pause a task: no due time of it runs until it is resumed
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskctl pause backup --note 'the disk is being replaced' --until +2h
  taskctl pause --selector team=web --dry-run")]
pub(crate) struct Pause {
    #[command(flatten)]
    target: Target,

    /// Say why, for those who find it paused
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    note: Option<String>,

    /// Go on by itself at this time: RFC 3339, or from now like +1h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
}

impl Pause {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { target, note, until } = self;
        let until = until.map(|until| when(&until, output.now));
        let name = match target.which() {
            Which::One(name) => name,
            Which::Many(many) => {
                let deed = Deed { verb: "pause", done: "paused" };
                return many.act(client, output, deed, BulkAction::Pause { note, until }).await;
            }
        };
        let request = PauseRequest { name: name.clone(), note, until };
        let task = client.pause(request).await.doing(|| format!("pause {}", quoted(&name)))?;
        if output.is_json() {
            output.document(&task)?;
            return Ok(Exit::Done);
        }
        let name = &task.spec.name;
        let until = match task.paused.as_ref().and_then(|paused| paused.until) {
            Some(until) => format!("until {} ({})", absolute(until), relative(until, output.now)),
            None => format!("until `taskctl resume {}`", shell_word(name)),
        };
        output.line(&format!("paused {name}: no due time runs {until}"))?;
        Ok(Exit::Done)
    }
}
