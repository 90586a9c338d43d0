//! `TaskUnit.Watch`: events to one subscriber.
//!
//! Bounded twice: a connection holds only so many messages, and while it is full this waits; the event bus holds only so
//! many events for whoever waits, and says how many were lost.

use jsonrpsee::PendingSubscriptionSink;
use jsonrpsee::core::SubscriptionResult;
use serde_json::value::to_raw_value;
use taskhost_api::{Event, EventKind, WatchRequest};
use taskhost_core::events::Next;
use taskhost_core::name::TaskName;
use taskhost_core::spec::SpecError;
use taskhost_core::supervisor::TaskError;

use super::convert;
use super::errors::to_rpc;
use crate::Host;

/// Serves one subscription until the subscriber or the host goes.
pub(super) async fn serve(host: &Host, pending: PendingSubscriptionSink, request: WatchRequest) -> SubscriptionResult {
    let filter = match Filter::new(request) {
        Ok(filter) => filter,
        Err(error) => {
            pending.reject(to_rpc(error)).await;
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
}

impl Filter {
    fn new(request: WatchRequest) -> Result<Self, TaskError> {
        // In its normal form, as events have it.
        let task = request.name.map(|name| TaskName::new(&name)).transpose().map_err(SpecError::from)?;
        Ok(Self { task: task.map(String::from), kinds: request.kinds })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, task: Option<&str>) -> Event {
        Event { kind, task: task.map(str::to_owned), ..convert::lagged(1) }
    }

    fn filter(name: Option<&str>, kinds: Option<&[EventKind]>) -> Filter {
        let request = WatchRequest { name: name.map(str::to_owned), kinds: kinds.map(<[_]>::to_vec) };
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
    fn a_loss_and_the_end_are_always_told() {
        let filter = filter(Some("a"), Some(&[EventKind::TaskAdded]));
        assert!(filter.passes(&event(EventKind::Lagged, None)));
        assert!(filter.passes(&event(EventKind::Shutdown, None)));
    }
}
