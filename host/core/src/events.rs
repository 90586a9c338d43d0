//! What happens, told to whoever asks, within bounds: who reads too slowly loses the oldest and is told how many.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast;

use crate::log::line::LogLine;
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
    /// Made for the first reader: it is as large as all that may wait.
    sender: Arc<OnceLock<broadcast::Sender<Arc<Event>>>>,
    readers: Arc<Readers>,
    /// Sees every event before the readers do.
    witness: Option<Witness>,
}

/// Who listens. The channel counts them too, but tells only under its lock, which all workers would take for each tick.
#[derive(Default)]
struct Readers {
    all: AtomicUsize,
    /// Those of them who want log lines.
    of_logs: AtomicUsize,
}

type Witness = Arc<dyn Fn(&Event) + Send + Sync>;

/// Events from the time of subscribing on.
pub struct EventStream {
    receiver: broadcast::Receiver<Arc<Event>>,
    /// What it is counted in.
    readers: Arc<Readers>,
    logs: bool,
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
        Self { sender: Arc::default(), readers: Arc::default(), witness: None }
    }

    /// The same with a witness of all that readers are told, on the thread that publishes it: it loses nothing, and whoever publishes
    /// waits for it.
    pub fn with_witness(witness: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self { witness: Some(Arc::new(witness)), ..Self::new() }
    }

    /// Publishes what `event` makes, if anybody listens.
    pub fn publish(&self, event: impl FnOnce() -> Event) {
        if self.readers.all.load(Ordering::Relaxed) > 0
            && let Some(sender) = self.sender.get()
        {
            let event = Arc::new(event());
            if let Some(witness) = &self.witness {
                witness(&event);
            }
            // Fails only if the last reader left in between.
            sender.send(event).ok();
        }
    }

    /// Whether anybody wants log lines.
    pub fn wants_logs(&self) -> bool {
        self.readers.of_logs.load(Ordering::Relaxed) > 0
    }

    /// Events from now on; log lines are published only while somebody wants them.
    pub fn subscribe(&self, logs: bool) -> EventStream {
        let receiver = self.sender.get_or_init(|| broadcast::Sender::new(CAPACITY_EVENTS)).subscribe();
        let readers = Arc::clone(&self.readers);
        readers.all.fetch_add(1, Ordering::Relaxed);
        readers.of_logs.fetch_add(usize::from(logs), Ordering::Relaxed);
        EventStream { receiver, readers, logs }
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
        self.readers.all.fetch_sub(1, Ordering::Relaxed);
        self.readers.of_logs.fetch_sub(usize::from(self.logs), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn a_witness_sees_what_a_slow_reader_loses_and_nothing_that_nobody_reads() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let witnessed = Arc::clone(&seen);
        let bus = EventBus::with_witness(move |event| witnessed.lock().expect("no test panics here").push(event.time));
        let publish = |at: usize| bus.publish(|| Event { time: Time(at as i64), kind: EventKind::Shutdown });
        publish(0);
        let mut slow = bus.subscribe(false);
        (1..=2 * CAPACITY_EVENTS).for_each(publish);
        assert!(matches!(slow.next().await, Next::Lagged(_)));
        drop(slow);
        publish(0);
        let seen = seen.lock().expect("no test panics here");
        assert_eq!((seen.len(), seen[0]), (2 * CAPACITY_EVENTS, Time(1)));
    }
}
