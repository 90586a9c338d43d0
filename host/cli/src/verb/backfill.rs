//! `taskctl backfill`

use clap::Args;
use jsonrpsee::core::client::Client;
use taskhost_api::{BackfillRequest, TaskUnitApiClient, shell_word};

use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::text::quoted;
use crate::value::when;

/// Run the due times of a stretch of time again, one after the other
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  taskctl backfill report --from 2027-01-01T00:00:00Z --until now --dry-run")]
pub(crate) struct Backfill {
    /// The task
    name: String,

    /// Due times from this one on: RFC 3339, or from now like -1h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: String,

    /// Due times before this one
    #[arg(long, visible_alias = "to", value_name = "TIME", allow_hyphen_values = true)]
    until: String,

    /// Only tell how many due times it would be
    #[arg(long)]
    dry_run: bool,
}

impl Backfill {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { name, from, until, dry_run } = self;
        let (from, until) = (when(&from, output.now), when(&until, output.now));
        let request = BackfillRequest { name: name.clone(), from, until, dry_run };
        let backfilled = client.backfill(request).await.doing(|| format!("backfill {}", quoted(&name)))?;
        if output.is_json() {
            output.document(&backfilled)?;
            return Ok(Exit::Done);
        }
        let times = match backfilled.due_times {
            1 => "1 due time".to_owned(),
            several => format!("{several} due times"),
        };
        if dry_run {
            output.line(&format!("would run {times} of {name} again; nothing was done"))?;
        } else {
            output.line(&format!("backfill {} of {name}: {times} to run", backfilled.backfill))?;
            output.hint(&format!("see what becomes of them with `taskctl runs {}`", shell_word(&name)));
        }
        Ok(Exit::Done)
    }
}
