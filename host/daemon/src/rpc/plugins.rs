//! `Plugin.*`.

use jsonrpsee::Extensions;
use jsonrpsee::core::{RpcResult, async_trait};
use taskhost_api::{
    PluginApiServer, PluginChunk, PluginChunkReceived, PluginDeleted, PluginHas, PluginInfo, PluginList, PluginPruned,
    PluginSelector,
};
use taskhost_core::plugin::PluginError;
use taskhost_core::supervisor::TaskError;

use super::errors::to_rpc;
use super::{Rpc, caller, convert};

#[async_trait]
impl PluginApiServer for Rpc {
    async fn put(&self, extensions: &Extensions, request: PluginChunk) -> RpcResult<PluginChunkReceived> {
        self.uploads.put(request, caller(extensions)?).await
    }

    async fn has(&self, request: PluginSelector) -> RpcResult<PluginHas> {
        let has = match self.host.plugin(&request.plugin).await {
            // A damaged one is sent again, and mended by it.
            Ok(plugin) => plugin.fault.is_none(),
            Err(TaskError::Plugin(PluginError::NotFound(_))) => false,
            Err(error) => return Err(to_rpc(error)),
        };
        let received = request.plugin.parse().map_or(0, |sha256| self.uploads.received(&sha256));
        Ok(PluginHas { has, received })
    }

    async fn get_plugin(&self, request: PluginSelector) -> RpcResult<PluginInfo> {
        let plugin = self.host.plugin(&request.plugin).await.map_err(to_rpc)?;
        Ok(convert::plugin(plugin, true))
    }

    async fn list_plugins(&self) -> RpcResult<PluginList> {
        let plugins = self.host.plugins().await.map_err(to_rpc)?;
        Ok(PluginList { plugins: plugins.into_iter().map(|plugin| convert::plugin(plugin, false)).collect() })
    }

    async fn delete_plugin(&self, extensions: &Extensions, request: PluginSelector) -> RpcResult<PluginDeleted> {
        let caller = caller(extensions)?;
        let sha256 = self.host.delete_plugin(&request.plugin).await.map_err(to_rpc)?;
        tracing::info!(%sha256, uid = caller.uid, "plugin deleted");
        Ok(PluginDeleted { sha256: sha256.to_string() })
    }

    async fn prune_plugins(&self, extensions: &Extensions) -> RpcResult<PluginPruned> {
        let caller = caller(extensions)?;
        let (deleted, freed_bytes) = self.host.prune_plugins().await.map_err(to_rpc)?;
        tracing::info!(plugins = deleted.len(), freed_bytes, uid = caller.uid, "plugins pruned");
        Ok(PluginPruned { sha256: deleted.iter().map(ToString::to_string).collect(), freed_bytes })
    }
}
