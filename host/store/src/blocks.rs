//! Blocks of log lines in `history.db`: the first place of chunks that are small, where there are many. A row for each would cost
//! more than all the rest of a tick; so those of a batch share a row for each slice of the tasks. Readers find a task's newest lines
//! in the rows of its slice.
//!
//! When a slice has grown, what each of its tasks has there becomes a chunk of its own, and the rows go: one slice at a time, so that
//! runs which are about to start do not wait long, and slices take turns, though all of them grow alike. Quotas count from then on.

use std::ops::Range;

use rusqlite::{Connection, params};
use taskhost_core::log::{LARGE_CHUNK_BYTES, LogChunk};
use taskhost_core::outcome::TaskId;
use taskhost_core::time::Time;

use crate::ids::TaskMap;

/// The version of the encoding of blocks.
const FORMAT: u32 = 1;

/// How many slices there are: so many rows a batch has at most.
const SLICES: usize = 64;

/// Where a task's slice stands in its id, of which the highest bit is never set.
const SLICE_SHIFT: u32 = 57;

/// Where a row's slice stands in its place, above the number of its batch.
const PLACE_SHIFT: u32 = 48;

/// How many small chunks a batch has before they share rows; fewer have rows of their own at once.
const MIN_SHARED: usize = 256;

/// How large a slice grows before its lines become chunks: what a reader looks through at most, or about so.
const MAX_SLICE_BYTES: u64 = 4 << 20;
const MAX_SLICE_ROWS: u64 = 512;

/// How many slices may be unpacked for each batch.
const UNPACKED_AT_ONCE: u32 = 2;

/// What a chunk has before its data: at most so many bytes.
const MAX_HEAD_BYTES: usize = 64;

/// The writing side.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    /// What there is; `None` if that is to be counted.
    usage: Option<Box<Usage>>,
    /// How many slices may be unpacked until there is another batch.
    unpacks: u32,
}

#[derive(Clone, Debug)]
struct Usage {
    next_seq: i64,
    slices: [SliceUsage; SLICES],
}

#[derive(Clone, Copy, Debug, Default)]
struct SliceUsage {
    rows: u64,
    bytes: u64,
}

impl SliceUsage {
    /// By how much it has grown too large; below 1 it has not.
    fn fullness(self) -> f64 {
        (self.rows as f64 / MAX_SLICE_ROWS as f64).max(self.bytes as f64 / MAX_SLICE_BYTES as f64)
    }
}

impl Blocks {
    /// Writes those of the chunks that are small, if they are many; answers with the others.
    pub(crate) fn write<'c>(
        &mut self,
        conn: &Connection,
        chunks: Vec<&'c LogChunk>,
    ) -> rusqlite::Result<Vec<&'c LogChunk>> {
        let is_small = |chunk: &&LogChunk| chunk.data.len() < LARGE_CHUNK_BYTES;
        if chunks.iter().copied().filter(|chunk| is_small(chunk)).count() < MIN_SHARED {
            return Ok(chunks);
        }
        let (small, large): (Vec<_>, Vec<_>) = chunks.into_iter().partition(is_small);
        let usage = match &mut self.usage {
            Some(usage) => usage,
            none => none.insert(Box::new(count(conn)?)),
        };
        let mut blocks = [const { Vec::new() }; SLICES];
        for chunk in small {
            encode(chunk, &mut blocks[slice_of(chunk.task)]);
        }
        let seq = usage.next_seq;
        usage.next_seq += 1;
        let mut insert = conn.prepare_cached("INSERT INTO log_blocks VALUES (?1, ?2, ?3)")?;
        for (slice, block) in blocks.iter().enumerate().filter(|(_, block)| !block.is_empty()) {
            insert.execute(params![places(slice).start | seq, FORMAT, block])?;
            usage.slices[slice].rows += 1;
            usage.slices[slice].bytes += block.len() as u64;
        }
        self.unpacks = UNPACKED_AT_ONCE;
        Ok(large)
    }

    /// A slice that is to be unpacked now: the fullest, if it is full, or if all together are half full. So the next one's turn comes when
    /// as much has been written as that one gave back.
    fn fullest(&self) -> Option<usize> {
        let usage = self.usage.as_ref().filter(|_| self.unpacks > 0)?;
        let fullness = usage.slices.map(SliceUsage::fullness);
        let (fullest, most) = fullness.into_iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
        (most >= 1.0 || fullness.iter().sum::<f64>() >= SLICES as f64 / 2.0).then_some(fullest)
    }

    pub(crate) fn wants_unpacking(&self) -> bool {
        self.fullest().is_some()
    }

    /// Takes out what the fullest slice has, as one chunk for each task, or a few.
    pub(crate) fn unpack(&mut self, conn: &Connection) -> rusqlite::Result<Vec<LogChunk>> {
        let Some(slice) = self.fullest() else { return Ok(Vec::new()) };
        let mut chunks = Vec::new();
        let Range { start, end } = places(slice);
        let mut statement =
            conn.prepare_cached("SELECT format, data FROM log_blocks WHERE place >= ?1 AND place < ?2 ORDER BY place")?;
        let mut rows = statement.query([start, end])?;
        while let Some(row) = rows.next()? {
            // What can't be read is lost, as readers have found already.
            if row.get::<_, u32>(0)? == FORMAT {
                chunks.extend(Entries(row.get_ref(1)?.as_blob()?).map(Entry::chunk));
            }
        }
        drop(rows);
        conn.prepare_cached("DELETE FROM log_blocks WHERE place >= ?1 AND place < ?2")?.execute([start, end])?;
        if let Some(usage) = &mut self.usage {
            usage.slices[slice] = SliceUsage::default();
        }
        self.unpacks = self.unpacks.saturating_sub(1);
        chunks.sort_by_key(|chunk| (chunk.task.cast_signed(), chunk.first_seq));
        chunks.dedup_by(|next, chunk| chunk.append(next));
        Ok(chunks)
    }

    /// What was written may have been taken back.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }
}

fn slice_of(task: TaskId) -> usize {
    (task >> SLICE_SHIFT) as usize % SLICES
}

/// Where the rows of a slice stand.
fn places(slice: usize) -> Range<i64> {
    (slice as i64) << PLACE_SHIFT..(slice as i64 + 1) << PLACE_SHIFT
}

fn count(conn: &Connection) -> rusqlite::Result<Usage> {
    let mut usage = Usage { next_seq: 0, slices: [SliceUsage::default(); SLICES] };
    let mut statement =
        conn.prepare("SELECT place >> ?1, count(*), sum(length(data)), max(place) FROM log_blocks GROUP BY 1")?;
    let mut rows = statement.query([PLACE_SHIFT])?;
    while let Some(row) = rows.next()? {
        let slice = usize::try_from(row.get::<_, i64>(0)?).unwrap_or(usize::MAX);
        if let Some(slice_usage) = usage.slices.get_mut(slice) {
            *slice_usage = SliceUsage {
                rows: row.get::<_, i64>(1)?.cast_unsigned(),
                bytes: row.get::<_, i64>(2)?.cast_unsigned(),
            };
        }
        let newest = row.get::<_, i64>(3)? & ((1 << PLACE_SHIFT) - 1);
        usage.next_seq = usage.next_seq.max(newest + 1);
    }
    Ok(usage)
}

/// The newest chunks that a task has in blocks, newest first: so many that they hold at least `lines` lines after `after_seq`.
pub(crate) fn read(conn: &Connection, task: TaskId, after_seq: u64, lines: usize) -> rusqlite::Result<Vec<LogChunk>> {
    let Range { start, end } = places(slice_of(task));
    let mut statement = conn
        .prepare_cached("SELECT format, data FROM log_blocks WHERE place >= ?1 AND place < ?2 ORDER BY place DESC")?;
    let mut rows = statement.query([start, end])?;
    let mut chunks = Vec::new();
    let mut found = 0;
    while found < lines
        && let Some(row) = rows.next()?
    {
        if row.get::<_, u32>(0)? != FORMAT {
            continue;
        }
        let of_task = Entries(row.get_ref(1)?.as_blob()?).filter(|entry| entry.task == task);
        let mut of_task: Vec<LogChunk> = of_task.map(Entry::chunk).collect();
        of_task.reverse();
        found += of_task.iter().map(|chunk| chunk.lines as usize).sum::<usize>();
        let was_last = of_task.iter().any(|chunk| chunk.first_seq <= after_seq);
        chunks.extend(of_task);
        if was_last {
            break;
        }
    }
    Ok(chunks)
}

/// The number of each task's newest line in blocks.
pub(crate) fn newest_seqs(conn: &Connection) -> rusqlite::Result<TaskMap<u64>> {
    let mut newest_seqs = TaskMap::default();
    let mut statement = conn.prepare("SELECT data FROM log_blocks WHERE format = ?1")?;
    let mut rows = statement.query([FORMAT])?;
    while let Some(row) = rows.next()? {
        for entry in Entries(row.get_ref(0)?.as_blob()?) {
            let newest = newest_seqs.entry(entry.task).or_insert(0);
            *newest = (*newest).max(entry.head.first_seq + u64::from(entry.head.lines).saturating_sub(1));
        }
    }
    Ok(newest_seqs)
}

/// What stands before a chunk's data, after its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Head {
    first_seq: u64,
    lines: u32,
    first_time: i64,
    /// How much later the last line is.
    last_after: i64,
    failed: bool,
    bytes: u32,
}

struct Entry<'a> {
    task: TaskId,
    head: Head,
    data: &'a [u8],
}

impl Entry<'_> {
    fn chunk(self) -> LogChunk {
        let Head { first_seq, lines, first_time, last_after, failed, .. } = self.head;
        let (first_time, last_time) = (Time(first_time), Time(first_time.saturating_add(last_after)));
        LogChunk { task: self.task, first_seq, lines, first_time, last_time, failed, data: self.data.to_vec() }
    }
}

fn encode(chunk: &LogChunk, block: &mut Vec<u8>) {
    let head = Head {
        first_seq: chunk.first_seq,
        lines: chunk.lines,
        first_time: chunk.first_time.0,
        last_after: chunk.last_time.0.saturating_sub(chunk.first_time.0),
        failed: chunk.failed,
        bytes: u32::try_from(chunk.data.len()).expect("a small chunk"),
    };
    let mut bytes = [0; MAX_HEAD_BYTES];
    let head = postcard::to_slice(&head, &mut bytes).expect("there is room for six numbers");
    block.extend_from_slice(&chunk.task.to_le_bytes());
    block.extend_from_slice(head);
    block.extend_from_slice(&chunk.data);
}

/// The chunks of a block. Ends early where it is damaged.
struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let (task, rest) = self.0.split_first_chunk()?;
        let (head, rest) = postcard::take_from_bytes::<Head>(rest).ok()?;
        let (data, rest) = rest.split_at_checked(head.bytes as usize)?;
        self.0 = rest;
        Some(Entry { task: TaskId::from_le_bytes(*task), head, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migrate::{HISTORY, migrate};

    fn memory() -> Connection {
        let mut conn = Connection::open_in_memory().expect("a database in memory");
        migrate(&mut conn, "test.db".as_ref(), HISTORY).expect("a schema");
        conn
    }

    /// A line of a task, as the core encodes it.
    fn chunk(task: TaskId, seq: u64) -> LogChunk {
        let time = Time(1_800_000_000_000_000_000 + seq.cast_signed());
        let data = [&[0, 0, 4][..], &(seq as u32).to_le_bytes()].concat();
        LogChunk { task, first_seq: seq, lines: 1, first_time: time, last_time: time, failed: false, data }
    }

    /// Spread over all slices, as random ids are.
    fn task(number: u64) -> TaskId {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1
    }

    fn write(blocks: &mut Blocks, conn: &Connection, chunks: &[LogChunk]) -> usize {
        blocks.write(conn, chunks.iter().collect()).expect("writes").len()
    }

    fn rows(conn: &Connection) -> i64 {
        conn.query_row("SELECT count(*) FROM log_blocks", [], |row| row.get(0)).expect("a count")
    }

    #[test]
    fn blocks_of_the_schema_before_are_still_there() {
        let mut conn = Connection::open_in_memory().expect("a database in memory");
        migrate(&mut conn, "test.db".as_ref(), &HISTORY[..2]).expect("the schema before");
        let tasks = [5 << SLICE_SHIFT, 63 << SLICE_SHIFT];
        for (seq, task) in [(1, tasks[0]), (2, tasks[0]), (3, tasks[1])] {
            let mut block = Vec::new();
            encode(&chunk(task, seq), &mut block);
            let row = params![slice_of(task) as i64, seq as i64, FORMAT, block];
            conn.execute("INSERT INTO log_blocks VALUES (?1, ?2, ?3, ?4)", row).expect("inserts");
        }
        migrate(&mut conn, "test.db".as_ref(), HISTORY).expect("the schema of today");
        let read = |task| read(&conn, task, 0, 100).expect("reads");
        assert_eq!(read(tasks[0]), [chunk(tasks[0], 2), chunk(tasks[0], 1)]);
        assert_eq!(read(tasks[1]), [chunk(tasks[1], 3)]);
        let usage = count(&conn).expect("counts");
        assert_eq!((usage.next_seq, usage.slices.map(|slice| slice.rows).iter().sum::<u64>()), (4, 3));
    }

    #[test]
    fn few_small_chunks_and_all_large_ones_are_left_to_rows_of_their_own() {
        let (conn, mut blocks) = (memory(), Blocks::default());
        let mut chunks: Vec<_> = (1..MIN_SHARED as u64).map(|number| chunk(task(number), 1)).collect();
        assert_eq!(write(&mut blocks, &conn, &chunks), chunks.len());
        chunks.push(LogChunk { data: vec![0; LARGE_CHUNK_BYTES], ..chunk(task(7), 2) });
        assert_eq!(write(&mut blocks, &conn, &chunks), chunks.len());
        chunks.push(chunk(task(8), 2));
        assert_eq!(write(&mut blocks, &conn, &chunks), 1);
        assert_eq!(rows(&conn), SLICES as i64, "a row for each slice");
    }

    #[test]
    fn a_tasks_newest_lines_are_found_among_those_of_others() {
        let (conn, mut blocks) = (memory(), Blocks::default());
        for seq in 1..=10 {
            let chunks: Vec<_> = (1..=1000).map(|number| chunk(task(number), seq)).collect();
            assert_eq!(write(&mut blocks, &conn, &chunks), 0);
        }
        let seqs = |after, lines| {
            let chunks = read(&conn, task(500), after, lines).expect("reads");
            assert!(chunks.iter().all(|found| *found == chunk(task(500), found.first_seq)));
            chunks.iter().map(|chunk| chunk.first_seq).collect::<Vec<_>>()
        };
        assert_eq!(seqs(0, 3), [10, 9, 8]);
        assert_eq!(seqs(8, 100), [10, 9, 8]);
        assert_eq!(seqs(0, 100), (1..=10).rev().collect::<Vec<_>>());
        assert!(read(&conn, task(5000), 0, 100).expect("reads").is_empty());
        assert_eq!(newest_seqs(&conn).expect("reads"), (1..=1000).map(|number| (task(number), 10)).collect());
    }

    #[test]
    fn a_slice_that_has_grown_becomes_chunks_of_its_tasks_and_no_other_does() {
        let (conn, mut blocks) = (memory(), Blocks::default());
        // All of one slice, and one of another.
        let mut tasks: Vec<TaskId> = (0..MIN_SHARED as u64).collect();
        tasks.push(3 << SLICE_SHIFT);
        for seq in 1..=MAX_SLICE_ROWS {
            assert!(!blocks.wants_unpacking());
            let others = if seq == 1 { tasks.len() } else { tasks.len() - 1 };
            let chunks: Vec<_> = tasks[..others].iter().map(|task| chunk(*task, seq)).collect();
            assert_eq!(write(&mut blocks, &conn, &chunks), 0);
        }
        assert!(blocks.wants_unpacking());
        // As after a restart: what there is is counted.
        blocks.forget();
        assert!(!blocks.wants_unpacking());
        let chunks: Vec<_> = tasks[..MIN_SHARED].iter().map(|task| chunk(*task, MAX_SLICE_ROWS + 1)).collect();
        write(&mut blocks, &conn, &chunks);
        let unpacked = blocks.unpack(&conn).expect("unpacks");
        assert!(!blocks.wants_unpacking());
        assert_eq!(rows(&conn), 1);
        assert_eq!(unpacked.iter().map(|chunk| chunk.task).collect::<Vec<_>>(), tasks[..MIN_SHARED]);
        for chunk in unpacked {
            assert_eq!((chunk.first_seq, u64::from(chunk.lines)), (1, MAX_SLICE_ROWS + 1));
            let lines: Vec<_> = chunk.lines().map(|line| (line.seq, line.time.0 - 1_800_000_000_000_000_000)).collect();
            assert_eq!(lines, (1..=MAX_SLICE_ROWS + 1).map(|seq| (seq, seq.cast_signed())).collect::<Vec<_>>());
        }
    }

    #[test]
    fn slices_that_grow_alike_are_unpacked_one_after_the_other() {
        let (conn, mut blocks) = (memory(), Blocks::default());
        let tasks = || (0..SLICES as u64).flat_map(|slice| (0..4).map(move |number| slice << SLICE_SHIFT | number));
        let mut unpacked = 0;
        for seq in 1..=MAX_SLICE_ROWS + 100 {
            let chunks: Vec<_> = tasks().map(|task| chunk(task, seq)).collect();
            assert_eq!(write(&mut blocks, &conn, &chunks), 0);
            let mut at_once = 0;
            while blocks.wants_unpacking() {
                blocks.unpack(&conn).expect("unpacks");
                at_once += 1;
            }
            unpacked += at_once;
            // Two in the batch with which the first round ends and the next begins.
            assert!(at_once <= 2, "{at_once} at {seq}");
            assert!(seq < MAX_SLICE_ROWS - 1 || unpacked > SLICES / 2, "{unpacked} at {seq}: they wait to be full");
        }
        assert!(unpacked >= SLICES, "{unpacked}");
    }

    #[test]
    fn a_damaged_block_gives_what_stands_before_the_damage() {
        let mut block = Vec::new();
        encode(&chunk(1, 1), &mut block);
        let one = block.len();
        encode(&chunk(2, 1), &mut block);
        for len in one..block.len() {
            assert_eq!(Entries(&block[..len]).map(|entry| entry.task).collect::<Vec<_>>(), [1]);
        }
    }

    /// Bytes that were written by format 1: see [`FORMAT`].
    #[test]
    fn what_format_1_wrote_is_still_read() {
        let chunk = LogChunk {
            task: 0x0102,
            first_seq: 300,
            lines: 2,
            first_time: Time(-1),
            last_time: Time(1),
            failed: true,
            data: vec![7; 3],
        };
        let mut block = Vec::new();
        encode(&chunk, &mut block);
        let hex: String = block.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "0201000000000000ac02020104010".to_owned() + "3070707");
        assert_eq!(Entries(&block).map(Entry::chunk).collect::<Vec<_>>(), [chunk]);
        assert_eq!(FORMAT, 1);
    }
}
