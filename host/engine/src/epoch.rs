//! The clock that makes guests yield: a thread that moves the epoch of all engines on while anything runs.
//!
//! It parks when nothing has run for a while, so that an idle host sleeps. What is polled is counted per place of polling,
//! each on its own cache line: workers share nothing on the tick path but a flag that is hardly ever written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::Engine;

use crate::error::EngineError;

/// How long an epoch lasts, while a guest is seen to run.
pub(crate) const EPOCH: Duration = Duration::from_millis(1);

/// How long one lasts until then. Most guests come back within microseconds, and a thread that looks each millisecond costs ten thousand of
/// them a second a tenth of what they take; one that does not come back is interrupted that much later, once.
const LOOK: Duration = Duration::from_millis(4);

/// How many epochs a guest runs before it must yield: the first is cut short by whatever had passed of it.
pub(crate) const SLICE_EPOCHS: u64 = 2;

/// How often it looks without a poll in between before the thread parks: waking it costs a system call on the tick path.
const IDLE_LOOKS: u32 = 25;

/// The thread. Ends when it is dropped, and with it the last [`Beat`]: a guest that is polled is never without a clock.
pub(crate) struct EpochClock {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    places: Box<[Place]>,
    parked: AtomicBool,
    ended: AtomicBool,
}

/// Where guests are polled: a worker, or a slow lane.
#[repr(align(128))]
#[derive(Default)]
struct Place {
    entered: AtomicU64,
    left: AtomicU64,
}

/// Tells the clock that guests are polled at one place.
#[derive(Clone)]
pub(crate) struct Beat {
    clock: Arc<EpochClock>,
    place: usize,
}

impl EpochClock {
    /// Starts the clock of these engines, and gives a beat to each of so many places.
    pub(crate) fn start(engines: Vec<Engine>, places: usize) -> Result<Vec<Beat>, EngineError> {
        const NAME: &str = "epoch";
        let shared = Arc::new(Shared {
            places: (0..places).map(|_| Place::default()).collect(),
            parked: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let thread = thread::Builder::new()
            .name(NAME.to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.tick(&engines)
            })
            .map_err(|source| EngineError::Thread { name: NAME, source })?;
        let clock = Arc::new(Self { shared, thread: Some(thread) });
        Ok((0..places).map(|place| Beat { clock: Arc::clone(&clock), place }).collect())
    }

    fn unpark(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for EpochClock {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.unpark();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the epoch thread panicked");
        }
    }
}

impl Shared {
    fn tick(&self, engines: &[Engine]) {
        let mut seen = 0;
        let mut idle = 0;
        let mut wait = LOOK;
        while !self.ended.load(Ordering::SeqCst) {
            thread::sleep(wait);
            engines.iter().for_each(Engine::increment_epoch);
            let (entered, left) = self.counts();
            wait = if entered == left { LOOK } else { EPOCH };
            idle = if entered == left && entered == seen { idle + 1 } else { 0 };
            seen = entered;
            if idle >= IDLE_LOOKS {
                self.park(seen);
                idle = 0;
            }
        }
    }

    /// Waits for the next poll. The flag is set before the counters are read again, and [`Beat::enter`] counts before it
    /// reads the flag, so one of the two sees the other.
    fn park(&self, seen: u64) {
        self.parked.store(true, Ordering::SeqCst);
        if self.counts().0 != seen {
            self.parked.store(false, Ordering::SeqCst);
        }
        while self.parked.load(Ordering::SeqCst) && !self.ended.load(Ordering::SeqCst) {
            thread::park();
        }
    }

    /// How often guests were entered and left; `left` is read first, so that it is never ahead.
    fn counts(&self) -> (u64, u64) {
        let left = self.places.iter().map(|place| place.left.load(Ordering::SeqCst)).sum();
        let entered = self.places.iter().map(|place| place.entered.load(Ordering::SeqCst)).sum();
        (entered, left)
    }
}

impl Beat {
    /// Keeps the clock going while `poll` runs.
    pub(crate) fn during<T>(&self, poll: impl FnOnce() -> T) -> T {
        let shared = &*self.clock.shared;
        let place = &shared.places[self.place];
        let _entered = Entered::new(place);
        if shared.parked.load(Ordering::SeqCst) && shared.parked.swap(false, Ordering::SeqCst) {
            self.clock.unpark();
        }
        poll()
    }
}

/// Counts the guest as polled until it is dropped, panic or not: a clock that never parks again would be the price of one.
struct Entered<'a>(&'a Place);

impl<'a> Entered<'a> {
    fn new(place: &'a Place) -> Self {
        place.entered.fetch_add(1, Ordering::SeqCst);
        Self(place)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.left.fetch_add(1, Ordering::Release);
    }
}
