//! Folders of the host that are granted.
//!
//! - **A folder is opened anew for every attempt**, so that one that was replaced is seen, on a thread that may block. Its path
//!   goes through no symbolic link, when it is granted and ever after: a guest that may write in a folder may plant a link
//!   there, and a grant below that folder would hand it what the link points to, one attempt later.
//! - **The host's own folders are never granted**, nor `/proc`, `/sys` and `/dev`: what is in there looks like files and is the
//!   host's process or machine. One of those below a granted folder is not noticed; whoever grants a whole system grants that
//!   too.
//! - **A guest stays in its folder** by `openat2` with `RESOLVE_BENEATH` (wasmtime-wasi's work), whatever links and `..` say.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use taskhost_core::ports::GrantFault;
use taskhost_core::spec::DirGrant;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder};

use crate::setup::Setup;

/// What looks like folders with files and is the kernel's.
const KERNEL_DIRS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Where the system shows the open files of this process.
const OWN_FILES: &str = "/proc/self/fd";

/// Refuses folders that this host can't give. Blocking.
pub(crate) fn check(dir: &DirGrant, own_dirs: &[PathBuf]) -> Result<(), GrantFault> {
    match open(dir, own_dirs) {
        Ok(_) => Ok(()),
        Err(DirFault { why, hint }) => {
            Err(GrantFault { message: format!("the folder `{}` can't be granted: {why}", dir.host), hint })
        }
    }
}

/// The beginning of an attempt's world, with the folders that its task is granted.
pub(crate) async fn granted(setup: &Arc<Setup>) -> wasmtime::Result<WasiCtxBuilder> {
    let granted = Arc::clone(setup);
    let opened = setup.blocking(move || {
        let mut wasi = WasiCtx::builder();
        for dir in &granted.spec.grants().dirs {
            let failed =
                |why: String| wasmtime::Error::msg(format!("the folder `{}` can't be opened: {why}", dir.host));
            let opened = open(dir, &granted.services.own_dirs).map_err(|fault| failed(fault.why))?;
            let perms = if dir.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
            // By what was checked, and not by its name again, which may be another's by now.
            let path = format!("{OWN_FILES}/{}", opened.as_raw_fd());
            wasi.preopened_dir(path, &dir.guest, perms).map_err(|error| failed(format!("{error:#}")))?;
        }
        Ok(wasi)
    });
    opened.await?
}

/// Why a folder is not opened, and what to do about it.
struct DirFault {
    why: String,
    hint: String,
}

fn open(dir: &DirGrant, own_dirs: &[PathBuf]) -> Result<OwnedFd, DirFault> {
    let fault = |why: String, hint: &str| DirFault { why, hint: hint.to_owned() };
    // Without `.` and doubled slashes; a definition has no `..`.
    let path: PathBuf = Path::new(&dir.host).components().collect();
    if KERNEL_DIRS.iter().any(|kernel| path.starts_with(kernel)) {
        let hint = "grant a folder of an ordinary disk; what the kernel shows as files is not given to plugins";
        return Err(fault("it is the kernel's and not a folder of files".to_owned(), hint));
    }
    let opened = open_without_links(&path).map_err(|error| match error {
        Errno::LOOP => {
            let real =
                path.canonicalize().map_or_else(|_| "the real one".to_owned(), |real| format!("`{}`", real.display()));
            fault("its path goes through a symbolic link".to_owned(), &format!("grant {real}, where the link leads to"))
        }
        Errno::NOTDIR => fault("it is no folder".to_owned(), "grant the folder that the file is in"),
        error => {
            let why = std::io::Error::from(error).to_string();
            fault(why, "make it first; it must be one that the host's user can enter")
        }
    })?;
    let is_own = |own: &PathBuf| own.canonicalize().is_ok_and(|own| own.starts_with(&path) || path.starts_with(&own));
    if own_dirs.iter().any(is_own) {
        return Err(fault("the host keeps its own data there".to_owned(), "grant a folder apart from the host's data"));
    }
    Ok(opened)
}

fn open_without_links(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        // A kernel before 5.6, or a filter of system calls that does not know it. That leaves a moment between the two.
        Err(Errno::NOSYS | Errno::PERM) => {
            let real = path.canonicalize().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            if real != path {
                return Err(Errno::LOOP);
            }
            openat(CWD, path, flags | OFlags::NOFOLLOW, Mode::empty())
        }
        opened => opened,
    }
}
