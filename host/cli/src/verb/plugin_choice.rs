//! The flags of `add` and `edit` that say which plugin a task runs.

use std::path::PathBuf;

use clap::Args;
use jsonrpsee::core::client::Client;
use taskhost_api::{PluginApiClient, PluginRef, PluginSelector};

use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::text::quoted;
use crate::upload::Module;

#[derive(Debug, Default, Args)]
#[group(multiple = false)]
pub(crate) struct PluginChoice {
    /// Run the plugin in this file; it is sent unless the host has it
    #[arg(long, value_name = "FILE")]
    wasm: Option<PathBuf>,

    /// Run a plugin that the host brings along, like ticker
    #[arg(long, value_name = "NAME")]
    builtin: Option<String>,

    /// Run a plugin that the host has, by its sha256 or a beginning of it
    #[arg(long, value_name = "SHA256")]
    plugin: Option<String>,
}

impl PluginChoice {
    /// The chosen plugin, which the host has from now on; `None` if none was chosen. It is for what completes "failed to
    /// {doing}".
    pub(crate) async fn resolve(
        self,
        client: &Client,
        output: &Output,
        doing: &str,
    ) -> Result<Option<PluginRef>, Failure> {
        if let Some(path) = self.wasm {
            let doing = format!("{doing} with {}", path.display());
            return Ok(Some(PluginRef::Sha256(Module::read(&path)?.upload(client, output, &doing).await?)));
        }
        if let Some(plugin) = self.plugin {
            let selector = PluginSelector { plugin };
            let doing = format!("find plugin {}", quoted(&selector.plugin));
            let plugin = client.get_plugin(selector).await.doing(|| doing)?;
            return Ok(Some(plugin.builtin.map_or(PluginRef::Sha256(plugin.sha256), PluginRef::Builtin)));
        }
        Ok(self.builtin.map(PluginRef::Builtin))
    }
}
