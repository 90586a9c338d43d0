//! HTTP/1.1 on the same addresses: JSON-RPC by POST and WebSocket, plugins by PUT, and whether the host is alive.
//!
//! Browsers are kept out before anything else is looked at (`origin`). POST and WebSockets are answered by the stream's
//! dispatcher, so that both dialects, batches, ids and errors are the same. hyper is used without jsonrpsee's own
//! `serve_with_graceful_shutdown`, which has no limit on the time that a request's head may take.

mod origin;
mod plugins;
mod response;
mod websocket;

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::OnceLock;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::upgrade::{self, OnUpgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use jsonrpsee::server::{HttpResponse, http::is_json, ws::is_upgrade_request};
use jsonrpsee::types::ErrorObjectOwned;
use taskhost_api::{ErrorCode, MAX_MESSAGE_BYTES};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use self::plugins::Uploads;
use crate::access::{Caller, Refusal};
use crate::stream::{self, Dispatcher, MESSAGE_TIMEOUT, Served, Session};

/// What there is, for whoever asks for something else.
const PATHS: &str = "\
POST /                  JSON-RPC 2.0 and 1.0, with `Content-Type: application/json`
GET  /                  the same over a WebSocket
PUT  /plugins/{sha256}  stores a plugin
GET  /healthz           whether the host is alive
";

/// The HTTP side of the host.
#[derive(Clone)]
pub(crate) struct Service<U> {
    served: Served,
    uploads: U,
}

impl<U: Uploads> Service<U> {
    pub(crate) fn new(served: Served, uploads: U) -> Self {
        Self { served, uploads }
    }

    /// Serves one connection until its client or `stop` ends it, also where it becomes a WebSocket.
    pub(crate) async fn serve<S>(
        &self,
        socket: S,
        connection: u32,
        caller: Caller,
        stop: &CancellationToken,
    ) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let upgraded = OnceLock::new();
        self.serve_requests(socket, connection, caller, stop, &upgraded).await?;
        let Some(upgraded) = upgraded.into_inner() else { return Ok(()) };
        let socket = upgraded.await.map_err(io::Error::other)?;
        let session = Session::new(self.served.clone(), connection, caller);
        websocket::serve(TokioIo::new(socket), session, stop).await
    }

    /// Serves HTTP, until the connection is over or nothing of HTTP follows on it: then it will be in `upgraded`.
    async fn serve_requests<S>(
        &self,
        socket: S,
        connection: u32,
        caller: Caller,
        stop: &CancellationToken,
        upgraded: &OnceLock<OnUpgrade>,
    ) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let dispatcher = &Dispatcher::for_one_answer(self.served.clone(), connection, caller);
        let service = service_fn(move |request| async move {
            let response = match origin::check(request.headers()) {
                Ok(()) => self.respond(request, dispatcher, caller, upgraded).await,
                Err(why) => response::text(StatusCode::FORBIDDEN, why.to_string()),
            };
            Ok::<_, Infallible>(response)
        });
        let served = builder().serve_connection(TokioIo::new(socket), service).with_upgrades();
        let mut served = pin!(served);
        let ended = tokio::select! {
            ended = &mut served => ended,
            () = stop.cancelled() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        ended.map_err(io::Error::other)
    }

    async fn respond(
        &self,
        mut request: Request<Incoming>,
        dispatcher: &Dispatcher,
        caller: Caller,
        upgraded: &OnceLock<OnUpgrade>,
    ) -> HttpResponse {
        let path = request.uri().path();
        if let Some(sha256) = path.strip_prefix("/plugins/") {
            return if request.method() == Method::PUT {
                let sha256 = sha256.to_owned();
                plugins::put(&self.uploads, &sha256, request.into_body(), caller).await
            } else {
                response::not_allowed("PUT")
            };
        }
        match (path, request.method()) {
            ("/", _) if is_upgrade_request(&request) => {
                let response = websocket::accept(&request);
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    // One connection is upgraded once.
                    upgraded.get_or_init(|| upgrade::on(&mut request));
                }
                response
            }
            ("/", &Method::POST) => call(request, dispatcher).await,
            ("/", _) => response::not_allowed("POST"),
            ("/healthz", &Method::GET | &Method::HEAD) => {
                response::json(StatusCode::OK, r#"{"status":"ok"}"#.to_owned())
            }
            ("/healthz", _) => response::not_allowed("GET, HEAD"),
            _ => response::text(StatusCode::NOT_FOUND, format!("there is nothing here; there is\n\n{PATHS}")),
        }
    }
}

/// One JSON-RPC message and its answer.
async fn call(request: Request<Incoming>, dispatcher: &Dispatcher) -> HttpResponse {
    // A form of a browser can't send this type without asking first, which is never allowed.
    if !is_json(request.headers().get(header::CONTENT_TYPE)) {
        let text = "JSON-RPC needs `Content-Type: application/json`\n".to_owned();
        return response::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
    }
    let message = match read_message(request.into_body()).await {
        Ok(message) => message,
        Err((status, error)) => return response::call_failed(status, &error),
    };
    // hyper looks for a client that is gone only where it writes: its call, and its connection's place, go on to the
    // end. The longest is a `TaskUnit.Run` that waits, and that ends with the task's timeout.
    match dispatcher.answer(&message).await {
        Some(answer) => response::json(StatusCode::OK, answer),
        None => response::empty(StatusCode::NO_CONTENT),
    }
}

/// Answers the first request of somebody who may not ask for anything, and closes.
pub(crate) async fn refuse<S>(socket: S, refusal: Refusal) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(|_: Request<Incoming>| async move {
        Ok::<_, Infallible>(response::failed(&ErrorObjectOwned::from(refusal)))
    });
    let served = builder().keep_alive(false).serve_connection(TokioIo::new(socket), service);
    served.await.map_err(io::Error::other)
}

fn builder() -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    // The limit on the time for a request's head is also one on the time between two requests: HTTP clients expect that.
    builder.timer(TokioTimer::new()).header_read_timeout(MESSAGE_TIMEOUT).half_close(true);
    builder
}

async fn read_message(mut body: Incoming) -> Result<Bytes, (StatusCode, ErrorObjectOwned)> {
    let too_large = || (StatusCode::PAYLOAD_TOO_LARGE, stream::too_large());
    if body.size_hint().lower() > MAX_MESSAGE_BYTES as u64 {
        response::discard(body);
        return Err(too_large());
    }
    match timeout(MESSAGE_TIMEOUT, Limited::new(&mut body, MAX_MESSAGE_BYTES).collect()).await {
        Ok(Ok(message)) => Ok(message.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            response::discard(body);
            Err(too_large())
        }
        Ok(Err(error)) => {
            let message = format!("the body did not come whole: {error}");
            Err((StatusCode::BAD_REQUEST, ErrorCode::ParseError.to_error(message, None)))
        }
        Err(_) => {
            let message = format!("the body did not come within {} s", MESSAGE_TIMEOUT.as_secs());
            Err((StatusCode::REQUEST_TIMEOUT, ErrorCode::ParseError.to_error(message, None)))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
