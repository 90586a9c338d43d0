//! `key_values.db`: the keys and values that tasks keep from run to run. What was answered from here survives a power cut.
//!
//! It is the tasks' own data and is never begun anew: a damaged file is kept as it is, and until somebody has looked after it every
//! call is an error, so that no task takes a lost store for an empty one. Tasks that keep nothing run all the same.

use std::collections::VecDeque;
use std::mem;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use lru::LruCache;
use rusqlite::{Connection, OptionalExtension, Savepoint, TransactionBehavior, params};
use taskhost_core::key_value::{
    KeyValue, KeyValueAnswer, KeyValueChange, KeyValueError, KeyValueUsage, check_key, incremented,
};
use taskhost_core::outcome::TaskId;
use taskhost_core::ports::{BoxFuture, StoreError};

use crate::OpenError;
use crate::database::{self, Durability, connect};
use crate::error::{from_sqlite, is_damage};
use crate::faults::{Faults, Subject};
use crate::migrate::{self, migrate};
use crate::reader::Reader;
use crate::writer::{KeyValuesJob, Writer};

const FILE_NAME: &str = "key_values.db";

/// How far the log is grown at start, in bytes.
pub(crate) const WAL_BYTES: u64 = 4 << 20;

/// How many pages of the log are copied at once: half of what it was grown to, so that a large commit still finds room.
const CHECKPOINT_FRAMES: i64 = 500;

/// How many deleted tasks are remembered, so that a last run of one that still goes on does not bring its keys back.
const MAX_FORGOTTEN: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// How many keys of deleted tasks are removed in one go, and how many bytes of values: few, since guests wait meanwhile.
const REMOVED_KEYS_AT_ONCE: i64 = 500;
const REMOVED_BYTES_AT_ONCE: i64 = 4 << 20;

/// How many times that is done at the end. What is left then is removed after the next start.
const CLOSING_REMOVALS: usize = 100;

/// One change of one task's keys and values.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) task: TaskId,
    pub(crate) change: KeyValueChange,
    pub(crate) quota_bytes: u64,
}

pub(crate) type Answer = Result<KeyValueAnswer, KeyValueError>;

/// What is wrong with the file, if it was found to be damaged: it is neither read nor written any more.
#[derive(Clone, Debug)]
pub(crate) struct Damage {
    file: PathBuf,
    reason: Arc<OnceLock<String>>,
    faults: Arc<Faults>,
}

impl Damage {
    fn check(&self) -> Result<(), StoreError> {
        match self.reason.get() {
            Some(reason) => Err(StoreError::Failed(format!(
                "the keys and values in {} are damaged ({reason})",
                self.file.display()
            ))),
            None => Ok(()),
        }
    }

    fn found(&self, reason: String) {
        let words = format!(
            "the keys and values in {} are damaged ({reason}); the file was kept as it is, and no task gets at its own: restore it \
             from a backup, or move it away to begin with none, and start the host again",
            self.file.display()
        );
        self.faults.set(Subject::Database(self.file.clone()), words);
        // It may have been found before.
        self.reason.set(reason).ok();
    }
}

/// The writing side; belongs to one thread.
#[derive(Debug)]
pub(crate) struct KeyValues {
    file: PathBuf,
    /// `None` after a failure, until the next write connects anew.
    conn: Option<Connection>,
    damage: Damage,
    forgotten: LruCache<TaskId, ()>,
    /// Deleted tasks of which there may be keys.
    leaving: VecDeque<TaskId>,
    reader: Reader,
    faults: Arc<Faults>,
}

impl KeyValues {
    /// Opens the keys and values of a data directory, or makes them where there are none. `new` says that the definitions beside them
    /// were made just now: keys that are there then belong to tasks that somebody may still bring back, and are set aside.
    pub(crate) fn open(dir: &Path, new: bool, faults: Arc<Faults>) -> Result<Self, OpenError> {
        let file = dir.join(FILE_NAME);
        if new && file.exists() {
            let aside = database::set_aside(&file).map_err(OpenError::io("set aside", &file))?;
            let words = format!("{} had no definitions beside it; it was kept as {}", file.display(), aside.display());
            faults.set(Subject::SetAside(file.clone()), words);
        }
        let damage = Damage { file: file.clone(), reason: Arc::default(), faults: Arc::clone(&faults) };
        let conn = match open_checked(&file) {
            Ok(conn) => Some(conn),
            Err(error) => {
                damage.found(error.damage().ok_or(error)?);
                None
            }
        };
        let reader = Reader::new(file.clone());
        let (forgotten, leaving) = (LruCache::new(MAX_FORGOTTEN), VecDeque::new());
        Ok(Self { file, conn, damage, forgotten, leaving, reader, faults })
    }

    /// All that others need, with the writer's end of the queue.
    pub(crate) fn shared(&self) -> impl FnOnce(Writer<KeyValuesJob>) -> SharedKeyValues + use<> {
        let (reader, damage) = (self.reader.clone(), self.damage.clone());
        |writer| SharedKeyValues { reader, writer, damage }
    }

    /// What can be done after others may read already: a longer log, and keys of tasks that are gone are found. `tasks` are those
    /// that are not.
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

    /// Makes the changes of a group in one commit. One that is refused takes nothing from the others; a failing commit refuses all,
    /// and nothing is changed.
    pub(crate) fn apply<'w>(&mut self, group: impl ExactSizeIterator<Item = &'w Write>) -> Vec<Answer> {
        let writes = group.len();
        if let Err(damaged) = self.damage.check() {
            return vec![Err(damaged.into()); writes];
        }
        let error = match self.try_apply(group) {
            Ok(answers) => {
                self.faults.clear(&Subject::Database(self.file.clone()));
                return answers;
            }
            Err(error) => error,
        };
        if is_damage(&error) {
            self.conn = None;
            self.damage.found(error.to_string());
        }
        if let Err(damaged) = self.damage.check() {
            return vec![Err(damaged.into()); writes];
        }
        let refused = from_sqlite(&error, &self.file);
        // A full disk leaves the connection sound. After anything else it is not worth finding out.
        if !matches!(refused, StoreError::Full(_)) || self.conn.as_ref().is_some_and(|conn| !conn.is_autocommit()) {
            self.conn = None;
        }
        let words = match &refused {
            StoreError::Full(_) => {
                format!("the disk is full: no keys and values are written to {}", self.file.display())
            }
            _ => format!("no keys and values are written: {refused}"),
        };
        self.faults.set(Subject::Database(self.file.clone()), words);
        vec![Err(refused.into()); writes]
    }

    fn try_apply<'w>(&mut self, group: impl Iterator<Item = &'w Write>) -> rusqlite::Result<Vec<Answer>> {
        self.connection()?;
        let Self { conn: Some(conn), forgotten, .. } = self else { return Err(rusqlite::Error::InvalidQuery) };
        let mut transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut answers = Vec::new();
        for write in group {
            if forgotten.contains(&write.task) {
                answers.push(Err(StoreError::Failed("the task is deleted".to_owned()).into()));
                continue;
            }
            // Dropped, it takes back what was done in it.
            let savepoint = transaction.savepoint()?;
            let answer = match change(&savepoint, write) {
                Ok(answer) => Ok(answer),
                Err(WriteError::Refused(error)) => Err(error),
                Err(WriteError::Sqlite(error)) => return Err(error),
            };
            if answer.is_ok() {
                savepoint.commit()?;
            } else {
                savepoint.finish()?;
            }
            answers.push(answer);
        }
        transaction.commit()?;
        Ok(answers)
    }

    /// Takes nothing of deleted tasks any more; what they left is removed by [`remove_some`](Self::remove_some).
    pub(crate) fn forget(&mut self, tasks: &[TaskId]) {
        for task in tasks {
            self.forgotten.put(*task, ());
            self.leaving.push_back(*task);
        }
    }

    /// Removes some of what deleted tasks left, and says whether there is more. What fails is left to the next start.
    pub(crate) fn remove_some(&mut self) -> bool {
        let mut leaving = mem::take(&mut self.leaving);
        let (Some(&task), Ok(())) = (leaving.front(), self.damage.check()) else { return false };
        let removed = self.connection().and_then(|conn| {
            let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let is_gone = remove_keys(&transaction, task)?;
            transaction.commit().map(|()| is_gone)
        });
        match removed {
            Ok(is_gone) => {
                if is_gone {
                    leaving.pop_front();
                }
                self.leaving = leaving;
            }
            Err(error) => {
                tracing::warn!("failed to remove the keys of deleted tasks from {}: {error}", self.file.display());
                if self.conn.as_ref().is_some_and(|conn| !conn.is_autocommit()) {
                    self.conn = None;
                }
            }
        }
        !self.leaving.is_empty()
    }

    /// Keeps the log short; to be called between commits.
    pub(crate) fn checkpoint(&self) {
        if let Some(conn) = &self.conn
            && let Err(error) = database::checkpoint(conn, CHECKPOINT_FRAMES)
        {
            // The log grows meanwhile; when that fails too, changes are refused and the fault is told.
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

    fn connection(&mut self) -> rusqlite::Result<&mut Connection> {
        if self.conn.is_none() {
            self.conn = Some(connect(&self.file, Durability::Full)?);
        }
        self.conn.as_mut().ok_or(rusqlite::Error::InvalidQuery)
    }
}

fn open_checked(file: &Path) -> Result<Connection, OpenError> {
    let is_new = !file.exists();
    if is_new {
        database::create_private(file).map_err(OpenError::io("create", file))?;
    }
    let database = OpenError::database(file);
    let damaged = |reason| OpenError::Damaged { file: file.to_owned(), reason };
    // One that was cut off to nothing is not taken for a new one. (A crash while the first one is made leaves it so, too: then it
    // has no log either.)
    let is_empty = std::fs::metadata(file).map_err(OpenError::io("open", file))?.len() == 0;
    let log = database::with_suffix(file, "-wal");
    if !is_new && is_empty && std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        return Err(damaged("it is empty".to_owned()));
    }
    let mut conn = connect(file, Durability::Full).map_err(&database)?;
    migrate(&mut conn, file, migrate::KEY_VALUES)?;
    // Values may be many and large: what is wrong with one is found when it is read.
    database::check_table(&conn, "usage").map_err(&database)?.map_err(damaged)?;
    Ok(conn)
}

/// Why one change of a group is not made.
enum WriteError {
    /// It is against a rule; the others go on.
    Refused(KeyValueError),
    /// The database failed; so do all.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<KeyValueError> for WriteError {
    fn from(error: KeyValueError) -> Self {
        Self::Refused(error)
    }
}

fn change(savepoint: &Savepoint<'_>, write: &Write) -> Result<KeyValueAnswer, WriteError> {
    write.change.check()?;
    let mut store = TaskStore::of(savepoint, write.task)?;
    let before_bytes = store.usage.bytes;
    let answer = match &write.change {
        KeyValueChange::Write { set, delete } => {
            set.iter().try_for_each(|(key, value)| store.set(key, value))?;
            let mut removed = 0;
            for key in delete {
                removed += u64::from(store.delete(key)?);
            }
            KeyValueAnswer::Written { removed }
        }
        KeyValueChange::Increment { key, by } => {
            let number = incremented(store.get(key)?.as_deref(), *by)?;
            store.set(key, number.to_string().as_bytes())?;
            KeyValueAnswer::Number(number)
        }
        KeyValueChange::Swap { key, expected, value } => {
            let stands = store.get(key)?;
            if stands.as_deref() != expected.as_deref() {
                return Ok(KeyValueAnswer::NotSwapped(stands.map(Bytes::from)));
            }
            store.set(key, value)?;
            KeyValueAnswer::Swapped
        }
        KeyValueChange::Clear => KeyValueAnswer::Written { removed: store.clear()? },
    };
    let (needed_bytes, quota_bytes) = (store.usage.bytes, write.quota_bytes);
    if needed_bytes > quota_bytes && needed_bytes > before_bytes {
        return Err(KeyValueError::Quota { needed_bytes, quota_bytes }.into());
    }
    store.write_usage()?;
    Ok(answer)
}

/// One task's keys and values, with what they come to counted along.
struct TaskStore<'c> {
    conn: &'c Connection,
    task: i64,
    usage: KeyValueUsage,
}

impl<'c> TaskStore<'c> {
    fn of(conn: &'c Connection, task: TaskId) -> rusqlite::Result<Self> {
        Ok(Self { conn, task: task.cast_signed(), usage: usage(conn, task)? })
    }

    fn get(&self, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
        value(self.conn, self.task, key)
    }

    fn set(&mut self, key: &str, value: &[u8]) -> rusqlite::Result<()> {
        match self.value_bytes(key)? {
            Some(bytes) => self.usage.bytes = self.usage.bytes.saturating_sub(bytes),
            None => {
                self.usage.keys += 1;
                self.usage.bytes += key.len() as u64;
            }
        }
        self.usage.bytes += value.len() as u64;
        let mut statement = self.conn.prepare_cached("INSERT OR REPLACE INTO key_values VALUES (?1, ?2, ?3)")?;
        statement.execute(params![self.task, key.as_bytes(), value]).map(drop)
    }

    /// Whether there was one.
    fn delete(&mut self, key: &str) -> rusqlite::Result<bool> {
        let Some(bytes) = self.value_bytes(key)? else { return Ok(false) };
        self.usage.keys = self.usage.keys.saturating_sub(1);
        self.usage.bytes = self.usage.bytes.saturating_sub(bytes + key.len() as u64);
        let mut statement = self.conn.prepare_cached("DELETE FROM key_values WHERE task = ?1 AND key = ?2")?;
        statement.execute(params![self.task, key.as_bytes()])?;
        Ok(true)
    }

    /// Takes all away, and says how many keys there were.
    fn clear(&mut self) -> rusqlite::Result<u64> {
        self.usage = KeyValueUsage::default();
        let removed = self.conn.prepare_cached("DELETE FROM key_values WHERE task = ?1")?.execute([self.task])?;
        Ok(removed as u64)
    }

    fn value_bytes(&self, key: &str) -> rusqlite::Result<Option<u64>> {
        let mut statement =
            self.conn.prepare_cached("SELECT length(value) FROM key_values WHERE task = ?1 AND key = ?2")?;
        let bytes: Option<i64> =
            statement.query_row(params![self.task, key.as_bytes()], |row| row.get(0)).optional()?;
        Ok(bytes.map(i64::cast_unsigned))
    }

    fn write_usage(&self) -> rusqlite::Result<()> {
        if self.usage.keys == 0 {
            return self.conn.prepare_cached("DELETE FROM usage WHERE task = ?1")?.execute([self.task]).map(drop);
        }
        let mut statement = self.conn.prepare_cached("INSERT OR REPLACE INTO usage VALUES (?1, ?2, ?3)")?;
        let KeyValueUsage { keys, bytes } = self.usage;
        statement.execute(params![self.task, keys.cast_signed(), bytes.cast_signed()]).map(drop)
    }
}

fn value(conn: &Connection, task: i64, key: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement = conn.prepare_cached("SELECT value FROM key_values WHERE task = ?1 AND key = ?2")?;
    statement.query_row(params![task, key.as_bytes()], |row| row.get(0)).optional()
}

fn usage(conn: &Connection, task: TaskId) -> rusqlite::Result<KeyValueUsage> {
    let mut statement = conn.prepare_cached("SELECT keys, bytes FROM usage WHERE task = ?1")?;
    let usage = statement.query_row([task.cast_signed()], |row| {
        let (keys, bytes): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(KeyValueUsage { keys: keys.cast_unsigned(), bytes: bytes.cast_unsigned() })
    });
    Ok(usage.optional()?.unwrap_or_default())
}

fn list(conn: &Connection, task: TaskId, after: Option<&str>, limit: usize) -> rusqlite::Result<Vec<(String, u64)>> {
    // No key is empty, so all come after nothing.
    let mut statement = conn.prepare_cached(
        "SELECT key, length(value) FROM key_values WHERE task = ?1 AND key > ?2 ORDER BY key LIMIT ?3",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows =
        statement.query_map(params![task.cast_signed(), after.unwrap_or_default().as_bytes(), limit], |row| {
            let key = String::from_utf8_lossy(row.get_ref(0)?.as_blob()?).into_owned();
            Ok((key, row.get::<_, i64>(1)?.cast_unsigned()))
        })?;
    rows.collect()
}

/// The tasks that have keys and are not among `tasks`.
fn orphans(conn: &Connection, tasks: &[i64]) -> rusqlite::Result<Vec<TaskId>> {
    let mut tasks = tasks.to_vec();
    tasks.sort_unstable();
    let mut statement = conn.prepare("SELECT task FROM usage")?;
    let with_keys = statement.query_map([], |row| row.get::<_, i64>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    let orphans = with_keys.into_iter().filter(|task| tasks.binary_search(task).is_err());
    Ok(orphans.map(i64::cast_unsigned).collect())
}

/// Removes some of a task's keys; whether none are left. What the task uses is forgotten last, so that what a crash leaves is found.
fn remove_keys(conn: &Connection, task: TaskId) -> rusqlite::Result<bool> {
    let task = task.cast_signed();
    let mut last: Option<Vec<u8>> = None;
    let mut is_all = true;
    let mut bytes = 0;
    {
        let mut statement =
            conn.prepare_cached("SELECT key, length(value) FROM key_values WHERE task = ?1 ORDER BY key LIMIT ?2")?;
        let mut rows = statement.query(params![task, REMOVED_KEYS_AT_ONCE])?;
        let mut keys = 0;
        while let Some(row) = rows.next()? {
            last = Some(row.get(0)?);
            bytes += row.get::<_, i64>(1)?;
            keys += 1;
            if bytes > REMOVED_BYTES_AT_ONCE || keys == REMOVED_KEYS_AT_ONCE {
                is_all = false;
                break;
            }
        }
    }
    if let Some(last) = last {
        let mut statement = conn.prepare_cached("DELETE FROM key_values WHERE task = ?1 AND key <= ?2")?;
        statement.execute(params![task, last])?;
    }
    if is_all {
        conn.prepare_cached("DELETE FROM usage WHERE task = ?1")?.execute([task])?;
    }
    Ok(is_all)
}

/// The keys and values of all tasks, for whoever may read and change them.
#[derive(Clone, Debug)]
pub(crate) struct SharedKeyValues {
    reader: Reader,
    pub(crate) writer: Writer<KeyValuesJob>,
    damage: Damage,
}

impl SharedKeyValues {
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<Result<T, KeyValueError>> {
        let Self { reader, damage, .. } = self.clone();
        Box::pin(async move {
            // Of a damaged file SQLite would answer from a part.
            damage.check()?;
            let find = damage.clone();
            let read = reader.read(move |conn| {
                read(conn).inspect_err(|error| {
                    if is_damage(error) {
                        find.found(error.to_string());
                    }
                })
            });
            let read = read.await;
            damage.check()?;
            Ok(read?)
        })
    }
}

impl KeyValue for SharedKeyValues {
    fn get(&self, task: TaskId, key: String) -> BoxFuture<Result<Option<Bytes>, KeyValueError>> {
        if let Err(error) = check_key(&key) {
            return Box::pin(std::future::ready(Err(error)));
        }
        self.read(move |conn| Ok(value(conn, task.cast_signed(), &key)?.map(Bytes::from)))
    }

    fn change(&self, task: TaskId, change: KeyValueChange, quota_bytes: u64) -> BoxFuture<Answer> {
        if let Err(error) = change.check() {
            return Box::pin(std::future::ready(Err(error)));
        }
        Box::pin(self.writer.clone().change(Write { task, change, quota_bytes }))
    }

    fn list(
        &self,
        task: TaskId,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<Result<Vec<(String, u64)>, KeyValueError>> {
        self.read(move |conn| list(conn, task, after.as_deref(), limit))
    }

    fn usage(&self, task: TaskId) -> BoxFuture<Result<KeyValueUsage, KeyValueError>> {
        self.read(move |conn| usage(conn, task))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_commit_is_synced_also_on_a_connection_made_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut opened = KeyValues::open(dir.path(), true, Arc::default()).expect("opens");
        let mut is_synced = || {
            let conn = opened.connection().expect("a connection");
            let level: i64 = conn.pragma_query_value(None, "synchronous", |row| row.get(0)).expect("a level");
            opened.conn = None;
            level == 2
        };
        assert!(is_synced() && is_synced());
    }

    #[test]
    fn keys_of_deleted_tasks_go_a_few_at_a_time_and_their_count_last() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut opened = KeyValues::open(dir.path(), true, Arc::default()).expect("opens");
        let set = (0..REMOVED_KEYS_AT_ONCE + 1).map(|key| (key.to_string(), Bytes::new())).collect();
        let change = KeyValueChange::Write { set, delete: Vec::new() };
        opened.apply([Write { task: 1, change, quota_bytes: 10_000 }].iter()).remove(0).expect("written");
        opened.forget(&[1]);
        assert!(opened.remove_some(), "not all of it at once");
        let count =
            |opened: &mut KeyValues| usage(opened.connection().expect("a connection"), 1).expect("readable").keys;
        assert_eq!(count(&mut opened), REMOVED_KEYS_AT_ONCE.cast_unsigned() + 1, "still to be found after a crash");
        assert!(!opened.remove_some());
        assert_eq!(count(&mut opened), 0);
    }
}
