//! `PUT /plugins/{sha256}`: a plugin in one stream, as large as plugins may be.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use jsonrpsee::server::HttpResponse;
use jsonrpsee::types::ErrorObjectOwned;
use taskhost_api::{ErrorCode, MAX_PLUGIN_BYTES, PluginInfo};
use tokio::time::{Instant, timeout, timeout_at};

use super::response;
use crate::access::Caller;
use crate::upload::PluginUploads;

/// How long the next piece of a plugin may take to come.
pub(super) const PIECE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long all of it may take to come: somebody else may wait for its place.
pub(super) const PUT_TIMEOUT: Duration = Duration::from_secs(600);

/// Where plugins go. The host's is [`PluginUploads`]; the tests of the wire have one that needs no host.
pub trait Uploads: Clone + Send + Sync + 'static {
    /// Takes a plugin piece by piece. When a piece fails, or the future is dropped, nothing is left of it.
    fn put(
        &self,
        sha256: &str,
        declared_bytes: Option<u64>,
        pieces: impl Stream<Item = Result<Bytes, ErrorObjectOwned>> + Send,
        caller: Caller,
    ) -> impl Future<Output = Result<PluginInfo, ErrorObjectOwned>> + Send;
}

impl Uploads for PluginUploads {
    async fn put(
        &self,
        sha256: &str,
        declared_bytes: Option<u64>,
        pieces: impl Stream<Item = Result<Bytes, ErrorObjectOwned>> + Send,
        caller: Caller,
    ) -> Result<PluginInfo, ErrorObjectOwned> {
        let mut upload = self.begin(sha256, declared_bytes, caller).await?;
        let mut pieces = pin!(pieces);
        while let Some(piece) = pieces.next().await {
            upload.write(piece?).await?;
        }
        upload.finish().await
    }
}

/// Stores the body as the plugin of this sha256, and answers with what was found in it.
pub(super) async fn put<U: Uploads>(uploads: &U, sha256: &str, mut body: Incoming, caller: Caller) -> HttpResponse {
    let declared = body.size_hint();
    let stored = if declared.lower() > MAX_PLUGIN_BYTES {
        // Before a byte is read: a client that waits for `100 Continue` does not even send it.
        Err(too_large())
    } else {
        uploads.put(sha256, declared.exact(), pieces(&mut body), caller).await
    };
    match stored {
        Ok(plugin) => {
            let body = serde_json::to_string(&plugin).expect("a plugin's facts are always written as JSON");
            response::json(StatusCode::OK, body)
        }
        Err(error) => {
            response::discard(body);
            response::failed(&error)
        }
    }
}

/// The body as it comes, up to the largest plugin.
fn pieces(body: &mut Incoming) -> impl Stream<Item = Result<Bytes, ErrorObjectOwned>> + Send {
    let deadline = Instant::now() + PUT_TIMEOUT;
    stream::try_unfold((body, 0), move |(body, received)| async move {
        let next = timeout_at(deadline, next_piece(body)).await;
        let next =
            next.map_err(|_| incomplete(format!("the plugin did not come within {} s", PUT_TIMEOUT.as_secs())))?;
        let Some(piece) = next? else { return Ok(None) };
        let received = received + piece.len() as u64;
        if received > MAX_PLUGIN_BYTES {
            return Err(too_large());
        }
        Ok(Some((piece, (body, received))))
    })
}

async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, ErrorObjectOwned> {
    loop {
        match timeout(PIECE_TIMEOUT, body.frame()).await {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(piece) => return Ok(Some(piece)),
                // Trailers say nothing about a plugin.
                Err(_) => continue,
            },
            Ok(Some(Err(error))) => return Err(incomplete(format!("the plugin did not come whole: {error}"))),
            Err(_) => {
                return Err(incomplete(format!("no more of the plugin came for {} s", PIECE_TIMEOUT.as_secs())));
            }
        }
    }
}

fn too_large() -> ErrorObjectOwned {
    let message = format!("a plugin may have at most {MAX_PLUGIN_BYTES} bytes, and this one has more");
    ErrorCode::TooLarge.to_error(message, None)
}

fn incomplete(why: String) -> ErrorObjectOwned {
    ErrorCode::InvalidRequest.to_error(why, Some("send it again".to_owned()))
}
