//! The plugins in use: each is compiled once, however many ask at once, and loaded once per worker, for as long as it is used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwapOption;
use taskhost_core::plugin::{PluginError, PluginFacts, Sha256};
use tokio::sync::OnceCell;

use crate::artefact::Artefact;
use crate::load::Loaded;

/// A plugin, as far as it is compiled and loaded.
pub(crate) struct Program {
    pub(crate) sha256: Sha256,
    /// The newest look at it by the door, since the start. Locked to take it or to begin another.
    admission: Mutex<Arc<Admission>>,
    /// Or why there can be none.
    pub(crate) artefact: OnceCell<Result<Artefact, PluginError>>,
    /// Held by who finds that it does not load and makes it again.
    pub(crate) remaking: tokio::sync::Mutex<()>,
    workers: Box<[Seat]>,
    overflow: Seat,
    /// Set when its artefact was seen to be there.
    pub(crate) at_hand: OnceLock<()>,
    /// Set when it was wanted for a task.
    pub(crate) wanted: OnceLock<()>,
    /// Set when the pools had no room for it.
    pub(crate) too_big: OnceLock<()>,
}

/// Where a plugin is loaded on one engine, or not.
#[derive(Default)]
pub(crate) struct Seat {
    /// Read by runs as [`Residents`](crate::residents::Residents) does it, who notes the use.
    pub(crate) loaded: ArcSwapOption<Loaded>,
    /// Held by who loads it: all others wait for that one.
    pub(crate) loading: tokio::sync::Mutex<()>,
}

/// On which engine a plugin is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SeatOf {
    Worker(usize),
    /// On the one without a pool.
    Overflow,
}

/// What the door found in a plugin, or why it refused it.
pub(crate) type Admission = OnceCell<Result<PluginFacts, PluginError>>;

impl Program {
    /// The look at it that goes on or was the last.
    pub(crate) fn admission(&self) -> Arc<Admission> {
        Arc::clone(&self.lock_admission())
    }

    /// Makes sure that after this one there is another.
    pub(crate) fn end_admission(&self, ended: &Arc<Admission>) {
        let mut admission = self.lock_admission();
        if Arc::ptr_eq(&admission, ended) {
            *admission = Arc::default();
        }
    }

    fn lock_admission(&self) -> MutexGuard<'_, Arc<Admission>> {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is known that it can't be compiled.
    pub(crate) fn is_refused(&self) -> bool {
        self.artefact.get().is_some_and(Result::is_err)
    }

    /// Where it is loaded, or will be.
    pub(crate) fn seat(&self, at: SeatOf) -> &Seat {
        match at {
            SeatOf::Worker(worker) => &self.workers[worker],
            SeatOf::Overflow => &self.overflow,
        }
    }

    /// Whether tasks may run it: what they need is not thrown away.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.get().is_some()
    }
}

/// All of them.
pub(crate) struct Programs {
    workers: usize,
    /// Locked to find or forget one; never on the tick path.
    by_sha256: Mutex<HashMap<Sha256, Arc<Program>>>,
}

impl Programs {
    pub(crate) fn new(workers: usize) -> Self {
        Self { workers, by_sha256: Mutex::default() }
    }

    /// The program of this plugin; empty if nobody has asked for it yet.
    pub(crate) fn get(&self, sha256: Sha256) -> Arc<Program> {
        Arc::clone(self.lock().entry(sha256).or_insert_with(|| self.empty(sha256)))
    }

    /// The same, for somebody who sends it: what could not be compiled when it was last tried is tried again.
    pub(crate) fn to_admit(&self, sha256: Sha256) -> Arc<Program> {
        let mut by_sha256 = self.lock();
        let program = by_sha256.entry(sha256).or_insert_with(|| self.empty(sha256));
        if program.is_refused() {
            *program = self.empty(sha256);
        }
        Arc::clone(program)
    }

    fn empty(&self, sha256: Sha256) -> Arc<Program> {
        Arc::new(Program {
            sha256,
            admission: Mutex::default(),
            artefact: OnceCell::new(),
            remaking: tokio::sync::Mutex::default(),
            workers: (0..self.workers).map(|_| Seat::default()).collect(),
            overflow: Seat::default(),
            at_hand: OnceLock::new(),
            wanted: OnceLock::new(),
            too_big: OnceLock::new(),
        })
    }

    /// Forgets a plugin; what still runs of it goes on.
    pub(crate) fn remove(&self, sha256: Sha256) {
        self.lock().remove(&sha256);
    }

    /// Forgets this one, if no other has its place yet; answers whether it did.
    pub(crate) fn remove_this(&self, program: &Arc<Program>) -> bool {
        let mut by_sha256 = self.lock();
        let is_this = by_sha256.get(&program.sha256).is_some_and(|found| Arc::ptr_eq(found, program));
        if is_this {
            by_sha256.remove(&program.sha256);
        }
        is_this
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sha256, Arc<Program>>> {
        self.by_sha256.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
