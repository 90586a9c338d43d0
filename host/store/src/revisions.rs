//! Revisions in `definitions.db`: who changed what when. They are written with the change, and outlive their task.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};
use taskhost_core::outcome::TaskId;
use taskhost_core::ports::{Actor, Change, Definition, Pause, Revision, RevisionKind};
use taskhost_core::time::Time;

use crate::database::connect_to_read;
use crate::definitions::{FORMAT, WriteError, parse_json, to_json};

/// How many revisions of a task are kept, the newest.
pub const MAX_REVISIONS: u32 = 100;

/// How long the revisions of a deleted task are kept.
pub const DELETED_REVISIONS_KEPT: Duration = Duration::from_secs(90 * 86_400);

/// Notes that a task was changed to this definition, and lets go of its oldest revisions.
pub(crate) fn insert(
    conn: &Connection,
    change: &Change,
    definition: &Definition,
    kind: RevisionKind,
    spec: &str,
) -> Result<(), WriteError> {
    let paused = match kind {
        RevisionKind::Pause => definition.paused.as_ref().map(to_json).transpose()?,
        _ => None,
    };
    insert_row(conn, change, definition.id, definition.revision, kind, Some(spec), paused.as_deref())?;
    if definition.revision > MAX_REVISIONS {
        conn.prepare_cached("DELETE FROM revisions WHERE task = ?1 AND revision <= ?2 - ?3")?.execute(params![
            definition.id.cast_signed(),
            definition.revision,
            MAX_REVISIONS
        ])?;
    }
    Ok(())
}

/// Notes that a task was deleted.
pub(crate) fn insert_deletion(
    conn: &Connection,
    change: &Change,
    task: TaskId,
    revision: u32,
) -> Result<(), WriteError> {
    insert_row(conn, change, task, revision, RevisionKind::Delete, None, None)
}

fn insert_row(
    conn: &Connection,
    change: &Change,
    task: TaskId,
    revision: u32,
    kind: RevisionKind,
    spec: Option<&str>,
    paused: Option<&str>,
) -> Result<(), WriteError> {
    let inserted = conn
        .prepare_cached("INSERT OR IGNORE INTO revisions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params![
            task.cast_signed(),
            revision,
            change.at.0,
            to_json(&change.by)?,
            kind.as_str(),
            FORMAT,
            spec,
            paused
        ])?;
    match inserted {
        1 => Ok(()),
        _ => Err(WriteError::Refused(format!("revision {revision} of task {task:016x} is stored already"))),
    }
}

/// Removes the revisions of tasks that were deleted before a time.
pub(crate) fn prune_deleted(conn: &Connection, before: Time) -> rusqlite::Result<()> {
    conn.execute(
        "DELETE FROM revisions WHERE task IN (SELECT task FROM revisions WHERE kind = 'delete' AND at < ?1)",
        [before.0],
    )?;
    Ok(())
}

/// The newest revisions of a task, newest first. What a spec or a pause said is missing where it can't be read any more.
pub(crate) fn read(file: &Path, task: TaskId, limit: usize) -> rusqlite::Result<Vec<Revision>> {
    connect_to_read(file)?
        .prepare(
            "SELECT revision, at, by, kind, format, spec, paused FROM revisions
             WHERE task = ?1 ORDER BY revision DESC LIMIT ?2",
        )?
        .query_map(params![task.cast_signed(), i64::try_from(limit).unwrap_or(i64::MAX)], parse)?
        .collect()
}

fn parse(row: &Row<'_>) -> rusqlite::Result<Revision> {
    let unknown = |column, words: String| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, words.into());
    let by = row.get_ref(2)?.as_str()?;
    let kind = row.get_ref(3)?.as_str()?;
    let format = row.get(4)?;
    Ok(Revision {
        revision: row.get(0)?,
        at: Time(row.get(1)?),
        by: serde_json::from_str::<Actor>(by).map_err(|error| unknown(2, error.to_string()))?,
        kind: parse_kind(kind).ok_or_else(|| unknown(3, format!("`{kind}` is no kind of revision")))?,
        spec: row.get_ref(5)?.as_str_or_null()?.and_then(|spec| parse_json(format, spec).ok()).map(Arc::new),
        paused: row.get_ref(6)?.as_str_or_null()?.and_then(|paused| parse_json::<Pause>(format, paused).ok()),
    })
}

fn parse_kind(text: &str) -> Option<RevisionKind> {
    use RevisionKind::{Add, Delete, Edit, Pause, Resume};
    [Add, Edit, Pause, Resume, Delete].into_iter().find(|kind| kind.as_str() == text)
}
