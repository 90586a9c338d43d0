//! What one JSON value on the wire means: a call, a notification, or a batch of them, in JSON-RPC 2.0 or 1.0.

use std::borrow::Cow;

use jsonrpsee::types::ErrorObjectOwned;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use taskhost_api::{ErrorCode, MAX_BATCH_CALLS};
use taskhost_core::told::told;

use crate::normalise::{Elements, MAX_DETAIL_CHARS};

/// How a request was written, and so how it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// No `jsonrpc` member, as Go's `net/rpc/jsonrpc` speaks: <https://www.jsonrpc.org/specification_v1>.
    V1,
    /// <https://www.jsonrpc.org/specification>.
    V2,
}

/// One value of the stream.
pub(super) enum Message<'a> {
    Single(Request<'a>),
    /// At least one, at most [`MAX_BATCH_CALLS`].
    Batch(Vec<Request<'a>>),
    /// Not even that; the answer has no id.
    Invalid(ErrorObjectOwned),
    /// No JSON: nobody knows where the next value begins.
    Unreadable(ErrorObjectOwned),
}

/// A request that can be answered: to be called, or known to be wrong.
pub(super) struct Request<'a> {
    pub(super) dialect: Dialect,
    /// As it was sent; `None` for a notification.
    pub(super) id: Option<Cow<'a, RawValue>>,
    pub(super) call: Result<Call<'a>, ErrorObjectOwned>,
}

pub(super) struct Call<'a> {
    pub(super) method: Cow<'a, str>,
    pub(super) params: Option<Cow<'a, RawValue>>,
}

/// Reads one value.
pub(super) fn parse(frame: &[u8]) -> Message<'_> {
    let text = match std::str::from_utf8(frame) {
        Ok(text) => text.trim_ascii(),
        Err(error) => return Message::Unreadable(unreadable(&error)),
    };
    if !text.starts_with('[') {
        return match request(text) {
            Ok(request) => Message::Single(request),
            Err(error) => Message::Unreadable(unreadable(&error)),
        };
    }
    match Elements::parse(text, MAX_BATCH_CALLS) {
        Err(error) => Message::Unreadable(unreadable(&error)),
        Ok(batch) if batch.count == 0 => Message::Invalid(invalid("a batch has at least one request")),
        Ok(batch) if batch.count > MAX_BATCH_CALLS => {
            let message =
                format!("a batch may have at most {MAX_BATCH_CALLS} requests, and this one has {}", batch.count);
            Message::Invalid(ErrorCode::TooLarge.to_error(message, Some("send several batches".to_owned())))
        }
        Ok(batch) => {
            let requests = batch.first.iter().map(|element| request(element.get())).collect();
            match requests {
                Ok(requests) => Message::Batch(requests),
                Err(error) => Message::Unreadable(unreadable(&error)),
            }
        }
    }
}

/// The members of a request. Others are let be, as Go's server does.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// Tells a member that is `null` from one that is not there.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Reads one request. An error is text that is no JSON; JSON that is no request is told in the answer.
fn request(text: &str) -> serde_json::Result<Request<'_>> {
    // An element of a batch, and JSON for sure. serde would take an array for the members in their order.
    if text.starts_with('[') {
        return Ok(Request::refused(invalid("a request is an object")));
    }
    let members: Members<'_> = match serde_json::from_str(text) {
        Ok(members) => members,
        Err(error) => {
            // A member that stands twice, or whose name is no text: where the value ends is known if it is JSON all the same.
            serde_json::from_str::<IgnoredAny>(text)?;
            return Ok(Request::refused(invalid(&told(error, MAX_DETAIL_CHARS))));
        }
    };
    let dialect = match members.jsonrpc.map(RawValue::get) {
        None => Dialect::V1,
        Some("\"2.0\"") => Dialect::V2,
        Some(_) => return Ok(Request::refused(invalid("`jsonrpc` is \"2.0\", or absent for 1.0"))),
    };
    let id = match (dialect, members.id) {
        (Dialect::V1, Some(id)) if id.get() == "null" => None,
        (Dialect::V2, Some(id)) if id.get().starts_with(['{', '[', 't', 'f']) => {
            return Ok(Request::refused(invalid("`id` is a string, a number or null")));
        }
        (_, id) => id.map(Cow::Borrowed),
    };
    let method = members.method.map(|method| serde_json::from_str::<Cow<'_, str>>(method.get()));
    let call = match method {
        Some(Ok(method)) => Call { method, params: members.params.map(Cow::Borrowed) },
        // What is no request is no notification either, and is answered: in 2.0, as nothing says that it is 1.0.
        Some(Err(_)) | None => {
            let error = invalid("`method` is the name of a method, as a string");
            return Ok(Request { dialect: Dialect::V2, id: Some(id.unwrap_or_else(null)), call: Err(error) });
        }
    };
    Ok(Request { dialect, id, call: Ok(call) })
}

impl Request<'_> {
    /// A request of which not even the id can be known.
    pub(super) fn refused(error: ErrorObjectOwned) -> Self {
        Self { dialect: Dialect::V2, id: Some(null()), call: Err(error) }
    }

    /// The same, apart from the message that it was read from.
    pub(super) fn into_owned(self) -> Request<'static> {
        let owned = |raw: Option<Cow<'_, RawValue>>| raw.map(|raw| Cow::Owned(raw.into_owned()));
        Request {
            dialect: self.dialect,
            id: owned(self.id),
            call: self
                .call
                .map(|Call { method, params }| Call { method: Cow::Owned(method.into_owned()), params: owned(params) }),
        }
    }
}

fn null<'a>() -> Cow<'a, RawValue> {
    Cow::Borrowed(RawValue::NULL)
}

fn invalid(why: &str) -> ErrorObjectOwned {
    ErrorCode::InvalidRequest.to_error(format!("invalid request: {why}"), None)
}

fn unreadable(why: &dyn std::fmt::Display) -> ErrorObjectOwned {
    ErrorCode::ParseError.to_error(format!("parse error: {}", told(why, MAX_DETAIL_CHARS)), None)
}
