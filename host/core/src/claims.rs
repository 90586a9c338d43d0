//! What the recorder has claimed of the time to come: workers run fast due times within it, and tell when they wait for more.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::time::Time;

/// How far due times of fast schedules may run.
#[derive(Debug)]
pub(crate) struct Claims {
    until: AtomicI64,
    /// Whether one was used since the recorder last looked: written once a second, since it is on the tick path.
    used: AtomicBool,
    /// Told when somebody waits for a claim.
    wanted: Notify,
    /// How often the store has begun its history anew.
    histories: AtomicU64,
    /// How many records were lost because the store did not take them in time.
    pub(crate) lost_records: AtomicU64,
}

impl Claims {
    pub(crate) fn until(&self) -> Time {
        Time(self.until.load(Ordering::Relaxed))
    }

    pub(crate) fn extend(&self, until: Time) {
        self.until.fetch_max(until.0, Ordering::Relaxed);
    }

    /// How often the store has begun its history anew: what was handed over before is lost.
    pub(crate) fn histories(&self) -> u64 {
        self.histories.load(Ordering::Relaxed)
    }

    pub(crate) fn begin_anew(&self, histories: u64) {
        self.histories.store(histories, Ordering::Relaxed);
    }

    /// A due time ran on a claim, so that its next may want one too.
    pub(crate) fn note_use(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether one was used since this was last asked.
    pub(crate) fn take_use(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// Somebody waits for a claim.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// A due time waits for a claim.
    pub(crate) fn want(&self) {
        self.note_use();
        self.wanted.notify_one();
    }
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            until: AtomicI64::new(i64::MIN),
            used: AtomicBool::new(false),
            wanted: Notify::new(),
            histories: AtomicU64::new(0),
            lost_records: AtomicU64::new(0),
        }
    }
}
