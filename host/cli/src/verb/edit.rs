//! `taskctl edit`

use clap::Args;
use jsonrpsee::core::client::Client;
use taskhost_api::{EditRequest, Schedule, TaskUnitApiClient};

use super::plugin_choice::PluginChoice;
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::text::{quoted, shell_word};
use crate::value::{LabelChange, Setting, Size, number};

/// Change a task while it runs; what is not named stays as it is
#[derive(Debug, Args)]
#[command(after_help = "\
The value `default` gives a setting its default again.

Examples:
  taskctl edit hello --every 5m --label team=web --label old-
  taskctl edit backup --wasm backup-2.wasm --timeout default")]
pub(crate) struct Edit {
    /// The task
    name: String,

    #[command(flatten)]
    plugin: PluginChoice,

    /// Run at this rate
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    every: Option<Setting<String>>,

    /// Stop an attempt that takes longer
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    timeout: Option<Setting<String>>,

    /// Give an attempt at most so much memory, like 64MiB
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory: Option<Setting<Size>>,

    /// Set a label, or with KEY- take it away; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE|KEY-")]
    labels: Vec<LabelChange>,

    /// Refuse unless the task has this revision
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = number::<u64>)]
    if_revision: Option<u64>,

    /// Give the plugin no arguments any more
    #[arg(long, conflicts_with = "args")]
    no_args: bool,

    /// The plugin's arguments, in place of those it had
    #[arg(last = true)]
    args: Vec<String>,
}

impl Edit {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { name, plugin, every, timeout, memory, labels, if_revision, no_args, args } = self;
        let doing = format!("edit {}", quoted(&name));
        let schedules = |every| vec![Schedule { every: Some(every) }];
        let labels = labels.into_iter().map(|change| (change.key, change.value));
        let request = EditRequest {
            name: name.clone(),
            if_revision,
            plugin: plugin.resolve(client, output, &doing).await?,
            schedules: every.map(|every| every.into_patch().map(schedules)),
            timeout: timeout.map(Setting::into_patch),
            memory_bytes: memory.map(|memory| memory.into_patch().map(|size| size.0)),
            overlap: None,
            labels: (labels.len() > 0).then(|| Some(labels.collect())),
            args: if no_args { Some(None) } else { (!args.is_empty()).then_some(Some(args)) },
        };
        if request == (EditRequest { name: name.clone(), if_revision, ..EditRequest::default() }) {
            let hint = format!("name a setting, like `taskctl edit {} --every 5m`", shell_word(&name));
            return Err(Failure::usage(format!("failed to {doing}: nothing to change"), hint));
        }
        let task = client.edit(request).await.doing(|| doing)?;
        if output.is_json() {
            output.document(&task)?;
        } else {
            output.line(&format!("edited {}: revision {}", task.spec.name, task.revision))?;
        }
        Ok(Exit::Done)
    }
}
