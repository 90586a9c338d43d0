//! How much log a task may keep, and what goes first.
//!
//! Lines are deleted oldest first, but those of failed runs go last, since they are what people look for. So that a task
//! that always fails does not keep its first failures in place of its newest lines, this holds for the newest half.

use std::time::Duration;

use rusqlite::{Connection, params};
use taskhost_core::log::LogChunk;
use taskhost_core::outcome::TaskId;
use taskhost_core::time::Time;

/// The most that a task's stored log may have, in bytes with [`CHUNK_OVERHEAD_BYTES`].
pub const MAX_LOG_BYTES: u64 = 1 << 20;

/// What is left when a log is cut, in bytes: less than allowed, so that not every chunk cuts again.
pub const CUT_LOG_BYTES: u64 = MAX_LOG_BYTES / 8 * 7;

/// How much of it may be lines of failed runs that outlive newer ones, in bytes.
pub const FAILED_LOG_BYTES: u64 = MAX_LOG_BYTES / 2;

/// What a chunk counts beside its data, in bytes: its key, its times and its place in the file.
pub const CHUNK_OVERHEAD_BYTES: u64 = 64;

/// How long lines are kept, counted back from the task's newest.
pub const MAX_LOG_AGE: Duration = Duration::from_secs(7 * 86_400);

/// How much log a task has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    bytes: u64,
    /// When the oldest chunk ended.
    oldest: Time,
}

impl Usage {
    pub(crate) fn add(&mut self, chunk: &LogChunk) {
        self.bytes += CHUNK_OVERHEAD_BYTES + chunk.data.len() as u64;
        self.oldest = self.oldest.min(chunk.last_time);
    }

    pub(crate) fn is_over(&self, now: Time) -> bool {
        self.bytes > MAX_LOG_BYTES || now.since(self.oldest) > MAX_LOG_AGE
    }
}

/// Asks how much log a task has.
pub(crate) fn usage(conn: &Connection, task: TaskId) -> rusqlite::Result<Usage> {
    conn.prepare_cached("SELECT coalesce(sum(length(data) + ?2), 0), min(last_time) FROM log_chunks WHERE task = ?1")?
        .query_row(params![task.cast_signed(), CHUNK_OVERHEAD_BYTES.cast_signed()], |row| {
            let oldest: Option<i64> = row.get(1)?;
            Ok(Usage { bytes: row.get::<_, i64>(0)?.cast_unsigned(), oldest: Time(oldest.unwrap_or(i64::MAX)) })
        })
}

/// Deletes what is too old or too much, and says what is left.
pub(crate) fn trim(conn: &Connection, task: TaskId, now: Time) -> rusqlite::Result<Usage> {
    let mut statement = conn.prepare_cached(
        "SELECT first_seq, length(data) + ?2, last_time, failed FROM log_chunks WHERE task = ?1 ORDER BY first_seq",
    )?;
    let chunks: Vec<Chunk> = statement
        .query_map(params![task.cast_signed(), CHUNK_OVERHEAD_BYTES.cast_signed()], |row| {
            Ok(Chunk {
                first_seq: row.get(0)?,
                bytes: row.get::<_, i64>(1)?.cast_unsigned(),
                last_time: Time(row.get(2)?),
                failed: row.get(3)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    let mut delete = conn.prepare_cached("DELETE FROM log_chunks WHERE task = ?1 AND first_seq = ?2")?;
    for first_seq in surplus(&chunks, now) {
        delete.execute([task.cast_signed(), first_seq])?;
    }
    usage(conn, task)
}

#[derive(Clone, Copy, Debug)]
struct Chunk {
    first_seq: i64,
    bytes: u64,
    last_time: Time,
    failed: bool,
}

/// Which of a task's chunks, given oldest first, are to go.
fn surplus(chunks: &[Chunk], now: Time) -> Vec<i64> {
    let (old, mut kept): (Vec<Chunk>, Vec<Chunk>) =
        chunks.iter().partition(|chunk| now.since(chunk.last_time) > MAX_LOG_AGE);
    let mut total: u64 = kept.iter().map(|chunk| chunk.bytes).sum();
    let mut gone: Vec<i64> = old.iter().map(|chunk| chunk.first_seq).collect();
    if total <= MAX_LOG_BYTES {
        return gone;
    }
    let mut failed_bytes = 0;
    for chunk in kept.iter_mut().rev().filter(|chunk| chunk.failed) {
        failed_bytes += chunk.bytes;
        chunk.failed = failed_bytes <= FAILED_LOG_BYTES;
    }
    // Stable: oldest first within each kind.
    kept.sort_by_key(|chunk| chunk.failed);
    for chunk in kept {
        if total <= CUT_LOG_BYTES {
            break;
        }
        total -= chunk.bytes;
        gone.push(chunk.first_seq);
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK_BYTES: u64 = 64 << 10;

    fn chunks(count: i64, failed: impl Fn(i64) -> bool) -> Vec<Chunk> {
        let chunk = |seq| Chunk { first_seq: seq, bytes: CHUNK_BYTES, last_time: Time(seq), failed: failed(seq) };
        (0..count).map(chunk).collect()
    }

    #[test]
    fn nothing_goes_up_to_the_quota() {
        assert!(surplus(&chunks(16, |_| false), Time(16)).is_empty());
    }

    #[test]
    fn the_oldest_go_until_there_is_room_again() {
        assert_eq!(surplus(&chunks(17, |_| false), Time(17)), [0, 1, 2]);
    }

    #[test]
    fn failed_runs_go_last() {
        assert_eq!(surplus(&chunks(17, |seq| seq < 4), Time(17)), [4, 5, 6]);
    }

    #[test]
    fn a_task_that_failed_much_keeps_its_newest_lines_all_the_same() {
        assert_eq!(surplus(&chunks(17, |_| true), Time(17)), [0, 1, 2]);
        assert_eq!(surplus(&chunks(17, |seq| seq < 12), Time(17)), [0, 1, 2]);
    }

    #[test]
    fn old_lines_go_even_of_failed_runs() {
        let now = Time(4).saturating_add(MAX_LOG_AGE);
        assert_eq!(surplus(&chunks(17, |seq| seq < 2), now), [0, 1, 2, 3]);
    }
}
