//! HTTP, as far as hosts are granted: `wasi:http` with requests that the host makes.
//!
//! Every request is checked, so those are that follow a redirect, which guests do themselves. A name is resolved once, its
//! addresses are checked, and only those are connected to: no second lookup that could answer otherwise. Each request has a
//! connection of its own, HTTP/1.1, driven on the runtime where the guest asked and closed when the attempt ends.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Scheme;
use http::{Method, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::{Instant, Sleep, timeout};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use crate::grant::net::{Net, denied_name, may_ask, may_connect_to_address, may_reach};
use crate::requests::{MAX_SENT_BYTES, Requests};
use crate::state::State;

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
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let Http { context, hooks } = self.reach.http();
        WasiHttpCtxView { hooks, ctx: context, table: &mut self.table }
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
    if !target.may_be_asked(&net) {
        net.denials.tell(|| target.denied(&net));
        return Err(Error::HttpRequestDenied);
    }
    if !net.connect() {
        return Err(Error::ConnectionLimitReached);
    }
    if let Some(answers) = net.setup.services.answers.clone() {
        return Ok((answers.answer(net, request).await?, Box::new(async { Ok(()) })));
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

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// A name, or an address without brackets.
    host: String,
    address: Option<IpAddr>,
    port: u16,
    tls: bool,
}

impl Target {
    fn of<T>(request: &Request<T>) -> Result<Self, Error> {
        // A tunnel to anywhere.
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        Self::of_uri(request.uri()).ok_or(Error::HttpRequestUriInvalid)
    }

    pub(crate) fn of_uri(uri: &Uri) -> Option<Self> {
        // Names and passwords before an `@` have no place in a request.
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        let port = match authority.port() {
            Some(port) => port.as_str().parse().ok()?,
            // What follows a colon and is no port.
            None if authority.as_str() != authority.host() => return None,
            None if tls => 443,
            None => 80,
        };
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Some(Self { host: bare.to_owned(), address: bare.parse().ok(), port, tls })
            .filter(|target| !target.host.is_empty())
    }

    /// The same, with its host as all ways of writing it have it.
    pub(crate) fn lower_case(mut self) -> Self {
        self.host.make_ascii_lowercase();
        self
    }

    fn may_be_asked(&self, net: &Net) -> bool {
        match self.address {
            Some(address) => {
                let own = net.is_hosts_own(SocketAddr::new(address, self.port));
                !own && may_connect_to_address(net.hosts(), address, self.port)
            }
            None => may_ask(net.hosts(), &self.host, self.port),
        }
    }

    fn denied(&self, net: &Net) -> String {
        match self.address {
            Some(address) => net.denied_address(SocketAddr::new(address, self.port)),
            None => denied_name(&self.host, Some(self.port)),
        }
    }

    /// The addresses that may be connected to.
    async fn addresses(&self, net: &Net) -> Result<Vec<SocketAddr>, Error> {
        if let Some(address) = self.address {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let found = net
            .resolve(&self.host)
            .await
            .map_err(|_| Error::DnsError { rcode: Some("the name does not resolve".to_owned()), info_code: None })?;
        let found = found.into_iter().map(|address| SocketAddr::new(address, self.port));
        let (allowed, denied): (Vec<_>, Vec<_>) =
            found.partition(|address| !net.is_hosts_own(*address) && may_reach(net.hosts(), address.ip(), self.port));
        match (&allowed[..], denied.first()) {
            ([], Some(denied)) => {
                let line = || net.denied_address(*denied);
                net.denials.tell(|| format!("{}; it is the address of {} and not public", line(), self.host));
                Err(Error::DestinationIpProhibited)
            }
            _ => Ok(allowed),
        }
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
    let addresses = target.addresses(net).await?;
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

/// TLS as the host's own certificates have it, read when they are first needed.
#[derive(Default)]
pub(crate) struct Tls(OnceCell<TlsConnector>);

impl Tls {
    async fn connector(&self) -> Result<TlsConnector, Error> {
        let connector = self.0.get_or_try_init(async || {
            // Hundreds of files, maybe.
            let read = tokio::task::spawn_blocking(read_certificates).await;
            read.unwrap_or_else(|error| Err(error.to_string()))
        });
        connector.await.cloned().map_err(|why| Error::InternalError(Some(why)))
    }
}

fn read_certificates() -> Result<TlsConnector, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(format!(
            "the host has no certificates to check TLS by{why}; install the package `ca-certificates`, or set SSL_CERT_FILE"
        ));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str) -> Option<(String, u16, bool)> {
        let uri: Uri = uri.parse().expect(uri);
        Target::of_uri(&uri).map(|target| (target.host, target.port, target.tls))
    }

    #[test]
    fn a_request_goes_to_its_host_and_port_or_the_schemes() {
        assert_eq!(target("https://example.com/a"), Some(("example.com".to_owned(), 443, true)));
        assert_eq!(target("http://example.com"), Some(("example.com".to_owned(), 80, false)));
        assert_eq!(target("http://[::1]:8080/"), Some(("::1".to_owned(), 8080, false)));
        assert_eq!(target("http://1.2.3.4:1/"), Some(("1.2.3.4".to_owned(), 1, false)));
    }

    #[test]
    fn a_request_that_hides_where_it_goes_is_refused() {
        for uri in ["http://granted@evil.example/", "http://a:b@c:80/", "/path"] {
            assert_eq!(target(uri), None, "{uri}");
        }
    }

    #[test]
    fn a_tunnel_is_refused() {
        let request = Request::builder().method(Method::CONNECT).uri("http://a/").body(()).expect("a request");
        assert!(matches!(Target::of(&request), Err(Error::HttpRequestMethodInvalid)));
    }
}
