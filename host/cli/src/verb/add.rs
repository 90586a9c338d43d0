//! `taskctl add`

use clap::Args;
use jsonrpsee::core::client::Client;
use taskhost_api::{Accepted, AddRequest, AddTask, GetRequest, Schedule, Task, TaskUnitApiClient};

use super::plugin_choice::PluginChoice;
use crate::exit::Exit;
use crate::failure::{CallError, Doing, Failure};
use crate::output::Output;
use crate::text::{quoted, shell_word};
use crate::value::{Label, Size};

/// Add a task: durable, and running, when this returns
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskctl add hello        # the built-in ticker, every second
  taskctl add backup --wasm backup.wasm --every 1h -- --target /data")]
pub(crate) struct Add {
    /// Its name: 1 to 128 bytes of letters, digits, -_.:/ and inner spaces
    name: String,

    #[command(flatten)]
    plugin: PluginChoice,

    /// Run at this rate, from 10ms to 10y [the host's default: 1s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    every: Option<String>,

    /// Stop an attempt that takes longer [the host's default: 1m]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    timeout: Option<String>,

    /// Give an attempt at most so much memory, like 64MiB [the host's default: 128MiB]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory: Option<Size>,

    /// Set a label to select the task by; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<Label>,

    /// Run for the first time now, and not one interval later
    #[arg(long)]
    now: bool,

    /// Make a task that has this name exactly this, instead of refusing
    #[arg(long)]
    replace: bool,

    /// The plugin's arguments
    #[arg(last = true)]
    args: Vec<String>,
}

impl Add {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { name, plugin, every, timeout, memory, labels, now, replace, args } = self;
        let doing = || format!("add {}", quoted(&name));
        let scheduled = every.is_some();
        let request = AddRequest {
            name: name.clone(),
            plugin: plugin.resolve(client, output, &doing()).await?.unwrap_or_default(),
            schedules: every.map(|every| vec![Schedule { every: Some(every) }]),
            timeout,
            memory_bytes: memory.map(|size| size.0),
            overlap: None,
            labels: (!labels.is_empty()).then(|| labels.into_iter().map(|label| (label.key, label.value)).collect()),
            args: (!args.is_empty()).then_some(args),
            now,
            replace,
        };
        let task = match client.add(AddTask::Spec(Box::new(request))).await.doing(doing)? {
            Accepted::With(task) => task,
            Accepted::True => return Err(CallError::Protocol("`true` instead of the task".to_owned())).doing(doing),
        };
        if output.is_json() {
            output.document(&task)?;
            return Ok(Exit::Done);
        }
        let done = if task.revision == 1 { "added" } else { "replaced" };
        let name = &task.spec.name;
        let every = rate(client, &task).await?;
        output.line(&if scheduled {
            format!("{done} {name}: runs every {every}")
        } else {
            let word = shell_word(name);
            format!("{done} {name}: runs every {every} (default); change it with `taskctl edit {word} --every 5m`")
        })?;
        Ok(Exit::Done)
    }
}

/// The rate of a task. A default is the host's to tell, so that it is said nowhere twice.
async fn rate(client: &Client, task: &Task) -> Result<String, Failure> {
    let every = |task: &Task| task.spec.schedules.iter().flatten().find_map(|schedule| schedule.every.clone());
    if let Some(given) = every(task) {
        return Ok(given);
    }
    let request = GetRequest { name: task.spec.name.clone(), effective: true };
    let task = client.get(request).await.doing(|| format!("show {}", quoted(&task.spec.name)))?;
    Ok(every(&task).unwrap_or_else(|| "default".to_owned()))
}
