//! A connection that is a stream of JSON-RPC messages.
//!
//! One task does it all: read, cut into messages, call, write. Calls run side by side and are begun in the order in which
//! they came; answers go out as they are ready. Nothing is read while too much is going on or the client does not read its
//! answers, so a connection's memory is bounded whatever its client does.

mod answer;
mod dispatch;
pub(crate) mod frame;
mod gets;
mod message;
mod session;

use std::future::pending;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use jsonrpsee::types::ErrorObjectOwned;
use taskhost_api::{ErrorCode, MAX_MESSAGE_BYTES};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use self::dispatch::{Dispatcher, without_id};
use self::frame::{FrameError, Framer};
use self::gets::Gets;
pub(crate) use self::gets::{Part, Served, Tasks};
pub(crate) use self::session::{Reading, Session};
use crate::access::{Caller, Refusal};

/// How many bytes of answers may wait for the client before nothing more is done for it.
pub(crate) const MAX_WAITING_BYTES: usize = 256 * 1024;

/// How much room for them is kept while none wait.
const KEPT_WAITING_BYTES: usize = 64 * 1024;

/// How long a message may take from its first byte to its last. Between messages a connection may be silent for ever.
pub(crate) const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long what a client still sends is thrown away after its connection was given up, so that it can read why: closing
/// with bytes unread would take the answer away from it.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves one connection until its client closes it, breaks the rules, or `stop` is called; then what is going on is
/// finished and answered.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite>(
    socket: S,
    served: Served,
    connection: u32,
    caller: Caller,
    stop: &CancellationToken,
) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(socket);
    let mut connection = Connection::new(Session::new(served, connection, caller));

    while !connection.session.is_over() {
        let (may_read, may_work) = (connection.may_read(), connection.may_work());
        let message_deadline = connection.message_deadline();
        let subscriptions_deadline = connection.session.subscriptions_deadline();
        tokio::select! {
            // In this order, so that all answers that are ready share one write. Nothing is held up by it: so many messages may be
            // going on, a subscription has one event ready at a time, and what is written has an end.
            biased;
            Some(step) = connection.session.next(), if may_work => {
                let was_full = !connection.session.may_begin();
                if let Some(text) = connection.session.take(step) {
                    connection.send(&text);
                }
                if was_full {
                    // What had come already was not looked at.
                    connection.received();
                }
            }
            written = writer.write_buf(&mut connection.waiting), if !connection.waiting.is_empty() => {
                if written? == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                if connection.waiting.is_empty() && connection.waiting.capacity() > KEPT_WAITING_BYTES {
                    // A large answer's room is not kept for the small ones that follow.
                    connection.waiting = BytesMut::new();
                }
            }
            () = stop.cancelled(), if connection.session.reading() == Reading::Open => {
                connection.session.finish(Reading::Stopped);
            }
            read = reader.read_buf(connection.framer.buffer()), if may_read => match read? {
                0 => connection.ended(),
                _ => connection.received(),
            },
            () = at(message_deadline) => connection.give_up(too_slow()),
            () = at(subscriptions_deadline) => connection.session.forget_subscriptions(),
        }
    }

    writer.write_all_buf(&mut connection.waiting).await?;
    writer.shutdown().await?;
    if connection.session.reading() == Reading::GivenUp {
        linger(&mut reader).await;
    }
    Ok(())
}

/// Answers the first message of somebody who may not call anything, and closes.
pub(crate) async fn refuse<S: AsyncRead + AsyncWrite>(socket: S, refusal: Refusal) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(socket);
    let error = refusal.into();
    let mut framer = Framer::new();
    let answer = loop {
        match framer.next() {
            Ok(Some(message)) => break dispatch::refuse(&message, &error),
            Err(_) => break without_id(error),
            Ok(None) => {}
        }
        framer.make_room();
        if reader.read_buf(framer.buffer()).await? == 0 {
            return Ok(());
        }
    };
    writer.write_all(answer.as_bytes()).await?;
    writer.write_all(b"\n").await?;
    writer.shutdown().await?;
    linger(&mut reader).await;
    Ok(())
}

/// A session whose messages stand one behind the other in a stream of bytes.
struct Connection {
    session: Session,
    framer: Framer,
    /// When the message that is being read began.
    reading_since: Instant,
    /// What is to be written.
    waiting: BytesMut,
}

impl Connection {
    fn new(session: Session) -> Self {
        Self { session, framer: Framer::new(), reading_since: Instant::now(), waiting: BytesMut::new() }
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING_BYTES
    }

    fn may_work(&self) -> bool {
        self.session.has_work() && self.has_room()
    }

    fn may_read(&self) -> bool {
        self.has_room() && self.session.may_begin()
    }

    /// When the message that is being read is given up. While it is not the client that is waited for, its time stands
    /// still.
    fn message_deadline(&mut self) -> Option<Instant> {
        if !self.may_read() {
            self.reading_since = Instant::now();
            return None;
        }
        self.framer.is_within_value().then(|| self.reading_since + MESSAGE_TIMEOUT)
    }

    /// Begins every message that is whole.
    fn received(&mut self) {
        let mut is_new = !self.framer.is_within_value();
        let mut gets = Gets::default();
        while self.session.may_begin() {
            match self.framer.next() {
                Ok(Some(message)) => match self.session.begin_beside(&message, &mut gets) {
                    Ok(()) => is_new = true,
                    // Nothing after it may be begun, whether or not it has come already.
                    Err(error) => self.give_up(error),
                },
                Ok(None) => break,
                Err(error) => self.give_up(unreadable(error)),
            }
        }
        self.session.begin_gets(&mut gets);
        if is_new {
            self.reading_since = Instant::now();
        }
        self.framer.make_room();
    }

    fn send(&mut self, message: &str) {
        self.waiting.extend_from_slice(message.as_bytes());
        self.waiting.extend_from_slice(b"\n");
    }

    /// Says why, reads nothing more, and finishes what is going on.
    fn give_up(&mut self, error: ErrorObjectOwned) {
        self.send(&without_id(error));
        self.session.finish(Reading::GivenUp);
    }

    /// The client has said all that it had to say.
    fn ended(&mut self) {
        if self.framer.is_within_value() {
            let error = ErrorCode::ParseError.to_error("parse error: the connection ended within a message", None);
            self.send(&without_id(error));
        }
        self.session.finish(Reading::Ended);
    }
}

/// At that time, or never.
pub(crate) async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// Throws away what a client that was given up still sends.
pub(crate) async fn linger<R: AsyncRead + Unpin>(reader: &mut R) {
    let mut nowhere = tokio::io::sink();
    // How the client ends, or whether it does in time, changes nothing any more.
    drop(timeout(LINGER_TIMEOUT, tokio::io::copy(reader, &mut nowhere)).await);
}

fn unreadable(error: FrameError) -> ErrorObjectOwned {
    match error {
        FrameError::TooLarge => too_large(),
        FrameError::TooDeep | FrameError::Garbage(_) => ErrorCode::ParseError.to_error(error.to_string(), None),
    }
}

/// A message has more than [`MAX_MESSAGE_BYTES`].
pub(crate) fn too_large() -> ErrorObjectOwned {
    let hint = "send large plugins with `PUT /plugins/{sha256}` or in pieces with `Plugin.Put`".to_owned();
    ErrorCode::TooLarge.to_error(format!("a message may have at most {MAX_MESSAGE_BYTES} bytes"), Some(hint))
}

fn too_slow() -> ErrorObjectOwned {
    let message = format!("parse error: a message did not end within {} s", MESSAGE_TIMEOUT.as_secs());
    ErrorCode::ParseError.to_error(message, None)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod toy;
