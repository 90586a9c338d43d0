//! Who may grant what, and where secrets come from.

use std::fmt;

use bytes::Bytes;

use super::store::{Actor, StoreError};
use crate::spec::{GrantFault, Grants};

/// Tells who may grant what. It is asked for what a change gives a task, and for all that a task is granted where a change has something
/// else done with it: another plugin, other arguments.
pub trait GrantGate: fmt::Debug + Send + Sync + 'static {
    /// Refuses grants that are not this one's to give. Blocking; never called on a worker's thread.
    fn check(&self, by: Actor, grants: &Grants) -> Result<(), GrantFault>;
}

/// A host whose every user may grant anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoGate;

impl GrantGate for NoGate {
    fn check(&self, _by: Actor, _grants: &Grants) -> Result<(), GrantFault> {
        Ok(())
    }
}

/// Where the values of secrets come from. Blocking; never called on a worker's thread.
pub trait SecretSource: Send + Sync + 'static {
    /// The value of a secret as it is now; `None` if there is none of this name.
    fn read(&self, name: &str) -> Result<Option<Bytes>, StoreError>;

    /// Where a secret of this name would be looked for, in words for who must put it there.
    fn places(&self, name: &str) -> String;
}

/// A host without secrets.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSecrets;

impl SecretSource for NoSecrets {
    fn read(&self, _name: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }

    fn places(&self, _name: &str) -> String {
        "another host: this one keeps no secrets".to_owned()
    }
}
