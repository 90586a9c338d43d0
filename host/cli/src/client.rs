//! Reaching a host: one connection, over which jsonrpsee's typed client calls and subscribes.

use std::io;
use std::time::Duration;

use jsonrpsee::core::client::{Client, ClientBuilder, Subscription, SubscriptionCloseReason};
use taskhost_api::{Event, TaskUnitApiClient, WatchRequest};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::addr::HostAddr;
use crate::call_error::CallError;
pub use crate::cause::IoCause;
use crate::transport::{LineReceiver, LineSender};

/// How long reaching a host may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a call may take: as good as for ever, since the host bounds every run, and a user has Ctrl-C.
const CALL_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 86_400);

/// How many events of a subscription wait for their reader.
const EVENT_BUFFER_EVENTS: usize = 2 * 1024;

/// Why a host was not reached.
#[derive(Debug, thiserror::Error)]
#[error("failed to reach the host at {addr}")]
pub struct ConnectError {
    pub addr: HostAddr,
    #[source]
    pub cause: IoCause,
}

impl ConnectError {
    /// Whether the host's socket is there, and not for this user.
    pub(crate) fn is_not_permitted(&self) -> bool {
        self.cause.0.kind() == io::ErrorKind::PermissionDenied
    }
}

/// Connects to the host at `addr`. Needs a tokio runtime, which also drives the connection.
pub async fn connect(addr: &HostAddr) -> Result<Client, ConnectError> {
    let connecting = async {
        Ok(match addr {
            HostAddr::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                over(stream)
            }
            HostAddr::Unix(path) => over(UnixStream::connect(path).await?),
        })
    };
    let connected = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer in {} s", CONNECT_TIMEOUT.as_secs()))),
    };
    connected.map_err(|error| ConnectError { addr: addr.clone(), cause: IoCause(error) })
}

/// Connects to the first of `addrs` that is reached: a socket that a dead host left behind doesn't hide one on TCP.
pub(crate) async fn connect_first(addrs: &[HostAddr]) -> Result<Client, ConnectError> {
    let (last, others) = addrs.split_last().expect("there is always an address to try");
    for addr in others {
        match connect(addr).await {
            // A host that keeps this user out on its socket does so on TCP.
            Err(error) if !error.is_not_permitted() => {}
            connected => return connected,
        }
    }
    connect(last).await
}

/// A client that speaks over `stream`.
pub(crate) fn over(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Client {
    let (reader, writer) = tokio::io::split(stream);
    ClientBuilder::default()
        .request_timeout(CALL_TIMEOUT)
        .max_buffer_capacity_per_subscription(EVENT_BUFFER_EVENTS)
        .build_with_tokio(LineSender(writer), LineReceiver::new(reader))
}

/// The events of a host, as they come.
pub(crate) struct Events<'a> {
    client: &'a Client,
    subscription: Subscription<Event>,
}

/// What comes next in a subscription.
pub(crate) enum Next {
    Event(Box<Event>),
    /// This program read too slowly, and the subscription is over: events were lost.
    Lagged,
    /// The host ended the subscription.
    Ended,
}

impl<'a> Events<'a> {
    pub(crate) async fn subscribe(client: &'a Client, request: WatchRequest) -> Result<Self, CallError> {
        let subscription = client.watch(request).await?;
        Ok(Self { client, subscription })
    }

    pub(crate) async fn next(&mut self) -> Result<Next, CallError> {
        match self.subscription.next().await {
            Some(Ok(event)) => Ok(Next::Event(Box::new(event))),
            Some(Err(error)) => Err(CallError::Answer(error)),
            None if matches!(self.subscription.close_reason(), Some(SubscriptionCloseReason::Lagged)) => {
                Ok(Next::Lagged)
            }
            None if self.client.is_connected() => Ok(Next::Ended),
            None => Err(self.client.on_disconnect().await.into()),
        }
    }
}

/// What `work` comes to, or `None` when Ctrl-C comes first.
pub(crate) async fn until_interrupted<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        // When signals can't be caught, Ctrl-C ends the program as it always does.
        Ok(()) = tokio::signal::ctrl_c() => None,
    }
}
