//! The plugins in use: each is compiled once, however many ask at once, and loaded once per worker.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use taskhost_core::plugin::{PluginFacts, Sha256};
use tokio::sync::OnceCell;

use crate::artefact::Artefact;
use crate::load::Loaded;

/// A plugin, as far as it is compiled and loaded.
pub(crate) struct Program {
    pub(crate) sha256: Sha256,
    /// What the door found in it, if it came through since the start.
    pub(crate) facts: OnceCell<PluginFacts>,
    pub(crate) artefact: OnceCell<Artefact>,
    pub(crate) workers: Box<[OnceCell<Arc<Loaded>>]>,
    pub(crate) overflow: OnceCell<Arc<Loaded>>,
}

impl Program {
    /// Whether tasks may run it: what they need is not thrown away.
    pub(crate) fn is_loaded(&self) -> bool {
        self.workers.iter().chain([&self.overflow]).any(OnceCell::initialized)
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
        let new = || {
            Arc::new(Program {
                sha256,
                facts: OnceCell::new(),
                artefact: OnceCell::new(),
                workers: (0..self.workers).map(|_| OnceCell::new()).collect(),
                overflow: OnceCell::new(),
            })
        };
        Arc::clone(self.lock().entry(sha256).or_insert_with(new))
    }

    /// Forgets a plugin; what still runs of it goes on.
    pub(crate) fn remove(&self, sha256: Sha256) {
        self.lock().remove(&sha256);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Sha256, Arc<Program>>> {
        self.by_sha256.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
