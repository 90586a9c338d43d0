//! The slow lane: a thread of low priority for guests that do not come back within their slice.
//!
//! They take turns there, a slice each, for as long as their deadlines let them, and take from the workers only what those
//! leave over. Deadlines and stops do not wait for a turn: between two slices, whatever is over is dropped first. So a guest here ends
//! within its timeout and one slice ([`SLICE_EPOCHS`](crate::epoch::SLICE_EPOCHS), 2 ms), however many there are, and whatever the
//! kernel takes to give the thread a core.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use taskhost_core::outcome::{Outcome, RunReport};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::epoch::Beat;
use crate::error::EngineError;
use crate::guest::{Guest, Slice};
use crate::threads::lower_priority;

/// Every turn looks at timers and wake-ups, and then at what is over: with tokio's default of 61, a stop would wait for 61 slices.
const EVENT_INTERVAL: u32 = 1;

/// How long the end of the lane waits for what its guests left on blocking threads.
const BLOCKING_PATIENCE: Duration = Duration::from_secs(1);

/// The thread. Guests that it still has are dropped with it.
pub(crate) struct SlowLane {
    /// Holds no more than there are attempts in progress; taken at drop.
    queue: Option<mpsc::UnboundedSender<SlowRun>>,
    running: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

struct SlowRun {
    guest: Guest,
    report: oneshot::Sender<RunReport>,
}

impl SlowLane {
    pub(crate) fn start(beat: Beat) -> Result<Self, EngineError> {
        const NAME: &str = "slow-lane";
        let failed = |source| EngineError::Thread { name: NAME, source };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .event_interval(EVENT_INTERVAL)
            .enable_all()
            .build()
            .map_err(failed)?;
        let (queue, runs) = mpsc::unbounded_channel();
        let running = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&running);
        let thread = thread::Builder::new()
            .name(NAME.to_owned())
            .spawn(move || {
                lower_priority();
                runtime.block_on(work(runs, beat, count));
                // Dropping it would wait for every call that blocks on a file or a name server.
                runtime.shutdown_timeout(BLOCKING_PATIENCE);
            })
            .map_err(failed)?;
        Ok(Self { queue: Some(queue), running, thread: Some(thread) })
    }

    /// Takes a guest over, started or not. Its report comes out of the receiver.
    pub(crate) fn take(&self, guest: Guest) -> oneshot::Receiver<RunReport> {
        let (report, ended) = oneshot::channel();
        if let Some(queue) = &self.queue {
            // Fails only when the thread panicked; the receiver tells then.
            drop(queue.send(SlowRun { guest, report }));
        }
        ended
    }

    /// How many attempts it has.
    pub(crate) fn running(&self) -> u64 {
        self.running.load(Ordering::Relaxed)
    }
}

impl Drop for SlowLane {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the slow lane panicked");
        }
    }
}

/// Counts an attempt in the slow lane until it is dropped.
struct Counted(Arc<AtomicU64>);

impl Counted {
    fn new(count: Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The loop that is looked at between any two slices, as the runtime does with what it blocks on.
async fn work(mut runs: mpsc::UnboundedReceiver<SlowRun>, beat: Beat, running: Arc<AtomicU64>) {
    let mut watches = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(over) = watches.next(), if !watches.is_empty() => Over::end(over),
            run = runs.recv() => {
                let Some(run) = run else { break };
                let watch = run.guest.watch();
                let turns = Arc::new(Turns::new(run, Counted::new(Arc::clone(&running))));
                let task = tokio::spawn(Arc::clone(&turns).take(beat.clone())).abort_handle();
                watches.push(async move {
                    let stop = tokio::select! {
                        biased;
                        stop = watch => Some(stop),
                        () = turns.over.notified() => None,
                    };
                    Over { turns, task, stop }
                });
            }
        }
    }
}

/// A guest in the lane.
struct Turns {
    /// Taken at the end. Locked by one thread only; a mutex because tasks must be `Send`.
    run: Mutex<Option<(SlowRun, Counted)>>,
    over: Notify,
}

/// A guest that has ended, or must.
struct Over {
    turns: Arc<Turns>,
    task: AbortHandle,
    stop: Option<Outcome>,
}

impl Turns {
    fn new(run: SlowRun, counted: Counted) -> Self {
        Self { run: Mutex::new(Some((run, counted))), over: Notify::new() }
    }

    /// Gives the guest a slice whenever it is its turn.
    async fn take(self: Arc<Self>, beat: Beat) {
        poll_fn(|cx| {
            let mut run = self.lock();
            let Some((slow, _)) = run.as_mut() else { return Poll::Ready(()) };
            match slow.guest.poll_slice(cx, &beat) {
                Poll::Ready(Slice::Ended(report)) => {
                    end(run.take(), report);
                    self.over.notify_one();
                    Poll::Ready(())
                }
                // It has woken its task already, or what it waits for will.
                Poll::Ready(Slice::UsedUp) | Poll::Pending => Poll::Pending,
            }
        })
        .await;
    }

    fn lock(&self) -> MutexGuard<'_, Option<(SlowRun, Counted)>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Over {
    fn end(self) {
        if let Some(stop) = self.stop
            && let Some(run) = self.turns.lock().take()
        {
            let report = run.0.guest.stopped(stop);
            end(Some(run), report);
        }
        self.task.abort();
    }
}

fn end(run: Option<(SlowRun, Counted)>, end: RunReport) {
    let Some((SlowRun { guest, report }, running)) = run else { return };
    // Its slot is free before anyone hears of the end.
    drop(guest);
    drop(running);
    // Nobody hears of it when the worker is gone.
    drop(report.send(end));
}
