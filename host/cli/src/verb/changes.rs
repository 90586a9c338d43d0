//! `taskctl changes`

use clap::Args;
use jsonrpsee::core::client::Client;
use taskhost_api::{Change, ChangeKind, ChangesRequest, TaskUnitApiClient};

use super::differences::told;
use crate::cell::{Cell, Style};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::text::{absolute, quoted};
use crate::value::number;

/// Show who changed what of a task, the newest change first
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  taskctl changes backup -n 5")]
pub(crate) struct Changes {
    /// The task
    name: String,

    /// At most so many, 1 to 1000 [the host's default: 20]
    #[arg(short = 'n', long, value_name = "N", allow_hyphen_values = true, value_parser = number::<u32>)]
    limit: Option<u32>,
}

impl Changes {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { name, limit } = self;
        let request = ChangesRequest { name: name.clone(), limit };
        let changes = client.changes(request).await.doing(|| format!("show the changes of {}", quoted(&name)))?;
        if output.is_json() {
            output.document(&changes)?;
            return Ok(Exit::Done);
        }
        let widest = changes.changes.iter().map(|change| change.revision.to_string().len()).max().unwrap_or_default();
        for change in &changes.changes {
            show(output, change, widest)?;
        }
        Ok(Exit::Done)
    }
}

/// A line that says what was done, and one for each difference: nothing is cut.
fn show(output: &mut Output, change: &Change, widest: usize) -> Result<(), Failure> {
    let kind = match change.kind {
        ChangeKind::Add => "added",
        ChangeKind::Edit => "edited",
        ChangeKind::Pause => "paused",
        ChangeKind::Resume => "resumed",
        ChangeKind::Delete => "deleted",
    };
    output.cells(&[
        Cell::bold(format!("{:widest$}", change.revision)),
        Cell::new(absolute(change.at), Style::Dim),
        Cell::plain(format!("{kind} by {}", change.by)),
    ])?;
    let indent = " ".repeat(widest);
    for difference in &change.diff {
        output.line(&format!("{indent} {}", told(difference)))?;
    }
    match &change.note {
        Some(note) => output.line(&format!("{indent} note: {note}")),
        None => Ok(()),
    }
}
