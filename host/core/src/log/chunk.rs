//! How lines stand in a chunk: the time since the chunk's first line as a LEB128 number of nanoseconds, a byte with the stream,
//! whether the line was cut and its level, the length as a LEB128 number, and the bytes.
//!
//! The stream has the two lowest bits of its byte, the level, which only lines of `wasi:logging` have, those from the fourth up.

use super::line::{LEVELS, Level, LogLine, Stream};
use crate::number::{put_number, take_number};
use crate::outcome::TaskId;
use crate::prefetch::prefetch;
use crate::time::Time;

/// How large a chunk grows before it is sealed, in bytes.
pub(super) const CHUNK_BYTES: usize = 16 * 1024;

const STREAM: u8 = 0b11;
const TRUNCATED: u8 = 0b100;
const LEVEL_SHIFT: u32 = 3;

/// What mostly stands before a line's own bytes: the time, the byte, and the length.
const LINE_HEAD_BYTES: usize = 8;

/// Up to here a chunk has no more room than it needs.
const SMALL_CHUNK_BYTES: usize = 512;

/// A piece of a task's log, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    pub task: TaskId,
    /// `seq` of the first line; the others follow without a gap.
    pub first_seq: u64,
    /// How many lines it has.
    pub lines: u32,
    pub first_time: Time,
    pub last_time: Time,
    /// Whether it has lines of a run that did not succeed; those are deleted last.
    pub failed: bool,
    /// The lines, encoded by this module.
    pub data: Vec<u8>,
}

impl LogChunk {
    pub(super) fn new(task: TaskId, first_seq: u64, first_time: Time) -> Self {
        Self { task, first_seq, lines: 0, first_time, last_time: first_time, failed: false, data: Vec::new() }
    }

    /// Appends the lines of the chunk that follows it, unless they are of another kind or it would get too large. Answers whether it
    /// did.
    pub fn append(&mut self, next: &Self) -> bool {
        let follows = self.task == next.task
            && self.first_seq + u64::from(self.lines) == next.first_seq
            && self.failed == next.failed
            && self.first_time <= next.first_time
            && self.data.len() + next.data.len() <= CHUNK_BYTES;
        if !follows {
            return false;
        }
        let later = next.first_time.0.saturating_sub(self.first_time.0).cast_unsigned();
        let before = self.data.len();
        let mut rest = next.data.as_slice();
        while let Some((line, after)) = Line::take(rest) {
            put_number(&mut self.data, line.delta.saturating_add(later));
            self.data.extend_from_slice(line.encoded);
            rest = after;
        }
        if !rest.is_empty() {
            // A damaged one stays by itself.
            self.data.truncate(before);
            return false;
        }
        self.lines += next.lines;
        self.last_time = next.last_time;
        true
    }

    /// Has the processor fetch the place where the next line will stand, and of a small chunk what stands before it, which may move.
    pub(super) fn prefetch_end(&self) {
        prefetch(&self.data[self.data.len().saturating_sub(SMALL_CHUNK_BYTES)..]);
    }

    /// Appends a line; answers by how many bytes the chunk grew.
    pub(super) fn push(&mut self, time: Time, stream: Stream, line: &[u8], truncated: bool) -> usize {
        let before = self.data.len();
        if before < SMALL_CHUNK_BYTES {
            // Most chunks stay small, and a `Vec` left to itself would leave half of them empty.
            self.data.reserve_exact(LINE_HEAD_BYTES + line.len());
        }
        put_number(&mut self.data, time.0.saturating_sub(self.first_time.0).max(0).cast_unsigned());
        self.data.push(head(stream) | if truncated { TRUNCATED } else { 0 });
        put_number(&mut self.data, line.len() as u64);
        self.data.extend_from_slice(line);
        self.lines += 1;
        self.last_time = time;
        self.data.len() - before
    }

    /// The lines in order. Ends early where the data is damaged.
    pub fn lines(&self) -> impl Iterator<Item = LogLine> + '_ {
        let mut rest = self.data.as_slice();
        let mut seq = self.first_seq;
        std::iter::from_fn(move || {
            let (line, after) = Line::take(rest)?;
            rest = after;
            seq += 1;
            Some(LogLine {
                seq: seq - 1,
                time: Time(self.first_time.0.saturating_add(line.delta.cast_signed())),
                stream: stream(line.head),
                text: String::from_utf8_lossy(line.text).into_owned(),
                truncated: line.head & TRUNCATED != 0,
            })
        })
    }
}

/// A line as it stands in a chunk.
struct Line<'a> {
    delta: u64,
    head: u8,
    text: &'a [u8],
    /// All of it but the time.
    encoded: &'a [u8],
}

impl<'a> Line<'a> {
    /// The first line, and what follows it.
    fn take(data: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (delta, line) = take_number(data)?;
        let (&head, after) = line.split_first()?;
        let (length, after) = take_number(after)?;
        let (text, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
        let encoded = &line[..line.len() - after.len()];
        Some((Self { delta, head, text, encoded }, after))
    }
}

fn head(stream: Stream) -> u8 {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
        Stream::Host => 2,
        Stream::Log(level) => 3 | (level as u8) << LEVEL_SHIFT,
    }
}

fn stream(head: u8) -> Stream {
    match head & STREAM {
        0 => Stream::Stdout,
        1 => Stream::Stderr,
        2 => Stream::Host,
        // A level that a newer host wrote is taken for one that nobody filters away.
        _ => Stream::Log(LEVELS.get(usize::from(head >> LEVEL_SHIFT)).copied().unwrap_or(Level::Critical)),
    }
}
