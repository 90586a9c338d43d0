//! What is answered over HTTP.

use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use jsonrpsee::server::{HttpBody, HttpResponse};
use jsonrpsee::types::ErrorObjectOwned;
use serde::Serialize;
use taskhost_api::{ErrorCode, ErrorData};
use tokio::time::timeout;

use crate::stream;

/// How long the rest of a body that nobody wants is thrown away, so that its client can read why.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn json(status: StatusCode, body: String) -> HttpResponse {
    with_type(status, body, "application/json")
}

pub(super) fn text(status: StatusCode, body: String) -> HttpResponse {
    with_type(status, body, "text/plain; charset=utf-8")
}

pub(super) fn empty(status: StatusCode) -> HttpResponse {
    let mut response = Response::new(HttpBody::default());
    *response.status_mut() = status;
    response
}

/// The path is right and the verb is not.
pub(super) fn not_allowed(allowed: &'static str) -> HttpResponse {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("this path takes {allowed}\n"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// An error of the table where no JSON-RPC is spoken.
pub(super) fn failed(error: &ErrorObjectOwned) -> HttpResponse {
    #[derive(Serialize)]
    struct Body<'a> {
        error: Members<'a>,
    }
    #[derive(Serialize)]
    struct Members<'a> {
        code: i32,
        name: String,
        message: &'a str,
        hint: Option<String>,
    }
    let code = ErrorCode::from_number(error.code()).unwrap_or(ErrorCode::Internal);
    let data = error.data().and_then(|data| serde_json::from_str::<ErrorData>(data.get()).ok());
    let ErrorData { name, hint } = data.unwrap_or_else(|| ErrorData { name: code.name().to_owned(), hint: None });
    let body = Body { error: Members { code: error.code(), name, message: error.message(), hint } };
    json(status(code), serde_json::to_string(&body).expect("strings and numbers are always written as JSON"))
}

/// A JSON-RPC message that could not be read.
pub(super) fn call_failed(status: StatusCode, error: &ErrorObjectOwned) -> HttpResponse {
    json(status, stream::without_id(error.clone()))
}

/// Reads what is left of a body away, beside the response. Without that, closing would reset the connection under a client
/// that is still sending, and take the response from it.
pub(super) fn discard(mut body: Incoming) {
    tokio::spawn(timeout(DISCARD_TIMEOUT, async move { while let Some(Ok(_)) = body.frame().await {} }));
}

fn with_type(status: StatusCode, body: String, content_type: &'static str) -> HttpResponse {
    let mut response = Response::new(HttpBody::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::ParseError | ErrorCode::InvalidRequest | ErrorCode::InvalidParams => StatusCode::BAD_REQUEST,
        ErrorCode::NotPermitted => StatusCode::FORBIDDEN,
        ErrorCode::MethodNotFound
        | ErrorCode::TaskNotFound
        | ErrorCode::PluginNotFound
        | ErrorCode::RunNotFound
        | ErrorCode::KeyNotFound => StatusCode::NOT_FOUND,
        ErrorCode::TaskExists | ErrorCode::PluginInUse | ErrorCode::RunInProgress | ErrorCode::RevisionConflict => {
            StatusCode::CONFLICT
        }
        ErrorCode::TooLarge | ErrorCode::QuotaExceeded => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::SpecInvalid | ErrorCode::PluginInvalid => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::Busy => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Internal | ErrorCode::StorageFailed => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
    }
}
