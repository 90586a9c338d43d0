//! What tasks are granted of the host, one file for each kind of grant: checked when a task is added, and given to its attempts. What
//! guests call of it is in [`linker`](crate::linker).

pub(crate) mod denials;
pub(crate) mod files;
pub(crate) mod hosts;
pub(crate) mod http;
pub(crate) mod key_value;
pub(crate) mod net;
mod public;
pub(crate) mod reach;
pub(crate) mod secrets;

use std::sync::Arc;

use taskhost_core::log::TaskLog;
use taskhost_core::outcome::TaskId;
use taskhost_core::ports::GrantFault;
use taskhost_core::spec::Grants;

use self::key_value::KeyValues;
use crate::output::Output;
use crate::secrets::Secrets;
use crate::setup::{Services, Setup};

/// What one attempt has of its grants.
pub(crate) struct Granted {
    pub(crate) task: TaskId,
    pub(crate) setup: Arc<Setup>,
    pub(crate) secrets: Option<Arc<Secrets>>,
    pub(crate) output: Arc<Output>,
    pub(crate) key_values: KeyValues,
    /// Whether the task's log was told in this attempt that a secret can't be read.
    pub(crate) told_of_secrets: bool,
}

impl Granted {
    pub(crate) fn new(task: TaskId, setup: Arc<Setup>, secrets: Option<Arc<Secrets>>, output: Arc<Output>) -> Self {
        Self { task, setup, secrets, output, key_values: KeyValues::default(), told_of_secrets: false }
    }

    /// The next attempt of a kept instance begins, with the same grants and secrets.
    pub(crate) fn begin_again(&mut self, log: &Arc<TaskLog>) {
        self.told_of_secrets = false;
        self.output.begin_again(log);
    }

    /// Whether its secrets are these, and none was changed.
    pub(crate) fn has_secrets(&self, secrets: Option<&Arc<Secrets>>) -> bool {
        match (&self.secrets, secrets) {
            (Some(own), Some(secrets)) => Arc::ptr_eq(own, secrets),
            (own, secrets) => own.is_none() && secrets.is_none(),
        }
    }
}

/// Refuses grants that this host can't give. Blocking.
pub(crate) fn check(grants: &Grants, services: &Services) -> Result<(), GrantFault> {
    grants.dirs.iter().try_for_each(|dir| files::check(dir, &services.own_dirs))?;
    grants.secrets.iter().try_for_each(|name| secrets::check(name, services))
}
