//! What one attempt is about, and what it and its runner tell each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use taskhost_core::ports::Attempt;

use crate::mask::Mask;
use crate::secrets::Secrets;

/// What an attempt is about, whichever instance makes it.
pub(crate) struct Turn {
    pub(crate) attempt: Attempt,
    pub(crate) deadline: Instant,
    pub(crate) probe: Arc<Probe>,
    /// As they are now, of a task that is granted some.
    pub(crate) secrets: Option<Arc<Secrets>>,
}

impl Turn {
    /// What hides the secrets.
    pub(crate) fn mask(&self) -> Option<&Mask> {
        self.secrets.as_ref().and_then(|secrets| secrets.mask.as_ref())
    }
}

/// What an attempt and its runner tell each other while the attempt is in its future.
pub(crate) struct Probe {
    started: Instant,
    yielded: AtomicBool,
    /// Nanoseconds after `started`; `NEVER` until then.
    entered_ns: AtomicU64,
    /// When the poll began that the guest is in, in nanoseconds after `started`.
    resumed_ns: AtomicU64,
    /// The attempt waits for the host to have memory for it.
    waits_for_memory: AtomicBool,
}

const NEVER: u64 = u64::MAX;

impl Probe {
    pub(crate) fn new(started: Instant) -> Arc<Self> {
        let (entered_ns, resumed_ns) = (AtomicU64::new(NEVER), AtomicU64::new(0));
        let (yielded, waits_for_memory) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { started, yielded, entered_ns, resumed_ns, waits_for_memory })
    }

    /// The guest used up its slice.
    pub(crate) fn yielded(&self) {
        self.yielded.store(true, Ordering::Relaxed);
    }

    /// Whether it did so since this was asked last.
    pub(crate) fn has_yielded(&self) -> bool {
        self.yielded.swap(false, Ordering::Relaxed)
    }

    /// The guest is entered now.
    pub(crate) fn entering(&self) {
        self.entered_ns.store(self.now_ns(), Ordering::Relaxed);
    }

    /// The attempt begins or ceases to wait for memory.
    pub(crate) fn waits_for_memory(&self, waits: bool) {
        self.waits_for_memory.store(waits, Ordering::Relaxed);
    }

    pub(crate) fn is_waiting_for_memory(&self) -> bool {
        self.waits_for_memory.load(Ordering::Relaxed)
    }

    /// The guest is polled now.
    pub(crate) fn resumed(&self) {
        self.resumed_ns.store(self.now_ns(), Ordering::Relaxed);
    }

    /// How long the guest has been polled without a break.
    pub(crate) fn polled_for(&self) -> Duration {
        Duration::from_nanos(self.now_ns().saturating_sub(self.resumed_ns.load(Ordering::Relaxed)))
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(NEVER - 1)
    }

    /// How long it took until the guest was entered, if it was.
    pub(crate) fn entry_delay(&self) -> Option<Duration> {
        let entered_ns = self.entered_ns.load(Ordering::Relaxed);
        (entered_ns != NEVER).then(|| Duration::from_nanos(entered_ns))
    }
}
