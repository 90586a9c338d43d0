//! The values of secrets, as one attempt has them, and what hides them.

use std::collections::BTreeMap;
use std::fmt;

use crate::mask::Mask;

/// The values of a task's secrets. They never show in `Debug`.
pub(crate) struct Secrets {
    /// Those that can't be used have in words why, for the task's log: for whoever runs the host, and not for the guest.
    pub(crate) values: BTreeMap<String, Result<String, String>>,
    pub(crate) mask: Option<Mask>,
}

impl Secrets {
    /// The value of a secret; `None` if the task is not granted this one, else why it has no value.
    pub(crate) fn get(&self, name: &str) -> Option<Result<&str, &str>> {
        self.values.get(name).map(|value| value.as_deref().map_err(String::as_str))
    }

    /// Every secret that the task is granted, in order of name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Result<&str, &str>)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.as_deref().map_err(String::as_str)))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}
