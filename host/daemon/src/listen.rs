//! The host's addresses: a TCP port on loopback and a Unix socket, with every protocol on each of them.
//!
//! One byte of a connection is read and put back. `{`, `[` or white space begins a stream of JSON-RPC messages, the first
//! letter of an HTTP verb HTTP; anything else is closed. Who is at the other end is found out before that, once.

mod guarded;
mod unix;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::guarded::Guarded;
use self::unix::UnixSocket;
use crate::access::{self, AccessPolicy, Caller, Refusal};
use crate::http::{self, Uploads};
use crate::stream::{self, Served};

/// How many connections there may be at once; more are closed when they come. Fewer where there are not files enough.
const MAX_CONNECTIONS: u32 = 1024;

/// One in so many of the files that the process may have open can be a connection: others are needed as well.
const FILES_PER_CONNECTION: u64 = 2;

/// How many of those who may not connect may be told so at once; more are closed unheard, so that they take no place from
/// those who may.
const MAX_REFUSALS: usize = 16;

/// How long somebody who may not connect has to say something and hear that.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long calls that are going on have to end when the host stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How long connections have to fall apart after that.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long accepting waits after it failed, for want of file descriptors, say.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Bound addresses: clients that connect wait until `serve` is called.
pub struct Listeners {
    tcp: Vec<TcpListener>,
    unix: Option<UnixSocket>,
}

/// An address that clients can connect to, written like `127.0.0.1:3333` or `unix:/run/user/1000/taskhost.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why an address can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("listen on {0}: past loopback a host needs TLS and a token, which this version does not have")]
    PastLoopback(SocketAddr),
    #[error("listen on {address}")]
    Tcp { address: SocketAddr, source: io::Error },
    #[error("listen on unix:{}: another process does", .0.display())]
    UnixInUse(PathBuf),
    #[error("listen on unix:{}: there is a file that is no socket", .0.display())]
    UnixNotASocket(PathBuf),
    #[error("listen on unix:{}", path.display())]
    Unix { path: PathBuf, source: io::Error },
}

impl Listeners {
    /// Binds every address; port 0 takes a free one. The file of a Unix socket that nobody listens on is replaced.
    pub async fn bind(tcp: &[SocketAddr], unix: Option<&Path>) -> Result<Self, BindError> {
        let mut listeners = Vec::with_capacity(tcp.len());
        for &address in tcp {
            if !address.ip().to_canonical().is_loopback() {
                return Err(BindError::PastLoopback(address));
            }
            let listener = TcpListener::bind(address).await;
            listeners.push(listener.map_err(|source| BindError::Tcp { address, source })?);
        }
        Ok(Self { tcp: listeners, unix: unix.map(UnixSocket::bind).transpose()? })
    }

    /// What was bound, with the ports that were taken.
    pub fn addresses(&self) -> Vec<Address> {
        let tcp = self.tcp.iter().filter_map(|listener| listener.local_addr().ok()).map(Address::Tcp);
        let unix = self.unix.iter().map(|socket| Address::Unix(socket.path().to_owned()));
        tcp.chain(unix).collect()
    }

    /// The TCP addresses among them.
    pub fn tcp_addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Serves until `shutdown`. Then nothing new is accepted or read, what is going on has five seconds to be
    /// answered, and when this returns every connection is closed and the file of the Unix socket gone.
    pub(crate) async fn serve(
        self,
        served: Served,
        uploads: impl Uploads,
        policy: AccessPolicy,
        shutdown: impl Future<Output = ()>,
    ) {
        if let Some(socket) = &self.unix
            && let Err(error) = socket.open_to_others(policy.names_others())
        {
            tracing::warn!(%error, path = %socket.path().display(), "failed to set the mode of the socket");
        }
        let gate = Arc::new(Gate::new(served, uploads, policy, max_connections(getrlimit(Resource::Nofile).current)));
        let mut loops = JoinSet::new();
        for listener in self.tcp {
            loops.spawn(accept_tcp(listener, Arc::clone(&gate)));
        }
        if let Some(socket) = self.unix {
            loops.spawn(accept_unix(socket, Arc::clone(&gate)));
        }
        shutdown.await;

        gate.stop.cancel();
        while let Some(ended) = loops.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "an accept loop did not end well");
            }
        }
        if timeout(DRAIN_TIMEOUT, gate.all_closed()).await.is_err() {
            gate.cut.cancel();
            if timeout(CUT_TIMEOUT, gate.all_closed()).await.is_err() {
                tracing::warn!("some connections did not close");
            }
        }
    }
}

/// How many connections there may be in a process that may have so many files open; `None` is any number.
fn max_connections(open_files: Option<u64>) -> u32 {
    let affordable = open_files.map_or(MAX_CONNECTIONS.into(), |files| files / FILES_PER_CONNECTION);
    u32::try_from(affordable).unwrap_or(MAX_CONNECTIONS).clamp(1, MAX_CONNECTIONS)
}

/// What every connection passes.
struct Gate<U> {
    policy: AccessPolicy,
    served: Served,
    http: http::Service<U>,
    /// A permit goes with every socket, wherever that goes, until it is closed.
    connections: Arc<Semaphore>,
    max_connections: u32,
    refusals: Arc<Semaphore>,
    next_connection: AtomicU32,
    /// Called when the host stops: finish, and close.
    stop: CancellationToken,
    /// Called when there is no more time for that.
    cut: CancellationToken,
}

impl<U: Uploads> Gate<U> {
    fn new(served: Served, uploads: U, policy: AccessPolicy, max_connections: u32) -> Self {
        Self {
            policy,
            http: http::Service::new(served.clone(), uploads),
            served,
            connections: Arc::new(Semaphore::new(max_connections as usize)),
            max_connections,
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            next_connection: AtomicU32::new(0),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
        }
    }

    async fn all_closed(&self) {
        // The semaphore is never closed, so this ends only when every permit is back.
        drop(self.connections.acquire_many(self.max_connections).await);
    }

    /// Serves a connection in a task of its own.
    fn enter<S>(self: &Arc<Self>, socket: S, caller: Caller)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let verdict = self.policy.check(caller);
        let places = if verdict.is_ok() { &self.connections } else { &self.refusals };
        let Ok(permit) = Arc::clone(places).try_acquire_owned() else {
            tracing::warn!(uid = caller.uid, "too many connections; one was closed");
            return;
        };
        let gate = Arc::clone(self);
        tokio::spawn(async move {
            let ended = match verdict {
                Ok(()) => gate.serve(socket, caller, permit).await,
                Err(refusal) => gate.refuse(socket, refusal, permit).await,
            };
            if let Err(error) = ended {
                tracing::debug!(uid = caller.uid, %error, "a connection broke");
            }
        });
    }

    async fn serve<S>(&self, mut socket: S, caller: Caller, permit: OwnedSemaphorePermit) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        // A client that says nothing costs no more than one that is silent between two messages: it may.
        let first = tokio::select! {
            first = first_byte(&mut socket) => first?,
            () = self.stop.cancelled() => return Ok(()),
        };
        let Some(first) = first else { return Ok(()) };
        let connection = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let socket = Guarded::new(socket, first, self.cut.clone(), permit);
        match Protocol::of(first) {
            Some(Protocol::Stream) => stream::serve(socket, self.served.clone(), connection, caller, &self.stop).await,
            Some(Protocol::Http) => self.http.serve(socket, connection, caller, &self.stop).await,
            None => Ok(()),
        }
    }

    /// Says no in the protocol that the client speaks.
    async fn refuse<S>(&self, mut socket: S, refusal: Refusal, permit: OwnedSemaphorePermit) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        tracing::warn!(%refusal, "a connection was refused");
        let told = async {
            let Some(first) = first_byte(&mut socket).await? else { return Ok(()) };
            let socket = Guarded::new(socket, first, self.stop.clone(), permit);
            match Protocol::of(first) {
                Some(Protocol::Stream) => stream::refuse(socket, refusal).await,
                Some(Protocol::Http) => http::refuse(socket, refusal).await,
                None => Ok(()),
            }
        };
        tokio::select! {
            told = timeout(REFUSAL_TIMEOUT, told) => told?,
            () = self.stop.cancelled() => Ok(()),
        }
    }
}

async fn first_byte<S: AsyncRead + Unpin>(socket: &mut S) -> io::Result<Option<u8>> {
    let mut first = [0];
    Ok((socket.read(&mut first).await? == 1).then_some(first[0]))
}

/// What a client speaks, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Stream,
    Http,
}

impl Protocol {
    fn of(first: u8) -> Option<Self> {
        match first {
            b'{' | b'[' | b' ' | b'\t' | b'\r' | b'\n' => Some(Self::Stream),
            // CONNECT, DELETE, GET, HEAD, OPTIONS, POST and PUT and PATCH, TRACE.
            b'C' | b'D' | b'G' | b'H' | b'O' | b'P' | b'T' => Some(Self::Http),
            _ => None,
        }
    }
}

async fn accept_tcp(listener: TcpListener, gate: Arc<Gate<impl Uploads>>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = gate.stop.cancelled() => return,
        };
        match accepted {
            Ok((socket, peer)) => match tcp_caller(&socket) {
                Ok(Some(caller)) => gate.enter(socket, caller),
                Ok(None) => tracing::debug!(%peer, "a client was gone before it was known"),
                Err(error) => tracing::warn!(%peer, %error, "failed to find out who a client is"),
            },
            Err(error) => accept_failed(&error).await,
        }
    }
}

fn tcp_caller(socket: &TcpStream) -> io::Result<Option<Caller>> {
    // Answers are small and are waited for.
    socket.set_nodelay(true)?;
    access::tcp_peer(socket)
}

async fn accept_unix(socket: UnixSocket, gate: Arc<Gate<impl Uploads>>) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = gate.stop.cancelled() => return,
        };
        match accepted {
            Ok(socket) => match access::unix_peer(&socket) {
                Ok(caller) => gate.enter(socket, caller),
                Err(error) => tracing::warn!(%error, "failed to find out who a client is"),
            },
            Err(error) => accept_failed(&error).await,
        }
    }
}

async fn accept_failed(error: &io::Error) {
    tracing::warn!(%error, "failed to accept a connection");
    sleep(ACCEPT_RETRY).await;
}

#[cfg(test)]
mod tests;
