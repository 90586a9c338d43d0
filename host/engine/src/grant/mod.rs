//! What tasks are granted of the host, one file for each kind of grant: checked when a task is added, and given to its attempts.

pub(crate) mod config;
pub(crate) mod key_value;
pub(crate) mod logging;
mod mask;
pub(crate) mod secrets;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use taskhost_core::outcome::TaskId;
use taskhost_core::ports::GrantFault;
use taskhost_core::spec::{DirGrant, Grants};

use crate::output::Output;
use crate::setup::{Services, Setup};

use self::key_value::KeyValues;
use self::secrets::Secrets;

/// What one attempt has of its grants.
pub(crate) struct Granted {
    pub(crate) task: TaskId,
    pub(crate) setup: Arc<Setup>,
    pub(crate) secrets: Option<Arc<Secrets>>,
    pub(crate) output: Arc<Output>,
    key_values: KeyValues,
    told: Told,
}

/// What the task's log was told of already in this attempt.
#[derive(Default)]
struct Told {
    kv: bool,
    secrets: bool,
}

impl Granted {
    pub(crate) fn new(task: TaskId, setup: Arc<Setup>, secrets: Option<Arc<Secrets>>, output: Arc<Output>) -> Self {
        Self { task, setup, secrets, output, key_values: KeyValues::default(), told: Told::default() }
    }

    /// Tells the task's log, once an attempt, what the guest was denied and how to allow it.
    fn denied(&mut self, told: impl FnOnce(&mut Told) -> &mut bool, what: &str, flag: &str) {
        if !std::mem::replace(told(&mut self.told), true) {
            self.output.host_line(&format!("denied: {what}; allow it with {flag}"));
        }
    }
}

/// Refuses grants that this host can't give. Blocking.
pub(crate) fn check(grants: &Grants, services: &Services) -> Result<(), GrantFault> {
    grants.dirs.iter().try_for_each(|dir| check_dir(dir, &services.own_dirs))?;
    grants.secrets.iter().try_for_each(|name| check_secret(name, services))
}

fn check_dir(dir: &DirGrant, own_dirs: &[PathBuf]) -> Result<(), GrantFault> {
    let refused = |why: String, hint: &str| {
        Err(GrantFault { message: format!("the folder `{}` can't be granted: {why}", dir.host), hint: hint.to_owned() })
    };
    let path = match Path::new(&dir.host).canonicalize() {
        Ok(path) if path.is_dir() => path,
        Ok(_) => return refused("it is no folder".to_owned(), "grant the folder that the file is in"),
        Err(error) => {
            return refused(error.to_string(), "make it first; it must be one that the host's user can enter");
        }
    };
    let is_own = |own: &PathBuf| own.canonicalize().is_ok_and(|own| own.starts_with(&path) || path.starts_with(&own));
    if own_dirs.iter().any(is_own) {
        return refused("the host keeps its own data there".to_owned(), "grant a folder apart from the host's data");
    }
    Ok(())
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
