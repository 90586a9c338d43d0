//! What the attempts of a task start from: its definition, the limits in force, and what they may reach of the host.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use taskhost_core::key_value::KeyValue;
use taskhost_core::ports::SecretSource;
use taskhost_core::spec::{Ceilings, LIMITS, Limit, TaskSpec};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::grant::http::Tls;

/// What all tasks reach of the host, each as far as it is granted.
pub(crate) struct Services {
    pub(crate) key_values: Arc<dyn KeyValue>,
    pub(crate) secrets: Arc<dyn SecretSource>,
    pub(crate) ceilings: Ceilings,
    /// Folders that are never granted, nor any that holds one of them or stands in one: the host's own.
    pub(crate) own_dirs: Vec<PathBuf>,
    pub(crate) tls: Tls,
}

/// A task as its attempts need it.
pub(crate) struct Setup {
    pub(crate) spec: Arc<TaskSpec>,
    pub(crate) bounds: Bounds,
    pub(crate) services: Arc<Services>,
    /// Turns to look a name up; made by the first that does.
    lookups: OnceLock<Arc<Semaphore>>,
}

/// The most names that a task looks up at once, over all its attempts. Each takes a blocking thread, for as long as name servers
/// that do not answer keep it.
const MAX_LOOKUPS_AT_ONCE: usize = 4;

impl Setup {
    pub(crate) fn new(spec: Arc<TaskSpec>, services: Arc<Services>) -> Self {
        let bounds = Bounds(LIMITS.map(|rule| services.ceilings.limit(&spec, rule.limit).unwrap_or(u64::MAX)));
        Self { spec, bounds, services, lookups: OnceLock::new() }
    }

    /// Waits for a turn to look a name up. `None` never, as nobody closes the semaphore.
    pub(crate) async fn lookup(&self) -> Option<OwnedSemaphorePermit> {
        let turns = self.lookups.get_or_init(|| Arc::new(Semaphore::new(MAX_LOOKUPS_AT_ONCE)));
        Arc::clone(turns).acquire_owned().await.ok()
    }
}

/// Every limit in force for a task; `u64::MAX` for none.
pub(crate) struct Bounds([u64; LIMITS.len()]);

impl Bounds {
    pub(crate) fn of(&self, limit: Limit) -> u64 {
        self.0[limit as usize]
    }
}
