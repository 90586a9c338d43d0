//! What tasks are granted of the host, one file for each kind of grant: checked when a task is added, and given to its attempts.

use std::path::{Path, PathBuf};

use taskhost_core::ports::GrantFault;
use taskhost_core::spec::{DirGrant, Grants};

use crate::setup::Services;

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
