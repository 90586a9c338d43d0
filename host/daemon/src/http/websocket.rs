//! JSON-RPC over WebSockets: a message of the socket is a message of JSON-RPC, and everything else as over the stream.
//!
//! The protocol is tungstenite's. jsonrpsee's own WebSockets answer no call whose id is negative, a fraction or used twice,
//! give errors without `data`, and refuse what is more than a connection may have going on, where this has it wait.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, StreamExt};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use jsonrpsee::server::{HttpBody, HttpResponse};
use taskhost_api::MAX_MESSAGE_BYTES;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
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

/// How many messages are read ahead of those that go on, which have together no more bytes than one may, but for the last.
const MAX_HELD: usize = 64;

/// How much is given to the socket at a time, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

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
        connection.begin_held();
        let (may_read, may_work) = (connection.may_read(), connection.may_work());
        let subscriptions_deadline = connection.session.subscriptions_deadline();
        tokio::select! {
            // As over the stream: all answers that are ready share one write. What seldom comes is before what a client may send
            // without an end.
            biased;
            Some(step) = connection.session.next(), if may_work => {
                if let Some(text) = connection.session.take(step) {
                    connection.send(text);
                }
            }
            () = stop.cancelled(), if connection.session.reading() == Reading::Open => {
                connection.session.finish(Reading::Stopped);
            }
            _ = pings.tick() => connection.ping(may_read)?,
            () = stream::at(subscriptions_deadline) => connection.session.forget_subscriptions(),
            moved = connection.wire.moved(may_read) => match moved {
                Moved::Sent => {}
                Moved::Received(message) => connection.received(message),
                Moved::Failed(error) => connection.failed(error)?,
                Moved::Ended => connection.ended(),
            },
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
    /// Messages that came while as many went on as may: they are read all the same, since pings, and that the client is gone, stand
    /// behind them.
    held: VecDeque<Message>,
    held_bytes: usize,
    /// When the client was last heard of, or not listened to.
    heard: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn new(socket: WebSocketStream<S>, session: Session) -> Self {
        let wire = Wire { socket, waiting: VecDeque::new(), waiting_bytes: 0, sent_bytes: 0, must_flush: false };
        Self { session, wire, held: VecDeque::new(), held_bytes: 0, heard: Instant::now() }
    }

    fn may_work(&self) -> bool {
        self.session.has_work() && self.wire.has_room()
    }

    fn may_read(&self) -> bool {
        let holds_more = self.held.len() < MAX_HELD && self.held_bytes < MAX_MESSAGE_BYTES;
        self.session.reading() == Reading::Open && self.wire.has_room() && holds_more
    }

    fn send(&mut self, text: String) {
        // Nobody waits for the answers to a connection that its client closed, or that was closed upon it.
        if matches!(self.session.reading(), Reading::Open | Reading::Stopped) {
            self.wire.send(text);
        }
    }

    fn received(&mut self, message: Message) {
        self.heard = Instant::now();
        match message {
            Message::Text(_) | Message::Binary(_) => {
                self.held_bytes += message.len();
                self.held.push_back(message);
            }
            // The answer to it waits to be sent.
            Message::Ping(_) => self.wire.must_flush = true,
            Message::Close(_) => {
                self.ended();
                self.wire.must_flush = true;
            }
            Message::Pong(_) | Message::Frame(_) => {}
        }
    }

    /// The client has said all that it had to say, and hears nothing more.
    fn ended(&mut self) {
        self.wire.forget();
        self.session.finish(Reading::Ended);
    }

    /// Begins as many messages as may go on. Where one ends is known whatever is in it: one that is no JSON takes nothing from those
    /// that follow.
    fn begin_held(&mut self) {
        while self.session.may_begin()
            && self.wire.has_room()
            && let Some(message) = self.held.pop_front()
        {
            self.held_bytes -= message.len();
            if let Err(error) = self.session.begin(&message.into_data()) {
                self.send(stream::without_id(error));
            }
        }
    }

    /// A message can't be read. The client is told why where that is its own doing.
    fn failed(&mut self, error: Error) -> io::Result<()> {
        let code = match &error {
            Error::Capacity(_) => {
                self.send(stream::without_id(stream::too_large()));
                CloseCode::Size
            }
            Error::Utf8(_) => CloseCode::Invalid,
            Error::Protocol(_) => CloseCode::Protocol,
            _ => return Err(broken(error)),
        };
        self.session.finish(Reading::GivenUp);
        self.wire.close(CloseFrame { code, reason: error.to_string().into() }).map_err(broken)
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
        self.wire.put(Message::Ping(Bytes::new())).map_err(broken)
    }

    /// Sends what waits, says why the connection ends, and hears the client out.
    async fn close(mut self) -> io::Result<()> {
        let reading = self.session.reading();
        self.wire.flush().await.map_err(broken)?;
        let socket = &mut self.wire.socket;
        if reading == Reading::Stopped {
            let frame = CloseFrame { code: CloseCode::Away, reason: "the host stops".into() };
            socket.close(Some(frame)).await.map_err(broken)?;
        }
        // How the client ends, or whether it does in time, changes nothing any more.
        drop(timeout(CLOSE_TIMEOUT, async { while let Some(Ok(_)) = socket.next().await {} }).await);
        let socket = socket.get_mut();
        socket.shutdown().await.ok();
        if reading == Reading::GivenUp {
            stream::linger(socket).await;
        }
        Ok(())
    }
}

/// A WebSocket, and what is to be sent over it: a piece at a time, since the room for what it was given once it keeps for ever.
struct Wire<S> {
    socket: WebSocketStream<S>,
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    /// How much of the first of them was given to the socket.
    sent_bytes: usize,
    /// The socket has something to send.
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

    /// Puts a text behind those that wait.
    fn send(&mut self, text: String) {
        self.waiting_bytes += text.len();
        self.waiting.push_back(text.into());
    }

    /// Closes, behind all that waits.
    fn close(&mut self, frame: CloseFrame) -> Result<(), Error> {
        while let Some(piece) = self.next_piece(usize::MAX) {
            self.put(piece)?;
        }
        self.put(Message::Close(Some(frame)))
    }

    fn forget(&mut self) {
        self.waiting.clear();
        (self.waiting_bytes, self.sent_bytes) = (0, 0);
    }

    /// Gives a message to the socket, which takes any: how many is up to `has_room`.
    fn put(&mut self, message: Message) -> Result<(), Error> {
        self.must_flush = true;
        Pin::new(&mut self.socket).start_send(message)
    }

    /// The next piece of what waits, of at most so many bytes.
    fn next_piece(&mut self, most: usize) -> Option<Message> {
        let text = self.waiting.front()?;
        let is_first = self.sent_bytes == 0;
        let end = text.len().min(self.sent_bytes.saturating_add(most));
        let (piece, is_last) = (text.slice(self.sent_bytes..end), end == text.len());
        self.waiting_bytes -= piece.len();
        self.sent_bytes = end;
        if is_last {
            self.waiting.pop_front();
            self.sent_bytes = 0;
        }
        let kind = if is_first { Data::Text } else { Data::Continue };
        Some(Message::Frame(Frame::message(piece, OpCode::Data(kind), is_last)))
    }

    /// Sends all that waits.
    async fn flush(&mut self) -> Result<(), Error> {
        poll_fn(|cx| self.poll_sent(cx)).await
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        loop {
            if self.must_flush {
                ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
                self.must_flush = false;
            }
            let mut room = PIECE_BYTES;
            while room > 0
                && let Some(piece) = self.next_piece(room)
            {
                room = room.saturating_sub(piece.len().max(1));
                self.put(piece)?;
            }
            if !self.must_flush {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Sends what waits, and receives a message if it may.
    async fn moved(&mut self, may_read: bool) -> Moved {
        poll_fn(|cx| self.poll_moved(cx, may_read)).await
    }

    fn poll_moved(&mut self, cx: &mut Context<'_>, may_read: bool) -> Poll<Moved> {
        let waited = self.must_flush || !self.waiting.is_empty();
        if waited && let Poll::Ready(sent) = self.poll_sent(cx) {
            return Poll::Ready(sent.map_or_else(Moved::Failed, |()| Moved::Sent));
        }
        if !may_read {
            return Poll::Pending;
        }
        self.socket.poll_next_unpin(cx).map(|received| match received {
            Some(Ok(message)) => Moved::Received(message),
            // It is gone without a word, as a page is that was closed.
            Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))) | None => Moved::Ended,
            Some(Err(error)) => Moved::Failed(error),
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
