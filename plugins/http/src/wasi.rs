//! The real network, by `wasi:http`.

use std::time::Duration;

use taskhost_plugin::context;
use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, HeaderError, IncomingBody, InputStream, Method, OutgoingBody,
    OutgoingRequest, Pollable, RequestOptions, Scheme, http_error_code,
};
use wasip2::io::poll;
use wasip2::io::streams::StreamError;

use crate::exchange::{Answer, Body, Exchange, Fault, Request};

/// How long a wait goes on before it is looked whether somebody cancelled the run.
const LOOK: Duration = Duration::from_millis(250);

/// How much later than the host's bounds on single steps the bound on the whole is, so that a step that took too long
/// is told as such.
const GRACE: Duration = Duration::from_millis(50);

/// How much of a body is read at once.
const PIECE_BYTES: u64 = 64 * 1024;

pub(crate) struct Wasi;

impl Exchange for Wasi {
    type Body = WasiBody;

    fn now(&self) -> Duration {
        now()
    }

    fn send(&mut self, request: &Request<'_>, deadline: Duration) -> Result<Answer<WasiBody>, Fault> {
        let until = deadline.saturating_add(GRACE);
        let outgoing = outgoing(request)?;
        let sent = match request.body {
            // The body first: what has been handed over is the host's.
            Some(_) => Some(outgoing.body().map_err(|()| Fault::Other("the host takes no body".to_owned()))?),
            None => None,
        };
        let answer = outgoing_handler::handle(outgoing, Some(bounds(deadline))).map_err(fault)?;
        if let (Some(sent), Some(bytes)) = (sent, request.body) {
            write(sent, bytes, until)?;
        }
        wait(&answer.subscribe(), until)?;
        take(&answer, until)
    }
}

fn outgoing(request: &Request<'_>) -> Result<OutgoingRequest, Fault> {
    let headers = Fields::new();
    for header in request.headers {
        match headers.append(&header.name, header.value.as_bytes()) {
            Ok(()) => {}
            Err(HeaderError::Forbidden) => return Err(Fault::Header(header.name.clone())),
            Err(_) => return Err(Fault::Other(format!("the host does not take the header `{}`", header.name))),
        }
    }
    let body_bytes = match (request.body, request.method) {
        (Some(body), _) => Some(body.len()),
        (None, "POST" | "PUT" | "PATCH") => Some(0),
        (None, _) => None,
    };
    if let Some(body_bytes) = body_bytes {
        // Else it would go in chunks, which not every server takes.
        headers
            .append("Content-Length", body_bytes.to_string().as_bytes())
            .map_err(|error| Fault::Other(error.to_string()))?;
    }
    let outgoing = OutgoingRequest::new(headers);
    let method = match request.method {
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
    let scheme = if request.target.is_https { Scheme::Https } else { Scheme::Http };
    outgoing
        .set_method(&method)
        .and_then(|()| outgoing.set_scheme(Some(&scheme)))
        .and_then(|()| outgoing.set_authority(Some(&request.target.authority())))
        .and_then(|()| outgoing.set_path_with_query(Some(&request.target.path_and_query)))
        .map_err(|()| Fault::Other("the host does not take the method or the URL".to_owned()))?;
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
fn write(body: OutgoingBody, bytes: &[u8], until: Duration) -> Result<(), Fault> {
    let stream = body.write().map_err(|()| Fault::Other("the host takes no body".to_owned()))?;
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
fn take(answer: &FutureIncomingResponse, until: Duration) -> Result<Answer<WasiBody>, Fault> {
    let lost = || Fault::Other("the host lost the answer".to_owned());
    let response = answer.get().ok_or_else(lost)?.map_err(|()| lost())?.map_err(fault)?;
    let headers = response.headers().entries();
    let body = response.consume().map_err(|()| lost())?;
    let stream = body.stream().map_err(|()| lost())?;
    Ok(Answer { status: response.status(), headers, body: WasiBody { stream, _body: body, until } })
}

pub(crate) struct WasiBody {
    /// Dropped before what it is a part of.
    stream: InputStream,
    _body: IncomingBody,
    until: Duration,
}

impl Body for WasiBody {
    fn next(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        loop {
            // Also where the other side always has a little more.
            if now() >= self.until {
                return Err(Fault::Timeout);
            }
            match self.stream.read(PIECE_BYTES) {
                Ok(piece) if piece.is_empty() => wait(&self.stream.subscribe(), self.until)?,
                Ok(piece) => return Ok(Some(piece)),
                Err(StreamError::Closed) => return Ok(None),
                Err(StreamError::LastOperationFailed(error)) => {
                    let told = || Fault::Other(error.to_debug_string());
                    return Err(http_error_code(&error).map_or_else(told, fault));
                }
            }
        }
    }
}

/// Waits until something is ready, time is up or the run is cancelled.
fn wait(pollable: &Pollable, until: Duration) -> Result<(), Fault> {
    const READY: u32 = 0;
    loop {
        let now = now();
        let timer = monotonic_clock::subscribe_instant(nanoseconds(until.min(now + LOOK)));
        if poll::poll(&[pollable, &timer]).contains(&READY) {
            return Ok(());
        }
        if self::now() >= until {
            return Err(Fault::Timeout);
        }
        if context::cancelled() {
            return Err(Fault::Cancelled);
        }
    }
}

fn now() -> Duration {
    Duration::from_nanos(monotonic_clock::now())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn fault(code: ErrorCode) -> Fault {
    match code {
        ErrorCode::HttpRequestDenied => Fault::Denied,
        ErrorCode::DestinationIpProhibited => Fault::DeniedAddress,
        ErrorCode::DnsError(error) => Fault::Unresolved(error.rcode),
        ErrorCode::DnsTimeout => Fault::Unresolved(Some("no answer in time".to_owned())),
        ErrorCode::DestinationNotFound => Fault::Unresolved(None),
        ErrorCode::ConnectionRefused => Fault::ConnectionRefused,
        ErrorCode::DestinationUnavailable | ErrorCode::DestinationIpUnroutable => Fault::Unreachable,
        ErrorCode::ConnectionTimeout => Fault::ConnectTimeout,
        ErrorCode::ConnectionReadTimeout | ErrorCode::ConnectionWriteTimeout | ErrorCode::HttpResponseTimeout => {
            Fault::Timeout
        }
        ErrorCode::ConnectionTerminated | ErrorCode::HttpResponseIncomplete => Fault::Closed,
        ErrorCode::ConnectionLimitReached => Fault::TooManyConnections,
        ErrorCode::TlsCertificateError => Fault::Tls("its certificate is not accepted".to_owned()),
        ErrorCode::TlsProtocolError => Fault::Tls("the two do not agree on it".to_owned()),
        ErrorCode::TlsAlertReceived(alert) => {
            Fault::Tls(alert.alert_message.unwrap_or_else(|| format!("alert {}", alert.alert_id.unwrap_or_default())))
        }
        ErrorCode::HttpResponseBodySize(_) => Fault::TooLarge,
        ErrorCode::InternalError(Some(why)) => Fault::Other(why),
        code => Fault::Other(code.to_string()),
    }
}
