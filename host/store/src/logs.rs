//! Chunks of log lines in `history.db`. How many are kept is decided in `quota.rs`.

use rusqlite::{Connection, params};
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
    // What was in a hurry has overtaken lines that become chunks after it.
    let newest_seq = chunk.first_seq + u64::from(chunk.lines).saturating_sub(1);
    conn.prepare_cached(
        "INSERT INTO log_seqs VALUES (?1, ?2)
             ON CONFLICT (task) DO UPDATE SET newest_seq = max(newest_seq, excluded.newest_seq)",
    )?
    .execute(params![chunk.task.cast_signed(), newest_seq.cast_signed()])?;
    Ok(())
}

/// The number of each task's newest stored line. Reads all blocks, and no chunks.
pub(crate) fn newest_seqs(conn: &Connection) -> rusqlite::Result<TaskMap<u64>> {
    let mut newest_seqs = blocks::newest_seqs(conn)?;
    let mut statement = conn.prepare("SELECT task, newest_seq FROM log_seqs")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let newest = newest_seqs.entry(row.get::<_, i64>(0)?.cast_unsigned()).or_insert(0);
        *newest = (*newest).max(row.get::<_, i64>(1)?.cast_unsigned());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::{HISTORY, migrate};

    fn chunk(task: TaskId, first_seq: u64, lines: u32) -> LogChunk {
        let (first_time, last_time) = (Time(1), Time(2));
        LogChunk { task, first_seq, lines, first_time, last_time, failed: false, data: vec![7; 9] }
    }

    fn newest(conn: &Connection) -> Vec<(TaskId, u64)> {
        let mut newest: Vec<_> = newest_seqs(conn).expect("reads").into_iter().collect();
        newest.sort_unstable();
        newest
    }

    #[test]
    fn the_newest_line_is_known_whichever_was_written_last_and_whatever_was_dropped() {
        let mut conn = Connection::open_in_memory().expect("a database in memory");
        migrate(&mut conn, "test.db".as_ref(), HISTORY).expect("a schema");
        for chunk in [chunk(1, 5, 2), chunk(1, 1, 4), chunk(u64::MAX, 1, 1)] {
            insert(&conn, &chunk).expect("inserts");
        }
        conn.execute("DELETE FROM log_chunks WHERE first_seq = 5", []).expect("deletes");
        assert_eq!(newest(&conn), [(1, 6), (u64::MAX, 1)]);
    }

    #[test]
    fn the_newest_line_of_the_schema_before_is_still_known() {
        let mut conn = Connection::open_in_memory().expect("a database in memory");
        migrate(&mut conn, "test.db".as_ref(), &HISTORY[..3]).expect("the schema before");
        for (first_seq, lines) in [(5, 2), (1, 4)] {
            let row = params![1, first_seq, lines, 1, 2, false, vec![7_u8; 9]];
            conn.execute("INSERT INTO log_chunks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", row).expect("inserts");
        }
        migrate(&mut conn, "test.db".as_ref(), HISTORY).expect("the schema of today");
        assert_eq!(newest(&conn), [(1, 6)]);
    }
}
