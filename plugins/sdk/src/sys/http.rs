//! The real network, by `wasi:http`.

use std::time::Duration;

use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, HeaderError, IncomingBody, InputStream, Method, OutgoingBody,
    OutgoingRequest, Pollable, RequestOptions, Scheme, http_error_code,
};
use wasip2::io::poll;
use wasip2::io::streams::StreamError;

use crate::context;
use crate::http::{Body, Error, Request, Response, Source, Target};

/// How long a wait goes on before it is looked whether somebody cancelled the run.
const LOOK: Duration = Duration::from_millis(250);

/// How much later than the host's bounds on single steps the bound on the whole is, so that a step that took too long
/// is told as such.
const GRACE: Duration = Duration::from_millis(50);

/// How much of a body is read at once.
const PIECE_BYTES: u64 = 64 * 1024;

/// Sends a request, and waits for the head of its answer. Head and body must have come within `timeout`.
pub(crate) fn http_send(request: &Request, target: &Target, timeout: Duration) -> Result<Response, Error> {
    let deadline = now().saturating_add(timeout);
    let until = deadline.saturating_add(GRACE);
    let outgoing = outgoing(request, target)?;
    let sent = match request.body {
        // The body first: what has been handed over is the host's.
        Some(_) => Some(outgoing.body().map_err(|()| Error::Other("the host takes no body".to_owned()))?),
        None => None,
    };
    let answer = outgoing_handler::handle(outgoing, Some(bounds(deadline))).map_err(fault)?;
    if let (Some(sent), Some(bytes)) = (sent, &request.body) {
        write(sent, bytes, until)?;
    }
    wait(&answer.subscribe(), until)?;
    take(&answer, until)
}

fn outgoing(request: &Request, target: &Target) -> Result<OutgoingRequest, Error> {
    let headers = Fields::new();
    for (name, value) in &request.headers {
        match headers.append(name, value) {
            Ok(()) => {}
            Err(HeaderError::Forbidden) => return Err(Error::Header(name.clone())),
            Err(_) => return Err(Error::Other(format!("the host does not take the header `{name}`"))),
        }
    }
    let body_bytes = match (&request.body, request.method.as_str()) {
        (Some(body), _) => Some(body.len()),
        (None, "POST" | "PUT" | "PATCH") => Some(0),
        (None, _) => None,
    };
    if let Some(body_bytes) = body_bytes {
        // Else it would go in chunks, which not every server takes.
        headers
            .append("Content-Length", body_bytes.to_string().as_bytes())
            .map_err(|error| Error::Other(error.to_string()))?;
    }
    let outgoing = OutgoingRequest::new(headers);
    let method = match request.method.as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    };
    let scheme = if target.is_https { Scheme::Https } else { Scheme::Http };
    outgoing
        .set_method(&method)
        .and_then(|()| outgoing.set_scheme(Some(&scheme)))
        .and_then(|()| outgoing.set_authority(Some(&target.authority)))
        .and_then(|()| outgoing.set_path_with_query(Some(&target.path_and_query)))
        .map_err(|()| Error::Other("the host does not take the method or the URL".to_owned()))?;
    Ok(outgoing)
}

/// The host's bounds on the single steps.
fn bounds(deadline: Duration) -> RequestOptions {
    let left_ns = nanoseconds(deadline.saturating_sub(now())).max(1);
    let bounds = RequestOptions::new();
    // A host that has not these bounds refuses them; that on the whole is our own.
    bounds.set_connect_timeout(Some(left_ns)).ok();
    bounds.set_first_byte_timeout(Some(left_ns)).ok();
    // Not that between bytes: of errors in a body wasmtime 48 tells no code, so it is for us to say that time was up.
    bounds
}

/// Writes a body whole. Where the other side takes no more of it, its answer tells why.
fn write(body: OutgoingBody, bytes: &[u8], until: Duration) -> Result<(), Error> {
    let stream = body.write().map_err(|()| Error::Other("the host takes no body".to_owned()))?;
    let mut rest = bytes;
    while !rest.is_empty() {
        match stream.check_write() {
            Ok(0) => wait(&stream.subscribe(), until)?,
            Ok(room) => {
                let (now, later) = rest.split_at(rest.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
                if stream.write(now).is_err() {
                    return Ok(());
                }
                rest = later;
            }
            Err(_) => return Ok(()),
        }
    }
    stream.flush().ok();
    drop(stream);
    OutgoingBody::finish(body, None).ok();
    Ok(())
}

/// What came of a request that has been answered.
fn take(answer: &FutureIncomingResponse, until: Duration) -> Result<Response, Error> {
    let lost = || Error::Other("the host lost the answer".to_owned());
    let response = answer.get().ok_or_else(lost)?.map_err(|()| lost())?.map_err(fault)?;
    let headers = response.headers().entries();
    let body = response.consume().map_err(|()| lost())?;
    let stream = body.stream().map_err(|()| lost())?;
    let body = Body(Source::Wasi(HttpBody { stream, _body: body, until }));
    Ok(Response { status: response.status(), headers, body })
}

/// The body of an answer, as it comes.
#[derive(Debug)]
pub(crate) struct HttpBody {
    /// Dropped before what it is a part of.
    stream: InputStream,
    _body: IncomingBody,
    until: Duration,
}

impl HttpBody {
    pub(crate) fn next_piece(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            // Also where the other side always has a little more.
            if now() >= self.until {
                return Err(Error::Timeout);
            }
            match self.stream.read(PIECE_BYTES) {
                Ok(piece) if piece.is_empty() => wait(&self.stream.subscribe(), self.until)?,
                Ok(piece) => return Ok(Some(piece)),
                Err(StreamError::Closed) => return Ok(None),
                Err(StreamError::LastOperationFailed(error)) => {
                    let told = || Error::Other(error.to_debug_string());
                    return Err(http_error_code(&error).map_or_else(told, fault));
                }
            }
        }
    }
}

/// Waits until something is ready, time is up or the run is cancelled.
fn wait(pollable: &Pollable, until: Duration) -> Result<(), Error> {
    const READY: u32 = 0;
    loop {
        let now = now();
        let timer = monotonic_clock::subscribe_instant(nanoseconds(until.min(now + LOOK)));
        if poll::poll(&[pollable, &timer]).contains(&READY) {
            return Ok(());
        }
        if self::now() >= until {
            return Err(Error::Timeout);
        }
        if context::cancelled() {
            return Err(Error::Cancelled);
        }
    }
}

fn now() -> Duration {
    Duration::from_nanos(monotonic_clock::now())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn fault(code: ErrorCode) -> Error {
    match code {
        ErrorCode::HttpRequestDenied => Error::Denied,
        ErrorCode::DestinationIpProhibited => Error::DeniedAddress,
        ErrorCode::DnsError(error) => Error::Unresolved(error.rcode),
        ErrorCode::DnsTimeout => Error::Unresolved(Some("no answer in time".to_owned())),
        ErrorCode::DestinationNotFound => Error::Unresolved(None),
        ErrorCode::ConnectionRefused => Error::ConnectionRefused,
        ErrorCode::DestinationUnavailable | ErrorCode::DestinationIpUnroutable => Error::Unreachable,
        ErrorCode::ConnectionTimeout => Error::ConnectTimeout,
        ErrorCode::ConnectionReadTimeout | ErrorCode::ConnectionWriteTimeout | ErrorCode::HttpResponseTimeout => {
            Error::Timeout
        }
        ErrorCode::ConnectionTerminated | ErrorCode::HttpResponseIncomplete => Error::Closed,
        ErrorCode::ConnectionLimitReached => Error::TooManyConnections,
        ErrorCode::TlsCertificateError => Error::Tls("its certificate is not accepted".to_owned()),
        ErrorCode::TlsProtocolError => Error::Tls("the two do not agree on it".to_owned()),
        ErrorCode::TlsAlertReceived(alert) => {
            Error::Tls(alert.alert_message.unwrap_or_else(|| format!("alert {}", alert.alert_id.unwrap_or_default())))
        }
        ErrorCode::HttpResponseBodySize(_) => Error::TooLarge,
        ErrorCode::InternalError(Some(why)) => Error::Other(why),
        code => Error::Other(code.to_string()),
    }
}
