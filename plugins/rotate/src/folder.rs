//! A folder whose files may be removed.

use std::time::Duration;

/// Where the files are. Between two calls others may change what is in it.
pub(crate) trait Folder {
    /// The names of what may be regular files, in any order, and how many names are not UTF-8.
    fn names(&mut self) -> Result<Names, Refusal>;

    /// What a name stands for now; `None` if there is no regular file of that name (any more). Symbolic links are not followed.
    fn file(&mut self, name: &str) -> Result<Option<File>, Refusal>;

    /// Removes a file; `false` if it was gone.
    fn remove(&mut self, name: &str) -> Result<bool, Refusal>;
}

pub(crate) struct Names {
    pub(crate) names: Vec<String>,
    /// These can't be asked for, so they stay.
    pub(crate) unreadable: u64,
}

/// What decides about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct File {
    /// When it was changed last, since the Unix epoch; `None` where the host's file system does not tell.
    pub(crate) modified: Option<Duration>,
    pub(crate) bytes: u64,
}

/// That something was not done, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The folder is granted for reading only, or the host's user may not.
    NotPermitted,
    Other(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotPermitted => f.write_str("not permitted"),
            Self::Other(why) => f.write_str(why),
        }
    }
}
