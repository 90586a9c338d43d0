//! `taskctl edit`

use clap::Args;
use jsonrpsee::core::client::Client;
use taskhost_api::{BulkAction, EditRequest, GetRequest, Patch, TaskUnitApiClient, shell_word};

use super::definition_flags::DefinitionFlags;
use super::plugin_choice::PluginChoice;
use super::target::{Deed, Target, Which};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::text::quoted;
use crate::value::{LabelChange, number};

/// Change a task while it runs; what is not named stays as it is
#[derive(Debug, Args)]
#[command(after_help = "\
The value `default` gives a setting its default again. Schedules take the
place of all that the task had. Grants and limits are added to those that it
had; a `-` after its name takes a label or a grant away.

Examples:
  taskctl edit hello --every 5m --label team=web --label old-
  taskctl edit backup --wasm backup-2.wasm --timeout default
  taskctl edit backup --dir /srv/data::/data:ro --env MODE- --limit cpu_ms=5s
  taskctl edit --selector team=web --retry 3 --dry-run")]
pub(crate) struct Edit {
    #[command(flatten)]
    target: Target,

    #[command(flatten)]
    plugin: PluginChoice,

    /// Set a label, or with KEY- take it away; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE|KEY-")]
    labels: Vec<LabelChange>,

    /// Refuse unless the task has this revision
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = number::<u64>)]
    #[arg(conflicts_with_all = ["selector", "all"])]
    if_revision: Option<u64>,

    /// Give the plugin no arguments any more
    #[arg(long, conflicts_with = "args")]
    no_args: bool,

    /// The plugin's arguments, in place of those it had
    #[arg(last = true)]
    args: Vec<String>,

    // The last, for its help headings go on to what follows.
    #[command(flatten)]
    definition: DefinitionFlags,
}

impl Edit {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { target, plugin, definition, labels, mut if_revision, no_args, args } = self;
        let which = target.which();
        let (doing, words) = match &which {
            Which::One(name) => (format!("edit {}", quoted(name)), shell_word(name).into_owned()),
            Which::Many(many) => (many.doing(EDIT.verb), many.words()),
        };
        let mut before = None;
        match &which {
            // The host knows how a task retries, what it is granted and its limits as one member each, and people change a part of it.
            Which::One(name) if definition.change_parts() => {
                let request = GetRequest { name: name.clone(), effective: false };
                let task = client.get(request).await.doing(|| doing.clone())?;
                if_revision = if_revision.or(Some(task.revision));
                before = Some(task.spec);
            }
            Which::Many(_) => refuse_parts(&definition, &doing)?,
            Which::One(_) => {}
        }
        let labels = labels.into_iter().map(|change| (change.key, change.value));
        let patch = Patch {
            plugin: plugin.resolve(client, output, &doing).await?,
            labels: (labels.len() > 0).then(|| Some(labels.collect())),
            args: if no_args { Some(None) } else { (!args.is_empty()).then_some(Some(args)) },
            ..definition.into_patch(output.now, before)?
        };
        if patch == Patch::default() {
            let hint = format!("name a setting, like `taskctl edit {words} --every 5m`");
            return Err(Failure::usage(format!("failed to {doing}: nothing to change"), hint));
        }
        let name = match which {
            Which::One(name) => name,
            Which::Many(many) => return many.act(client, output, EDIT, BulkAction::Edit(Box::new(patch))).await,
        };
        let task = client.edit(EditRequest::new(name, if_revision, patch)).await.doing(|| doing)?;
        if output.is_json() {
            output.document(&task)?;
        } else {
            output.line(&format!("edited {}: revision {}", task.spec.name, task.revision))?;
        }
        Ok(Exit::Done)
    }
}

/// Refuses to change a part of what each of many tasks has in its own way.
fn refuse_parts(definition: &DefinitionFlags, doing: &str) -> Result<(), Failure> {
    let (each, hint) = if definition.failure.change_only_waits() {
        ("may retry in its own way", "give the number of attempts with --retry too")
    } else if definition.grants.change_some() {
        ("may be granted something else", "with --no-grants, those that are given are all that each of them has")
    } else if definition.limits.change_some() {
        ("may have other limits", "with `--limit default`, those that are given are all that each of them has")
    } else {
        return Ok(());
    };
    Err(Failure::usage(format!("failed to {doing}: each {each}"), hint))
}

const EDIT: Deed = Deed { verb: "edit", done: "edited" };
