//! The RPC handlers: each decodes what was sent, asks the supervisor, and puts the answer into the shapes of the wire.
//!
//! No rules live here. What a definition may say is the core's matter; [`convert`] carries values between the wire's types
//! and the core's, [`errors`] is the one translation of the core's errors into codes, messages and hints.

pub(crate) mod convert;
pub(crate) mod errors;
mod gets;
mod host;
mod key_values;
mod plugins;
mod tasks;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;

use jiff::Timestamp;
use jsonrpsee::core::RegisterMethodError;
use jsonrpsee::types::ErrorObjectOwned;
use jsonrpsee::{Extensions, Methods, RpcModule};
use taskhost_api::{ErrorCode, HostApiServer, KeyValueApiServer, PluginApiServer, TaskUnitApiServer};
use taskhost_core::key_value::KeyValue;

use self::gets::Gets;
use crate::Host;
use crate::access::Caller;
use crate::stream::Served;
use crate::upload::PluginUploads;

/// What every handler has at hand. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Rpc {
    pub(crate) host: Host,
    pub(crate) uploads: PluginUploads,
    pub(crate) key_values: Arc<dyn KeyValue>,
    pub(crate) about: Arc<About>,
}

/// What the process knows of itself.
pub(crate) struct About {
    pub(crate) started_at: Timestamp,
    /// Every address that it listens on.
    pub(crate) listen: Vec<String>,
}

impl Rpc {
    /// What the host serves.
    pub(crate) fn into_served(self) -> Result<Served, RegisterMethodError> {
        let tasks = Arc::new(Gets::new(self.host.clone()));
        Ok(Served { methods: self.into_methods()?, tasks: Some(tasks) })
    }

    /// Every method of it.
    pub(crate) fn into_methods(self) -> Result<Methods, RegisterMethodError> {
        let mut methods = RpcModule::new(());
        methods.merge(TaskUnitApiServer::into_rpc(self.clone()))?;
        methods.merge(KeyValueApiServer::into_rpc(self.clone()))?;
        methods.merge(PluginApiServer::into_rpc(self.clone()))?;
        methods.merge(HostApiServer::into_rpc(self))?;
        Ok(methods.into())
    }
}

/// Who is calling. The listeners put it there for every connection; a call without it is not served.
fn caller(extensions: &Extensions) -> Result<Caller, ErrorObjectOwned> {
    extensions.get().copied().ok_or_else(|| ErrorCode::NotPermitted.to_error("the caller is unknown", None))
}

pub(crate) fn invalid_params(message: impl Into<String>, hint: Option<String>) -> ErrorObjectOwned {
    ErrorCode::InvalidParams.to_error(message, hint)
}
