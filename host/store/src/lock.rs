//! Keeps a second daemon out of a data directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::OpenError;

const FILE_NAME: &str = "lock";

/// The longest content of a lock file that is looked at, in bytes.
const MAX_PID_BYTES: u64 = 16;

/// A lock on a data directory, held while this lives. It is the kernel's, so that nothing has to be cleaned up after a crash.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    pub(crate) fn take(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join(FILE_NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(OpenError::io("open the lock file", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(OpenError::InUse { dir: dir.to_owned(), pid: read_pid(&mut file) }),
            Err(errno) => return Err(OpenError::io("lock", &path)(errno.into())),
        }
        // The pid is only for the other's message: a full disk must not keep the daemon from starting.
        if let Err(error) = write_pid(&mut file) {
            tracing::warn!("failed to write the pid to {}: {error}", path.display());
        }
        Ok(Self { _file: file })
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(MAX_PID_BYTES).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    writeln!(file, "{}", std::process::id())
}
