//! Compiled plugins, and where they are kept over restarts.
//!
//! An artefact is machine code: loading bytes that this host did not write would run them. So each file ends in a keyed hash over its
//! content and its name, whose key only the daemon's user can read, and a process checks it before it loads the file first. The name has the plugin's sha256
//! and everything that compiling depends on (wasmtime's version and settings), so an upgrade compiles again. A file that fails the check is
//! deleted and compiled again, and so is one that goes away later, or that is of no use here: what the processor can do is not in the name.
//! Processes may share a cache.

use std::fs::{self, DirBuilder, DirEntry, File, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256 as Sha256Hasher};
use taskhost_core::plugin::Sha256;
use wasmtime::component::Component;
use wasmtime::{Engine, Module, Precompiled};

use crate::error::EngineError;
use crate::pool::Kind;

/// A file that is not whole after this was left by a crash, and is not another process's that writes it now.
const WRITTEN_AFTER: Duration = Duration::from_secs(3600);

/// Raised when the form of the files changes, or a setting that only compilers know: the hash is of engines without one.
const FORMAT: u32 = 1;

const KEY_FILE: &str = "key";
const EXTENSION: &str = "cwasm";
/// Part of the names of those that are for the engine with concurrency.
const CONCURRENT: &str = "-concurrent";
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;
/// The block size of SHA-256, as HMAC (RFC 2104) needs it.
const BLOCK_BYTES: usize = 64;

/// A compiled plugin.
#[derive(Clone)]
pub(crate) struct Artefact {
    /// The kind of engine that it is for.
    pub(crate) engine: Kind,
    pub(crate) place: Place,
}

/// Where it is.
#[derive(Clone)]
pub(crate) enum Place {
    /// A file that this process wrote or checked.
    File(PathBuf),
    /// Bytes that this process compiled.
    Memory(Arc<[u8]>),
}

/// An artefact on an engine.
pub(crate) enum Code {
    Component(Component),
    Module(Module),
}

impl Artefact {
    pub(crate) fn in_memory(engine: Kind, code: Vec<u8>) -> Self {
        Self { engine, place: Place::Memory(code.into()) }
    }

    /// Loads the machine code.
    #[expect(unsafe_code, reason = "wasmtime cannot check that an artefact is one of its own")]
    pub(crate) fn load(&self, engine: &Engine) -> wasmtime::Result<Code> {
        let kind = match &self.place {
            Place::File(path) => Engine::detect_precompiled_file(path)?,
            Place::Memory(bytes) => Engine::detect_precompiled(bytes),
        };
        // SAFETY: all four: the bytes are what `precompile_*` of this process returned, or a file in a directory that only the
        // daemon's user can write, whose keyed hash was checked, and which is replaced by renaming but never written in place.
        match (&self.place, kind) {
            (Place::File(path), Some(Precompiled::Component)) => {
                unsafe { Component::deserialize_file(engine, path) }.map(Code::Component)
            }
            (Place::File(path), Some(Precompiled::Module)) => {
                unsafe { Module::deserialize_file(engine, path) }.map(Code::Module)
            }
            (Place::Memory(bytes), Some(Precompiled::Component)) => {
                unsafe { Component::deserialize(engine, bytes) }.map(Code::Component)
            }
            (Place::Memory(bytes), Some(Precompiled::Module)) => {
                unsafe { Module::deserialize(engine, bytes) }.map(Code::Module)
            }
            (_, None) => Err(wasmtime::Error::msg("the artefact is none of wasmtime's")),
        }
    }
}

/// The artefacts on disk.
pub(crate) struct Cache {
    dir: PathBuf,
    key: [u8; KEY_BYTES],
    /// What compiling depends on beside the plugin.
    config: String,
}

impl Cache {
    /// Opens the cache in `dir` for artefacts of `engine`, and deletes those of others.
    pub(crate) fn open(dir: &Path, engine: &Engine) -> Result<Self, EngineError> {
        let failed = |source| EngineError::Cache { path: dir.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(failed)?;
        let key = key(dir).map_err(failed)?;
        let cache = Self { dir: dir.to_owned(), key, config: config_name(engine) };
        cache.prune().map_err(failed)?;
        Ok(cache)
    }

    /// The artefact of a plugin, if there is a sound one.
    pub(crate) fn find(&self, plugin: Sha256) -> Option<Artefact> {
        [Kind::Plain, Kind::Concurrent].into_iter().find_map(|engine| self.find_for(plugin, engine))
    }

    /// Whether there is an artefact of a plugin, sound or not.
    pub(crate) fn has(&self, plugin: Sha256) -> bool {
        [Kind::Plain, Kind::Concurrent].into_iter().any(|engine| self.path(plugin, engine).exists())
    }

    fn find_for(&self, plugin: Sha256, engine: Kind) -> Option<Artefact> {
        let path = self.path(plugin, engine);
        let found = match fs::read(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!("failed to read the artefact {}: {error}", path.display());
                return None;
            }
        };
        let sound = found
            .split_last_chunk::<TAG_BYTES>()
            .is_some_and(|(code, tag)| is_same(&self.tag(plugin, engine, code), tag));
        if !sound {
            tracing::warn!("the artefact {} is damaged or not of this host; compiling again", path.display());
            self.remove(plugin);
            return None;
        }
        Some(Artefact { engine, place: Place::File(path) })
    }

    /// Keeps what was compiled.
    pub(crate) fn insert(&self, plugin: Sha256, engine: Kind, code: &[u8]) -> io::Result<Artefact> {
        let path = self.path(plugin, engine);
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(code)?;
        file.write_all(&self.tag(plugin, engine, code))?;
        // No sync: a file that a power cut tore fails its check.
        file.persist(&path)?;
        Ok(Artefact { engine, place: Place::File(path) })
    }

    /// Deletes the artefact of a plugin, if there is one.
    pub(crate) fn remove(&self, plugin: Sha256) {
        for engine in [Kind::Plain, Kind::Concurrent] {
            let path = self.path(plugin, engine);
            if let Err(error) = remove(&path) {
                tracing::warn!("failed to delete the artefact {}: {error}", path.display());
            }
        }
    }

    fn path(&self, plugin: Sha256, engine: Kind) -> PathBuf {
        self.dir.join(self.file_name(plugin, engine))
    }

    fn file_name(&self, plugin: Sha256, engine: Kind) -> String {
        let concurrent = match engine {
            Kind::Plain => "",
            Kind::Concurrent => CONCURRENT,
        };
        format!("{plugin}{concurrent}-{}.{EXTENSION}", self.config)
    }

    fn tag(&self, plugin: Sha256, engine: Kind, code: &[u8]) -> [u8; TAG_BYTES] {
        hmac_sha256(&self.key, &[self.file_name(plugin, engine).as_bytes(), &[0], code])
    }

    /// Deletes artefacts of other versions and settings, and what a crash left half written.
    fn prune(&self) -> io::Result<()> {
        let ours = format!("-{}.{EXTENSION}", self.config);
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let stale = name.ends_with(EXTENSION) && !name.ends_with(&ours);
            if (stale || name.starts_with(".tmp") && is_left_over(&entry)) && entry.file_type()?.is_file() {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Deletes a file, unless another process was faster.
fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(path).or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Whether nobody writes a file any more.
fn is_left_over(entry: &DirEntry) -> bool {
    let written = entry.metadata().and_then(|file| file.modified());
    written.is_ok_and(|written| written.elapsed().is_ok_and(|ago| ago > WRITTEN_AFTER))
}

/// The wasmtime version and a hash of its settings, as part of a file name.
fn config_name(engine: &Engine) -> String {
    let mut hasher = DefaultHasher::new();
    FORMAT.hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{}-{:016x}", wasmtime_environ::VERSION, hasher.finish())
}

/// The key of this cache, made when it is first opened.
fn key(dir: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let path = dir.join(KEY_FILE);
    match File::open(&path) {
        Ok(mut file) => {
            let mut found = Vec::with_capacity(KEY_BYTES);
            file.read_to_end(&mut found)?;
            if let Ok(key) = <[u8; KEY_BYTES]>::try_from(found) {
                return Ok(key);
            }
            // A torn key: nothing that it signed is accepted any more.
            remove(&path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let made: [u8; KEY_BYTES] = rand::random();
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(&made)?;
    match file.persist_noclobber(&path) {
        Ok(_) => Ok(made),
        // Another process was faster, and its key is whole: it came to its place as this one would have.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            fs::read(&path)?.try_into().map_err(|_| io::Error::other("its key is damaged"))
        }
        Err(error) => Err(error.error),
    }
}

/// HMAC as of RFC 2104, with SHA-256; the key is shorter than a block.
fn hmac_sha256(key: &[u8; KEY_BYTES], message: &[&[u8]]) -> [u8; TAG_BYTES] {
    let pad = |with: u8| {
        let mut block = [with; BLOCK_BYTES];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let mut inner = Sha256Hasher::new();
    inner.update(pad(0x36));
    message.iter().for_each(|part| inner.update(part));
    let mut outer = Sha256Hasher::new();
    outer.update(pad(0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

/// Compares without telling by the time it takes where the first difference is.
fn is_same(a: &[u8; TAG_BYTES], b: &[u8; TAG_BYTES]) -> bool {
    a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_open_a_new_cache_at_once_have_the_same_key() {
        const PROCESSES: usize = 8;
        for _ in 0..50 {
            let dir = tempfile::tempdir().expect("a directory");
            let barrier = std::sync::Barrier::new(PROCESSES);
            let open = || {
                barrier.wait();
                key(dir.path()).expect("a key")
            };
            let keys = std::thread::scope(|scope| {
                let opened: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(open)).collect();
                opened.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
            });
            assert!(keys.iter().all(|key| *key == keys[0]));
        }
    }

    #[test]
    fn the_keyed_hash_is_hmac_sha256() {
        // RFC 4231 has no key of 32 bytes; zeros at its end change nothing, so its test case 2 is padded.
        let mut key = [0; KEY_BYTES];
        key[..4].copy_from_slice(b"Jefe");
        let tag = hmac_sha256(&key, &[b"what do ya want ", b"for nothing?"]);
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(Sha256(tag).to_string(), expected);
    }
}
