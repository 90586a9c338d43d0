//! JSON-RPC over WebSockets: jsonrpsee's own, with what it leaves open closed by a layer around every call.
//!
//! The layer gives calls the same parameters and errors as everywhere else, carries notifications out (jsonrpsee drops them),
//! and bounds what one connection has going on (jsonrpsee begins every message that it reads). A call goes on until its
//! answer is in the queue of what is sent, so that answers do not pile up for a client that reads none. What never becomes a
//! call (no JSON, a message or a batch past the limits) jsonrpsee answers itself, with numbers of its own.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::Request as HttpRequest;
use hyper::body::Incoming;
use jsonrpsee::core::middleware::{Batch, BatchEntry, Notification, RpcServiceBuilder, RpcServiceT};
use jsonrpsee::server::middleware::rpc::RpcService;
use jsonrpsee::server::{
    BatchRequestConfig, BatchResponseBuilder, HttpResponse, MethodCallback, MethodResponse, Methods, PingConfig,
    ResponsePayload, Server, ServerConfig, ServerHandle, StopHandle, TowerServiceBuilder, stop_channel,
};
use jsonrpsee::types::{ErrorObject, ErrorObjectOwned, Id, Request};
use serde::Deserialize;
use serde_json::value::RawValue;
use taskhost_api::{ErrorCode, MAX_BATCH_CALLS, MAX_MESSAGE_BYTES};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;
use tower::layer::util::{Identity, Stack};

use super::response;
use crate::access::Caller;
use crate::normalise;
use crate::stream::{MAX_ANSWER_BYTES, MAX_SUBSCRIPTIONS, result_in};

/// How many messages wait for a client that does not read.
const QUEUE_MESSAGES: u32 = 4;

/// How often a client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// After how long without an answer it is not.
const PONG_TIMEOUT: Duration = Duration::from_secs(90);

/// How many bytes of parameters one connection may have going on.
const MAX_IN_FLIGHT_BYTES: usize = 16 * MAX_MESSAGE_BYTES;

/// How many calls and batches one connection may have going on.
const MAX_IN_FLIGHT: usize = 64;

/// What each of them counts at least.
const MIN_CALL_BYTES: usize = MAX_IN_FLIGHT_BYTES / MAX_IN_FLIGHT;

/// Turns connections into WebSockets.
pub(super) struct WebSockets {
    methods: Methods,
    builder: TowerServiceBuilder<Stack<Layer, Identity>, Identity>,
    stopped: StopHandle,
    stop: ServerHandle,
}

impl WebSockets {
    pub(super) fn new(methods: Methods, max_connections: u32) -> Self {
        let ping = PingConfig::new().ping_interval(PING_INTERVAL).inactive_limit(PONG_TIMEOUT);
        let config = ServerConfig::builder()
            .ws_only()
            .max_connections(max_connections)
            .max_request_body_size(MAX_MESSAGE_BYTES as u32)
            .max_response_body_size(MAX_ANSWER_BYTES as u32)
            .max_subscriptions_per_connection(MAX_SUBSCRIPTIONS)
            .set_batch_request_config(BatchRequestConfig::Limit(MAX_BATCH_CALLS as u32))
            .set_message_buffer_capacity(QUEUE_MESSAGES)
            .enable_ws_ping(ping)
            .build();
        let layer = Layer { methods: methods.clone() };
        let builder = Server::builder()
            .set_config(config)
            .set_rpc_middleware(RpcServiceBuilder::new().layer(layer))
            .to_service_builder();
        let (stopped, stop) = stop_channel();
        Self { methods, builder, stopped, stop }
    }

    pub(super) fn stop(&self) {
        if self.stop.stop().is_err() {
            tracing::debug!("there is no WebSocket to stop");
        }
    }

    /// Answers the upgrade; the connection goes on in a task of jsonrpsee's.
    pub(super) async fn upgrade(
        &self,
        mut request: HttpRequest<Incoming>,
        connection: u32,
        caller: Caller,
    ) -> HttpResponse {
        // jsonrpsee hands the extensions of the request to every call.
        request.extensions_mut().insert(caller);
        let builder = self.builder.clone().connection_id(connection);
        let mut service = builder.build(self.methods.clone(), self.stopped.clone());
        match service.call(request).await {
            Ok(response) => response,
            Err(error) => {
                tracing::warn!(%error, "a WebSocket could not be set up");
                response::failed(&ErrorCode::Internal.to_error("the WebSocket could not be set up", None))
            }
        }
    }
}

/// Puts [`Calls`] around a connection's calls.
#[derive(Clone)]
pub(super) struct Layer {
    methods: Methods,
}

impl tower::Layer<RpcService> for Layer {
    type Service = Calls;

    fn layer(&self, service: RpcService) -> Calls {
        let in_flight = Arc::new(Semaphore::new(MAX_IN_FLIGHT_BYTES));
        Calls { service, methods: self.methods.clone(), in_flight }
    }
}

/// The calls of one connection.
#[derive(Clone)]
pub(super) struct Calls {
    service: RpcService,
    methods: Methods,
    /// A permit for each byte of parameters.
    in_flight: Arc<Semaphore>,
}

impl RpcServiceT for Calls {
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let calls = self.clone();
        async move { calls.one(request).await }
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let calls = self.clone();
        async move { calls.each(batch).await }
    }

    fn notification<'a>(&self, notification: Notification<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let calls = self.clone();
        async move { calls.unanswered(notification).await }
    }
}

impl Calls {
    /// A call by itself.
    async fn one(&self, request: Request<'_>) -> MethodResponse {
        let id = request.id.clone().into_owned();
        let place = match self.place(bytes_of(request.params.as_deref())) {
            Ok(place) => place,
            Err(busy) => return MethodResponse::error(id, busy),
        };
        let response = self.call_method(request).await;
        // What a subscription answers has been sent already, and errors are small.
        if !response.is_method_call() || response.is_error() {
            return response;
        }
        let Ok(result) = result_in(response.as_json()) else { return response };
        let (answer, sent) = ResponsePayload::success(result).notify_on_completion();
        tokio::spawn(async move {
            // Whether it was sent, or its connection closed before.
            sent.await.ok();
            drop(place);
        });
        MethodResponse::response(id, answer, MAX_ANSWER_BYTES)
    }

    /// The right to have so many bytes of parameters going on, until it is dropped.
    fn place(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ErrorObjectOwned> {
        let bytes = u32::try_from(bytes.clamp(MIN_CALL_BYTES, MAX_IN_FLIGHT_BYTES)).unwrap_or(u32::MAX);
        Arc::clone(&self.in_flight).try_acquire_many_owned(bytes).map_err(|_| {
            let hint = Some("wait for answers before sending more".to_owned());
            ErrorCode::Busy.to_error("too many calls are going on", hint)
        })
    }

    async fn call_method(&self, mut request: Request<'_>) -> MethodResponse {
        let id = request.id.clone().into_owned();
        if self.methods.method(&request.method).is_none() {
            return MethodResponse::error(id, normalise::unknown_method(&request.method));
        }
        match normalise::parameters(request.params.as_deref()).map(Cow::into_owned) {
            Ok(params) => {
                let params = RawValue::from_string(params).expect("a parameter between brackets is JSON");
                request.params = Some(Cow::Owned(params));
            }
            Err(error) => return MethodResponse::error(id, error),
        }
        let response = self.service.call(request).await;
        // What a subscription answers has been sent already.
        if response.is_error() && response.is_method_call() {
            return MethodResponse::error(id, error_in(&response));
        }
        response
    }

    /// One after the other, as over the stream, in the place of a single call.
    async fn each(&self, batch: Batch<'_>) -> MethodResponse {
        let bytes = batch.iter().flatten().map(|entry| match entry {
            BatchEntry::Call(request) => bytes_of(request.params.as_deref()),
            BatchEntry::Notification(notification) => bytes_of(notification.params.as_deref()),
        });
        // Free again when the batch is answered, as jsonrpsee does not tell when that is sent: the socket is not read while
        // the client does not read, so only batches that were read before wait beside the queue.
        let place = self.place(bytes.sum());
        let mut answers = BatchResponseBuilder::new_with_limit(MAX_ANSWER_BYTES);
        let mut only_notifications = !batch.is_empty();
        for entry in batch {
            let answer = match entry {
                Ok(BatchEntry::Call(request)) if self.is_subscription(&request.method) => {
                    let hint = Some("send it by itself".to_owned());
                    let error = ErrorCode::InvalidRequest.to_error("a subscription can't be part of a batch", hint);
                    MethodResponse::error(request.id, error)
                }
                Ok(BatchEntry::Call(request)) => match &place {
                    Ok(_) => self.call_method(request).await,
                    Err(busy) => MethodResponse::error(request.id, busy.clone()),
                },
                Ok(BatchEntry::Notification(notification)) => {
                    if place.is_ok() {
                        self.carry_out(notification).await;
                    }
                    continue;
                }
                Err(entry) => {
                    let (error, id) = entry.into_parts();
                    MethodResponse::error(id, normalise::error(&error))
                }
            };
            only_notifications = false;
            if let Err(too_large) = answers.append(answer) {
                return MethodResponse::error(Id::Null, error_in(&too_large));
            }
        }
        if only_notifications { MethodResponse::notification() } else { MethodResponse::from_batch(answers.finish()) }
    }

    async fn unanswered(&self, notification: Notification<'_>) -> MethodResponse {
        // Without a place it is lost, as nobody can be told.
        if let Ok(_place) = self.place(bytes_of(notification.params.as_deref())) {
            self.carry_out(notification).await;
        }
        MethodResponse::notification()
    }

    async fn carry_out(&self, notification: Notification<'_>) {
        let Notification { method, params, extensions, .. } = notification;
        // A subscription would have to say its id.
        if !self.is_subscription(&method) {
            let mut request = Request::owned(method.into_owned(), params.map(Cow::into_owned), Id::Null);
            *request.extensions_mut() = extensions;
            self.call_method(request).await;
        }
    }

    fn is_subscription(&self, method: &str) -> bool {
        matches!(self.methods.method(method), Some(MethodCallback::Subscription(_)))
    }
}

fn bytes_of(params: Option<&RawValue>) -> usize {
    params.map_or(0, |params| params.get().len())
}

/// The error of an answer, as one of the table.
fn error_in(response: &MethodResponse) -> ErrorObjectOwned {
    #[derive(Deserialize)]
    struct Members<'a> {
        #[serde(borrow)]
        error: ErrorObject<'a>,
    }
    match serde_json::from_str::<Members<'_>>(response.as_ref()) {
        Ok(Members { error }) => normalise::error(&error),
        Err(_) => ErrorCode::Internal.to_error("an error that can't be read", None),
    }
}
