//! `definitions.db`: tasks, their revisions, and the rows of plugins. What was answered from here survives a power cut.

use std::collections::HashMap;
use std::fs::{self, File};
use std::ops::RangeInclusive;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, ffi, params};
use serde::de::DeserializeOwned;
use taskhost_core::name::TaskName;
use taskhost_core::plugin::{PluginFacts, Sha256};
use taskhost_core::ports::{Change, ChangeKind, Clock, Definition, Pause, RevisionKind, StoreError, SystemClock};
use taskhost_core::spec::TaskSpec;
use taskhost_core::time::Time;

use crate::OpenError;
use crate::database::{self, Durability, connect, connect_to_read, with_suffix};
use crate::error::{from_sqlite, is_damage};
use crate::faults::{Faults, Subject};
use crate::migrate::{self, migrate};
use crate::revisions::{self, DELETED_REVISIONS_KEPT};

pub(crate) const FILE_NAME: &str = "definitions.db";

/// The version of the JSON in `spec`, `paused` and `facts`.
pub(crate) const FORMAT: u32 = 1;

/// How far the log is grown at start, in bytes.
pub(crate) const WAL_BYTES: u64 = 4 << 20;

/// How many threads load definitions at most.
const MAX_LOADING_THREADS: usize = 8;

/// Up to how many tasks one loads all: each takes a connection of its own.
pub(crate) const MANY_TASKS: u32 = 1_000;

/// How many pages of the log are copied at once: half of what it was grown to, so that a large commit still finds room.
const CHECKPOINT_FRAMES: i64 = 500;

/// One thing to write, whole or not at all.
#[derive(Debug)]
pub(crate) enum Write {
    Changes(Vec<Change>),
    PutPlugin { facts: PluginFacts, added_at: Time },
    DeletePlugin(Sha256),
}

impl Write {
    /// How much of a commit it is.
    pub(crate) fn changes(&self) -> usize {
        match self {
            Self::Changes(changes) => changes.len(),
            Self::PutPlugin { .. } | Self::DeletePlugin(_) => 1,
        }
    }
}

/// The writing side; belongs to one thread.
#[derive(Debug)]
pub(crate) struct Definitions {
    file: PathBuf,
    /// `None` after a failure, until the next write connects anew.
    conn: Option<Connection>,
    faults: Arc<Faults>,
}

impl Definitions {
    /// Opens the definitions of a data directory, or makes them where there are none.
    pub(crate) fn open(dir: &Path, faults: Arc<Faults>) -> Result<Self, OpenError> {
        let file = dir.join(FILE_NAME);
        if !file.exists() {
            create(dir, &file, &faults)?;
        }
        let conn = open_checked(&file).map_err(|error| match error.damage() {
            Some(reason) => OpenError::Damaged { file: file.clone(), reason },
            None => error,
        })?;
        Ok(Self { file, conn: Some(conn), faults })
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// What can be done after others may read already: a longer log, fewer old revisions. Without it all goes on, only slower.
    pub(crate) fn warm_up(&mut self) {
        let Some(conn) = &mut self.conn else { return };
        let before = Time(SystemClock.now().0.saturating_sub(DELETED_REVISIONS_KEPT.as_nanos() as i64));
        let done = revisions::prune_deleted(conn, before)
            .and_then(|()| database::checkpoint(conn, 0))
            .and_then(|()| database::grow_wal(conn, &self.file, WAL_BYTES));
        if let Err(error) = done {
            tracing::warn!("failed to tidy up {}: {error}", self.file.display());
        }
    }

    /// Writes a group in one commit. One write that is refused takes nothing from the others; a failing commit refuses
    /// all, and nothing is changed.
    pub(crate) fn apply(&mut self, group: &[&Write]) -> Vec<Result<(), StoreError>> {
        let error = match self.connection().and_then(|conn| write_group(conn, group)) {
            Ok(answers) => {
                self.faults.clear(&Subject::Database(self.file.clone()));
                return answers;
            }
            Err(error) => error,
        };
        let damaged = is_damage(&error);
        let refused = from_sqlite(&error, &self.file);
        // A full disk leaves the connection sound. After anything else it is not worth finding out.
        if !matches!(refused, StoreError::Full(_)) || self.conn.as_ref().is_some_and(|conn| !conn.is_autocommit()) {
            self.conn = None;
        }
        let words = match &refused {
            _ if damaged => {
                format!("the definitions in {} are damaged, and are not changed any more: {error}", self.file.display())
            }
            StoreError::Full(_) => format!("the disk is full: no definition is changed in {}", self.file.display()),
            _ => format!("no definition is changed: {refused}"),
        };
        self.faults.set(Subject::Database(self.file.clone()), words);
        vec![Err(refused); group.len()]
    }

    /// Keeps the log short; to be called between commits.
    pub(crate) fn checkpoint(&mut self) {
        if let Some(conn) = &self.conn
            && let Err(error) = database::checkpoint(conn, CHECKPOINT_FRAMES)
        {
            // The log grows meanwhile; when that fails too, writes are refused and the fault is told.
            tracing::debug!("failed to checkpoint {}: {error}", self.file.display());
        }
    }

    /// Leaves one file that has everything.
    pub(crate) fn close(&mut self) -> Result<(), StoreError> {
        let Some(conn) = self.conn.take() else { return Ok(()) };
        let copied = database::checkpoint(&conn, 0);
        let closed = conn.close().map_err(|(_, error)| error);
        copied.and(closed).map_err(|error| from_sqlite(&error, &self.file))
    }

    pub(crate) fn connection(&mut self) -> rusqlite::Result<&mut Connection> {
        if self.conn.is_none() {
            self.conn = Some(connect(&self.file, Durability::Full)?);
        }
        self.conn.as_mut().ok_or(rusqlite::Error::InvalidQuery)
    }
}

/// Makes the definitions under another name first: a `definitions.db` that is there but empty was cut off by something,
/// and is not mistaken for a new one.
fn create(dir: &Path, file: &Path, faults: &Faults) -> Result<(), OpenError> {
    let new = with_suffix(file, ".new");
    for suffix in ["", "-wal", "-shm"] {
        let left = with_suffix(&new, suffix);
        database::remove_if_there(&left).map_err(OpenError::io("remove", &left))?;
    }
    // If only the database was moved away, its log would be taken for the new one's.
    let log = with_suffix(file, "-wal");
    if log.exists() {
        let aside = database::set_aside(file).map_err(OpenError::io("set aside", &log))?;
        let words = format!("{} had no database beside it; it was kept as {}-wal", log.display(), aside.display());
        faults.set(Subject::SetAside(log), words);
    }
    database::create_private(&new).map_err(OpenError::io("create", &new))?;
    let database = OpenError::database(&new);
    let mut conn = connect(&new, Durability::Full).map_err(&database)?;
    migrate(&mut conn, &new, migrate::DEFINITIONS)?;
    conn.close().map_err(|(_, error)| database(error))?;
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    sync(&new).map_err(OpenError::io("sync", &new))?;
    fs::rename(&new, file).map_err(OpenError::io("create", file))?;
    database::sync_dir(dir).map_err(OpenError::io("sync", dir))
}

fn open_checked(file: &Path) -> Result<Connection, OpenError> {
    let database = OpenError::database(file);
    let damaged = |reason| OpenError::Damaged { file: file.to_owned(), reason };
    // SQLite would take it for a new one, and drop the log that it may have.
    if fs::metadata(file).map_err(OpenError::io("open", file))?.len() == 0 {
        return Err(damaged("it is empty".to_owned()));
    }
    let mut conn = connect(file, Durability::Full).map_err(&database)?;
    if migrate::version(&conn).map_err(&database)? < 1 {
        return Err(damaged("it has no schema".to_owned()));
    }
    migrate(&mut conn, file, migrate::DEFINITIONS)?;
    // Revisions may be many, and nothing runs by them: they are not read here.
    for table in ["tasks", "plugins"] {
        database::check_table(&conn, table).map_err(&database)?.map_err(damaged)?;
    }
    Ok(conn)
}

/// Nearly always nothing is refused. Only when something is, what it did must be taken back alone, and the group is written anew
/// with savepoints: SQLite pays for each with a copy of every page that is changed after it.
fn write_group(conn: &mut Connection, group: &[&Write]) -> rusqlite::Result<Vec<Result<(), StoreError>>> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    match group.iter().try_for_each(|write| write_one(&transaction, write)) {
        Ok(()) => {
            transaction.commit()?;
            Ok(vec![Ok(()); group.len()])
        }
        Err(WriteError::Sqlite(error)) => Err(error),
        Err(WriteError::Refused(words)) => {
            transaction.rollback()?;
            match group {
                [_] => Ok(vec![Err(StoreError::Failed(words))]),
                _ => write_each(conn, group),
            }
        }
    }
}

fn write_each(conn: &mut Connection, group: &[&Write]) -> rusqlite::Result<Vec<Result<(), StoreError>>> {
    let mut transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut answers = Vec::with_capacity(group.len());
    for write in group {
        // Dropped, it takes back what was done in it.
        let savepoint = transaction.savepoint()?;
        answers.push(match write_one(&savepoint, write) {
            Ok(()) => {
                savepoint.commit()?;
                Ok(())
            }
            Err(WriteError::Refused(words)) => {
                savepoint.finish()?;
                Err(StoreError::Failed(words))
            }
            Err(WriteError::Sqlite(error)) => return Err(error),
        });
    }
    transaction.commit()?;
    Ok(answers)
}

fn write_one(conn: &Connection, write: &Write) -> Result<(), WriteError> {
    match write {
        Write::Changes(changes) => changes.iter().try_for_each(|change| write_change(conn, change)),
        Write::PutPlugin { facts, added_at } => put_plugin(conn, facts, *added_at),
        Write::DeletePlugin(sha256) => delete_plugin(conn, *sha256),
    }
}

/// Why one write of a group is not done.
pub(crate) enum WriteError {
    /// It contradicts what is stored; the others go on.
    Refused(String),
    /// The database failed; so do all.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn write_change(conn: &Connection, change: &Change) -> Result<(), WriteError> {
    match &change.kind {
        ChangeKind::Add(definition) => {
            let spec = to_json(&definition.spec)?;
            insert_task(conn, definition, &spec)?;
            revisions::insert(conn, change, definition, RevisionKind::Add, &spec)
        }
        ChangeKind::Edit(definition) => write_next(conn, change, definition, RevisionKind::Edit),
        ChangeKind::Pause(definition) if definition.paused.is_none() => {
            Err(WriteError::Refused(format!("the pause of task `{}` says nothing", definition.name)))
        }
        ChangeKind::Pause(definition) => write_next(conn, change, definition, RevisionKind::Pause),
        ChangeKind::Resume(definition) if definition.paused.is_some() => {
            Err(WriteError::Refused(format!("the task `{}` that goes on is still paused", definition.name)))
        }
        ChangeKind::Resume(definition) => write_next(conn, change, definition, RevisionKind::Resume),
        ChangeKind::Delete { id, name, .. } => {
            let last: Option<u32> = conn
                .prepare_cached("DELETE FROM tasks WHERE id = ?1 AND name = ?2 RETURNING revision")?
                .query_row(params![id.cast_signed(), name.as_str()], |row| row.get(0))
                .optional()?;
            let last = last.ok_or_else(|| WriteError::Refused(format!("no task `{name}` with this id is stored")))?;
            revisions::insert_deletion(conn, change, *id, last.saturating_add(1))
        }
    }
}

/// Writes the next revision of a task that is there.
fn write_next(
    conn: &Connection,
    change: &Change,
    definition: &Definition,
    kind: RevisionKind,
) -> Result<(), WriteError> {
    let spec = to_json(&definition.spec)?;
    update_task(conn, definition, &spec)?;
    revisions::insert(conn, change, definition, kind, &spec)
}

fn insert_task(conn: &Connection, definition: &Definition, spec: &str) -> Result<(), WriteError> {
    let name = &definition.name;
    let inserted = conn.prepare_cached("INSERT INTO tasks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(params![
        definition.id.cast_signed(),
        name.as_str(),
        definition.revision,
        FORMAT,
        spec,
        definition.added_at.0,
        definition.due_at_once,
        definition.paused.as_ref().map(to_json).transpose()?,
    ]);
    match inserted {
        Ok(_) => Ok(()),
        Err(rusqlite::Error::SqliteFailure(error, _)) if error.code == ErrorCode::ConstraintViolation => {
            Err(WriteError::Refused(match error.extended_code {
                ffi::SQLITE_CONSTRAINT_UNIQUE => format!("a task named `{name}` is stored already"),
                _ => format!("the id of the new task `{name}` is taken"),
            }))
        }
        Err(error) => Err(error.into()),
    }
}

fn update_task(conn: &Connection, definition: &Definition, spec: &str) -> Result<(), WriteError> {
    let name = &definition.name;
    let updated = conn
        .prepare_cached(
            "UPDATE tasks SET revision = ?3, format = ?4, spec = ?5, added_at = ?6, due_at_once = ?7, paused = ?8
             WHERE id = ?1 AND name = ?2 AND revision = ?3 - 1",
        )?
        .execute(params![
            definition.id.cast_signed(),
            name.as_str(),
            definition.revision,
            FORMAT,
            spec,
            definition.added_at.0,
            definition.due_at_once,
            definition.paused.as_ref().map(to_json).transpose()?,
        ])?;
    match updated {
        1 => Ok(()),
        _ => Err(WriteError::Refused(format!(
            "no task `{name}` with revision {} is stored",
            i64::from(definition.revision) - 1
        ))),
    }
}

fn put_plugin(conn: &Connection, facts: &PluginFacts, added_at: Time) -> Result<(), WriteError> {
    conn.prepare_cached(
        "INSERT INTO plugins VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (sha256) DO UPDATE SET format = excluded.format, facts = excluded.facts",
    )?
    .execute(params![facts.sha256.0, FORMAT, to_json(facts)?, added_at.0])?;
    Ok(())
}

fn delete_plugin(conn: &Connection, sha256: Sha256) -> Result<(), WriteError> {
    conn.prepare_cached("DELETE FROM plugins WHERE sha256 = ?1")?.execute([sha256.0])?;
    Ok(())
}

pub(crate) fn to_json(value: &impl serde::Serialize) -> Result<String, WriteError> {
    serde_json::to_string(value).map_err(|error| WriteError::Refused(format!("failed to encode it: {error}")))
}

/// Every task that can be read, in order of name. One that can't be is told as a fault, and its row kept.
pub(crate) fn load(file: &Path, faults: &Faults) -> rusqlite::Result<Vec<Definition>> {
    let conn = connect_to_read(file)?;
    let mut definitions =
        if has_many(&conn)? { load_parts(file, faults)? } else { load_part(&conn, file, i64::MIN..=i64::MAX, faults)? };
    // Parts are in order each, which this sort makes use of.
    definitions.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(definitions)
}

fn has_many(conn: &Connection) -> rusqlite::Result<bool> {
    conn.prepare("SELECT 1 FROM tasks LIMIT 1 OFFSET ?1")?.exists([MANY_TASKS])
}

/// All of them, on a few threads: most of the time goes into reading JSON. Ids are random, so as many tasks have them in each part.
fn load_parts(file: &Path, faults: &Faults) -> rusqlite::Result<Vec<Definition>> {
    let parts = thread::available_parallelism().map_or(1, usize::from).min(MAX_LOADING_THREADS);
    let width = i64::MAX / parts as i64 + 1;
    let first = |part: usize| if part == 0 { i64::MIN } else { width * part as i64 };
    let last = |part: usize| if part + 1 == parts { i64::MAX } else { width * (part as i64 + 1) - 1 };
    let loaded: Vec<_> = thread::scope(|scope| {
        let load = |part| move || load_part(&connect_to_read(file)?, file, first(part)..=last(part), faults);
        let loading: Vec<_> = (0..parts).map(|part| scope.spawn(load(part))).collect();
        loading.into_iter().map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let mut definitions = Vec::new();
    for part in loaded {
        definitions.append(&mut part?);
    }
    Ok(definitions)
}

/// The tasks with these ids, in order of name.
fn load_part(
    conn: &Connection,
    file: &Path,
    ids: RangeInclusive<i64>,
    faults: &Faults,
) -> rusqlite::Result<Vec<Definition>> {
    let mut statement = conn.prepare(
        "SELECT id, name, revision, format, spec, added_at, due_at_once, paused FROM tasks WHERE id BETWEEN ?1 AND ?2",
    )?;
    let mut rows = statement.query([ids.start(), ids.end()])?;
    let (mut definitions, mut specs) = (Vec::new(), Specs::new());
    while let Some(row) = rows.next()? {
        match parse_definition(row, &mut specs)? {
            Ok(definition) => definitions.push(definition),
            Err(reason) => {
                let name: String = row.get(1)?;
                let words = format!(
                    "the task `{name}` is not run: its definition can't be read ({reason}); its row is kept in {}",
                    file.display()
                );
                faults.set(Subject::Definition(name), words);
            }
        }
    }
    definitions.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    Ok(definitions)
}

fn parse_definition(row: &Row<'_>, specs: &mut Specs) -> rusqlite::Result<Result<Definition, String>> {
    let (name, format, spec) = (row.get_ref(1)?.as_str()?, row.get(3)?, row.get_ref(4)?.as_str()?);
    let paused = row.get_ref(7)?.as_str_or_null()?;
    let parsed = TaskName::new(name).map_err(|error| error.to_string()).and_then(|name| {
        let spec = parse_spec(specs, format, spec)?;
        // Better not run at all than while paused.
        Ok((name, spec, paused.map(|json| parse_json::<Box<Pause>>(format, json)).transpose()?))
    });
    Ok(match parsed {
        Ok((name, spec, paused)) => Ok(Definition {
            id: row.get::<_, i64>(0)?.cast_unsigned(),
            name,
            revision: row.get(2)?,
            spec,
            added_at: Time(row.get(5)?),
            due_at_once: row.get(6)?,
            paused,
        }),
        Err(reason) => Err(reason),
    })
}

/// The definitions that were read, by their JSON: tasks that differ in nothing else share one, and it is read once.
type Specs = HashMap<Box<str>, Arc<TaskSpec>>;

fn parse_spec(specs: &mut Specs, format: u32, json: &str) -> Result<Arc<TaskSpec>, String> {
    if let Some(spec) = specs.get(json).filter(|_| format == FORMAT) {
        return Ok(Arc::clone(spec));
    }
    let spec = Arc::new(parse_json(format, json)?);
    specs.insert(json.into(), Arc::clone(&spec));
    Ok(spec)
}

/// Reads JSON that was stored with a format's number beside it.
pub(crate) fn parse_json<T: DeserializeOwned>(format: u32, json: &str) -> Result<T, String> {
    if format != FORMAT {
        return Err(format!("it has format {format}, and this binary knows format {FORMAT}"));
    }
    serde_json::from_str(json).map_err(|error| error.to_string())
}

/// The ids of all tasks, readable or not.
pub(crate) fn task_ids(file: &Path) -> rusqlite::Result<Vec<i64>> {
    connect_to_read(file)?.prepare("SELECT id FROM tasks")?.query_map([], |row| row.get(0))?.collect()
}

/// Every plugin's row that can be read, in order of sha256. One that can't be is told as a fault, and kept.
pub(crate) fn plugins(file: &Path, faults: &Faults) -> rusqlite::Result<Vec<(PluginFacts, Time)>> {
    let conn = connect_to_read(file)?;
    let mut statement = conn.prepare("SELECT sha256, format, facts, added_at FROM plugins ORDER BY sha256")?;
    let mut rows = statement.query([])?;
    let mut plugins = Vec::new();
    while let Some(row) = rows.next()? {
        let sha256 = Sha256(row.get(0)?);
        match parse_facts(sha256, row.get(1)?, row.get_ref(2)?.as_str()?) {
            Ok(facts) => plugins.push((facts, Time(row.get(3)?))),
            Err(reason) => {
                let words = format!(
                    "what is known of plugin {sha256} can't be read ({reason}); its row is kept in {}",
                    file.display()
                );
                faults.set(Subject::Plugin(sha256), words);
            }
        }
    }
    Ok(plugins)
}

fn parse_facts(sha256: Sha256, format: u32, json: &str) -> Result<PluginFacts, String> {
    let facts: PluginFacts = parse_json(format, json)?;
    if facts.sha256 != sha256 {
        return Err(format!("it is of another plugin, {}", facts.sha256));
    }
    Ok(facts)
}
