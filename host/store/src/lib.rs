//! The store: SQLite and files behind the core's [`Store`].
//!
//! A data directory has
//! - `definitions.db`: tasks, whether they are paused, and plugins' rows (`definitions.rs`); revisions (`revisions.rs`). What
//!   was answered survives a power cut.
//! - `history.db`: what tasks keep in mind, and runs that are about to start (`history.rs`); what of it changes with each tick
//!   (`journal.rs`); records of runs (`runs.rs`); logs (`logs.rs`, `blocks.rs`); when the host was up (`hosts.rs`). May be lost; damaged, it is set aside. Starts of runs and what is said
//!   of the host survive a power cut when they are answered, the rest soon after.
//! - `key_values.db`: what tasks keep from run to run (`key_values.rs`). What was answered survives a power cut; damaged, it is kept
//!   as it is, and nobody gets at it.
//! - `plugins/SHA256.wasm` (`plugins.rs`).
//! - `lock`, which keeps a second daemon out (`lock.rs`).
//!
//! Each database has one thread that writes (`writer.rs`). Nothing here knows when tasks run.

mod blocks;
mod database;
mod definitions;
mod encoding;
mod error;
mod faults;
pub mod floor;
mod history;
mod hosts;
mod ids;
mod journal;
mod key_values;
mod lock;
mod logs;
mod migrate;
mod plugins;
mod quota;
mod reader;
mod revisions;
mod runs;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use taskhost_core::key_value::KeyValue;
use taskhost_core::log::LogChunk;
use taskhost_core::outcome::{RunRecord, TaskId};
use taskhost_core::plugin::{PluginError, PluginFacts, Sha256};
use taskhost_core::ports::{
    BoxFuture, Change, HistoryBatch, HostRun, Loaded, LoadedTask, PluginSource, Revision, RunsQuery, Start, Store,
    StoreError, StoredPlugin,
};
use taskhost_core::time::Time;

pub use crate::error::OpenError;
pub use crate::hosts::{MAX_HOST_RUN_AGE, MAX_HOST_RUNS};
pub use crate::quota::{CHUNK_OVERHEAD_BYTES, CUT_LOG_BYTES, FAILED_LOG_BYTES, MAX_LOG_AGE, MAX_LOG_BYTES};
pub use crate::revisions::{DELETED_REVISIONS_KEPT, MAX_REVISIONS};
pub use crate::runs::{MAX_NON_SUCCESSES, MAX_RUN_AGE, MAX_RUN_RECORDS};

use crate::definitions::{Definitions, Write};
use crate::error::from_sqlite;
use crate::faults::{Faults, Subject};
use crate::history::History;
use crate::key_values::{KeyValues, SharedKeyValues};
use crate::lock::DirLock;
use crate::plugins::PluginFiles;
use crate::reader::Reader;
use crate::writer::{DefinitionsWriter, HistoryJob, Writer};

/// A store in a directory of its own. Its futures must be driven by a tokio runtime.
///
/// Dropped without [`close`](Store::close) it writes what is queued and stops in the background.
#[derive(Debug)]
pub struct SqliteStore {
    definitions_file: PathBuf,
    history_file: PathBuf,
    definitions: DefinitionsWriter,
    history: Writer<HistoryJob>,
    key_values: SharedKeyValues,
    reader: Reader,
    plugins: PluginFiles,
    /// So that a plugin's file and its row change together. Held across awaits: both are written by others.
    plugin_change: Arc<tokio::sync::Mutex<()>>,
    faults: Arc<Faults>,
    /// How often history was begun anew.
    histories: Arc<AtomicU64>,
    /// Shared with the writers, which may outlive the store; `None` after closing.
    lock: Arc<Mutex<Option<Arc<DirLock>>>>,
}

impl SqliteStore {
    /// Opens a data directory, or makes it. Blocking.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        create_dir(data_dir).map_err(OpenError::io("create", data_dir))?;
        let lock = Arc::new(DirLock::take(data_dir)?);
        let faults = Arc::new(Faults::default());

        let is_new = !data_dir.join(definitions::FILE_NAME).exists();
        let definitions = Definitions::open(data_dir, Arc::clone(&faults))?;
        let definitions_file = definitions.file().to_owned();
        let unreadable = OpenError::database(&definitions_file);
        let tasks = definitions::task_ids(&definitions_file).map_err(&unreadable)?;
        let plugins = PluginFiles::open(data_dir, Arc::clone(&faults))?;
        for (facts, added_at) in definitions::plugins(&definitions_file, &faults).map_err(&unreadable)? {
            plugins.look(facts, added_at);
        }
        let history = History::open(data_dir, Arc::clone(&faults))?;
        let history_file = history.file().to_owned();
        let reader = history.reader();
        let histories = history.histories();
        let key_values = KeyValues::open(data_dir, is_new, Arc::clone(&faults))?;
        // What was made above is there after a power cut too.
        database::sync_dir(data_dir).map_err(OpenError::io("sync", data_dir))?;

        let thread = |error| OpenError::io("start a thread to write", data_dir)(error);
        let history = Writer::history(history, tasks.clone(), Arc::clone(&lock)).map_err(thread)?;
        let share = key_values.shared();
        let key_values = share(Writer::key_values(key_values, tasks, Arc::clone(&lock)).map_err(thread)?);
        let definitions =
            Writer::definitions(definitions, history.clone(), key_values.writer.clone(), Arc::clone(&lock));
        let definitions = DefinitionsWriter::new(definitions.map_err(thread)?);
        Ok(Self {
            definitions_file,
            history_file,
            definitions,
            history,
            key_values,
            reader,
            plugins,
            plugin_change: Arc::default(),
            faults,
            histories,
            lock: Arc::new(Mutex::new(Some(lock))),
        })
    }

    /// The keys and values of its tasks.
    pub fn key_values(&self) -> Arc<dyn KeyValue> {
        Arc::new(self.key_values.clone())
    }
}

impl Store for SqliteStore {
    fn load(&self) -> Result<Loaded, StoreError> {
        let (definitions, history) = thread::scope(|scope| {
            let history = scope.spawn(|| history::load(&self.history_file, &self.faults));
            let definitions = definitions::load(&self.definitions_file, &self.faults);
            (definitions, history.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        let definitions = definitions.map_err(|error| from_sqlite(&error, &self.definitions_file))?;
        let mut history = history.unwrap_or_else(|error| {
            // Tasks run without it.
            let words = format!("the history in {} can't be read: {error}", self.history_file.display());
            self.faults.set(Subject::Database(self.history_file.clone()), words);
            history::Stored::unreadable()
        });
        let tasks = definitions
            .into_iter()
            .map(|definition| LoadedTask {
                state: history.states.remove(&definition.id).unwrap_or_default(),
                starts: history.starts.remove(&definition.id).unwrap_or_default(),
                definition,
            })
            .collect();
        Ok(Loaded { tasks, previous: history.previous, journal: history.journal })
    }

    fn commit(&self, changes: Vec<Change>) -> BoxFuture<Result<(), StoreError>> {
        Box::pin(self.definitions.clone().write(Write::Changes(changes)))
    }

    fn record(&self, batch: Arc<HistoryBatch>) -> BoxFuture<Result<(), StoreError>> {
        Box::pin(self.history.clone().record(batch))
    }

    fn record_starts(&self, starts: Vec<Start>) -> BoxFuture<Result<(), StoreError>> {
        Box::pin(self.history.clone().record_starts(starts))
    }

    fn runs(&self, query: RunsQuery) -> BoxFuture<Result<Vec<RunRecord>, StoreError>> {
        let faults = Arc::clone(&self.faults);
        Box::pin(self.reader.clone().read(move |conn| runs::query(conn, &query, &faults)))
    }

    fn revisions(&self, task: TaskId, limit: usize) -> BoxFuture<Result<Vec<Revision>, StoreError>> {
        let file = self.definitions_file.clone();
        Box::pin(blocking(move || revisions::read(&file, task, limit).map_err(|error| from_sqlite(&error, &file))))
    }

    fn host_runs(&self, from: Time, until: Time) -> BoxFuture<Result<Vec<HostRun>, StoreError>> {
        Box::pin(self.reader.clone().read(move |conn| hosts::between(conn, from, until)))
    }

    fn read_logs(&self, task: TaskId, after_seq: u64, lines: usize) -> BoxFuture<Result<Vec<LogChunk>, StoreError>> {
        Box::pin(self.reader.clone().read(move |conn| logs::read(conn, task, after_seq, lines)))
    }

    fn put_plugin(&self, facts: PluginFacts, added_at: Time, wasm: Bytes) -> BoxFuture<Result<(), StoreError>> {
        let (files, rows, changing) = (self.plugins.clone(), self.definitions.clone(), Arc::clone(&self.plugin_change));
        Box::pin(async move {
            let sha256 = facts.sha256;
            let changing = changing.lock_owned().await;
            // The guard goes along: the work goes on even if nobody waits for it any more.
            let _changing = blocking(move || files.write(sha256, &wasm).map(|()| changing)).await?;
            rows.write(Write::PutPlugin { facts, added_at }).await
        })
    }

    fn plugins(&self) -> BoxFuture<Result<Vec<StoredPlugin>, StoreError>> {
        let (files, file, faults) = (self.plugins.clone(), self.definitions_file.clone(), Arc::clone(&self.faults));
        Box::pin(blocking(move || {
            let rows = definitions::plugins(&file, &faults).map_err(|error| from_sqlite(&error, &file))?;
            Ok(rows.into_iter().map(|(facts, added_at)| files.look(facts, added_at)).collect())
        }))
    }

    fn delete_plugin(&self, plugin: Sha256) -> BoxFuture<Result<(), StoreError>> {
        let (files, rows, changing) = (self.plugins.clone(), self.definitions.clone(), Arc::clone(&self.plugin_change));
        Box::pin(async move {
            let changing = changing.lock_owned().await;
            rows.write(Write::DeletePlugin(plugin)).await?;
            blocking(move || files.remove(plugin).map(|()| drop(changing))).await
        })
    }

    fn histories(&self) -> u64 {
        self.histories.load(Ordering::Relaxed)
    }

    fn faults(&self) -> Vec<String> {
        self.faults.list()
    }

    fn close(&self) -> BoxFuture<Result<(), StoreError>> {
        let (definitions, history, lock) = (self.definitions.clone(), self.history.clone(), Arc::clone(&self.lock));
        let key_values = self.key_values.writer.clone();
        Box::pin(async move {
            // The others last: the last definitions may be deletions, which they hear of.
            let definitions = definitions.close().await;
            let history = history.close().await;
            let key_values = key_values.close().await;
            lock.lock().unwrap_or_else(PoisonError::into_inner).take();
            definitions.and(history).and(key_values)
        })
    }
}

impl PluginSource for SqliteStore {
    fn read(&self, plugin: Sha256) -> Result<Bytes, PluginError> {
        self.plugins.read(plugin)
    }

    fn size_bytes(&self, plugin: Sha256) -> Option<u64> {
        self.plugins.size_bytes(plugin)
    }
}

/// Makes a directory that only its owner may enter, durable, where there is none.
fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    dir.canonicalize()?.parent().map_or(Ok(()), database::sync_dir)
}

/// Does blocking work off the asynchronous threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let stopped = |error| Err(StoreError::Failed(format!("a thread of the store stopped: {error}")));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(stopped)
}
