//! `TaskUnit.Watch`: events to one subscriber.
//!
//! Bounded twice: a connection holds only so many messages, and while it is full this waits; the event bus holds only so
//! many events for whoever waits, and says how many were lost.

use jsonrpsee::PendingSubscriptionSink;
use jsonrpsee::core::SubscriptionResult;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::value::to_raw_value;
use taskhost_api::{Event, EventKind, WatchRequest};
use taskhost_core::events::{self, Next};
use taskhost_core::log::{Level, NotALevel};
use taskhost_core::name::TaskName;
use taskhost_core::spec::SpecError;

use super::errors::to_rpc;
use super::{convert, invalid_params};
use crate::Host;

/// Serves one subscription until the subscriber or the host goes.
pub(super) async fn serve(host: &Host, pending: PendingSubscriptionSink, request: WatchRequest) -> SubscriptionResult {
    let filter = match Filter::new(request) {
        Ok(filter) => filter,
        Err(error) => {
            pending.reject(error).await;
            return Ok(());
        }
    };
    // Before it is accepted, so that nothing is missed that happens after the subscriber knows.
    let mut events = host.subscribe(filter.takes(EventKind::Log));
    let sink = pending.accept().await?;
    loop {
        let next = tokio::select! {
            next = events.next() => next,
            () = sink.closed() => return Ok(()),
        };
        let event = match next {
            Next::Event(event) if filter.is_below_level(&event.kind) => continue,
            Next::Event(event) => convert::event(&event),
            Next::Lagged(lost) => convert::lagged(lost),
            Next::Closed => return Ok(()),
        };
        if filter.passes(&event) {
            let message = to_raw_value(&event)?;
            if sink.send(message).await.is_err() {
                return Ok(());
            }
        }
        if event.kind == EventKind::Shutdown {
            return Ok(());
        }
    }
}

/// Which events a subscriber asked for.
struct Filter {
    task: Option<String>,
    /// All but log lines if `None`.
    kinds: Option<Vec<EventKind>>,
    level: Level,
}

impl Filter {
    fn new(request: WatchRequest) -> Result<Self, ErrorObjectOwned> {
        let level = log_level(request.level.as_deref())?;
        // In its normal form, as events have it.
        let task = request.name.map(|name| TaskName::new(&name)).transpose();
        let task = task.map_err(|error| to_rpc(SpecError::from(error).into()))?;
        Ok(Self { task: task.map(String::from), kinds: request.kinds, level })
    }

    fn is_below_level(&self, kind: &events::EventKind) -> bool {
        matches!(kind, events::EventKind::Log { line, .. } if line.stream.level() < self.level)
    }

    fn takes(&self, kind: EventKind) -> bool {
        match &self.kinds {
            Some(kinds) => kinds.contains(&kind),
            None => kind != EventKind::Log,
        }
    }

    /// That events are lost, and that none follow, is told whatever was asked for.
    fn passes(&self, event: &Event) -> bool {
        match event.kind {
            EventKind::Lagged | EventKind::Shutdown => true,
            kind => self.takes(kind) && (self.task.is_none() || self.task == event.task),
        }
    }
}

/// The least level of the lines that are wanted: all, if none is named.
pub(super) fn log_level(text: Option<&str>) -> Result<Level, ErrorObjectOwned> {
    let level = text.map_or(Ok(Level::Trace), str::parse);
    level.map_err(|error: NotALevel| invalid_params(format!("`level`: {error}"), None))
}

#[cfg(test)]
mod tests {
    use taskhost_core::log::{LogLine, Stream};
    use taskhost_core::time::Time;

    use super::*;

    fn event(kind: EventKind, task: Option<&str>) -> Event {
        Event { kind, task: task.map(str::to_owned), ..convert::lagged(1) }
    }

    fn filter(name: Option<&str>, kinds: Option<&[EventKind]>) -> Filter {
        let request = WatchRequest { name: name.map(str::to_owned), kinds: kinds.map(<[_]>::to_vec), level: None };
        Filter::new(request).expect("a valid name")
    }

    #[test]
    fn an_empty_request_gets_everything_but_log_lines() {
        let filter = filter(None, None);
        assert!(filter.passes(&event(EventKind::RunFinished, Some("a"))));
        assert!(!filter.passes(&event(EventKind::Log, Some("a"))));
    }

    #[test]
    fn a_name_and_kinds_narrow_it() {
        let filter = filter(Some("u\u{308}ber"), Some(&[EventKind::Log]));
        assert!(filter.passes(&event(EventKind::Log, Some("über"))), "names are compared in their normal form");
        assert!(!filter.passes(&event(EventKind::Log, Some("b"))));
        assert!(!filter.passes(&event(EventKind::RunFinished, Some("über"))));
    }

    #[test]
    fn log_lines_below_the_level_that_was_asked_for_are_left_out() {
        let filter = Filter::new(WatchRequest { level: Some("warn".to_owned()), ..WatchRequest::default() });
        let filter = filter.expect("a level");
        let is_below = |stream| {
            let line = LogLine { seq: 1, time: Time(0), stream, text: String::new(), truncated: false };
            filter.is_below_level(&events::EventKind::Log { task: TaskName::new("a").expect("a name"), line })
        };
        assert!(is_below(Stream::Stdout) && is_below(Stream::Log(Level::Info)));
        assert!(!is_below(Stream::Host) && !is_below(Stream::Log(Level::Error)));
        let refused = Filter::new(WatchRequest { level: Some("loud".to_owned()), ..WatchRequest::default() });
        assert!(refused.is_err());
    }

    #[test]
    fn a_loss_and_the_end_are_always_told() {
        let filter = filter(Some("a"), Some(&[EventKind::TaskAdded]));
        assert!(filter.passes(&event(EventKind::Lagged, None)));
        assert!(filter.passes(&event(EventKind::Shutdown, None)));
    }
}
