//! `history.db`: what tasks did and what they wrote. It may be lost without harm to the definitions: a damaged one is set
//! aside, and the host goes on with a new one.
//!
//! Most of it is durable soon after it was written. What runs are started by is durable when it is answered: the commit
//! then syncs the log, and with it all that was written before.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::mem;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lru::LruCache;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use taskhost_core::log::LogChunk;
use taskhost_core::outcome::TaskId;
use taskhost_core::ports::{Clock, HistoryBatch, HostRun, OpenRun, Start, StoreError, SystemClock, UnitState};

use crate::OpenError;
use crate::blocks::Blocks;
use crate::database::{self, Durability, connect, connect_to_read};
use crate::encoding;
use crate::error::{from_sqlite, is_damage};
use crate::faults::{Faults, Subject};
use crate::hosts;
use crate::ids::{MAX_KNOWN_TASKS, TaskMap};
use crate::journal::{Journal, Newest};
use crate::logs;
use crate::migrate::{self, migrate};
use crate::quota::{self, Usage};
use crate::reader::Reader;
use crate::runs::Runs;

const FILE_NAME: &str = "history.db";

/// How far the log is grown at start, in bytes. A busy host grows it further, once.
pub(crate) const WAL_BYTES: u64 = 4 << 20;

/// The writer's page cache, in KiB: states of a thousand tasks fit, so that each page of a batch goes to the log once. What is only
/// appended does so anyway.
const CACHE_KIB: i64 = 8 << 10;

/// How many statements are kept ready: all of the writer's.
const PREPARED_STATEMENTS: usize = 64;

/// How many pages of the log are copied at once. The same pages are written again every second, so many come together.
const CHECKPOINT_FRAMES: i64 = 8000;

/// How many deleted tasks are remembered, so that a batch which was on its way when they went does not bring them back.
const MAX_FORGOTTEN: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// How many rows of deleted tasks are removed in one go: few, since runs that are about to start wait meanwhile.
const REMOVED_AT_ONCE: u64 = 500;

/// How many times that is done at the end. What is left then is removed after the next start.
const CLOSING_REMOVALS: usize = 100;

/// Where a task has rows; each table's key begins with it.
const TABLES: [&str; 5] = ["unit_state", "starts", "log_chunks", "log_seqs", "runs"];

/// The writing side; belongs to one thread.
#[derive(Debug)]
pub(crate) struct History {
    file: PathBuf,
    /// `None` after a failure, until the next write connects anew.
    conn: Option<Connection>,
    known: Known,
    /// Deleted tasks of which there may be rows.
    leaving: VecDeque<TaskId>,
    reader: Reader,
    faults: Arc<Faults>,
    /// How often it was begun anew.
    histories: Arc<AtomicU64>,
}

/// What is known of tasks without asking.
#[derive(Debug)]
struct Known {
    /// How much log each task has, as far as it was asked; at most [`MAX_KNOWN_TASKS`].
    logs: TaskMap<Usage>,
    blocks: Blocks,
    runs: Runs,
    journal: Journal,
    forgotten: LruCache<TaskId, ()>,
}

impl Known {
    fn count_anew(&mut self) {
        self.logs.clear();
        self.blocks.forget();
        self.runs.count_anew();
        self.journal.forget();
    }
}

impl History {
    /// Opens the history of a data directory, or makes a new one where there is none that can be used.
    pub(crate) fn open(dir: &Path, faults: Arc<Faults>) -> Result<Self, OpenError> {
        let file = dir.join(FILE_NAME);
        let conn = match open_checked(&file) {
            Err(error) => match error.damage() {
                Some(reason) => {
                    set_aside(&file, &reason, &faults).map_err(OpenError::io("set aside", &file))?;
                    open_checked(&file)?
                }
                None => return Err(error),
            },
            Ok(conn) => conn,
        };
        let reader = Reader::new(file.clone());
        Ok(Self {
            file,
            conn: Some(conn),
            known: Known {
                logs: TaskMap::default(),
                blocks: Blocks::default(),
                runs: Runs::default(),
                journal: Journal::default(),
                forgotten: LruCache::new(MAX_FORGOTTEN),
            },
            leaving: VecDeque::new(),
            reader,
            faults,
            histories: Arc::default(),
        })
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The reading side.
    pub(crate) fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// How often it was begun anew since it was opened.
    pub(crate) fn histories(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.histories)
    }

    /// What can be done after others may read already: a longer log, and rows of tasks that are gone are found. `tasks` are
    /// those that are not. Without it all goes on, only larger and slower.
    pub(crate) fn warm_up(&mut self, tasks: &[i64]) {
        let Some(conn) = &mut self.conn else { return };
        let orphans = orphans(conn, tasks).and_then(|orphans| {
            database::checkpoint(conn, 0)?;
            database::grow_wal(conn, &self.file, WAL_BYTES)?;
            Ok(orphans)
        });
        match orphans {
            Ok(orphans) => self.leaving.extend(orphans),
            Err(error) => tracing::warn!("failed to tidy up {}: {error}", self.file.display()),
        }
    }

    /// Writes a batch whole, or nothing of it.
    pub(crate) fn record(&mut self, batch: &HistoryBatch) -> Result<(), StoreError> {
        let durability = if batch.host.is_some() { Durability::Full } else { Durability::Normal };
        self.write(durability, |conn, known| write_batch(conn, known, batch))
    }

    /// Writes runs that are about to start, all durable or none of them.
    pub(crate) fn record_starts<'s>(
        &mut self,
        starts: impl Iterator<Item = &'s Start> + Clone,
    ) -> Result<(), StoreError> {
        self.write(Durability::Full, |conn, known| write_starts(conn, known, starts.clone()))
    }

    /// Takes nothing of deleted tasks any more; what they left is removed by [`remove_some`](Self::remove_some).
    pub(crate) fn forget(&mut self, tasks: &[TaskId]) {
        for task in tasks {
            self.known.forgotten.put(*task, ());
            self.known.logs.remove(task);
            self.known.runs.forget(*task);
            self.leaving.push_back(*task);
        }
    }

    /// Removes some of what deleted tasks left, and says whether there is more. What fails is left to the next start.
    pub(crate) fn remove_some(&mut self) -> bool {
        let mut leaving = mem::take(&mut self.leaving);
        if leaving.is_empty() {
            return false;
        }
        let removed = self.try_write(Durability::Normal, &mut |conn, _| {
            let mut rows_left = REMOVED_AT_ONCE;
            while rows_left > 0
                && let Some(task) = leaving.front()
            {
                let rows = remove_rows(conn, *task, rows_left)?;
                if rows < rows_left {
                    leaving.pop_front();
                }
                // One that has none took its time all the same.
                rows_left = rows_left.saturating_sub(rows.max(1));
            }
            Ok(())
        });
        match removed {
            Ok(()) => self.leaving = leaving,
            Err(error) => {
                tracing::warn!("failed to remove the history of deleted tasks from {}: {error}", self.file.display());
            }
        }
        !self.leaving.is_empty()
    }

    /// Does some of what can wait, and says whether there is more.
    pub(crate) fn tidy_some(&mut self) -> bool {
        let removing = self.remove_some();
        let folding = self.fold_some();
        self.unpack_some() || folding || removing
    }

    /// Makes chunks of some of the blocks of log lines, and says whether there is more.
    fn unpack_some(&mut self) -> bool {
        if !self.known.blocks.wants_unpacking() {
            return false;
        }
        let unpacked = self.write(Durability::Normal, |conn, known| {
            let chunks = known.blocks.unpack(conn)?;
            let Known { logs, forgotten, .. } = known;
            let kept = chunks.iter().filter(|chunk| !forgotten.contains(&chunk.task));
            kept.into_iter().try_for_each(|chunk| keep_chunk(conn, logs, chunk))
        });
        if let Err(error) = unpacked {
            tracing::debug!("blocks of log lines stay as they are: {error}");
        }
        self.known.blocks.wants_unpacking()
    }

    /// Puts some of the journal into states, and says whether there is more.
    fn fold_some(&mut self) -> bool {
        if !self.known.journal.wants_step() {
            return false;
        }
        let faults = Arc::clone(&self.faults);
        let folded = self.write(Durability::Normal, |conn, known| known.journal.step(conn, &faults));
        if let Err(error) = folded {
            tracing::debug!("the journal stays as it is: {error}");
        }
        self.known.journal.wants_step()
    }

    /// Makes durable what was recorded.
    pub(crate) fn sync(&self) {
        if let Err(error) = database::sync_wal(&self.file) {
            tracing::warn!("failed to sync the log of {}: {error}", self.file.display());
        }
    }

    /// Keeps the log short; to be called between batches.
    pub(crate) fn checkpoint(&self) {
        if let Some(conn) = &self.conn
            && let Err(error) = database::checkpoint(conn, CHECKPOINT_FRAMES)
        {
            // The log grows meanwhile; when that fails too, batches are refused and the fault is told.
            tracing::debug!("failed to checkpoint {}: {error}", self.file.display());
        }
    }

    /// Leaves one file that has everything.
    pub(crate) fn close(&mut self) -> Result<(), StoreError> {
        self.reader.close();
        let _left = (0..CLOSING_REMOVALS).all(|_| self.remove_some());
        let Some(conn) = self.conn.take() else { return Ok(()) };
        let copied = database::checkpoint(&conn, 0);
        let closed = conn.close().map_err(|(_, error)| error);
        copied.and(closed).map_err(|error| from_sqlite(&error, &self.file))
    }

    /// Writes something whole, or nothing of it. A damaged file is set aside, and it is written to the new one.
    fn write(
        &mut self,
        durability: Durability,
        mut work: impl FnMut(&Connection, &mut Known) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let mut written = self.try_write(durability, &mut work);
        if let Err(error) = &written
            && is_damage(error)
        {
            self.begin_anew(&error.to_string());
            written = self.try_write(durability, &mut work);
        }
        let error = match written {
            Ok(()) => {
                self.faults.clear(&Subject::Database(self.file.clone()));
                return Ok(());
            }
            Err(error) => error,
        };
        let refused = from_sqlite(&error, &self.file);
        // A full disk leaves the connection sound. After anything else it is not worth finding out.
        if !matches!(refused, StoreError::Full(_)) {
            self.conn = None;
        }
        let words = match &refused {
            StoreError::Full(_) => format!("the disk is full: no history is written to {}", self.file.display()),
            _ => format!("no history is written: {refused}"),
        };
        self.faults.set(Subject::Database(self.file.clone()), words);
        Err(refused)
    }

    fn try_write(
        &mut self,
        durability: Durability,
        work: &mut impl FnMut(&Connection, &mut Known) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        self.connection()?;
        let Self { conn: Some(conn), known, .. } = self else { return Err(rusqlite::Error::InvalidQuery) };
        let written = database::set_durability(conn, durability).and_then(|()| {
            let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            work(&transaction, known)?;
            transaction.commit()
        });
        if written.is_err() {
            // What was counted was taken back.
            known.count_anew();
            if !conn.is_autocommit() {
                self.conn = None;
            }
        }
        written
    }

    fn connection(&mut self) -> rusqlite::Result<&mut Connection> {
        if self.conn.is_none() {
            // A file that was begun anew may not be there yet, or be without its tables: the disk was full, say.
            let file = &self.file;
            database::create_private(file).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            let mut conn = connect_to_write(file)?;
            migrate(&mut conn, file, migrate::HISTORY).map_err(|error| match error {
                OpenError::Database { source, .. } => source,
                other => rusqlite::Error::ToSqlConversionFailure(other.into()),
            })?;
            self.conn = Some(conn);
        }
        self.conn.as_mut().ok_or(rusqlite::Error::InvalidQuery)
    }

    /// Sets a damaged file aside while running. Tasks that do something write their state again by themselves.
    fn begin_anew(&mut self, reason: &str) {
        self.conn = None;
        self.known.count_anew();
        self.histories.fetch_add(1, Ordering::Relaxed);
        let _exclusive = self.reader.disconnect();
        let opened = set_aside(&self.file, reason, &self.faults)
            .map_err(OpenError::io("set aside", &self.file))
            .and_then(|()| open_checked(&self.file));
        match opened {
            Ok(conn) => self.conn = Some(conn),
            Err(error) => tracing::error!("failed to begin a new history: {error}"),
        }
    }
}

fn connect_to_write(file: &Path) -> rusqlite::Result<Connection> {
    let conn = connect(file, Durability::Normal)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.set_prepared_statement_cache_capacity(PREPARED_STATEMENTS);
    Ok(conn)
}

fn open_checked(file: &Path) -> Result<Connection, OpenError> {
    database::create_private(file).map_err(OpenError::io("create", file))?;
    let database = OpenError::database(file);
    let mut conn = connect_to_write(file).map_err(&database)?;
    migrate(&mut conn, file, migrate::HISTORY)?;
    // Records and logs may be many, and nothing runs by them: they are not read here.
    for table in ["unit_state", "starts", "log_seqs", "host_runs"] {
        database::check_table(&conn, table)
            .map_err(&database)?
            .map_err(|reason| OpenError::Damaged { file: file.to_owned(), reason })?;
    }
    Ok(conn)
}

fn set_aside(file: &Path, reason: &str, faults: &Faults) -> std::io::Result<()> {
    let aside = database::set_aside(file)?;
    let words = format!(
        "the history in {} was damaged ({reason}): counters, runs and logs begin anew; the file was kept as {}",
        file.display(),
        aside.display()
    );
    faults.set(Subject::SetAside(aside), words);
    Ok(())
}

fn write_batch(conn: &Connection, known: &mut Known, batch: &HistoryBatch) -> rusqlite::Result<()> {
    let Known { logs, blocks, runs, journal, forgotten } = known;
    let mut statement = conn.prepare_cached("INSERT OR REPLACE INTO unit_state VALUES (?1, ?2, ?3, ?4)")?;
    for (task, state) in batch.states.iter().filter(|(task, _)| !forgotten.contains(task)) {
        match encoding::encode(state) {
            Ok(bytes) => {
                statement.execute(params![task.cast_signed(), encoding::FORMAT, bytes, state.journal.cast_signed()])?;
            }
            Err(error) => tracing::error!("failed to encode the state of task {task:016x}: {error}"),
        }
    }
    batch.journal.iter().try_for_each(|entry| journal.append(conn, entry))?;
    runs.write(conn, batch.records.iter().filter(|(task, _)| !forgotten.contains(task)))?;
    let mut statement = conn.prepare_cached("DELETE FROM starts WHERE task = ?1 AND due = ?2 AND backfill = ?3")?;
    for (task, key) in &batch.ended {
        statement.execute(params![task.cast_signed(), key.due.0, key.backfill])?;
    }
    let chunks = batch.logs.iter().filter(|chunk| !forgotten.contains(&chunk.task)).collect();
    blocks.write(conn, chunks)?.into_iter().try_for_each(|chunk| keep_chunk(conn, logs, chunk))?;
    batch.host.iter().try_for_each(|run| hosts::write(conn, run))
}

/// Writes a chunk, and drops what its task then has too much.
fn keep_chunk(conn: &Connection, logs: &mut TaskMap<Usage>, chunk: &LogChunk) -> rusqlite::Result<()> {
    if logs.len() >= MAX_KNOWN_TASKS {
        logs.clear();
    }
    logs::insert(conn, chunk)?;
    let usage = match logs.entry(chunk.task) {
        // Asked after the insertion, so the chunk is in it.
        Entry::Vacant(entry) => entry.insert(quota::usage(conn, chunk.task)?),
        Entry::Occupied(entry) => {
            let usage = entry.into_mut();
            usage.add(chunk);
            usage
        }
    };
    // Lines that a clock wrote which was ahead make no others old.
    let newest = chunk.last_time.min(SystemClock.now());
    if usage.is_over(newest) {
        *usage = quota::trim(conn, chunk.task, newest)?;
    }
    Ok(())
}

fn write_starts<'s>(conn: &Connection, known: &Known, starts: impl Iterator<Item = &'s Start>) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached("INSERT OR REPLACE INTO starts VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for Start { task, run } in starts.filter(|start| !known.forgotten.contains(&start.task)) {
        let bytes = encoding::encode(run).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        statement.execute(params![task.cast_signed(), run.key.due.0, run.key.backfill, encoding::FORMAT, bytes])?;
    }
    Ok(())
}

/// The tasks that have rows and are not among `tasks`.
fn orphans(conn: &Connection, tasks: &[i64]) -> rusqlite::Result<Vec<TaskId>> {
    let mut tasks = tasks.to_vec();
    tasks.sort_unstable();
    let mut orphans = Vec::new();
    // What has chunks of log lines has a number of the newest.
    for table in TABLES.into_iter().filter(|table| *table != "log_chunks") {
        // From one task to the next by the key, without reading what is between.
        let mut next = conn.prepare(&format!("SELECT task FROM {table} WHERE task >= ?1 ORDER BY task LIMIT 1"))?;
        let mut from = Some(i64::MIN);
        while let Some(lowest) = from {
            let Some(task) = next.query_row([lowest], |row| row.get::<_, i64>(0)).optional()? else { break };
            if tasks.binary_search(&task).is_err() {
                orphans.push(task.cast_unsigned());
            }
            from = task.checked_add(1);
        }
    }
    orphans.sort_unstable();
    orphans.dedup();
    Ok(orphans)
}

/// Removes at most about `limit` rows of a task, and says how many: fewer if it has no more.
fn remove_rows(conn: &Connection, task: TaskId, limit: u64) -> rusqlite::Result<u64> {
    let mut removed = 0;
    // The tables that have few of a task go whole.
    for table in TABLES {
        let rows = match table {
            "runs" => conn
                .prepare_cached(
                    "DELETE FROM runs WHERE task = ?1 AND (first_due, backfill) IN (
                         SELECT first_due, backfill FROM runs WHERE task = ?1 ORDER BY first_due, backfill LIMIT ?2)",
                )?
                .execute(params![task.cast_signed(), limit.cast_signed()])?,
            _ => conn.prepare_cached(&format!("DELETE FROM {table} WHERE task = ?1"))?.execute([task.cast_signed()])?,
        };
        removed += rows as u64;
    }
    Ok(removed)
}

/// What the history has at start.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) states: TaskMap<UnitState>,
    pub(crate) starts: HashMap<TaskId, Vec<OpenRun>>,
    pub(crate) previous: Option<HostRun>,
    /// Where the journal goes on.
    pub(crate) journal: u64,
}

impl Stored {
    /// Nothing can be read, of what may be there. The journal goes on at a place that none had before: bytes come more slowly than
    /// nanoseconds.
    pub(crate) fn unreadable() -> Self {
        let journal = SystemClock.now().0.unsigned_abs();
        Self { states: TaskMap::default(), starts: HashMap::new(), previous: None, journal }
    }
}

/// All that can be read. What can't be is told as a fault.
pub(crate) fn load(file: &Path, faults: &Faults) -> rusqlite::Result<Stored> {
    let conn = connect_to_read(file)?;
    let previous = hosts::newest(&conn)?;
    let in_good_order = previous.is_some_and(|run| run.stopped.is_some());
    let (states, journal) = load_states(&conn, in_good_order, faults)?;
    Ok(Stored { states, journal, starts: load_starts(&conn, faults)?, previous })
}

/// Every task's state, brought up to date by the journal, and where that goes on.
///
/// A crash may have kept newer log lines than states, and lines are numbered on from the state: it counts the lines that are
/// stored, so that no number is given twice. After an end `in_good_order` the states know.
fn load_states(
    conn: &Connection,
    mut in_good_order: bool,
    faults: &Faults,
) -> rusqlite::Result<(TaskMap<UnitState>, u64)> {
    let mut states = TaskMap::<UnitState>::default();
    let mut statement = conn.prepare("SELECT task, format, state, journal FROM unit_state")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let task = row.get::<_, i64>(0)?.cast_unsigned();
        match encoding::decode(row.get(1)?, row.get_ref(2)?.as_blob()?) {
            Ok(state) => {
                let journal = row.get::<_, i64>(3)?.cast_unsigned();
                states.insert(task, UnitState { journal, ..state });
            }
            Err(reason) => {
                in_good_order = false;
                let words =
                    format!("the counters and last runs of task {task:016x} begin anew: they can't be read ({reason})");
                faults.set(Subject::State(task), words);
            }
        }
    }
    let newest = Newest::of(conn, &states, faults);
    let journal = states.values().map(|state| state.journal).fold(newest.end, u64::max);
    for task in newest.tasks() {
        if let Some(state) = states.get_mut(&task) {
            newest.apply(task, state, faults);
        }
    }
    let newest_seqs = if in_good_order { TaskMap::default() } else { logs::newest_seqs(conn)? };
    for (task, newest_seq) in newest_seqs {
        let state = states.entry(task).or_default();
        state.log_seq = state.log_seq.max(newest_seq);
    }
    Ok((states, journal))
}

/// Every task's runs that were noted to start and not to end, oldest first.
fn load_starts(conn: &Connection, faults: &Faults) -> rusqlite::Result<HashMap<TaskId, Vec<OpenRun>>> {
    let mut statement = conn.prepare("SELECT task, format, run FROM starts ORDER BY task, due, backfill")?;
    let mut rows = statement.query([])?;
    let mut starts = HashMap::<_, Vec<OpenRun>>::new();
    while let Some(row) = rows.next()? {
        let task = row.get::<_, i64>(0)?.cast_unsigned();
        match encoding::decode(row.get(1)?, row.get_ref(2)?.as_blob()?) {
            Ok(run) => starts.entry(task).or_default().push(run),
            Err(reason) => {
                let words =
                    format!("runs of task {task:016x} that had begun are not told: they can't be read ({reason})");
                faults.set(Subject::Starts(task), words);
            }
        }
    }
    Ok(starts)
}

#[cfg(test)]
mod tests {
    use taskhost_core::outcome::{Reason, RunKey};
    use taskhost_core::ports::Progress;
    use taskhost_core::time::Time;

    use super::*;

    #[test]
    fn starts_and_what_is_said_of_the_host_are_synced_with_their_commit() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut history = History::open(dir.path(), Arc::default()).expect("opens");
        let last_was_synced = |history: &History| {
            let level: i64 = history
                .conn
                .as_ref()
                .and_then(|conn| conn.pragma_query_value(None, "synchronous", |row| row.get(0)).ok())
                .expect("a connection");
            level == 2
        };
        history.record(&HistoryBatch::default()).expect("recorded");
        assert!(!last_was_synced(&history));
        let host = HostRun { started: Time(1), seen: Time(1), stopped: None, claimed: Time(1) };
        history.record(&HistoryBatch { host: Some(host), ..HistoryBatch::default() }).expect("recorded");
        assert!(last_was_synced(&history));
        history.record(&HistoryBatch::default()).expect("recorded");
        assert!(!last_was_synced(&history));
        let progress = Progress::Started { attempt: 1 };
        let run = OpenRun { key: RunKey::of(Time(1)), reason: Reason::Schedule, trigger: None, revision: 1, progress };
        history.record_starts([Start { task: 1, run }].iter()).expect("recorded");
        assert!(last_was_synced(&history));
    }

    #[test]
    fn what_deleted_tasks_left_goes_before_closing() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut history = History::open(dir.path(), Arc::default()).expect("opens");
        let state = |task| (task, UnitState::default());
        let states = (0..2 * REMOVED_AT_ONCE + 1).map(state).collect();
        history.record(&HistoryBatch { states, ..HistoryBatch::default() }).expect("recorded");
        history.forget(&(1..2 * REMOVED_AT_ONCE + 1).collect::<Vec<_>>());
        assert!(history.remove_some(), "not all of it at once");
        history.close().expect("closes");
        let left = load(history.file(), &Faults::default()).expect("loads").states;
        assert_eq!(left.into_keys().collect::<Vec<_>>(), [0]);
    }
}
