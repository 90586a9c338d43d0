//! JSON-RPC over WebSockets: a message of the socket is a message of JSON-RPC, and everything else as over the stream.
//!
//! The protocol is tungstenite's. jsonrpsee's own WebSockets answer no call whose id is negative, a fraction or used twice,
//! give errors without `data`, and bound what a connection has going on by refusing, not by reading no more.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, SinkExt, StreamExt};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use jsonrpsee::server::{HttpBody, HttpResponse};
use taskhost_api::MAX_MESSAGE_BYTES;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use super::response;
use crate::stream::{self, MAX_WAITING_BYTES, Reading, Session};

/// How often a client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// After how long without a message or an answer to that it is not.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(90);

/// How long a client has to close its side when the host has closed its own.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What is allocated for every connection, to read into.
const READ_BUFFER_BYTES: usize = 8 * 1024;

/// The answer to a request for a WebSocket.
pub(super) fn accept(request: &Request<Incoming>) -> HttpResponse {
    create_response_with_body(request, HttpBody::default)
        .unwrap_or_else(|error| response::text(StatusCode::BAD_REQUEST, format!("no WebSocket: {error}\n")))
}

/// Serves one connection that was upgraded, until its client closes it, breaks the rules, or `stop` is called; then what is
/// going on is finished and answered.
pub(super) async fn serve<S>(socket: S, session: Session, stop: &CancellationToken) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
    let mut connection = Connection::new(socket, session);
    let mut pings = pings();
    while !connection.session.is_over() {
        let (may_read, may_work) = (connection.may_read(), connection.may_work());
        let subscriptions_deadline = connection.session.subscriptions_deadline();
        tokio::select! {
            // As over the stream: all answers that are ready share one write.
            biased;
            Some(step) = connection.session.next(), if may_work => {
                if let Some(text) = connection.session.take(step) {
                    connection.send(Message::text(text)).map_err(broken)?;
                }
            }
            moved = connection.wire.moved(may_read) => match moved {
                Moved::Sent => {}
                Moved::Received(message) => connection.received(message)?,
                Moved::Failed(error) => connection.failed(error)?,
                Moved::Ended => connection.session.finish(Reading::Ended),
            },
            () = stop.cancelled(), if connection.session.reading() == Reading::Open => {
                connection.session.finish(Reading::Stopped);
            }
            _ = pings.tick() => connection.ping(may_read)?,
            () = stream::at(subscriptions_deadline) => connection.session.forget_subscriptions(),
        }
    }
    connection.close().await
}

fn pings() -> Interval {
    let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings
}

/// A session whose messages are those of a WebSocket.
struct Connection<S> {
    session: Session,
    wire: Wire<S>,
    /// When the client was last heard of, or not listened to.
    heard: Instant,
    /// What the client is told of the rule that it broke.
    broken_rule: Option<CloseFrame>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(socket: WebSocketStream<S>, session: Session) -> Self {
        let wire = Wire { socket, waiting_bytes: 0, must_flush: false };
        Self { session, wire, heard: Instant::now(), broken_rule: None }
    }

    fn may_work(&self) -> bool {
        self.session.has_work() && self.wire.has_room()
    }

    fn may_read(&self) -> bool {
        self.session.may_begin() && self.wire.has_room()
    }

    fn send(&mut self, message: Message) -> Result<(), Error> {
        // Nobody waits for the answers to a connection that its client closed.
        if self.session.reading() == Reading::Ended { Ok(()) } else { self.wire.send(message) }
    }

    fn received(&mut self, message: Message) -> io::Result<()> {
        self.heard = Instant::now();
        match message {
            Message::Text(text) => self.begin(text.as_bytes()),
            Message::Binary(bytes) => self.begin(&bytes),
            // The answer to it waits to be sent.
            Message::Ping(_) => {
                self.wire.must_flush = true;
                Ok(())
            }
            Message::Close(_) => {
                self.wire.must_flush = true;
                self.session.finish(Reading::Ended);
                Ok(())
            }
            Message::Pong(_) | Message::Frame(_) => Ok(()),
        }
    }

    /// Where a message ends is known whatever is in it: one that is no JSON takes nothing from those that follow.
    fn begin(&mut self, message: &[u8]) -> io::Result<()> {
        match self.session.begin(message) {
            Ok(()) => Ok(()),
            Err(error) => self.send(Message::text(stream::without_id(error))).map_err(broken),
        }
    }

    /// A message can't be read. The client is told why where that is its own doing.
    fn failed(&mut self, error: Error) -> io::Result<()> {
        let code = match &error {
            Error::Capacity(_) => {
                self.send(Message::text(stream::without_id(stream::too_large()))).map_err(broken)?;
                CloseCode::Size
            }
            Error::Utf8(_) => CloseCode::Invalid,
            Error::Protocol(_) => CloseCode::Protocol,
            _ => return Err(broken(error)),
        };
        self.broken_rule = Some(CloseFrame { code, reason: error.to_string().into() });
        self.session.finish(Reading::GivenUp);
        Ok(())
    }

    /// Asks the client whether it is there, unless it has not been for too long.
    fn ping(&mut self, may_read: bool) -> io::Result<()> {
        if !may_read {
            // It is not the client that is waited for. One that does not read is given up by its socket.
            self.heard = Instant::now();
            return Ok(());
        }
        if self.heard.elapsed() >= SILENCE_TIMEOUT {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not answer pings"));
        }
        self.send(Message::Ping(Default::default())).map_err(broken)
    }

    /// Sends what waits, says why the connection ends, and hears the client out.
    async fn close(mut self) -> io::Result<()> {
        let reading = self.session.reading();
        let frame = match (reading, self.broken_rule) {
            (Reading::Ended, _) => None,
            (_, Some(frame)) => Some(frame),
            (_, None) => Some(CloseFrame { code: CloseCode::Away, reason: "the host stops".into() }),
        };
        let socket = &mut self.wire.socket;
        match frame {
            Some(frame) => socket.close(Some(frame)).await.map_err(broken)?,
            None => socket.flush().await.map_err(broken)?,
        }
        // How the client ends, or whether it does in time, changes nothing any more.
        drop(timeout(CLOSE_TIMEOUT, async { while let Some(Ok(_)) = socket.next().await {} }).await);
        if reading == Reading::GivenUp {
            stream::linger(socket.get_mut()).await;
        }
        Ok(())
    }
}

/// A WebSocket, and how much of what was given to it is not sent.
struct Wire<S> {
    socket: WebSocketStream<S>,
    /// 0 when all is.
    waiting_bytes: usize,
    /// Something waits that is not ours: the answer to a ping.
    must_flush: bool,
}

/// What a WebSocket did.
enum Moved {
    /// Everything that waited.
    Sent,
    Received(Message),
    Failed(Error),
    Ended,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    fn has_room(&self) -> bool {
        self.waiting_bytes < MAX_WAITING_BYTES
    }

    /// Puts a message behind those that wait.
    fn send(&mut self, message: Message) -> Result<(), Error> {
        self.waiting_bytes += message.len();
        self.must_flush = true;
        // The socket takes any number of messages: how many is up to `has_room`.
        Pin::new(&mut self.socket).start_send(message)
    }

    /// Sends what waits, and receives a message if it may.
    async fn moved(&mut self, may_read: bool) -> Moved {
        poll_fn(|cx| self.poll_moved(cx, may_read)).await
    }

    fn poll_moved(&mut self, cx: &mut Context<'_>, may_read: bool) -> Poll<Moved> {
        if self.must_flush
            && let Poll::Ready(flushed) = Pin::new(&mut self.socket).poll_flush(cx)
        {
            (self.waiting_bytes, self.must_flush) = (0, false);
            return Poll::Ready(flushed.map_or_else(Moved::Failed, |()| Moved::Sent));
        }
        if !may_read {
            return Poll::Pending;
        }
        self.socket.poll_next_unpin(cx).map(|received| match received {
            Some(Ok(message)) => Moved::Received(message),
            // It is gone without a word, as a page is that was closed.
            Some(Err(Error::Protocol(
                tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            ))) => Moved::Ended,
            Some(Err(error)) => Moved::Failed(error),
            None => Moved::Ended,
        })
    }
}

fn broken(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests;
