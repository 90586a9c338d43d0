//! `taskctl add`

use clap::Args;
use jsonrpsee::core::client::Client;
use taskhost_api::{
    Accepted, AddRequest, AddTask, GetRequest, Patch, PluginApiClient, PluginRef, PluginSelector, Task,
    TaskUnitApiClient, shell_word,
};

use super::definition_flags::DefinitionFlags;
use super::plugin_choice::PluginChoice;
use super::schedule_words::in_words;
use crate::call_error::CallError;
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::text::{absolute, quoted};
use crate::value::Label;

/// Add a task: durable, and running, when this returns
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  taskctl add hello        # the built-in ticker, every second
  taskctl add backup --wasm backup.wasm --every 1h -- --target /data
  taskctl add report --wasm report.wasm --cron '0 3 * * *' \\
      --timezone Europe/Berlin --retry 3 --on-failure alert
  taskctl add alert --wasm alert.wasm --manual \\
      --allow-host hooks.example.com:443 --secret hook-key")]
pub(crate) struct Add {
    /// Its name: 1 to 128 bytes of letters, digits, -_.:/ and inner spaces
    name: String,

    #[command(flatten)]
    plugin: PluginChoice,

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

    // The last, for its help headings go on to what follows.
    #[command(flatten)]
    definition: DefinitionFlags,
}

impl Add {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { name, plugin, definition, labels, now, replace, args } = self;
        let doing = || format!("add {}", quoted(&name));
        let labels = labels.into_iter().map(|label| (label.key, Some(label.value)));
        let patch = Patch {
            plugin: plugin.resolve(client, output, &doing()).await?,
            labels: (labels.len() > 0).then(|| Some(labels.collect())),
            args: (!args.is_empty()).then_some(Some(args)),
            ..definition.into_patch(output.now, None)?
        };
        let request = AddRequest { now, replace, ..AddRequest::new(name.clone(), patch) };
        let is_default = request.schedules.is_none();
        let task = match client.add(AddTask::Spec(Box::new(request))).await.doing(doing)? {
            Accepted::With(task) => task,
            Accepted::True => return Err(CallError::Protocol("`true` instead of the task".to_owned())).doing(doing),
        };
        if output.is_json() {
            output.document(&task)?;
            return Ok(Exit::Done);
        }
        let done = if task.revision == 1 { "added" } else { "replaced" };
        let runs = runs(client, &task).await?;
        let change = if is_default { default_words(client, &task).await } else { String::new() };
        output.line(&format!("{done} {}: runs {runs}{change}", task.spec.name))?;
        Ok(Exit::Done)
    }
}

/// What is said of a schedule that nobody chose: what the plugin suggests, if it does.
async fn default_words(client: &Client, task: &Task) -> String {
    let name = shell_word(&task.spec.name);
    let plugin = match &task.spec.plugin {
        PluginRef::Builtin(plugin) | PluginRef::Sha256(plugin) | PluginRef::Wasm(plugin) => plugin.clone(),
    };
    // The task is there, whatever becomes of this question.
    let manifest = client.get_plugin(PluginSelector { plugin }).await.ok().and_then(|plugin| plugin.manifest);
    match manifest.and_then(|manifest| manifest.schedule) {
        Some(schedule) => format!(
            " (default); its plugin suggests {}: `taskctl edit {name} {}`",
            in_words(std::slice::from_ref(&schedule), None),
            schedule.flags()
        ),
        None => format!(" (default); change it with `taskctl edit {name} --every 5m`"),
    }
}

/// When a task runs, in words. A default is the host's to tell, so that it is said nowhere twice.
async fn runs(client: &Client, task: &Task) -> Result<String, Failure> {
    let name = &task.spec.name;
    let schedules = match &task.spec.schedules {
        Some(given) => given.clone(),
        None => {
            let request = GetRequest { name: name.clone(), effective: true };
            let task = client.get(request).await.doing(|| format!("show {}", quoted(name)))?;
            task.spec.schedules.unwrap_or_default()
        }
    };
    // Of a rate, the next due time is no news.
    let next = task.next_due.filter(|_| schedules.iter().any(|schedule| schedule.cron.is_some()));
    let next = next.map(|next| format!(", next {}", absolute(next))).unwrap_or_default();
    Ok(format!("{}{next}", in_words(&schedules, Some(name))))
}
