//! What happens, told to whoever asks, within bounds: who reads too slowly loses the oldest and is told how many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::broadcast;

use crate::log::LogLine;
use crate::name::TaskName;
use crate::outcome::Run;
use crate::time::Time;

/// How many events wait for the slowest reader before it loses the oldest.
const CAPACITY_EVENTS: usize = 8192;

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    pub time: Time,
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum EventKind {
    TaskAdded {
        task: TaskName,
        revision: u32,
    },
    TaskEdited {
        task: TaskName,
        revision: u32,
    },
    TaskPaused {
        task: TaskName,
        revision: u32,
    },
    TaskResumed {
        task: TaskName,
        revision: u32,
    },
    TaskDeleted {
        task: TaskName,
    },
    RunFinished(Run),
    Log {
        task: TaskName,
        line: LogLine,
    },
    /// The last event.
    Shutdown,
}

/// Where events are published. Costs one atomic load while nobody listens.
#[derive(Clone)]
pub struct EventBus {
    sender: broadcast::Sender<Arc<Event>>,
    log_readers: Arc<AtomicUsize>,
}

/// Events from the time of subscribing on.
pub struct EventStream {
    receiver: broadcast::Receiver<Arc<Event>>,
    /// Counted while this stream wants log lines.
    log_reader: Option<Arc<AtomicUsize>>,
}

/// What a reader gets next.
#[derive(Clone, Debug)]
pub enum Next {
    Event(Arc<Event>),
    /// The reader was too slow; this many events are lost.
    Lagged(u64),
    /// Nothing follows.
    Closed,
}

impl EventBus {
    pub fn new() -> Self {
        Self { sender: broadcast::Sender::new(CAPACITY_EVENTS), log_readers: Arc::default() }
    }

    /// Publishes what `event` makes, if anybody listens.
    pub fn publish(&self, event: impl FnOnce() -> Event) {
        if self.sender.receiver_count() > 0 {
            // Fails only if the last reader left in between.
            self.sender.send(Arc::new(event())).ok();
        }
    }

    /// Whether anybody wants log lines.
    pub fn wants_logs(&self) -> bool {
        self.log_readers.load(Ordering::Relaxed) > 0
    }

    /// Events from now on; log lines are published only while somebody wants them.
    pub fn subscribe(&self, logs: bool) -> EventStream {
        let log_reader = logs.then(|| Arc::clone(&self.log_readers));
        if let Some(readers) = &log_reader {
            readers.fetch_add(1, Ordering::Relaxed);
        }
        EventStream { receiver: self.sender.subscribe(), log_reader }
    }
}

impl Default for EventBus {
    fn default() -> Self {
        Self::new()
    }
}

impl EventStream {
    pub async fn next(&mut self) -> Next {
        match self.receiver.recv().await {
            Ok(event) => Next::Event(event),
            Err(broadcast::error::RecvError::Lagged(lost)) => Next::Lagged(lost),
            Err(broadcast::error::RecvError::Closed) => Next::Closed,
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        if let Some(readers) = &self.log_reader {
            readers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
