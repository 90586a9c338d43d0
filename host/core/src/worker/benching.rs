//! For `benches`: what is private here and on the path of a tick, driven by hand. No interface for anybody else.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{MAX_WISHES, NewUnit, RECORD_QUEUE, Shared, UnitBatch, Worker, timers};
use crate::claims::Claims;
use crate::events::EventBus;
use crate::log::{LogSink, UnwrittenLogs};
use crate::plugin::Sha256;
use crate::ports::{Clock, Definition, Runner, Store};
use crate::time::Time;
use crate::unit::Outage;

/// The timers of a worker.
#[derive(Default)]
pub struct Timers(timers::Timers);

impl Timers {
    pub fn wake(&mut self, slot: u32, at: Time) -> u32 {
        self.0.wake(slot, Some(at))
    }

    /// The unit whose wake-up has come.
    pub fn pop(&mut self, now: Time) -> Option<u32> {
        self.0.pop_wake(now, |_, _| true).map(|wake| wake.slot)
    }
}

/// A worker without a thread, all of whose due times are claimed.
pub struct HandDriven<R: Runner, C: Clock> {
    worker: Worker<R, C>,
    batches: mpsc::Receiver<UnitBatch>,
    logs: UnwrittenLogs,
}

impl<R: Runner, C: Clock> HandDriven<R, C> {
    pub fn new(runner: R, clock: C, store: Arc<dyn Store>) -> Self {
        let bus = EventBus::new();
        let of_lines = clock.clone();
        let (sink, logs) = LogSink::new(move || of_lines.now(), bus.clone());
        let (states, batches) = mpsc::channel(RECORD_QUEUE);
        let claims = Arc::<Claims>::default();
        claims.extend(Time(i64::MAX));
        let shared = Shared {
            bus,
            logs: sink,
            states,
            store,
            claims,
            wishes: mpsc::channel(MAX_WISHES).0,
            answers: mpsc::unbounded_channel().0,
            cancel_grace: std::time::Duration::ZERO,
            timer_slack: std::time::Duration::ZERO,
            ceilings: Arc::default(),
        };
        Self { worker: Worker::new(runner, clock, shared), batches, logs }
    }

    pub fn add(&mut self, definition: Definition, job: R::Job) {
        let outage = Outage::after(None, definition.added_at);
        let new = NewUnit { definition, plugin: Sha256([0; 32]), job: Ok(job), known: None };
        self.worker.register(new, &outage);
    }

    /// Does what has come due.
    pub fn fire(&mut self) {
        self.worker.look_at_clock();
        while self.worker.fire_due() {}
    }

    /// Takes over what tasks did and wrote, as the recorder does. Answers how many bytes of patches and of lines that was.
    pub fn take_over(&mut self) -> (usize, usize) {
        self.worker.record_all();
        let batch = self.batches.try_recv().unwrap_or_default();
        let mut chunks = Vec::new();
        while let Ok(log) = self.logs.waiting.try_recv() {
            log.take_unwritten(false, &mut chunks);
            log.written();
        }
        (batch.patches.len(), chunks.iter().map(|chunk| chunk.data.len()).sum())
    }
}
