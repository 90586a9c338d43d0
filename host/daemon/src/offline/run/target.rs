//! Where the record goes: beside the file first, then in its place.

use std::fs::Permissions;
use std::io::{self, BufWriter};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use taskhost_testkit::Record;
use tempfile::NamedTempFile;

/// Anybody may read it whom the process's mask lets.
const MODE: u32 = 0o666;

pub(super) struct Target {
    path: PathBuf,
    folder: PathBuf,
}

impl Target {
    /// Sees whether it can be written there.
    pub(super) fn check(path: &Path) -> anyhow::Result<Self> {
        let failed = || format!("failed to write {}", path.display());
        let path = match path.canonicalize() {
            // What a link leads to is written, and not the link.
            Ok(found) => {
                anyhow::ensure!(found.is_file(), "failed to write {}: it is no regular file", path.display());
                found
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(error).with_context(failed),
        };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let target = Self { path, folder };
        target.beside().with_context(failed)?;
        Ok(target)
    }

    /// Puts the record there, whole or not at all.
    pub(super) fn write(&self, record: &Record) -> anyhow::Result<()> {
        let write = || {
            let mut file = self.beside()?;
            record.write_to(BufWriter::new(&mut file))?;
            file.persist(&self.path)?;
            Ok::<_, io::Error>(())
        };
        write().with_context(|| format!("failed to write {}", self.path.display()))
    }

    /// A file beside it, that is gone unless it takes its place.
    fn beside(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new()
            .prefix(".taskhost-record-")
            .permissions(Permissions::from_mode(MODE))
            .tempfile_in(&self.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_cannot_be_written_is_told_before_anything_runs_and_nothing_is_left_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let refused = |path: &Path| Target::check(path).err().map(|error| format!("{error:#}")).expect("refused");
        assert!(refused(&dir.path().join("no/such.json")).contains("No such file"), "no folder");
        assert!(refused(dir.path()).contains("no regular file"), "a folder");
        assert!(refused(Path::new("/dev/null")).contains("no regular file"), "a device");
        Target::check(&dir.path().join("record.json")).expect("it can be written");
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0);
    }
}
