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

use std::future::pending;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, FuturesUnordered, SelectAll};
use futures_util::{Stream, StreamExt};
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::value::RawValue;
use taskhost_api::{ErrorCode, MAX_MESSAGE_BYTES};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use self::answer::parse as result_in;
use self::dispatch::{Answered, Events};
pub(crate) use self::dispatch::{Dispatcher, MAX_ANSWER_BYTES, MAX_SUBSCRIPTIONS, without_id};
use self::frame::{FrameError, Framer};
use self::gets::Gets;
pub(crate) use self::gets::{Part, Served, Tasks};
use crate::access::{Caller, Refusal};

/// How many messages of one connection may be going on at once.
const MAX_MESSAGES_IN_FLIGHT: usize = 64;

/// How many bytes those may have together, unless one alone has more.
const MAX_IN_FLIGHT_BYTES: usize = 2 * MAX_MESSAGE_BYTES;

/// How many bytes of answers may wait for the client before nothing more is done for it.
const MAX_WAITING_BYTES: usize = 256 * 1024;

/// How much room for them is kept while none wait.
const KEPT_WAITING_BYTES: usize = 64 * 1024;

/// How long a message may take from its first byte to its last. Between messages a connection may be silent for ever.
pub(crate) const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long subscriptions are given to send what they have, and end, when the host stops.
const SUBSCRIPTION_END_TIMEOUT: Duration = Duration::from_secs(1);

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
    let dispatcher = Arc::new(Dispatcher::for_connection(served, connection, caller));
    let (mut reader, mut writer) = tokio::io::split(socket);
    let mut session = Session::new(dispatcher);

    while !session.is_over() {
        let (may_read, may_work) = (session.may_read(), session.may_work());
        let message_deadline = session.message_deadline();
        let subscriptions_deadline = session.subscriptions_deadline;
        tokio::select! {
            // In this order, so that all answers that are ready share one write. Nothing is held up by it: so many messages may be
            // going on, a subscription has one event ready at a time, and what is written has an end.
            biased;
            Some(step) = session.work.next(), if may_work => session.take(step),
            written = writer.write_buf(&mut session.waiting), if !session.waiting.is_empty() => {
                if written? == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                if session.waiting.is_empty() && session.waiting.capacity() > KEPT_WAITING_BYTES {
                    // A large answer's room is not kept for the small ones that follow.
                    session.waiting = BytesMut::new();
                }
            }
            () = stop.cancelled(), if session.reading == Reading::Open => session.finish(Reading::Stopped),
            read = reader.read_buf(session.framer.buffer()), if may_read => match read? {
                0 => session.finish(Reading::Ended),
                _ => session.received(),
            },
            () = at(message_deadline) => session.give_up(too_slow()),
            () = at(subscriptions_deadline) => session.subscriptions_deadline = None,
        }
    }

    writer.write_all_buf(&mut session.waiting).await?;
    writer.shutdown().await?;
    if session.reading == Reading::GivenUp {
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

/// What one connection has going on.
struct Session {
    dispatcher: Arc<Dispatcher>,
    framer: Framer,
    reading: Reading,
    /// When the message that is being read began.
    reading_since: Instant,
    work: Work,
    /// How many messages are in the work, and how many bytes they have together.
    messages: usize,
    message_bytes: usize,
    /// What is to be written.
    waiting: BytesMut,
    /// Until when subscriptions are waited for, to end by themselves; set when the host stops, and `None` after it.
    subscriptions_deadline: Option<Instant>,
}

/// Whether more is read from a client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    /// The client has said all that it had to say.
    Ended,
    /// The host stops.
    Stopped,
    /// The client broke a rule and was told.
    GivenUp,
}

impl Session {
    fn new(dispatcher: Arc<Dispatcher>) -> Self {
        Self {
            dispatcher,
            framer: Framer::new(),
            reading: Reading::Open,
            reading_since: Instant::now(),
            work: Work::default(),
            messages: 0,
            message_bytes: 0,
            waiting: BytesMut::new(),
            subscriptions_deadline: None,
        }
    }

    /// Whether all is done that will be done; what waits is still to be written.
    fn is_over(&self) -> bool {
        match self.reading {
            Reading::Open => false,
            // Subscriptions have something to say yet: that the host stops. Calls have all the time that the listeners
            // give this connection.
            Reading::Stopped => {
                self.work.is_empty() || (self.work.messages.is_empty() && self.subscriptions_deadline.is_none())
            }
            // A connection that its client closed has nobody to hear of events.
            Reading::Ended | Reading::GivenUp => self.work.messages.is_empty(),
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < MAX_WAITING_BYTES
    }

    fn may_work(&self) -> bool {
        !self.work.is_empty() && self.has_room()
    }

    fn may_read(&self) -> bool {
        self.reading == Reading::Open && self.has_room() && self.may_begin()
    }

    fn may_begin(&self) -> bool {
        self.messages < MAX_MESSAGES_IN_FLIGHT && self.message_bytes < MAX_IN_FLIGHT_BYTES
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
        while self.reading == Reading::Open && self.may_begin() {
            match self.framer.next() {
                Ok(Some(message)) => match self.dispatcher.dispatch(&message, &mut gets) {
                    Ok(answered) => {
                        if let Some(answered) = answered {
                            self.begin_gets(&mut gets);
                            self.work.messages.push(answered);
                        }
                        self.messages += 1;
                        self.message_bytes += message.len();
                        is_new = true;
                    }
                    // Nothing after it may be begun, whether or not it has come already.
                    Err(error) => self.give_up(error),
                },
                Ok(None) => break,
                Err(error) => self.give_up(unreadable(error)),
            }
        }
        self.begin_gets(&mut gets);
        if is_new {
            self.reading_since = Instant::now();
        }
        self.framer.make_room();
    }

    /// Begins the calls that came together, before what came after them.
    fn begin_gets(&mut self, gets: &mut Gets) {
        self.work.messages.extend(self.dispatcher.get(std::mem::take(gets)));
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Event(event) => self.send(event.get()),
            Step::Answered(Answered { answer, events, messages, message_bytes }) => {
                if let Some(answer) = answer {
                    self.send(&answer);
                }
                if let Some(events) = events {
                    self.work.events.push(stream::unfold(events, next_event).boxed());
                }
                self.done(messages, message_bytes);
            }
        }
    }

    /// So many messages, which are not in the work any more, are done with.
    fn done(&mut self, messages: usize, message_bytes: usize) {
        let was_full = !self.may_begin();
        self.messages -= messages;
        self.message_bytes -= message_bytes;
        if was_full {
            // What had come already was not looked at.
            self.received();
        }
    }

    fn send(&mut self, message: &str) {
        self.waiting.extend_from_slice(message.as_bytes());
        self.waiting.extend_from_slice(b"\n");
    }

    /// Says why, reads nothing more, and finishes what is going on.
    fn give_up(&mut self, error: ErrorObjectOwned) {
        self.send(&without_id(error));
        self.finish(Reading::GivenUp);
    }

    fn finish(&mut self, reading: Reading) {
        match reading {
            Reading::Ended if self.framer.is_within_value() => {
                let error = ErrorCode::ParseError.to_error("parse error: the connection ended within a message", None);
                self.send(&without_id(error));
            }
            Reading::Stopped => self.subscriptions_deadline = Some(Instant::now() + SUBSCRIPTION_END_TIMEOUT),
            _ => {}
        }
        self.reading = reading;
    }
}

/// What is going on on a connection.
#[derive(Default)]
struct Work {
    /// Messages that are not answered yet.
    messages: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// Of every subscription.
    events: SelectAll<BoxStream<'static, Box<RawValue>>>,
}

/// Something that has come of a message.
enum Step {
    /// Messages are done with.
    Answered(Answered),
    /// From a subscription.
    Event(Box<RawValue>),
}

impl Work {
    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.events.is_empty()
    }
}

impl Stream for Work {
    type Item = Step;

    /// Answers go first: there are never more of them than may be on the way, while events may have no end.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        if let Poll::Ready(Some(answered)) = self.messages.poll_next_unpin(cx) {
            return Poll::Ready(Some(Step::Answered(answered)));
        }
        if let Poll::Ready(Some(event)) = self.events.poll_next_unpin(cx) {
            return Poll::Ready(Some(Step::Event(event)));
        }
        if self.is_empty() { Poll::Ready(None) } else { Poll::Pending }
    }
}

async fn next_event(mut events: Events) -> Option<(Box<RawValue>, Events)> {
    Some((events.recv().await?, events))
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

async fn linger<R: AsyncRead + Unpin>(reader: &mut R) {
    let mut nowhere = tokio::io::sink();
    // How the client ends, or whether it does in time, changes nothing any more.
    drop(timeout(LINGER_TIMEOUT, tokio::io::copy(reader, &mut nowhere)).await);
}

fn unreadable(error: FrameError) -> ErrorObjectOwned {
    let (code, hint) = match error {
        FrameError::TooLarge => (
            ErrorCode::TooLarge,
            Some("send large plugins with `PUT /plugins/{sha256}` or in pieces with `Plugin.Put`"),
        ),
        FrameError::TooDeep | FrameError::Garbage(_) => (ErrorCode::ParseError, None),
    };
    code.to_error(error.to_string(), hint.map(str::to_owned))
}

fn too_slow() -> ErrorObjectOwned {
    let message = format!("parse error: a message did not end within {} s", MESSAGE_TIMEOUT.as_secs());
    ErrorCode::ParseError.to_error(message, None)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod toy;
