//! What tasks are granted of the host, one file for each kind of grant: checked when a task is added, and given to its attempts.

pub(crate) mod env;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod net;
mod preview1;
mod public;
pub(crate) mod reach;

use taskhost_core::ports::GrantFault;
use taskhost_core::spec::Grants;

use crate::setup::Services;

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
