//! The secrets that a task is granted, as one attempt reads them.
//!
//! They are read before the attempt's instance is made, so that whatever the guest does with them, the host knows what to hide. A task
//! without secrets pays nothing for it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use taskhost_core::ports::GrantFault;

use crate::mask::Mask;
use crate::secrets::Secrets;
use crate::setup::{Services, Setup};

/// The most bytes of a task's secrets together: what is searched for in every line that the task writes.
const MAX_SECRETS_BYTES: usize = 256 << 10;

/// Why no attempt can be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretsError {
    #[error("failed to read the task's secrets: {0}")]
    Read(#[from] tokio::task::JoinError),
    #[error("failed to read the task's secrets: {0}")]
    Mask(#[from] aho_corasick::BuildError),
}

/// Refuses a secret that the host does not have. Blocking.
pub(crate) fn check(name: &str, services: &Services) -> Result<(), GrantFault> {
    let places = services.secrets.places(name);
    match services.secrets.read(name) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => {
            Err(GrantFault { message: format!("the host has no secret `{name}`"), hint: format!("put it in {places}") })
        }
        Err(error) => Err(GrantFault { message: format!("the secret `{name}` can't be read: {error}"), hint: places }),
    }
}

/// Reads the secrets that a task is granted, as they are now. Off the worker's thread, when it is the task's turn.
pub(crate) async fn read(setup: &Arc<Setup>) -> Result<Arc<Secrets>, SecretsError> {
    let granted = Arc::clone(setup);
    setup.blocking(move || read_now(&granted)).await?
}

fn read_now(setup: &Setup) -> Result<Arc<Secrets>, SecretsError> {
    let mut values = BTreeMap::new();
    let mut room = MAX_SECRETS_BYTES;
    for name in &setup.spec.grants().secrets {
        let value = read_one(setup, name).and_then(|value| match room.checked_sub(value.len()) {
            Some(rest) => {
                room = rest;
                Ok(value)
            }
            None => Err(format!("the task's secrets have more than {MAX_SECRETS_BYTES} bytes together")),
        });
        values.insert(name.clone(), value);
    }
    // Secrets change rarely, and finding them is prepared once for all attempts until then.
    let mut last = setup.last_secrets().lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(last) = last.as_ref().filter(|last| last.values == values) {
        return Ok(Arc::clone(last));
    }
    let mask = Mask::new(values.values().filter_map(|value| value.as_deref().ok()))?;
    let secrets = Arc::new(Secrets { values, mask });
    *last = Some(Arc::clone(&secrets));
    Ok(secrets)
}

fn read_one(setup: &Setup, name: &str) -> Result<String, String> {
    match setup.services.secrets.read(name) {
        Ok(Some(value)) => match String::from_utf8(value.into()) {
            Ok(value) => Ok(value),
            // The error would have the bytes.
            Err(_) => Err("it is no text of UTF-8".to_owned()),
        },
        Ok(None) => Err(format!("the host has none of this name; put it in {}", setup.services.secrets.places(name))),
        Err(error) => Err(error.to_string()),
    }
}
