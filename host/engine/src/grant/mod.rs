//! What tasks are granted of the host, one file for each kind of grant: checked when a task is added, and given to its attempts.

pub(crate) mod config;
pub(crate) mod env;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod key_value;
pub(crate) mod logging;
pub(crate) mod mask;
pub(crate) mod net;
pub(crate) mod preview1;
mod public;
pub(crate) mod reach;
pub(crate) mod secrets;
pub(crate) mod stdio;
pub(crate) mod wasi_0_3;

use std::sync::Arc;

use taskhost_core::log::TaskLog;
use taskhost_core::outcome::TaskId;
use taskhost_core::ports::GrantFault;
use taskhost_core::spec::Grants;

use self::key_value::KeyValues;
use self::secrets::Secrets;
use crate::output::Output;
use crate::setup::{Services, Setup};

/// What one attempt has of its grants.
pub(crate) struct Granted {
    pub(crate) task: TaskId,
    pub(crate) setup: Arc<Setup>,
    pub(crate) secrets: Option<Arc<Secrets>>,
    pub(crate) output: Arc<Output>,
    key_values: KeyValues,
    /// Whether the task's log was told in this attempt that a secret can't be read.
    told_of_secrets: bool,
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
    grants.secrets.iter().try_for_each(|name| check_secret(name, services))
}

fn check_secret(name: &str, services: &Services) -> Result<(), GrantFault> {
    let places = services.secrets.places(name);
    match services.secrets.read(name) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => {
            Err(GrantFault { message: format!("the host has no secret `{name}`"), hint: format!("put it in {places}") })
        }
        Err(error) => Err(GrantFault { message: format!("the secret `{name}` can't be read: {error}"), hint: places }),
    }
}
