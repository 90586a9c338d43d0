//! Chunks of log lines in `history.db`. How many are kept is decided in `quota.rs`.

use rusqlite::{Connection, OptionalExtension, params};
use taskhost_core::log::LogChunk;
use taskhost_core::outcome::TaskId;
use taskhost_core::time::Time;

use crate::blocks;
use crate::ids::TaskMap;

pub(crate) fn insert(conn: &Connection, chunk: &LogChunk) -> rusqlite::Result<()> {
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

/// The number of each task's newest stored line: one look at the end of each task's rows, without reading the others, and all of the
/// blocks.
pub(crate) fn newest_seqs(conn: &Connection) -> rusqlite::Result<TaskMap<u64>> {
    let mut newest_seqs = blocks::newest_seqs(conn)?;
    // As stored, ids go from the lowest number there is; the first look is at the highest.
    let mut next = conn.prepare(
        "SELECT task, first_seq + lines - 1 FROM log_chunks WHERE task <= ?1 ORDER BY task DESC, first_seq DESC LIMIT 1",
    )?;
    let mut up_to = Some(i64::MAX);
    while let Some(highest) = up_to {
        let found = next.query_row([highest], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))).optional()?;
        let Some((task, newest_seq)) = found else { break };
        let newest = newest_seqs.entry(task.cast_unsigned()).or_insert(0);
        *newest = (*newest).max(newest_seq.cast_unsigned());
        up_to = task.checked_sub(1);
    }
    Ok(newest_seqs)
}

/// The newest chunks of a task that hold at least `lines` lines after `after_seq`, oldest first.
pub(crate) fn read(conn: &Connection, task: TaskId, after_seq: u64, lines: usize) -> rusqlite::Result<Vec<LogChunk>> {
    // One look at both, or lines that become chunks meanwhile would be found twice.
    let snapshot = conn.unchecked_transaction()?;
    // Those in blocks are mostly newer, but what was in a hurry has overtaken some.
    let mut newest_first = blocks::read(conn, task, after_seq, lines)?;
    newest_first.extend(read_own(conn, task, after_seq, lines)?);
    snapshot.finish()?;
    newest_first.sort_by_key(|chunk| std::cmp::Reverse(chunk.first_seq));
    let mut found = 0;
    let mut chunks: Vec<LogChunk> = newest_first
        .into_iter()
        .take_while(|chunk| {
            let wanted = lines_after(chunk, after_seq);
            let take = found < lines && wanted > 0;
            found += wanted;
            take
        })
        .collect();
    chunks.reverse();
    Ok(chunks)
}

/// Those that have a row of their own, newest first.
fn read_own(conn: &Connection, task: TaskId, after_seq: u64, lines: usize) -> rusqlite::Result<Vec<LogChunk>> {
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
        let wanted = lines_after(&chunk, after_seq);
        if wanted == 0 {
            break;
        }
        found += wanted;
        chunks.push(chunk);
    }
    Ok(chunks)
}

/// How many lines a chunk has after one.
fn lines_after(chunk: &LogChunk, after_seq: u64) -> usize {
    let last_seq = chunk.first_seq.saturating_add(u64::from(chunk.lines)).saturating_sub(1);
    last_seq.saturating_sub(after_seq).min(u64::from(chunk.lines)) as usize
}
