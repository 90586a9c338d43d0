//! The floor: what it costs to make definitions durable on a disk with nothing around it, for benchmarks to measure the host
//! against.
//!
//! The same database, pragmas, log and rows as a host's, made ready beforehand and written in one commit after the other; no
//! queue, threads, checks, savepoints or answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior, params};
use taskhost_core::ports::{Actor, Definition, RevisionKind, StoreError};

use crate::OpenError;
use crate::definitions::{Definitions, FORMAT, WriteError, to_json};
use crate::error::from_sqlite;
use crate::faults::Faults;

/// A database of definitions that is written without a host.
#[derive(Debug)]
pub struct Floor {
    definitions: Definitions,
    file: PathBuf,
}

/// What is stored of a task that was added.
struct Rows<'d> {
    definition: &'d Definition,
    spec: String,
    by: String,
}

impl Floor {
    /// Makes an empty one in a directory that is there, with a log as long as a host's. Blocking.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let mut definitions = Definitions::open(dir, Arc::new(Faults::default()))?;
        definitions.warm_up();
        Ok(Self { file: definitions.file().to_owned(), definitions })
    }

    /// Writes the rows of so many new tasks, `group` of them in each commit; answers how long that took. Blocking.
    pub fn add(&mut self, added: &[Definition], by: Actor, group: usize) -> Result<Duration, StoreError> {
        let rows = |definition| Ok(Rows { definition, spec: to_json(&definition.spec)?, by: to_json(&by)? });
        let rows = added.iter().map(rows).collect::<Result<Vec<_>, _>>().map_err(|error| match error {
            WriteError::Refused(words) => StoreError::Failed(words),
            WriteError::Sqlite(error) => from_sqlite(&error, &self.file),
        })?;
        let began = Instant::now();
        for group in rows.chunks(group) {
            let conn = self.definitions.connection().map_err(|error| from_sqlite(&error, &self.file))?;
            write(conn, group).map_err(|error| from_sqlite(&error, &self.file))?;
            self.definitions.checkpoint();
        }
        Ok(began.elapsed())
    }
}

fn write(conn: &mut Connection, group: &[Rows<'_>]) -> rusqlite::Result<()> {
    let transaction = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut tasks = transaction.prepare_cached("INSERT INTO tasks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL)")?;
        let mut revisions =
            transaction.prepare_cached("INSERT INTO revisions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, NULL)")?;
        for Rows { definition, spec, by } in group {
            let Definition { id, revision, added_at, due_at_once, .. } = definition;
            let (id, name) = (id.cast_signed(), definition.name.as_str());
            tasks.execute(params![id, name, revision, FORMAT, spec, added_at.0, due_at_once])?;
            revisions.execute(params![id, revision, added_at.0, by, RevisionKind::Add.as_str(), FORMAT, spec])?;
        }
    }
    transaction.commit()
}
