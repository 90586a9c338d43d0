//! For `tests/fuzz` and `benches`: what is private here and reads the bytes of strangers. No interface for anybody else.

use std::io;

use bytes::Bytes;
use jsonrpsee::server::Methods;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::value::RawValue;
use sha2::Digest;
use taskhost_api as api;
use taskhost_core::name::TaskName;
use taskhost_core::plugin::{PluginRef, Sha256};
use taskhost_core::schedule::Zone;
use taskhost_core::spec::{SpecError, TaskSpec};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::access::Caller;
use crate::rpc::{convert, errors, invalid_params};
use crate::stream::frame::Framer;
use crate::stream::{self, Dispatcher};
use crate::upload::decode_base64;

const CALLER: Caller = Caller { uid: 0 };

/// A stream cut into messages.
#[derive(Debug, PartialEq, Eq)]
pub struct Frames {
    pub whole: Vec<Bytes>,
    /// Why nothing more can be read.
    pub error: Option<String>,
    /// Whether a message has begun and not ended.
    pub is_within_message: bool,
}

/// Cuts a stream that comes in these pieces into messages of at most so many bytes.
pub fn frames<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, max_bytes: usize) -> Frames {
    let mut framer = Framer::up_to(max_bytes);
    let mut whole = Vec::new();
    for piece in pieces {
        framer.buffer().extend_from_slice(piece);
        loop {
            match framer.next() {
                Ok(Some(frame)) => whole.push(frame),
                Ok(None) => break,
                Err(error) => return Frames { whole, error: Some(error.to_string()), is_within_message: false },
            }
        }
        framer.make_room();
    }
    Frames { whole, error: None, is_within_message: framer.is_within_value() }
}

/// Serves a connection until its client closes it.
pub async fn serve_stream<S: AsyncRead + AsyncWrite>(socket: S, methods: Methods) -> io::Result<()> {
    stream::serve(socket, methods.into(), 0, CALLER, &CancellationToken::new()).await
}

/// Answers one message.
pub async fn answer(methods: Methods, message: &[u8]) -> Option<Box<RawValue>> {
    let answer = Dispatcher::for_one_answer(methods.into(), 0, CALLER).answer(message).await;
    answer.map(|answer| RawValue::from_string(answer).expect("answers are JSON"))
}

/// The definition of a task that is added.
pub fn added(request: api::AddRequest, zone: &Zone) -> Result<TaskSpec, ErrorObjectOwned> {
    let spec = request.into_spec();
    let plugin = plugin(spec.plugin.clone())?;
    TaskName::new(&spec.name).map_err(refusal)?;
    TaskSpec::default().patched(convert::add_patch(spec, plugin), zone).map_err(refusal)
}

/// What an edit makes of a definition.
pub fn edited(spec: TaskSpec, request: api::EditRequest, zone: &Zone) -> Result<TaskSpec, ErrorObjectOwned> {
    let plugin = request.plugin.clone().map(plugin).transpose()?;
    spec.patched(convert::edit_patch(request.into_patch(), plugin), zone).map_err(refusal)
}

/// A definition as it is sent; `with_empty` as with `effective`.
pub fn sent(name: &str, spec: &TaskSpec, with_empty: bool) -> api::Spec {
    convert::spec(name, spec, with_empty)
}

/// As the handlers name a plugin, without storing one that comes along.
fn plugin(plugin: api::PluginRef) -> Result<PluginRef, ErrorObjectOwned> {
    Ok(match plugin {
        api::PluginRef::Builtin(name) => PluginRef::Builtin(name),
        api::PluginRef::Sha256(text) => {
            PluginRef::Sha256(text.parse().map_err(|error| invalid_params(format!("`plugin.sha256`: {error}"), None))?)
        }
        api::PluginRef::Wasm(base64) => {
            let wasm = decode_base64("plugin.wasm", &base64)?;
            PluginRef::Sha256(Sha256(sha2::Sha256::digest(wasm).into()))
        }
    })
}

fn refusal(error: impl Into<SpecError>) -> ErrorObjectOwned {
    errors::to_rpc(error.into().into())
}
