//! A task made ready to run on one worker, and what of it outlives a run: the lane that it starts in, and the instance that it keeps.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use taskhost_core::plugin::PluginError;
use wasmtime::Store;

use crate::kept::{Keeper, Listed};
use crate::load::{Live, Loaded};
use crate::plugins::Plugins;
use crate::program::{Program, SeatOf};
use crate::room::Place;
use crate::setup::Setup;
use crate::state::State;

/// How many runs in a row must end within a slice before a task that was slow starts in the fast lane again.
const QUICK_RUNS: u8 = 3;

/// A task made ready to run on one worker.
pub struct Job(pub(crate) Arc<JobInner>);

pub(crate) struct JobInner {
    pub(crate) plugins: Arc<Plugins>,
    pub(crate) program: Arc<Program>,
    pub(crate) setup: Arc<Setup>,
    pub(crate) lane: LaneHint,
    /// The instance that is kept for the next run; locked for moments, and contended only by who takes it away. In a box, since most
    /// tasks keep none.
    idle: Mutex<Option<Box<Idle>>>,
}

impl Job {
    /// For a plugin that begins with a big memory, or not.
    pub(crate) fn new(plugins: Arc<Plugins>, program: Arc<Program>, big: bool, setup: Arc<Setup>) -> Self {
        let lane = LaneHint::new(big);
        Self(Arc::new(JobInner { plugins, program, setup, lane, idle: Mutex::new(None) }))
    }
}

impl JobInner {
    /// The plugin, if it is loaded.
    pub(crate) fn loaded(&self, now: Instant) -> Option<Arc<Loaded>> {
        self.plugins.residents.find(self.program.seat(SeatOf::Worker(self.setup.worker)), now)
    }

    /// Loads the plugin, which was not, or no more.
    pub(crate) async fn load(&self) -> Result<Arc<Loaded>, PluginError> {
        let (plugins, program, worker) = (Arc::clone(&self.plugins), self.program_to_load(), self.setup.worker);
        let loaded = to_its_end(async move { plugins.loaded(&program, worker).await }).await?;
        if loaded.big {
            self.lane.slow();
        }
        Ok(loaded)
    }

    /// The same on the engine that has no pool.
    pub(crate) async fn load_without_pool(&self) -> Result<Arc<Loaded>, PluginError> {
        // Guests that wait may have the whole pool, and then the others must come back at once all the same.
        if let Some(loaded) = self.plugins.residents.find(self.program.seat(SeatOf::Overflow), Instant::now()) {
            return Ok(loaded);
        }
        let (plugins, program) = (Arc::clone(&self.plugins), self.program_to_load());
        to_its_end(async move { plugins.overflow(&program).await }).await
    }

    /// Its program, or the one in the place of that if it could not be compiled and somebody has put the plugin again.
    fn program_to_load(&self) -> Arc<Program> {
        if self.program.is_refused() {
            self.plugins.programs.get(self.program.sha256)
        } else {
            Arc::clone(&self.program)
        }
    }

    /// Takes the instance that is kept, for a run.
    pub(crate) fn take_idle(&self) -> Option<Box<Idle>> {
        self.lock_idle().take()
    }

    /// Keeps an instance, unless one is kept already.
    pub(crate) fn keep(self: &Arc<Self>, store: Store<State>, live: Live, place: Place) {
        let mut idle = self.lock_idle();
        if idle.is_none() {
            let keeper = Arc::downgrade(self);
            let listed = place.room().kept.list(keeper);
            *idle = Some(Box::new(Idle { store, live, place, listed }));
        } else {
            drop(idle);
            // Before its place is given back.
            drop(store);
        }
    }

    fn lock_idle(&self) -> MutexGuard<'_, Option<Box<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Loads a plugin though the attempt that waits for it may be stopped meanwhile: others wait for it as well.
async fn to_its_end(
    loading: impl Future<Output = Result<Arc<Loaded>, PluginError>> + Send + 'static,
) -> Result<Arc<Loaded>, PluginError> {
    tokio::spawn(loading).await.unwrap_or_else(|error| Err(PluginError::Host(error.to_string())))
}

impl Keeper for JobInner {
    fn give_up(&self, number: u64) -> bool {
        // Dropped when it is unlocked.
        let idle = self.lock_idle().take_if(|idle| idle.listed.number() == number);
        idle.is_some()
    }
}

/// An instance between two runs. What it holds is given back in this order.
pub(crate) struct Idle {
    pub(crate) store: Store<State>,
    pub(crate) live: Live,
    pub(crate) place: Place,
    pub(crate) listed: Listed,
}

/// In which lane a task starts: how many more quick runs it takes to start in the fast one, where 0 means that it does.
pub(crate) struct LaneHint(AtomicU8);

impl LaneHint {
    /// Tasks with a big memory are taken to be slow until they show otherwise.
    pub(crate) fn new(slow: bool) -> Self {
        Self(AtomicU8::new(if slow { QUICK_RUNS } else { 0 }))
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// The task turned out to have a big memory.
    pub(crate) fn slow(&self) {
        self.0.store(QUICK_RUNS, Ordering::Relaxed);
    }

    /// Takes note of how a run went. Two runs of one task at the same time may count as one; that does no harm.
    pub(crate) fn ran(&self, quick: bool) {
        let left = if quick { self.0.load(Ordering::Relaxed).saturating_sub(1) } else { QUICK_RUNS };
        self.0.store(left, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a task takes of the engine's while it rests, in bytes; what its attempts start from it shares with others, unless it is granted
    /// something.
    #[test]
    #[expect(clippy::print_stdout, reason = "`--nocapture` shows it")]
    fn the_memory_of_a_job_is_known_struct_by_struct() {
        /// Beside the value of an `Arc`: its two counts.
        const COUNTS: usize = 16;
        let sizes = [size_of::<JobInner>() + COUNTS, size_of::<Setup>() + COUNTS];
        println!("its job {}, what its attempts start from {}", sizes[0], sizes[1]);
        assert_eq!(sizes, [64, 64], "if that is meant, say so here");
    }

    #[test]
    fn a_slow_task_is_fast_again_after_enough_quick_runs_in_a_row() {
        let lane = LaneHint::new(false);
        lane.ran(true);
        assert!(!lane.is_slow());
        lane.ran(false);
        lane.ran(true);
        lane.ran(true);
        lane.ran(false);
        for _ in 0..QUICK_RUNS {
            assert!(lane.is_slow());
            lane.ran(true);
        }
        assert!(!lane.is_slow());
    }
}
