//! `taskctl apply`

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;
use jsonrpsee::core::client::Client;
use taskhost_api::{Applied, ApplyRequest, PluginRef, Spec, TaskChange, TaskChangeKind, TaskUnitApiClient};

use super::differences::told;
use crate::cell::{Cell, Style};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::task_file;
use crate::upload::Module;

/// Make tasks exactly as a file says: all of them or, if one can't be, none
#[derive(Debug, Args)]
#[command(after_help = "\
The file is TOML, with a table for each task. What is not given has its default;
a plugin's path is relative to the file. `taskctl export` prints such a file.

  [[task]]
  name = \"report\"
  plugin = { wasm = \"report.wasm\" }
  schedules = [{ cron = \"0 3 * * *\", timezone = \"Europe/Berlin\" }]
  retry = { attempts = 3 }
  grants = { hosts = [\"api.example.com:443\"], secrets = [\"api-key\"] }
  labels = { team = \"web\" }

Examples:
  taskctl apply -f tasks.toml --dry-run
  taskctl apply -f tasks.toml --prune --selector team=web")]
pub(crate) struct Apply {
    /// The file; - is the standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,

    /// Delete the tasks that the file does not have
    #[arg(long)]
    prune: bool,

    /// With --prune: delete only tasks with these labels
    #[arg(short = 'l', long, value_name = "LABELS", requires = "prune")]
    selector: Option<String>,

    /// Only tell what would be done
    #[arg(long)]
    dry_run: bool,
}

impl Apply {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { file, prune, selector, dry_run } = self;
        let mut tasks = task_file::read(&file)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        bring_plugins(&mut tasks, folder, client, output, dry_run).await?;
        let request = ApplyRequest { tasks, prune, selector, dry_run };
        let applied = client.apply(request).await.doing(|| format!("apply {}", file.display()))?;
        if output.is_json() {
            output.document(&applied)?;
        } else {
            show(output, &applied)?;
        }
        Ok(Exit::Done)
    }
}

/// Names every plugin that is a file by its sha256, and sees to it that the host has it, unless nothing is to be done.
async fn bring_plugins(
    tasks: &mut [Spec],
    folder: &Path,
    client: &Client,
    output: &Output,
    dry_run: bool,
) -> Result<(), Failure> {
    let mut brought: HashMap<PathBuf, String> = HashMap::new();
    for task in tasks {
        let PluginRef::Wasm(path) = &task.plugin else { continue };
        let path = folder.join(path);
        let sha256 = match brought.get(&path) {
            Some(sha256) => sha256.clone(),
            None => {
                let module = Module::read(&path)?;
                let doing = format!("send {}", path.display());
                if dry_run { module.into_sha256() } else { module.upload(client, output, &doing).await? }
            }
        };
        task.plugin = PluginRef::Sha256(sha256.clone());
        brought.insert(path, sha256);
    }
    Ok(())
}

fn show(output: &mut Output, applied: &Applied) -> Result<(), Failure> {
    applied.changes.iter().try_for_each(|change| show_change(output, change))?;
    let count = |kind| applied.changes.iter().filter(|change| change.kind == kind).count();
    let counts = format!(
        "{} to add, {} to edit, {} to delete, {} unchanged",
        count(TaskChangeKind::Add),
        count(TaskChangeKind::Edit),
        count(TaskChangeKind::Delete),
        count(TaskChangeKind::Unchanged),
    );
    if applied.applied {
        output.line(&counts.replace("to add", "added").replace("to edit", "edited").replace("to delete", "deleted"))
    } else {
        output.line(&format!("{counts}; nothing was done"))
    }
}

fn show_change(output: &mut Output, TaskChange { task, kind, diff }: &TaskChange) -> Result<(), Failure> {
    match kind {
        TaskChangeKind::Add => output.cells(&[Cell::new("+", Style::Good), Cell::plain(task)]),
        TaskChangeKind::Delete => output.cells(&[Cell::new("-", Style::Bad), Cell::plain(task)]),
        TaskChangeKind::Edit => diff.iter().try_for_each(|difference| {
            output.cells(&[
                Cell::new("~", Style::Warning),
                Cell::plain(task),
                Cell::plain(format!(" {}", told(difference))),
            ])
        }),
        TaskChangeKind::Unchanged => Ok(()),
    }
}
