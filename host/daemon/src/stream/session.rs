//! What one connection has going on, whatever carries its messages.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, FuturesUnordered, SelectAll};
use futures_util::{Stream, StreamExt};
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::value::RawValue;
use taskhost_api::MAX_MESSAGE_BYTES;
use tokio::time::Instant;

use super::dispatch::{Answered, Dispatcher, Events};
use super::gets::{Gets, Served};
use crate::access::Caller;

/// How many messages of one connection may be going on at once.
pub(super) const MAX_MESSAGES_IN_FLIGHT: usize = 64;

/// How many bytes those may have together, unless one alone has more.
pub(super) const MAX_IN_FLIGHT_BYTES: usize = 2 * MAX_MESSAGE_BYTES;

/// How long subscriptions are given to send what they have, and end, when the host stops.
pub(super) const SUBSCRIPTION_END_TIMEOUT: Duration = Duration::from_secs(1);

/// The messages of one connection that are going on, and whether more of them begin.
///
/// Who carries them reads while [`may_begin`](Self::may_begin) and there is room for answers, writes what
/// [`take`](Self::take) returns, and ends when [`is_over`](Self::is_over).
pub(crate) struct Session {
    dispatcher: Arc<Dispatcher>,
    reading: Reading,
    work: Work,
    /// How many messages are in the work, and how many bytes they have together.
    messages: usize,
    message_bytes: usize,
    /// Until when subscriptions are waited for, to end by themselves; set when the host stops, and `None` after it.
    subscriptions_deadline: Option<Instant>,
}

/// Whether more is read from a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    Open,
    /// The client has said all that it had to say.
    Ended,
    /// The host stops.
    Stopped,
    /// The client broke a rule and was told.
    GivenUp,
}

impl Session {
    pub(crate) fn new(served: Served, connection: u32, caller: Caller) -> Self {
        Self {
            dispatcher: Arc::new(Dispatcher::for_connection(served, connection, caller)),
            reading: Reading::Open,
            work: Work::default(),
            messages: 0,
            message_bytes: 0,
            subscriptions_deadline: None,
        }
    }

    pub(crate) fn reading(&self) -> Reading {
        self.reading
    }

    /// Whether all is done that will be done; what was taken is still to be written.
    pub(crate) fn is_over(&self) -> bool {
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

    pub(crate) fn has_work(&self) -> bool {
        !self.work.is_empty()
    }

    /// Whether another message may be begun.
    pub(crate) fn may_begin(&self) -> bool {
        self.reading == Reading::Open
            && self.messages < MAX_MESSAGES_IN_FLIGHT
            && self.message_bytes < MAX_IN_FLIGHT_BYTES
    }

    /// Begins one message; an error if it is no JSON.
    pub(crate) fn begin(&mut self, message: &[u8]) -> Result<(), ErrorObjectOwned> {
        let mut gets = Gets::default();
        let begun = self.begin_beside(message, &mut gets);
        self.begin_gets(&mut gets);
        begun
    }

    /// The same, unless it can be done together with `gets`: then it is put to them.
    pub(super) fn begin_beside(&mut self, message: &[u8], gets: &mut Gets) -> Result<(), ErrorObjectOwned> {
        if let Some(answered) = self.dispatcher.dispatch(message, gets)? {
            self.begin_gets(gets);
            self.work.messages.push(answered);
        }
        self.messages += 1;
        self.message_bytes += message.len();
        Ok(())
    }

    /// Begins the calls that came together, before what came after them.
    pub(super) fn begin_gets(&mut self, gets: &mut Gets) {
        self.work.messages.extend(self.dispatcher.get(std::mem::take(gets)));
    }

    /// What comes next of all that is going on; `None` if nothing is.
    pub(crate) async fn next(&mut self) -> Option<Step> {
        self.work.next().await
    }

    /// What is to be sent of a step, if anything is.
    pub(crate) fn take(&mut self, step: Step) -> Option<String> {
        match step {
            Step::Event(event) => Some(Box::<str>::from(event).into()),
            Step::Answered(Answered { answer, events, messages, message_bytes }) => {
                if let Some(events) = events {
                    self.work.events.push(stream::unfold(events, next_event).boxed());
                }
                self.messages -= messages;
                self.message_bytes -= message_bytes;
                answer
            }
        }
    }

    /// Begins nothing more, and finishes what is going on.
    pub(crate) fn finish(&mut self, reading: Reading) {
        if reading == Reading::Stopped {
            self.subscriptions_deadline = Some(Instant::now() + SUBSCRIPTION_END_TIMEOUT);
        }
        self.reading = reading;
    }

    /// Until when the subscriptions of a host that stops are waited for; [`forget_subscriptions`](Self::forget_subscriptions)
    /// then.
    pub(crate) fn subscriptions_deadline(&self) -> Option<Instant> {
        self.subscriptions_deadline
    }

    pub(crate) fn forget_subscriptions(&mut self) {
        self.subscriptions_deadline = None;
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
pub(crate) enum Step {
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
