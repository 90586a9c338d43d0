//! Plugins on their way in: by pieces (`Plugin.Put`) or in one stream (HTTP `PUT`), staged on disk until they are whole.
//!
//! A staged plugin is a file without a name in the data directory's `uploads/`: it is gone when it is dropped and when the
//! process dies, so that nothing is ever left to clear away. Its hash is taken as the pieces come, which is why they must
//! come in order. `Staging` keeps the pieces and knows nothing of plugins; [`PluginUploads`] hands what is whole to the
//! supervisor.

use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use jsonrpsee::types::ErrorObjectOwned;
use sha2::Digest;
use taskhost_api::{ErrorCode, MAX_CHUNK_BYTES, MAX_PLUGIN_BYTES, PluginChunk, PluginChunkReceived, PluginInfo};
use taskhost_core::plugin::{PluginError, Sha256};
use taskhost_core::supervisor::TaskError;
use tokio::time::Instant;

use crate::Host;
use crate::access::Caller;
use crate::rpc::{convert, errors};

/// How many plugins may be on their way at once.
const MAX_UPLOADS: usize = 16;

/// How many bytes they may have together, by the sizes that were announced.
const MAX_STAGED_BYTES: u64 = 4 * MAX_PLUGIN_BYTES;

/// How long an upload that nobody goes on with is kept.
const MAX_IDLE: Duration = Duration::from_secs(3600);

/// How often it is looked for such uploads.
const SWEEP_INTERVAL: Duration = Duration::from_secs(300);

/// Where plugins come in. Cheap to clone.
#[derive(Clone)]
pub struct PluginUploads {
    staging: Arc<Staging>,
    host: Host,
}

/// A plugin that comes in one stream. Dropped before its end, it leaves nothing.
pub struct Upload {
    lease: Lease,
    uploads: PluginUploads,
    caller: Caller,
}

impl PluginUploads {
    /// Stages in `data_dir`, which must exist.
    pub fn new(data_dir: &Path, host: Host) -> io::Result<Self> {
        Ok(Self { staging: Arc::new(Staging::new(data_dir.join("uploads"))?), host })
    }

    /// Begins a plugin that comes in one stream, from its beginning. Refused at once if `declared_len` is too much.
    pub async fn begin(
        &self,
        sha256: &str,
        declared_len: Option<u64>,
        caller: Caller,
    ) -> Result<Upload, ErrorObjectOwned> {
        let sha256 = parse_sha256(sha256)?;
        // Without a length it may become the largest there is.
        let size = declared_len.unwrap_or(MAX_PLUGIN_BYTES);
        let lease = self.staging.begin(sha256, size).map_err(upload_error)?;
        Ok(Upload { lease, uploads: self.clone(), caller })
    }

    /// Takes one piece; the last one compiles and stores the plugin.
    pub async fn put(&self, chunk: PluginChunk, caller: Caller) -> Result<PluginChunkReceived, ErrorObjectOwned> {
        let sha256 = parse_sha256(&chunk.sha256)?;
        let piece = decode_base64("data", &chunk.data)?;
        if piece.len() > MAX_CHUNK_BYTES {
            let message = format!("the piece has {} bytes; at most {MAX_CHUNK_BYTES} are accepted", piece.len());
            return Err(ErrorCode::TooLarge.to_error(message, Some("send the plugin in smaller pieces".to_owned())));
        }
        let mut lease = self.staging.resume(sha256, chunk.size, chunk.offset).map_err(upload_error)?;
        let received = lease.write(piece.into()).await.map_err(upload_error)?;
        if received < chunk.size {
            lease.keep();
            return Ok(PluginChunkReceived { received, plugin: None });
        }
        let plugin = self.store(lease, caller).await?;
        Ok(PluginChunkReceived { received, plugin: Some(plugin) })
    }

    /// How many bytes of this plugin are staged.
    pub fn received(&self, sha256: &Sha256) -> u64 {
        self.staging.received(sha256)
    }

    /// Drops what nobody goes on with, for ever.
    pub async fn sweep(&self) {
        let mut interval = tokio::time::interval(SWEEP_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.staging.drop_stale();
        }
    }

    /// Compiles and stores what is whole, also if the caller goes away meanwhile. Its place is taken until then: what waits
    /// for the compiler is in memory.
    async fn store(&self, mut lease: Lease, caller: Caller) -> Result<PluginInfo, ErrorObjectOwned> {
        let host = self.host.clone();
        let storing = tokio::spawn(async move {
            let wasm = lease.finish().await.map_err(upload_error)?;
            let (sha256, size_bytes) = (lease.sha256, wasm.len());
            let plugin = host.put_plugin(wasm).await.map_err(errors::to_rpc)?;
            tracing::info!(%sha256, size_bytes, uid = caller.uid, "plugin stored");
            Ok(convert::plugin(plugin, true))
        });
        match storing.await {
            Ok(stored) => stored,
            Err(failed) => {
                tracing::error!(error = %failed, "storing a plugin did not end well");
                Err(ErrorCode::Internal.to_error("the plugin could not be stored", None))
            }
        }
    }
}

impl Upload {
    /// Takes the next piece, of any size.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), ErrorObjectOwned> {
        self.lease.write(piece).await.map(drop).map_err(upload_error)
    }

    /// Checks the hash, compiles and stores.
    pub async fn finish(self) -> Result<PluginInfo, ErrorObjectOwned> {
        self.uploads.store(self.lease, self.caller).await
    }
}

/// Reads base64 that came as the member `name`.
pub(crate) fn decode_base64(name: &str, text: &str) -> Result<Vec<u8>, ErrorObjectOwned> {
    BASE64_STANDARD
        .decode(text)
        .map_err(|error| ErrorCode::InvalidParams.to_error(format!("`{name}` is no base64: {error}"), None))
}

fn parse_sha256(text: &str) -> Result<Sha256, ErrorObjectOwned> {
    text.parse().map_err(|error| ErrorCode::InvalidParams.to_error(format!("{error}"), None))
}

fn upload_error(error: UploadError) -> ErrorObjectOwned {
    let message = error.to_string();
    let hint = |text: &str| Some(text.to_owned());
    match error {
        UploadError::TooLarge { size_bytes } => {
            errors::to_rpc(TaskError::Plugin(PluginError::TooLarge { size_bytes, limit_bytes: MAX_PLUGIN_BYTES }))
        }
        UploadError::Gap { .. } => ErrorCode::InvalidParams
            .to_error(message, hint("`Plugin.Has` says how many bytes the host has; offset 0 begins anew")),
        UploadError::Size { .. } | UploadError::PastEnd { .. } => {
            ErrorCode::InvalidParams.to_error(message, hint("offset 0 begins anew"))
        }
        UploadError::Hash { .. } => ErrorCode::PluginInvalid
            .to_error(message, hint("the file changed while it was sent, or was cut short; send it again")),
        UploadError::TooMany | UploadError::InProgress(_) => {
            ErrorCode::Busy.to_error(message, hint("try again in a while"))
        }
        UploadError::Disk(error) => errors::to_rpc(TaskError::Store(errors::disk_error("the uploads folder", &error))),
    }
}

/// Why a piece was not taken.
#[derive(Debug, thiserror::Error)]
enum UploadError {
    #[error("the plugin has {size_bytes} bytes or more; at most {MAX_PLUGIN_BYTES} are accepted")]
    TooLarge { size_bytes: u64 },
    #[error("the piece begins at byte {offset}, but the host has {received} bytes")]
    Gap { offset: u64, received: u64 },
    #[error("the plugin was announced with {announced} bytes before, and now with {size}")]
    Size { announced: u64, size: u64 },
    #[error("the plugin was announced with {announced} bytes, and has more")]
    PastEnd { announced: u64 },
    #[error("the bytes have sha256 {actual}, not {announced}")]
    Hash { announced: Sha256, actual: Sha256 },
    #[error("{MAX_UPLOADS} plugins or {MAX_STAGED_BYTES} bytes are on their way already")]
    TooMany,
    #[error("plugin {0} is on its way already")]
    InProgress(Sha256),
    #[error("failed to stage the plugin: {0}")]
    Disk(#[from] io::Error),
}

/// The plugins on their way.
struct Staging {
    dir: PathBuf,
    /// Held for look-ups only, never while bytes are written.
    slots: Mutex<HashMap<Sha256, Slot>>,
}

/// The place of one plugin: from its first byte until it is stored, or given up.
struct Slot {
    size: u64,
    state: SlotState,
}

enum SlotState {
    /// Somebody is writing.
    Leased,
    /// Waits for its next piece.
    Idle { part: Part, since: Instant },
}

/// What came of a plugin so far.
struct Part {
    file: File,
    hash: sha2::Sha256,
    received: u64,
}

/// The right to write one plugin. Dropped, it drops the plugin too, unless it was told to [`keep`](Self::keep) it.
struct Lease {
    staging: Arc<Staging>,
    sha256: Sha256,
    size: u64,
    /// `None` while a piece is being written, and after a piece that failed.
    part: Option<Part>,
    /// Whether the slot is still this lease's.
    holds_slot: bool,
}

impl Staging {
    fn new(dir: PathBuf) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        Ok(Self { dir, slots: Mutex::default() })
    }

    /// Begins a plugin anew, whatever came of it before.
    fn begin(self: &Arc<Self>, sha256: Sha256, size: u64) -> Result<Lease, UploadError> {
        if size > MAX_PLUGIN_BYTES {
            return Err(UploadError::TooLarge { size_bytes: size });
        }
        let mut slots = self.slots();
        if let Some(Slot { state: SlotState::Leased, .. }) = slots.get(&sha256) {
            return Err(UploadError::InProgress(sha256));
        }
        slots.remove(&sha256);
        while !has_room(&slots, size) {
            let idle_longest = idle_longest(&slots).ok_or(UploadError::TooMany)?;
            tracing::info!(sha256 = %idle_longest, "upload dropped: nobody went on with it, and another one needs its place");
            slots.remove(&idle_longest);
        }
        let file = tempfile::tempfile_in(&self.dir)?;
        slots.insert(sha256, Slot { size, state: SlotState::Leased });
        let part = Part { file, hash: sha2::Sha256::new(), received: 0 };
        Ok(Lease { staging: Arc::clone(self), sha256, size, part: Some(part), holds_slot: true })
    }

    /// Goes on with a plugin at `offset`; at 0, begins it.
    fn resume(self: &Arc<Self>, sha256: Sha256, size: u64, offset: u64) -> Result<Lease, UploadError> {
        if offset == 0 {
            return self.begin(sha256, size);
        }
        let mut slots = self.slots();
        let slot = slots.get_mut(&sha256).ok_or(UploadError::Gap { offset, received: 0 })?;
        match &slot.state {
            SlotState::Leased => return Err(UploadError::InProgress(sha256)),
            SlotState::Idle { part, .. } if part.received != offset => {
                return Err(UploadError::Gap { offset, received: part.received });
            }
            SlotState::Idle { .. } if slot.size != size => {
                return Err(UploadError::Size { announced: slot.size, size });
            }
            SlotState::Idle { .. } => {}
        }
        let SlotState::Idle { part, .. } = std::mem::replace(&mut slot.state, SlotState::Leased) else {
            unreachable!("the slot was idle under the same lock")
        };
        Ok(Lease { staging: Arc::clone(self), sha256, size, part: Some(part), holds_slot: true })
    }

    fn received(&self, sha256: &Sha256) -> u64 {
        match self.slots().get(sha256) {
            Some(Slot { state: SlotState::Idle { part, .. }, .. }) => part.received,
            _ => 0,
        }
    }

    fn drop_stale(&self) {
        self.slots().retain(|sha256, slot| match &slot.state {
            SlotState::Idle { since, .. } if since.elapsed() >= MAX_IDLE => {
                tracing::info!(%sha256, "upload dropped: nobody went on with it");
                false
            }
            _ => true,
        });
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Sha256, Slot>> {
        // Every change under the lock is a single step, so that a panic leaves nothing half done.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has_room(slots: &HashMap<Sha256, Slot>, size: u64) -> bool {
    let staged: u64 = slots.values().map(|slot| slot.size).sum();
    slots.len() < MAX_UPLOADS && staged + size <= MAX_STAGED_BYTES
}

/// The upload that has waited for its next piece for the longest time.
fn idle_longest(slots: &HashMap<Sha256, Slot>) -> Option<Sha256> {
    let idle = slots.iter().filter_map(|(sha256, slot)| match &slot.state {
        SlotState::Idle { since, .. } => Some((*since, *sha256)),
        SlotState::Leased => None,
    });
    idle.min_by_key(|(since, _)| *since).map(|(_, sha256)| sha256)
}

impl Lease {
    /// Appends a piece; answers with how many bytes there are then.
    async fn write(&mut self, piece: Bytes) -> Result<u64, UploadError> {
        let Some(mut part) = self.part.take() else {
            return Err(UploadError::Disk(io::Error::other("an earlier piece failed")));
        };
        if part.received + piece.len() as u64 > self.size {
            return Err(match self.size {
                MAX_PLUGIN_BYTES => UploadError::TooLarge { size_bytes: part.received + piece.len() as u64 },
                announced => UploadError::PastEnd { announced },
            });
        }
        let part = off_thread(move || {
            part.hash.update(&piece);
            part.file.write_all(&piece)?;
            part.received += piece.len() as u64;
            Ok(part)
        })
        .await?;
        let received = part.received;
        self.part = Some(part);
        Ok(received)
    }

    /// Leaves the plugin staged, for its next piece.
    fn keep(mut self) {
        if let Some(part) = self.part.take() {
            let state = SlotState::Idle { part, since: Instant::now() };
            self.staging.slots().insert(self.sha256, Slot { size: self.size, state });
            self.holds_slot = false;
        }
    }

    /// The whole plugin, if its hash is right. Nothing is on disk then, and the place is taken until the lease is dropped.
    async fn finish(&mut self) -> Result<Bytes, UploadError> {
        let Some(mut part) = self.part.take() else {
            return Err(UploadError::Disk(io::Error::other("an earlier piece failed")));
        };
        let actual = Sha256(part.hash.finalize_reset().into());
        if actual != self.sha256 {
            return Err(UploadError::Hash { announced: self.sha256, actual });
        }
        off_thread(move || {
            let mut wasm = Vec::with_capacity(usize::try_from(part.received).unwrap_or_default());
            part.file.seek(SeekFrom::Start(0))?;
            part.file.read_to_end(&mut wasm)?;
            Ok(wasm.into())
        })
        .await
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.holds_slot {
            self.staging.slots().remove(&self.sha256);
        }
    }
}

/// Does file work where it may block.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, UploadError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(failed) => Err(UploadError::Disk(io::Error::other(failed))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture {
        staging: Arc<Staging>,
        _dir: tempfile::TempDir,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Fixture { staging: Arc::new(Staging::new(dir.path().join("uploads")).expect("a folder")), _dir: dir }
    }

    fn sha256_of(bytes: &[u8]) -> Sha256 {
        Sha256(sha2::Sha256::digest(bytes).into())
    }

    #[tokio::test]
    async fn pieces_in_order_make_the_whole() {
        let Fixture { staging, _dir } = fixture();
        let sha256 = sha256_of(b"hello world");
        let mut lease = staging.resume(sha256, 11, 0).expect("begun");
        assert_eq!(lease.write("hello ".into()).await.expect("taken"), 6);
        lease.keep();
        assert_eq!(staging.received(&sha256), 6);
        let mut lease = staging.resume(sha256, 11, 6).expect("resumed");
        assert_eq!(lease.write("world".into()).await.expect("taken"), 11);
        assert_eq!(lease.finish().await.expect("whole"), "hello world");
        assert_eq!(staging.slots().len(), 1, "it is not stored yet, and counts");
        drop(lease);
        assert!(staging.slots().is_empty(), "its place is free again");
    }

    #[tokio::test]
    async fn other_bytes_than_announced_are_refused_and_forgotten() {
        let Fixture { staging, _dir } = fixture();
        let announced = sha256_of(b"hello");
        let mut lease = staging.begin(announced, 5).expect("begun");
        lease.write("hullo".into()).await.expect("taken");
        let error = lease.finish().await.expect_err("another hash");
        assert!(matches!(error, UploadError::Hash { actual, .. } if actual == sha256_of(b"hullo")), "{error}");
        drop(lease);
        assert!(staging.slots().is_empty());
    }

    #[tokio::test]
    async fn a_gap_is_refused_and_what_came_is_kept() {
        let Fixture { staging, _dir } = fixture();
        let sha256 = sha256_of(b"hello world");
        let mut lease = staging.begin(sha256, 11).expect("begun");
        lease.write("hello".into()).await.expect("taken");
        lease.keep();
        for offset in [4, 6] {
            let error = staging.resume(sha256, 11, offset).err().expect("a gap");
            assert!(matches!(error, UploadError::Gap { received: 5, .. }), "{error}");
        }
        let error = staging.resume(sha256, 12, 5).err().expect("another size");
        assert!(matches!(error, UploadError::Size { announced: 11, size: 12 }), "{error}");
        assert!(staging.resume(sha256, 11, 5).is_ok());
    }

    #[tokio::test]
    async fn offset_zero_begins_anew() {
        let Fixture { staging, _dir } = fixture();
        let sha256 = sha256_of(b"hello");
        let mut lease = staging.begin(sha256, 5).expect("begun");
        lease.write("hell".into()).await.expect("taken");
        lease.keep();
        let mut lease = staging.resume(sha256, 5, 0).expect("begun anew");
        lease.write("hello".into()).await.expect("taken");
        assert_eq!(lease.finish().await.expect("whole"), "hello");
    }

    #[tokio::test(start_paused = true)]
    async fn uploads_that_nobody_goes_on_with_make_room_the_one_idle_longest_first() {
        let Fixture { staging, _dir } = fixture();
        let sha256s: Vec<Sha256> = (0..MAX_UPLOADS).map(|at| sha256_of(&at.to_le_bytes())).collect();
        let being_written = staging.begin(sha256s[0], 1).expect("within the bound");
        for sha256 in &sha256s[1..] {
            staging.begin(*sha256, 1).expect("within the bound").keep();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // Gone on with, it is not the one that was idle longest any more.
        staging.resume(sha256s[1], 1, 0).expect("begun anew").keep();
        let more = staging.begin(sha256_of(b"one more"), 1).expect("there is room");
        let is_there = |sha256: &Sha256| staging.slots().contains_key(sha256);
        assert_eq!(sha256s.iter().filter(|sha256| !is_there(sha256)).collect::<Vec<_>>(), [&sha256s[2]]);
        drop((being_written, more));
    }

    #[tokio::test]
    async fn two_writers_of_one_plugin_do_not_mix() {
        let Fixture { staging, _dir } = fixture();
        let sha256 = sha256_of(b"hello");
        let lease = staging.begin(sha256, 5).expect("begun");
        assert!(matches!(staging.begin(sha256, 5), Err(UploadError::InProgress(_))));
        drop(lease);
        assert!(staging.begin(sha256, 5).is_ok(), "a broken connection frees the place");
    }

    #[tokio::test]
    async fn more_than_announced_or_accepted_is_refused() {
        let Fixture { staging, _dir } = fixture();
        let sha256 = sha256_of(b"hello");
        assert!(matches!(staging.begin(sha256, MAX_PLUGIN_BYTES + 1), Err(UploadError::TooLarge { .. })));
        let mut lease = staging.begin(sha256, 3).expect("begun");
        let error = lease.write("hello".into()).await.expect_err("too much");
        assert!(matches!(error, UploadError::PastEnd { announced: 3 }), "{error}");
        let error = lease.write("h".into()).await.expect_err("nothing is taken after a refusal");
        assert!(matches!(error, UploadError::Disk(_)), "{error}");
    }

    #[tokio::test]
    async fn no_more_than_so_many_are_on_their_way_at_once() {
        let Fixture { staging, _dir } = fixture();
        let leases: Vec<Lease> = (0..MAX_UPLOADS)
            .map(|at| staging.begin(sha256_of(&at.to_le_bytes()), 1).expect("within the bound"))
            .collect();
        assert!(matches!(staging.begin(sha256_of(b"one more"), 1), Err(UploadError::TooMany)));
        drop(leases);
        let large: Vec<Lease> = (0..MAX_STAGED_BYTES / MAX_PLUGIN_BYTES)
            .map(|at| staging.begin(sha256_of(&at.to_le_bytes()), MAX_PLUGIN_BYTES).expect("within the bound"))
            .collect();
        assert!(matches!(staging.begin(sha256_of(b"one byte"), 1), Err(UploadError::TooMany)));
        drop(large);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_goes_on_with_is_dropped() {
        let Fixture { staging, _dir } = fixture();
        let (idle, leased) = (sha256_of(b"idle"), sha256_of(b"leased"));
        staging.begin(idle, 4).expect("begun").keep();
        let lease = staging.begin(leased, 6).expect("begun");
        tokio::time::advance(MAX_IDLE - Duration::from_secs(1)).await;
        staging.drop_stale();
        assert_eq!(staging.slots().len(), 2);
        tokio::time::advance(Duration::from_secs(1)).await;
        staging.drop_stale();
        assert!(staging.slots().keys().eq([&leased]), "only what is being written is left");
        drop(lease);
    }
}
