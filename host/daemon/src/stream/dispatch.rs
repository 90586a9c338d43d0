//! Carries calls to their methods and answers back.
//!
//! `Methods::raw_json_request` of jsonrpsee would do for one call alone; here are batches, notifications, ids as they were
//! sent, limits, and both dialects, over the same callbacks. The stream, HTTP POST and WebSockets are served by this.

use std::future::ready;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jsonrpsee::core::id_providers::RandomIntegerIdProvider;
use jsonrpsee::server::{
    BoundedSubscriptions, ConnectionId, Extensions, MethodCallback, MethodResponse, MethodSink, SubscriptionState,
};
use jsonrpsee::types::{ErrorObjectOwned, Id, Params};
use serde_json::value::RawValue;
use taskhost_api::ErrorCode;
use tokio::sync::mpsc;

use super::answer::{self, Outcome};
use super::gets::{Answers, Gets, Served};
use super::message::{self, Call, Message, Request};
use crate::access::Caller;
use crate::normalise;

/// The largest answer that is sent, in bytes: a full page of tasks with much in them.
pub(super) const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// How many subscriptions one connection may have.
pub(super) const MAX_SUBSCRIPTIONS: u32 = 64;

/// How many messages of a subscription wait beside what its handler keeps back. The connection's own queue comes after.
const SUBSCRIPTION_QUEUE_MESSAGES: usize = 1;

/// The id that jsonrpsee is given; answers get the one that was sent.
const STAND_IN_ID: Id<'static> = Id::Number(0);

/// Answers the calls of one connection, or of one HTTP request.
pub(crate) struct Dispatcher {
    served: Served,
    connection: ConnectionId,
    extensions: Extensions,
    /// `None` where nothing can be sent but one answer.
    subscriptions: Option<BoundedSubscriptions>,
}

/// What became of messages: their answers, if they have some, and the events that follow, if it was a subscription.
pub(crate) struct Answered {
    pub(super) answer: Option<String>,
    pub(super) events: Option<Events>,
    pub(super) messages: usize,
    /// How many bytes they had.
    pub(super) message_bytes: usize,
}

impl Dispatcher {
    pub(super) fn for_connection(served: Served, connection: u32, caller: Caller) -> Self {
        let subscriptions = Some(BoundedSubscriptions::new(MAX_SUBSCRIPTIONS));
        Self::new(served, connection, caller, subscriptions)
    }

    pub(crate) fn for_one_answer(served: Served, connection: u32, caller: Caller) -> Self {
        Self::new(served, connection, caller, None)
    }

    fn new(served: Served, connection: u32, caller: Caller, subscriptions: Option<BoundedSubscriptions>) -> Self {
        let connection = ConnectionId::from(connection);
        let mut extensions = Extensions::new();
        extensions.insert(caller);
        Self { served, connection, extensions, subscriptions }
    }

    /// Answers one message where nothing can follow its answer; `None` if it has none.
    pub(crate) async fn answer(&self, message: &[u8]) -> Option<String> {
        match message::parse(message) {
            Message::Single(request) => match self.get_alone(&request) {
                Some(got) => Some(got.await.text),
                None => self.single(request, Within::Message).await.0,
            },
            Message::Batch(requests) => self.batch(requests).await,
            Message::Invalid(error) | Message::Unreadable(error) => Some(without_id(error)),
        }
    }

    fn get_alone(&self, request: &Request<'_>) -> Option<BoxFuture<'static, Answers>> {
        let tasks = self.served.tasks.as_deref()?;
        let mut gets = Gets::default();
        // One call has one answer.
        if gets.take(request, 0) { gets.begin(tasks).pop() } else { None }
    }

    /// What comes of one message; `None` if it is left to be done with `gets`, which came before it. An error if it is no JSON:
    /// then nobody knows where the next message begins.
    ///
    /// The method is called when the future is first polled.
    pub(super) fn dispatch(
        self: &Arc<Self>,
        message: &[u8],
        gets: &mut Gets,
    ) -> Result<Option<BoxFuture<'static, Answered>>, ErrorObjectOwned> {
        let message_bytes = message.len();
        let answered = move |(answer, events)| Answered { answer, events, messages: 1, message_bytes };
        let this = Arc::clone(self);
        Ok(Some(match message::parse(message) {
            Message::Single(request) if self.served.tasks.is_some() && gets.take(&request, message_bytes) => {
                return Ok(None);
            }
            Message::Single(request) => {
                let request = request.into_owned();
                async move { answered(this.single(request, Within::Message).await) }.boxed()
            }
            Message::Batch(requests) => {
                let requests = requests.into_iter().map(Request::into_owned).collect();
                async move { answered((this.batch(requests).await, None)) }.boxed()
            }
            Message::Invalid(error) => ready(answered((Some(without_id(error)), None))).boxed(),
            Message::Unreadable(error) => return Err(error),
        }))
    }

    /// What comes of calls that were put together, in parts.
    pub(super) fn get(&self, gets: Gets) -> impl Iterator<Item = BoxFuture<'static, Answered>> {
        let parts = match self.served.tasks.as_deref() {
            Some(tasks) if !gets.is_empty() => gets.begin(tasks),
            _ => Vec::new(),
        };
        let answered = |Answers { calls, message_bytes, text }| Answered {
            answer: Some(text),
            events: None,
            messages: calls,
            message_bytes,
        };
        parts.into_iter().map(move |part| part.map(answered).boxed())
    }

    /// One after the other, so that a batch may build on its own beginning. Pipelined messages run side by side.
    async fn batch(&self, requests: Vec<Request<'_>>) -> Option<String> {
        let mut text = String::from("[");
        for request in requests {
            let (Some(answer), _) = self.single(request, Within::Batch).await else { continue };
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&answer);
            if text.len() > MAX_ANSWER_BYTES {
                let hint = Some("send smaller batches".to_owned());
                let error =
                    ErrorCode::TooLarge.to_error("the answers to this batch are larger than the host sends", hint);
                return Some(without_id(error));
            }
        }
        if text.len() == 1 {
            return None;
        }
        text.push(']');
        Some(text)
    }

    /// The answer to one request, if it has one, and the events that follow it.
    async fn single(&self, request: Request<'_>, within: Within) -> (Option<String>, Option<Events>) {
        let Request { dialect, id, call } = request;
        let (outcome, events) = match call {
            Ok(call) => self.call(call, id.is_some(), within).await,
            Err(error) => (Err(error), None),
        };
        (id.map(|id| answer::write(dialect, &id, &outcome)), events)
    }

    async fn call(&self, call: Call<'_>, answered: bool, within: Within) -> (Outcome, Option<Events>) {
        let Some((_, method)) = self.served.methods.method_with_name(&call.method) else {
            return (Err(normalise::unknown_method(&call.method)), None);
        };
        let params = match normalise::parameters(call.params.as_deref()) {
            Ok(params) => params,
            Err(error) => return (Err(error), None),
        };
        let params = Params::new(Some(&params));
        let extensions = self.extensions.clone();
        let response = match method {
            MethodCallback::Sync(method) => method(STAND_IN_ID, params, MAX_ANSWER_BYTES, extensions),
            MethodCallback::Async(method) => {
                method(STAND_IN_ID, params.into_owned(), self.connection, MAX_ANSWER_BYTES, extensions).await
            }
            MethodCallback::Unsubscription(method) => {
                method(STAND_IN_ID, params, self.connection, MAX_ANSWER_BYTES, extensions)
            }
            MethodCallback::Subscription(method) => {
                let permit = match self.subscription_permit(answered, within) {
                    Ok(permit) => permit,
                    Err(error) => return (Err(error), None),
                };
                let state = SubscriptionState {
                    conn_id: self.connection,
                    id_provider: &RandomIntegerIdProvider,
                    subscription_permit: permit,
                };
                let (sink, events) = mpsc::channel(SUBSCRIPTION_QUEUE_MESSAGES);
                let response = method(STAND_IN_ID, params, MethodSink::new(sink), state, extensions).await;
                return subscribed(response, events).await;
            }
        };
        (answer::outcome_of(response), None)
    }

    fn subscription_permit(
        &self,
        answered: bool,
        within: Within,
    ) -> Result<jsonrpsee::server::SubscriptionPermit, ErrorObjectOwned> {
        let refused = |why: &str, hint: &str| Err(ErrorCode::InvalidRequest.to_error(why, Some(hint.to_owned())));
        if within == Within::Batch {
            return refused("a subscription can't be part of a batch", "send it by itself");
        }
        if !answered {
            return refused("a subscription can't be a notification", "give it an id");
        }
        let Some(subscriptions) = &self.subscriptions else {
            return refused("a subscription needs a connection that stays", "use a WebSocket, or the JSON stream");
        };
        subscriptions.acquire().ok_or_else(|| {
            let message = format!("a connection may have at most {MAX_SUBSCRIPTIONS} subscriptions");
            ErrorCode::Busy.to_error(message, Some("unsubscribe, or open another connection".to_owned()))
        })
    }
}

/// The messages of a subscription, as they are sent.
pub(super) type Events = mpsc::Receiver<Box<RawValue>>;

/// Where a request stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Message,
    Batch,
}

/// Takes the answer to a subscription out of its events, where jsonrpsee puts a copy, so that it can have its own id.
async fn subscribed(response: MethodResponse, mut events: Events) -> (Outcome, Option<Events>) {
    if response.is_subscription() {
        events.recv().await;
    }
    let events = response.is_success().then_some(events);
    (answer::outcome_of(response), events)
}

/// An answer to what has no id that anybody could know.
pub(crate) fn without_id(error: ErrorObjectOwned) -> String {
    answer::write(message::Dialect::V2, RawValue::NULL, &Err(error))
}

/// The answer to somebody who may not call anything: the same error whatever was asked, in the dialect that came.
pub(super) fn refuse(message: &[u8], error: &ErrorObjectOwned) -> String {
    match message::parse(message) {
        Message::Single(Request { dialect, id, .. }) => {
            answer::write(dialect, id.as_deref().unwrap_or(RawValue::NULL), &Err(error.clone()))
        }
        Message::Batch(_) | Message::Invalid(_) | Message::Unreadable(_) => without_id(error.clone()),
    }
}
