//! Plugins as files named by their sha256.
//!
//! A file is whole or not there: it is written beside, synced, renamed, and its directory synced, before its row is
//! written. A whole file without a row, which a crash between the two leaves, is kept and not used: it may belong to
//! definitions that were moved away and will be restored.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::Digest;
use taskhost_core::plugin::{PluginError, PluginFacts, Sha256};
use taskhost_core::ports::{StoreError, StoredPlugin};
use taskhost_core::time::Time;

use crate::OpenError;
use crate::database::{remove_if_there, sync_dir};
use crate::error::from_io;
use crate::faults::{Faults, Subject};

const DIR_NAME: &str = "plugins";

/// How the name of a file begins that is not whole yet.
const TEMPORARY_PREFIX: &str = ".new-";

/// The directory of plugins.
#[derive(Clone, Debug)]
pub(crate) struct PluginFiles {
    dir: PathBuf,
    faults: Arc<Faults>,
}

impl PluginFiles {
    /// Makes the directory if need be, and removes what a crash left half written.
    pub(crate) fn open(data_dir: &Path, faults: Arc<Faults>) -> Result<Self, OpenError> {
        let dir = data_dir.join(DIR_NAME);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(OpenError::io("create", &dir))?;
        for entry in fs::read_dir(&dir).map_err(OpenError::io("list", &dir))? {
            let path = entry.map_err(OpenError::io("list", &dir))?.path();
            let temporary =
                path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()));
            if temporary {
                remove_if_there(&path).map_err(OpenError::io("remove", &path))?;
            }
        }
        Ok(Self { dir, faults })
    }

    /// Writes a file durably, unless it is there and whole.
    pub(crate) fn write(&self, sha256: Sha256, wasm: &[u8]) -> Result<(), StoreError> {
        if hash(wasm) != sha256 {
            return Err(StoreError::Failed(format!("the bytes of plugin {sha256} have another sha256")));
        }
        let path = self.path(sha256);
        // One that is there may be so since a try whose last step failed: that it stays is made sure of all the same.
        let written =
            if fs::read(&path).is_ok_and(|there| there == wasm) { Ok(()) } else { self.write_new(&path, wasm) };
        written.and_then(|()| sync_dir(&self.dir)).map_err(|error| from_io(&error, "writing", &path))?;
        self.faults.clear(&Subject::Plugin(sha256));
        Ok(())
    }

    /// Removes a file that may not be there.
    pub(crate) fn remove(&self, sha256: Sha256) -> Result<(), StoreError> {
        let path = self.path(sha256);
        remove_if_there(&path).map_err(|error| from_io(&error, "removing", &path))?;
        self.faults.clear(&Subject::Plugin(sha256));
        Ok(())
    }

    /// The whole plugin, checked against its sha256.
    pub(crate) fn read(&self, sha256: Sha256) -> Result<Bytes, PluginError> {
        let path = self.path(sha256);
        match fs::read(&path) {
            Ok(wasm) if hash(&wasm) == sha256 => Ok(wasm.into()),
            Ok(_) => {
                let words = format!("the file {} of a plugin is damaged; it was kept as it is", path.display());
                self.faults.set(Subject::Plugin(sha256), words);
                Err(PluginError::Damaged(sha256))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(PluginError::NotFound(sha256.to_string())),
            Err(error) => Err(PluginError::Host(format!("failed to read {}: {error}", path.display()))),
        }
    }

    /// How large the file of a plugin is, if it is there.
    pub(crate) fn size_bytes(&self, sha256: Sha256) -> Option<u64> {
        fs::metadata(self.path(sha256)).map(|metadata| metadata.len()).ok()
    }

    /// The plugin with what is wrong with its file as far as its size tells. A fault is told to the operator too.
    pub(crate) fn look(&self, facts: PluginFacts, added_at: Time) -> StoredPlugin {
        let path = self.path(facts.sha256);
        let fault = match fs::metadata(&path) {
            Ok(metadata) if metadata.len() == facts.size_bytes => None,
            Ok(metadata) => Some(format!(
                "its file {} has {} bytes instead of {}",
                path.display(),
                metadata.len(),
                facts.size_bytes
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Some(format!("its file {} is missing", path.display()))
            }
            Err(error) => Some(format!("its file {} can't be read: {error}", path.display())),
        };
        if let Some(words) = &fault {
            self.faults
                .set(Subject::Plugin(facts.sha256), format!("the plugin {} can't be used: {words}", facts.sha256));
        }
        StoredPlugin { facts, added_at, fault }
    }

    fn write_new(&self, path: &Path, wasm: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(&self.dir)?;
        file.write_all(wasm)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    }

    fn path(&self, sha256: Sha256) -> PathBuf {
        self.dir.join(format!("{sha256}.wasm"))
    }
}

fn hash(bytes: &[u8]) -> Sha256 {
    Sha256(sha2::Sha256::digest(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_never_stored_under_another_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = PluginFiles::open(dir.path(), Arc::default()).expect("opens");
        files.write(Sha256([0; 32]), b"bytes").expect_err("another sha256");
        assert!(fs::read_dir(dir.path().join(DIR_NAME)).expect("a directory").next().is_none());
    }

    #[test]
    fn half_written_files_are_removed_at_start_and_whole_ones_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = PluginFiles::open(dir.path(), Arc::default()).expect("opens");
        let sha256 = hash(b"whole");
        files.write(sha256, b"whole").expect("writes");
        let half = dir.path().join(DIR_NAME).join(format!("{TEMPORARY_PREFIX}abc"));
        fs::write(&half, b"ha").expect("writes");
        let files = PluginFiles::open(dir.path(), Arc::default()).expect("opens");
        assert!(!half.exists());
        assert_eq!(files.read(sha256).expect("is whole"), "whole");
    }
}
