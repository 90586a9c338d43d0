//! `taskctl plugin`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jsonrpsee::core::client::Client;
use taskhost_api::{PluginApiClient, PluginInfo, PluginManifest, PluginNeed, PluginSelector, Schedule};

use crate::cell::{Cell, Style};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::table::Column;
use crate::text::{absolute, bytes, quoted};
use crate::upload::Module;

const COLUMNS: [Column; 6] = [
    Column::text("PLUGIN"),
    Column::elastic("NAME"),
    Column::text("BUILT-IN"),
    Column::text("KIND"),
    Column::number("SIZE"),
    Column::number("TASKS"),
];

/// How much of a sha256 is shown in a table; enough to name the plugin by.
const SHORT_DIGITS: usize = 16;

/// Look after the plugins that the host has
#[derive(Debug, Args)]
pub(crate) struct Plugin {
    #[command(subcommand)]
    verb: PluginVerb,
}

#[derive(Debug, Subcommand)]
enum PluginVerb {
    /// List plugins
    #[command(visible_alias = "ls")]
    List,
    /// Show all about a plugin
    Show {
        /// Its sha256 or a beginning of it, or the name of a built-in one
        #[arg(value_name = "SHA256|NAME")]
        plugin: String,
    },
    /// Send a plugin, so that tasks can run it by its sha256
    Put {
        /// A .wasm or .wat file of at most 64 MiB
        file: PathBuf,
    },
    /// Delete a plugin that no task uses
    #[command(visible_aliases = ["del", "delete"])]
    Rm {
        /// Its sha256 or a beginning of it
        #[arg(value_name = "SHA256")]
        plugin: String,
    },
    /// Delete every plugin that no task uses
    Prune,
}

impl Plugin {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        match self.verb {
            PluginVerb::List => list(client, output).await?,
            PluginVerb::Show { plugin } => show(client, output, plugin).await?,
            PluginVerb::Put { file } => {
                let doing = format!("send {}", file.display());
                let sha256 = Module::read(&file)?.upload(client, output, &doing).await?;
                if output.is_json() {
                    output.document(&get(client, sha256).await?)?;
                } else {
                    output.line(&sha256)?;
                }
            }
            PluginVerb::Rm { plugin } => {
                let doing = format!("delete plugin {}", quoted(&plugin));
                let deleted = client.delete_plugin(PluginSelector { plugin }).await.doing(|| doing)?;
                if output.is_json() {
                    output.document(&deleted)?;
                } else {
                    output.line(&format!("deleted {}", deleted.sha256))?;
                }
            }
            PluginVerb::Prune => {
                let pruned = client.prune_plugins().await.doing(|| "prune plugins".to_owned())?;
                if output.is_json() {
                    output.document(&pruned)?;
                } else {
                    for sha256 in &pruned.sha256 {
                        output.line(&format!("deleted {sha256}"))?;
                    }
                    output.note(&format!("freed {}", bytes(pruned.freed_bytes)));
                }
            }
        }
        Ok(Exit::Done)
    }
}

async fn list(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let list = client.list_plugins().await.doing(|| "list plugins".to_owned())?;
    if output.is_json() {
        return output.document(&list);
    }
    let rows: Vec<_> = list.plugins.iter().map(row).collect();
    output.table(&COLUMNS, &rows)
}

async fn show(client: &Client, output: &mut Output, plugin: String) -> Result<(), Failure> {
    let plugin = get(client, plugin).await?;
    if output.is_json() { output.document(&plugin) } else { output.fields(&fields(&plugin)) }
}

async fn get(client: &Client, plugin: String) -> Result<PluginInfo, Failure> {
    let doing = format!("show plugin {}", quoted(&plugin));
    client.get_plugin(PluginSelector { plugin }).await.doing(|| doing)
}

fn row(plugin: &PluginInfo) -> [Cell; COLUMNS.len()] {
    let style = if plugin.fault.is_some() { Style::Bad } else { Style::Plain };
    [
        Cell::new(plugin.sha256.chars().take(SHORT_DIGITS).collect::<String>(), style),
        Cell::plain(called(plugin).as_deref().unwrap_or("-")),
        Cell::plain(plugin.builtin.as_deref().unwrap_or("-")),
        Cell::plain(&plugin.kind),
        Cell::plain(bytes(plugin.size_bytes)),
        Cell::plain(plugin.tasks.to_string()),
    ]
}

/// Its name and version, as it says itself.
fn called(plugin: &PluginInfo) -> Option<String> {
    let name = plugin.name.as_ref()?;
    Some(plugin.version.as_ref().map_or_else(|| name.clone(), |version| format!("{name} {version}")))
}

fn fields(plugin: &PluginInfo) -> Vec<(&'static str, Cell)> {
    let mut fields = vec![("sha256", Cell::bold(&plugin.sha256))];
    fields.extend(called(plugin).map(|called| ("name", Cell::plain(called))));
    if plugin.name.is_none() {
        fields.extend(plugin.version.as_ref().map(|version| ("version", Cell::plain(version))));
    }
    fields.extend(plugin.description.as_ref().map(|description| ("about", Cell::plain(description))));
    fields.extend(plugin.builtin.as_ref().map(|name| ("built-in", Cell::plain(name))));
    fields.push(("kind", Cell::plain(&plugin.kind)));
    fields.push(("size", Cell::plain(bytes(plugin.size_bytes))));
    fields.extend(plugin.added_at.map(|time| ("added", Cell::plain(absolute(time)))));
    fields.push(("tasks", Cell::plain(plugin.tasks.to_string())));
    for (title, text) in [
        ("authors", &plugin.authors),
        ("licenses", &plugin.licenses),
        ("source", &plugin.source),
        ("homepage", &plugin.homepage),
        ("revision", &plugin.revision),
    ] {
        fields.extend(text.as_ref().map(|text| (title, Cell::plain(text))));
    }
    if !plugin.toolchain.is_empty() {
        fields.push(("made with", Cell::plain(plugin.toolchain.join(", "))));
    }
    fields.extend(plugin.manifest.iter().flat_map(wanted));
    for (title, names) in [("imports", &plugin.imports), ("exports", &plugin.exports)] {
        fields.extend(titled(title, names.iter().cloned()));
    }
    fields.extend(plugin.fault.as_ref().map(|fault| ("fault", Cell::new(fault, Style::Bad))));
    fields
}

/// What a plugin wants, as its manifest has it.
fn wanted(manifest: &PluginManifest) -> Vec<(&'static str, Cell)> {
    let need = |need: &PluginNeed| match &need.why {
        Some(why) => format!("{}  {why}", need.flag),
        None => need.flag.clone(),
    };
    let mut fields = Vec::new();
    for (title, needs) in [("needs", &manifest.grants.required), ("optional", &manifest.grants.optional)] {
        fields.extend(titled(title, needs.iter().map(need)));
    }
    // As it is: what a schema means is the host's to say.
    fields.extend(manifest.config.as_ref().map(|schema| ("settings", Cell::plain(schema.to_string()))));
    let schedule = manifest.schedule.as_ref().map(Schedule::flags);
    let limits = manifest.limits.iter().map(|(name, value)| match name.as_str() {
        "memory_bytes" => format!("--memory {value}"),
        name => format!("--limit {name}={value}"),
    });
    let suggested: Vec<_> = schedule.into_iter().chain(limits).collect();
    if !suggested.is_empty() {
        fields.push(("suggests", Cell::plain(suggested.join(" "))));
    }
    fields
}

/// A field for each, the first with the title.
fn titled(title: &'static str, values: impl Iterator<Item = String>) -> impl Iterator<Item = (&'static str, Cell)> {
    std::iter::once(title).chain(std::iter::repeat("")).zip(values.map(Cell::plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shown, plugins};

    #[test]
    fn plugins_are_listed_by_what_names_them() {
        let mut shown = Shown::new();
        let rows: Vec<_> = plugins().iter().map(row).collect();
        shown.output.table(&COLUMNS, &rows).expect("memory takes all");
        for plugin in plugins() {
            shown.output.fields(&fields(&plugin)).expect("memory takes all");
        }
        insta::assert_snapshot!(shown.out());
    }
}
