//! What the attempts of a task start from: its definition, the limits in force, and what they may reach of the host.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use taskhost_core::key_value::KeyValue;
use taskhost_core::ports::SecretSource;
use taskhost_core::spec::{Ceilings, LIMITS, Limit, TaskSpec};

use crate::grant::secrets::Secrets;

/// What all tasks reach of the host, each as far as it is granted.
pub(crate) struct Services {
    pub(crate) key_values: Arc<dyn KeyValue>,
    pub(crate) secrets: Arc<dyn SecretSource>,
    pub(crate) ceilings: Ceilings,
    /// Folders that are never granted, nor any that holds one of them or stands in one: the host's own.
    pub(crate) own_dirs: Vec<PathBuf>,
}

/// A task as its attempts need it.
pub(crate) struct Setup {
    pub(crate) spec: Arc<TaskSpec>,
    pub(crate) bounds: Bounds,
    pub(crate) services: Arc<Services>,
    /// As the last attempt had them. Locked for a comparison, by threads that may block.
    pub(crate) last_secrets: Mutex<Option<Arc<Secrets>>>,
}

impl Setup {
    pub(crate) fn new(spec: Arc<TaskSpec>, services: Arc<Services>) -> Self {
        let bounds = Bounds(LIMITS.map(|rule| services.ceilings.limit(&spec, rule.limit).unwrap_or(u64::MAX)));
        Self { spec, bounds, services, last_secrets: Mutex::default() }
    }
}

/// Every limit in force for a task; `u64::MAX` for none.
pub(crate) struct Bounds([u64; LIMITS.len()]);

impl Bounds {
    pub(crate) fn of(&self, limit: Limit) -> u64 {
        self.0[limit as usize]
    }
}
