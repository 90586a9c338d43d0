//! What goes wrong in the store, and the one place where SQLite's and the system's errors become the store's own.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use taskhost_core::ports::StoreError;

/// How much a probe of a disk writes: more than a file system would put beside the name.
const PROBE_BYTES: usize = 64 * 1024;

/// Why a data directory can't be opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon runs on it.
    #[error("the data directory {} is in use by another daemon{}", dir.display(), pid_words(*pid))]
    InUse {
        dir: PathBuf,
        /// What the lock file says; `None` if it can't be read.
        pid: Option<u32>,
    },
    /// A newer version of the program wrote it.
    #[error(
        "{} has schema version {found}, and this binary knows versions up to {known}; run the version that wrote it, or a newer one",
        file.display()
    )]
    NewerSchema { file: PathBuf, found: i64, known: i64 },
    /// The definitions can't be read. Starting without them would look as if there were none.
    #[error(
        "the definitions in {} are damaged ({reason}); the file was kept as it is: restore it from a backup, or move it away to start without tasks",
        file.display()
    )]
    Damaged { file: PathBuf, reason: String },
    #[error("failed to {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("failed to open the database {}", file.display())]
    Database { file: PathBuf, source: rusqlite::Error },
}

impl OpenError {
    /// For `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// For `map_err`.
    pub(crate) fn database(file: &Path) -> impl Fn(rusqlite::Error) -> Self + use<> {
        let file = file.to_owned();
        move |source| Self::Database { file: file.clone(), source }
    }

    /// The damage that it tells of, if it does.
    pub(crate) fn damage(&self) -> Option<String> {
        match self {
            Self::Damaged { reason, .. } => Some(reason.clone()),
            Self::Database { source, .. } if is_damage(source) => Some(source.to_string()),
            _ => None,
        }
    }
}

fn pid_words(pid: Option<u32>) -> String {
    pid.map(|pid| format!(", process {pid}")).unwrap_or_default()
}

/// Whether the file itself is broken, as opposed to this access to it.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// What an error of the database `file` means to a caller.
pub(crate) fn from_sqlite(error: &rusqlite::Error, file: &Path) -> StoreError {
    let full = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => true,
        // SQLite tells a used-up quota as any failed write, so the file system is asked.
        Some(ErrorCode::SystemIoFailure) => {
            file.parent().is_some_and(|dir| probe(dir).is_err_and(|error| is_full(&error)))
        }
        _ => false,
    };
    if full {
        StoreError::Full(format!("writing {}", file.display()))
    } else {
        StoreError::Failed(format!("failed to use the database {}: {error}", file.display()))
    }
}

/// What an error of the file `path` means to a caller.
pub(crate) fn from_io(error: &io::Error, action: &str, path: &Path) -> StoreError {
    if is_full(error) {
        StoreError::Full(format!("{action} {}", path.display()))
    } else {
        StoreError::Failed(format!("failed {action} {}: {error}", path.display()))
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Writes a file in `dir` that goes again at once.
fn probe(dir: &Path) -> io::Result<()> {
    use io::Write;
    let mut file = tempfile::tempfile_in(dir)?;
    file.write_all(&vec![0; PROBE_BYTES])?;
    file.sync_all()
}
