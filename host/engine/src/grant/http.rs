//! HTTP, as far as hosts are granted: `wasi:http` with requests that the host makes.
//!
//! Every request is checked, so those are that follow a redirect, which guests do themselves. A name is resolved once, its
//! addresses are checked, and only those are connected to: no second lookup that could answer otherwise. Each request has a
//! connection of its own, HTTP/1.1, driven on the runtime where the guest asked and closed when the attempt ends.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, timeout};
use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks};

use crate::answers::{self, Answers};
use crate::grant::denials::quoted;
use crate::grant::hosts::{denied_name, may_ask, may_connect_to_address, may_reach};
use crate::grant::net::Net;
use crate::requests::{MAX_SENT_BYTES, Requests};
use crate::target::Target;

/// How long a connection may take to be made, TLS and all, unless the request says otherwise. Less than a task's usual timeout,
/// so that the guest hears of a host that does not answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the answer may take to begin, and to go on; wasmtime's own. The attempt's deadline is mostly sooner.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);
/// What the fields of one request may take in memory, in bytes; wasmtime's own, some ten times what servers take.
const MAX_FIELDS_BYTES: usize = 128 << 10;
/// The longest head of an answer, in bytes. A connection's buffer grows to as much.
const MAX_HEAD_BYTES: usize = 128 << 10;
/// The most that a guest may write of a request's body at once, in bytes; the host holds so much of it, and what is sent.
const BODY_CHUNK_BYTES: usize = 64 << 10;
/// How many such pieces wait to be sent.
const BODY_CHUNKS: usize = 1;

/// HTTP for one attempt.
pub(crate) struct Http {
    context: WasiHttpCtx,
    hooks: Hooks,
}

struct Hooks(Arc<Net>);

impl Http {
    pub(crate) fn new(net: Arc<Net>) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(MAX_FIELDS_BYTES);
        Self { context, hooks: Hooks(net) }
    }

    /// As wasmtime's functions want it, with the objects of the host that the guest holds.
    pub(crate) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        WasiHttpCtxView { hooks: &mut self.hooks, ctx: &mut self.context, table }
    }
}

type Answer = (Response<WasiBody>, Connection);
/// What drives a connection while its answer is read.
type Connection = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Connection,
    ) -> Box<dyn Future<Output = Result<Answer, Error>> + Send> {
        let net = Arc::clone(&self.0);
        let Some(requests) = net.setup.services.requests.clone() else {
            return Box::new(async move { send(net, request, options.unwrap_or_default()).await });
        };
        let number = requests.asked(request.method().as_str(), &net.denials.hidden(&request.uri().to_string()));
        let (sent_to, net_of) = (Arc::clone(&requests), Arc::clone(&net));
        let request =
            request.map(|body| Noted { body, kept: Vec::new(), is_cut: false, number, requests: sent_to, net: net_of });
        let request = request.map(Noted::boxed_unsync);
        Box::new(async move {
            let answered = send(net, request, options.unwrap_or_default()).await;
            let answer = answered.as_ref().map(|(answer, _)| answer.status().as_u16()).map_err(ToString::to_string);
            requests.answered(number, answer);
            answered
        })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_CHUNKS
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    // wasmtime's own write to the host's log, as often as a guest likes.

    fn p2_error_from_hyper(&mut self, error: &hyper::Error) -> ErrorCode {
        if error.is_incomplete_message() { ErrorCode::HttpResponseIncomplete } else { ErrorCode::HttpProtocolError }
    }

    fn p2_error_from_connect(&mut self, error: &io::Error) -> ErrorCode {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => ErrorCode::ConnectionRefused,
            io::ErrorKind::TimedOut => ErrorCode::ConnectionTimeout,
            _ => ErrorCode::DestinationUnavailable,
        }
    }

    fn p2_error_from_tls(&mut self, error: &io::Error) -> ErrorCode {
        let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(_)) => ErrorCode::TlsCertificateError,
            _ => ErrorCode::TlsProtocolError,
        }
    }
}

async fn send(net: Arc<Net>, mut request: Request<WasiBody>, options: RequestOptions) -> Result<Answer, Error> {
    let target = Target::of(&request)?;
    if !may_be_asked(&target, &net) {
        net.denials.tell(|| denied(&target, &net));
        return Err(Error::HttpRequestDenied);
    }
    if !net.connect() {
        return Err(Error::ConnectionLimitReached);
    }
    if let Some(answers) = net.setup.services.answers.clone() {
        return Ok((stand_in(&answers, net, request).await?, Box::new(async { Ok(()) })));
    }
    let connecting = options.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
    let connected = timeout(connecting, connect(&net, &target, connecting)).await;
    let stream = connected.map_err(|_| Error::ConnectionTimeout)??;

    // To the host itself goes the path only; what came before it is in the field `host`.
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream)).await?;
    let mut connection = Box::pin(connection);
    let first_byte = options.first_byte_timeout.unwrap_or(ANSWER_TIMEOUT);
    let mut answer = pin!(timeout(first_byte, async move { sender.send_request(request).await }));
    let mut is_open = true;
    let answer = loop {
        tokio::select! {
            biased;
            answer = &mut answer => break answer.map_err(|_| Error::ConnectionReadTimeout)??,
            // The answer says how it ended.
            _ = &mut connection, if is_open => is_open = false,
        }
    };
    let between = options.between_bytes_timeout.unwrap_or(ANSWER_TIMEOUT);
    let answer = answer
        .map(|body| Answering { body, between, sleep: Box::pin(tokio::time::sleep(between)), net }.boxed_unsync());
    let connection = async move {
        if is_open {
            // The body says how it ended.
            drop(connection.await);
        }
        Ok(())
    };
    Ok((answer, Box::new(connection)))
}

fn may_be_asked(target: &Target, net: &Net) -> bool {
    match target.address {
        Some(address) => {
            let own = net.is_hosts_own(SocketAddr::new(address, target.port));
            !own && may_connect_to_address(net.hosts(), address, target.port)
        }
        None => may_ask(net.hosts(), &target.host, target.port),
    }
}

fn denied(target: &Target, net: &Net) -> String {
    match target.address {
        Some(address) => net.denied_address(SocketAddr::new(address, target.port)),
        None => denied_name(&target.host, Some(target.port)),
    }
}

/// The addresses that may be connected to.
async fn addresses(target: &Target, net: &Net) -> Result<Vec<SocketAddr>, Error> {
    if let Some(address) = target.address {
        return Ok(vec![SocketAddr::new(address, target.port)]);
    }
    let found = net
        .resolve(&target.host)
        .await
        .map_err(|_| Error::DnsError { rcode: Some("the name does not resolve".to_owned()), info_code: None })?;
    let found = found.into_iter().map(|address| SocketAddr::new(address, target.port));
    let (allowed, denied): (Vec<_>, Vec<_>) =
        found.partition(|address| !net.is_hosts_own(*address) && may_reach(net.hosts(), address.ip(), target.port));
    match (&allowed[..], denied.first()) {
        ([], Some(denied)) => {
            let line = || net.denied_address(*denied);
            net.denials.tell(|| format!("{}; it is the address of {} and not public", line(), target.host));
            Err(Error::DestinationIpProhibited)
        }
        _ => Ok(allowed),
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(net: &Net, target: &Target, connecting: Duration) -> Result<Box<dyn Stream>, Error> {
    // Before the connection: without certificates there is none to make.
    let tls = match target.tls {
        true => Some(net.setup.services.tls.connector().await?),
        false => None,
    };
    let addresses = addresses(target, net).await?;
    let stream = connect_to_one(&addresses, connecting).await?;
    // Small requests are sent at once.
    drop(stream.set_nodelay(true));
    match tls {
        None => Ok(Box::new(stream)),
        Some(tls) => {
            let name = ServerName::try_from(target.host.clone()).map_err(|_| Error::HttpRequestUriInvalid)?;
            Ok(Box::new(tls.connect(name, stream).await.map_err(Error::Tls)?))
        }
    }
}

/// Connects to the first of these addresses that answers; each has its share of the time.
async fn connect_to_one(addresses: &[SocketAddr], connecting: Duration) -> Result<TcpStream, Error> {
    let share = connecting / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut failed = Error::DestinationNotFound;
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failed = Error::Connect(error),
            Err(_) => failed = Error::ConnectionTimeout,
        }
    }
    Err(failed)
}

/// Answers a request that may be made, where answers stand for the network.
async fn stand_in(answers: &Answers, net: Arc<Net>, request: Request<WasiBody>) -> Result<Response<WasiBody>, Error> {
    let Some(answers::Answer { status, headers, body }) = answers.next(request.method(), request.uri()) else {
        let asked = || format!("{} {}", request.method(), request.uri());
        net.denials.tell(|| format!("no answer: {} is none of the requests that are answered here", quoted(&asked())));
        return Err(Error::InternalError(Some("no answer is given to this request".to_owned())));
    };
    // A guest counts on somebody who takes what it sends.
    let mut sent = request.into_body();
    while let Some(frame) = sent.frame().await {
        frame?;
    }
    let mut answer = Response::new(Given { body: (!body.is_empty()).then_some(body), net }.boxed_unsync());
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    Ok(answer)
}

/// The body of an answer that was given before, counted.
struct Given {
    body: Option<Bytes>,
    net: Arc<Net>,
}

impl Body for Given {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(body) = self.body.take() else { return Poll::Ready(None) };
        Poll::Ready(Some(match self.net.receive(body.len()) {
            true => Ok(Frame::data(body)),
            false => Err(Error::HttpResponseBodySize(Some(self.net.most_bytes()))),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.as_ref().map_or(0, |body| body.len() as u64))
    }
}

/// The body of an answer, counted, that must go on in time.
struct Answering {
    body: Incoming,
    between: Duration,
    sleep: Pin<Box<Sleep>>,
    net: Arc<Net>,
}

impl Body for Answering {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            ready!(this.sleep.as_mut().poll(cx));
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        };
        let deadline = Instant::now().checked_add(this.between);
        if let Some(deadline) = deadline {
            this.sleep.as_mut().reset(deadline);
        }
        Poll::Ready(frame.map(|frame| match frame {
            Ok(frame) if this.net.receive(frame.data_ref().map_or(0, Bytes::len)) => Ok(frame),
            Ok(_) => Err(Error::HttpResponseBodySize(Some(this.net.most_bytes()))),
            Err(error) => Err(Error::Hyper(error)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request, with a note of what is sent.
struct Noted {
    body: WasiBody,
    kept: Vec<u8>,
    is_cut: bool,
    number: Option<u64>,
    requests: Arc<Requests>,
    net: Arc<Net>,
}

impl Body for Noted {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref) {
            let room = MAX_SENT_BYTES - self.kept.len();
            self.is_cut |= data.len() > room;
            self.kept.extend_from_slice(&data[..data.len().min(room)]);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Noted {
    /// Whoever sends a body drops it when it is sent, or no more of it will be.
    fn drop(&mut self) {
        if !self.kept.is_empty() {
            let sent = self.net.denials.hidden_in(&self.kept, self.is_cut);
            self.requests.sent(self.number, sent, self.is_cut);
        }
    }
}
