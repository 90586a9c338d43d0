//! `history.db`: what tasks did and what they wrote. It may be lost without harm to the definitions: a damaged one is set
//! aside, and the host goes on with a new one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lru::LruCache;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use taskhost_core::log::LogChunk;
use taskhost_core::outcome::TaskId;
use taskhost_core::ports::{HistoryBatch, StoreError, UnitState};
use taskhost_core::time::Time;

use crate::OpenError;
use crate::database::{self, Durability, connect, connect_to_read};
use crate::error::{from_sqlite, is_damage};
use crate::faults::{Faults, Subject};
use crate::migrate::{self, migrate};
use crate::quota::{self, Usage};
use crate::reader::Reader;
use crate::state;

const FILE_NAME: &str = "history.db";

/// How many pages of the log are copied at once. The same pages are written again every second, so many come together.
const CHECKPOINT_FRAMES: i64 = 8000;

/// How many deleted tasks are remembered, so that a batch which was on its way when they went does not bring them back.
const MAX_FORGOTTEN: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// The writing side; belongs to one thread.
#[derive(Debug)]
pub(crate) struct History {
    file: PathBuf,
    /// `None` after a failure, until the next write connects anew.
    conn: Option<Connection>,
    /// How much log each task has, as far as it was asked since start.
    usage: HashMap<TaskId, Usage>,
    forgotten: LruCache<TaskId, ()>,
    reader: Reader,
    faults: Arc<Faults>,
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
            usage: HashMap::new(),
            forgotten: LruCache::new(MAX_FORGOTTEN),
            reader,
            faults,
        })
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// The reading side.
    pub(crate) fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// What can be done after others may read already: rows of tasks that are gone go. `tasks` are those that are not.
    /// Without it all goes on, only larger.
    pub(crate) fn warm_up(&mut self, tasks: &[i64]) {
        let Some(conn) = &mut self.conn else { return };
        if let Err(error) = remove_orphans(conn, tasks).and_then(|()| database::checkpoint(conn, 0)) {
            tracing::warn!("failed to tidy up {}: {error}", self.file.display());
        }
    }

    /// Writes a batch whole, or nothing of it.
    pub(crate) fn record(&mut self, batch: &HistoryBatch) -> Result<(), StoreError> {
        let mut written = self.try_record(batch);
        if let Err(error) = &written
            && is_damage(error)
        {
            self.begin_anew(&error.to_string());
            written = self.try_record(batch);
        }
        let error = match written {
            Ok(()) => {
                self.faults.clear(&Subject::Database(self.file.clone()));
                return Ok(());
            }
            Err(error) => error,
        };
        // It may count chunks that were taken back.
        self.usage.clear();
        let refused = from_sqlite(&error, &self.file);
        if !matches!(refused, StoreError::Full(_)) || self.conn.as_ref().is_some_and(|conn| !conn.is_autocommit()) {
            self.conn = None;
        }
        let words = match &refused {
            StoreError::Full(_) => format!("the disk is full: no history is written to {}", self.file.display()),
            _ => format!("no history is written: {refused}"),
        };
        self.faults.set(Subject::Database(self.file.clone()), words);
        Err(refused)
    }

    /// Removes all that deleted tasks left. What fails is left to the next start.
    pub(crate) fn forget(&mut self, tasks: &[TaskId]) {
        for task in tasks {
            self.forgotten.put(*task, ());
            self.usage.remove(task);
        }
        let removed = self.connection().and_then(|conn| {
            let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tasks.iter().try_for_each(|task| remove_task(&transaction, task.cast_signed()))?;
            transaction.commit()
        });
        if let Err(error) = removed {
            tracing::warn!("failed to remove the history of deleted tasks from {}: {error}", self.file.display());
        }
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
        let Some(conn) = self.conn.take() else { return Ok(()) };
        let copied = database::checkpoint(&conn, 0);
        let closed = conn.close().map_err(|(_, error)| error);
        copied.and(closed).map_err(|error| from_sqlite(&error, &self.file))
    }

    fn try_record(&mut self, batch: &HistoryBatch) -> rusqlite::Result<()> {
        self.connection()?;
        let Self { conn: Some(conn), usage, forgotten, .. } = self else { return Err(rusqlite::Error::InvalidQuery) };
        let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut statement = transaction.prepare_cached("INSERT OR REPLACE INTO unit_state VALUES (?1, ?2, ?3)")?;
            for (task, state) in &batch.states {
                if forgotten.contains(task) {
                    continue;
                }
                match state::encode(state) {
                    Ok(bytes) => statement.execute(params![task.cast_signed(), state::FORMAT, bytes]).map(drop)?,
                    Err(error) => tracing::error!("failed to encode the state of task {task:016x}: {error}"),
                }
            }
            for chunk in batch.logs.iter().filter(|chunk| !forgotten.contains(&chunk.task)) {
                insert_chunk(&transaction, chunk)?;
                let usage = match usage.entry(chunk.task) {
                    // Asked after the insertion, so the chunk is in it.
                    Entry::Vacant(entry) => entry.insert(quota::usage(&transaction, chunk.task)?),
                    Entry::Occupied(entry) => {
                        let usage = entry.into_mut();
                        usage.add(chunk);
                        usage
                    }
                };
                if usage.is_over(chunk.last_time) {
                    *usage = quota::trim(&transaction, chunk.task, chunk.last_time)?;
                }
            }
        }
        transaction.commit()
    }

    fn connection(&mut self) -> rusqlite::Result<&mut Connection> {
        if self.conn.is_none() {
            // A file that was begun anew may not be there yet, or be without its tables: the disk was full, say.
            let file = &self.file;
            database::create_private(file).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
            let mut conn = connect(file, Durability::Normal)?;
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
        self.usage.clear();
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

fn open_checked(file: &Path) -> Result<Connection, OpenError> {
    database::create_private(file).map_err(OpenError::io("create", file))?;
    let database = OpenError::database(file);
    let mut conn = connect(file, Durability::Normal).map_err(&database)?;
    migrate(&mut conn, file, migrate::HISTORY)?;
    // Logs may be many: they are not read here.
    database::check_table(&conn, "unit_state")
        .map_err(&database)?
        .map_err(|reason| OpenError::Damaged { file: file.to_owned(), reason })?;
    Ok(conn)
}

fn set_aside(file: &Path, reason: &str, faults: &Faults) -> std::io::Result<()> {
    let aside = database::set_aside(file)?;
    let words = format!(
        "the history in {} was damaged ({reason}): counters, last runs and logs begin anew; the file was kept as {}",
        file.display(),
        aside.display()
    );
    faults.set(Subject::SetAside(aside), words);
    Ok(())
}

fn insert_chunk(conn: &Connection, chunk: &LogChunk) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO log_chunks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(params![
        chunk.task.cast_signed(),
        chunk.first_seq.cast_signed(),
        chunk.lines,
        chunk.first_time.0,
        chunk.last_time.0,
        chunk.failed,
        chunk.data,
    ])?;
    Ok(())
}

fn remove_orphans(conn: &mut Connection, tasks: &[i64]) -> rusqlite::Result<()> {
    let mut tasks = tasks.to_vec();
    tasks.sort_unstable();
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut orphans: Vec<i64> = {
        let mut statement = transaction.prepare("SELECT task FROM unit_state")?;
        let ids = statement.query_map([], |row| row.get(0))?;
        ids.filter(|id| id.as_ref().map_or(true, |id| tasks.binary_search(id).is_err())).collect::<Result<_, _>>()?
    };
    // From one task to the next by the key, without reading what is between.
    let mut next = transaction.prepare("SELECT task FROM log_chunks WHERE task >= ?1 ORDER BY task LIMIT 1")?;
    let mut from = Some(i64::MIN);
    while let Some(task) = from.map(|from| next.query_row([from], |row| row.get(0)).optional()).transpose()?.flatten() {
        if tasks.binary_search(&task).is_err() {
            orphans.push(task);
        }
        from = task.checked_add(1);
    }
    drop(next);
    for task in orphans {
        remove_task(&transaction, task)?;
    }
    transaction.commit()
}

fn remove_task(conn: &Connection, task: i64) -> rusqlite::Result<()> {
    conn.prepare_cached("DELETE FROM unit_state WHERE task = ?1")?.execute([task])?;
    conn.prepare_cached("DELETE FROM log_chunks WHERE task = ?1")?.execute([task])?;
    Ok(())
}

/// Every task's state that can be read. One that can't be is told as a fault.
///
/// A crash may have kept newer log lines than states, and lines are numbered on from the state: it counts the lines that are
/// stored, so that no number is given twice.
pub(crate) fn load(file: &Path, faults: &Faults) -> rusqlite::Result<HashMap<TaskId, UnitState>> {
    let conn = connect_to_read(file)?;
    let mut statement = conn.prepare("SELECT task, format, state FROM unit_state")?;
    let mut rows = statement.query([])?;
    let mut states = HashMap::new();
    while let Some(row) = rows.next()? {
        let task = row.get::<_, i64>(0)?.cast_unsigned();
        match state::decode(row.get(1)?, row.get_ref(2)?.as_blob()?) {
            Ok(state) => {
                states.insert(task, state);
            }
            Err(reason) => {
                let words =
                    format!("the counters and last runs of task {task:016x} begin anew: they can't be read ({reason})");
                faults.set(Subject::State(task), words);
            }
        }
    }
    for (task, newest_seq) in newest_seqs(&conn)? {
        let state = states.entry(task).or_default();
        state.log_seq = state.log_seq.max(newest_seq);
    }
    Ok(states)
}

/// The number of each task's newest stored line: one look at the end of each task's rows, without reading the others.
fn newest_seqs(conn: &Connection) -> rusqlite::Result<HashMap<TaskId, u64>> {
    // As stored, ids go from the lowest number there is; the first look is at the highest.
    let mut next = conn.prepare(
        "SELECT task, first_seq + lines - 1 FROM log_chunks WHERE task <= ?1 ORDER BY task DESC, first_seq DESC LIMIT 1",
    )?;
    let mut newest_seqs = HashMap::new();
    let mut up_to = Some(i64::MAX);
    while let Some(highest) = up_to {
        let found = next.query_row([highest], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).optional()?;
        let Some((task, newest_seq)) = found else { break };
        newest_seqs.insert(task.cast_unsigned(), newest_seq.cast_unsigned());
        up_to = task.checked_sub(1);
    }
    Ok(newest_seqs)
}

/// The newest chunks of a task that hold at least `lines` lines after `after_seq`, oldest first.
pub(crate) fn read_logs(
    conn: &Connection,
    task: TaskId,
    after_seq: u64,
    lines: usize,
) -> rusqlite::Result<Vec<LogChunk>> {
    let mut statement = conn.prepare_cached(
        "SELECT first_seq, lines, first_time, last_time, failed, data FROM log_chunks WHERE task = ?1 ORDER BY first_seq DESC",
    )?;
    let mut rows = statement.query([task.cast_signed()])?;
    let mut chunks = Vec::new();
    let mut found = 0;
    while found < lines
        && let Some(row) = rows.next()?
    {
        let chunk = LogChunk {
            task,
            first_seq: row.get::<_, i64>(0)?.cast_unsigned(),
            lines: row.get(1)?,
            first_time: Time(row.get(2)?),
            last_time: Time(row.get(3)?),
            failed: row.get(4)?,
            data: row.get(5)?,
        };
        let last_seq = chunk.first_seq.saturating_add(u64::from(chunk.lines)).saturating_sub(1);
        let wanted = last_seq.saturating_sub(after_seq).min(u64::from(chunk.lines));
        if wanted == 0 {
            break;
        }
        found = found.saturating_add(wanted as usize);
        chunks.push(chunk);
    }
    chunks.reverse();
    Ok(chunks)
}
