//! What guests write: lines, kept per task.
//!
//! A task's newest lines stand in memory, encoded, until the recorder has written them to the store as chunks; readers see
//! both. The lock is one per task: the thread that runs the task takes it for each line, and now and then a reader.
//!
//! Lines wait a few seconds for others of their task, so that a chunk has several. What people look for does not wait: lines of
//! runs that failed, and the host's own.

mod chunk;
pub mod line;
mod rate;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::mpsc;

use self::chunk::CHUNK_BYTES;
pub use self::chunk::LogChunk;
pub use self::line::{LEVELS, Level, LogLine, MAX_LINE_BYTES, NotALevel, Stream};
use self::rate::Minute;
pub use self::rate::{PerMinute, Rated};
use crate::events::{Event, EventBus, EventKind};
use crate::name::TaskName;
use crate::outcome::TaskId;
use crate::prefetch::prefetch;
use crate::time::Time;

/// The size from which a task's lines need not wait for others, and are stored by themselves, in bytes.
pub const LARGE_CHUNK_BYTES: usize = 4 * 1024;

/// How much of one task's log waits in memory for the store before the oldest lines are lost, in bytes.
const MAX_WAITING_BYTES_PER_TASK: usize = 256 * 1024;

/// The same for all tasks together, each one's newest chunk aside: what a full disk may cost in memory.
const MAX_WAITING_BYTES: usize = 64 * 1024 * 1024;

/// How many bytes more wait of a log than are counted with those of all others: few logs have so much between two writes, so that
/// workers seldom meet at that count.
const COUNTED_BYTES: usize = 256;

/// What all logs share.
pub struct LogSink {
    now: Box<dyn Fn() -> Time + Send + Sync>,
    bus: EventBus,
    /// Logs with lines that the store does not have; each at most once, as its `queued` says.
    unwritten: Option<mpsc::UnboundedSender<Arc<TaskLog>>>,
    /// Those of them that are to be written soon; they stand in the other queue too.
    hurried: Option<mpsc::UnboundedSender<Arc<TaskLog>>>,
    /// How much waits, of each log in steps of [`COUNTED_BYTES`].
    waiting_bytes: AtomicUsize,
    lost_lines: AtomicU64,
}

/// Where logs with unwritten lines come out.
pub struct UnwrittenLogs {
    pub(crate) waiting: mpsc::UnboundedReceiver<Arc<TaskLog>>,
    /// Those that are to be written soon; they are among the others too.
    pub(crate) hurried: mpsc::UnboundedReceiver<Arc<TaskLog>>,
    sink: std::sync::Weak<LogSink>,
}

impl UnwrittenLogs {
    /// Whether so much waits in memory that none should wait for others.
    pub(crate) fn is_pressed(&self) -> bool {
        let pressed = |sink: Arc<LogSink>| sink.waiting_bytes.load(Ordering::Relaxed) > MAX_WAITING_BYTES / 2;
        self.sink.upgrade().is_some_and(pressed)
    }
}

impl LogSink {
    /// The sink, and where logs with unwritten lines come out.
    pub fn new(now: impl Fn() -> Time + Send + Sync + 'static, bus: EventBus) -> (Arc<Self>, UnwrittenLogs) {
        let (unwritten, waiting) = mpsc::unbounded_channel();
        let (hurry, hurried) = mpsc::unbounded_channel();
        let sink = Arc::new(Self { unwritten: Some(unwritten), hurried: Some(hurry), ..Self::with(now, bus) });
        let unwritten = UnwrittenLogs { waiting, hurried, sink: Arc::downgrade(&sink) };
        (sink, unwritten)
    }

    fn with(now: impl Fn() -> Time + Send + Sync + 'static, bus: EventBus) -> Self {
        Self {
            now: Box::new(now),
            bus,
            unwritten: None,
            hurried: None,
            waiting_bytes: AtomicUsize::new(0),
            lost_lines: AtomicU64::new(0),
        }
    }

    /// How many lines were lost since the start, over all tasks, because the store did not take them in time.
    pub fn lost_lines(&self) -> u64 {
        self.lost_lines.load(Ordering::Relaxed)
    }
}

/// A task's log.
pub struct TaskLog {
    task: TaskId,
    name: TaskName,
    sink: Arc<LogSink>,
    tail: Mutex<Tail>,
}

/// The part of a log that stands in memory.
struct Tail {
    /// The `seq` of the newest line.
    seq: u64,
    /// How many lines were lost before they were written.
    lost: u64,
    /// The newest lines. In a box, since most tasks have none between two runs.
    open: Option<Box<LogChunk>>,
    /// In a box, since few have any.
    older: Option<Box<Older>>,
    /// Of `open` and what is sealed.
    bytes: usize,
    /// How many of them are counted with those of all logs.
    counted: usize,
    /// What guests wrote of late.
    minute: Minute,
    /// Whether the log is in the sink's queue.
    queued: bool,
    /// Whether it is in the other one too.
    hurried: bool,
    /// No longer written: the task is deleted.
    closed: bool,
}

/// Chunks that nothing is appended to any more.
#[derive(Default)]
struct Older {
    /// Being written by the store; readers must not miss them meanwhile.
    in_flight: Vec<LogChunk>,
    /// They wait to be written.
    sealed: VecDeque<LogChunk>,
}

impl Tail {
    fn older(&mut self) -> &mut Older {
        self.older.get_or_insert_default()
    }

    /// Gives back the room of what there is no more.
    fn trim(&mut self) {
        self.older.take_if(|older| older.in_flight.is_empty() && older.sealed.is_empty());
    }

    /// All chunks in memory, oldest first.
    fn chunks(&self) -> impl Iterator<Item = &LogChunk> {
        let older = self.older.iter().flat_map(|older| older.in_flight.iter().chain(&older.sealed));
        older.chain(self.open.as_deref())
    }
}

impl TaskLog {
    /// The name of its task.
    pub fn name(&self) -> &TaskName {
        &self.name
    }

    /// The log of a task whose newest line so far was `seq`, with `lost` lines lost.
    pub fn new(task: TaskId, name: TaskName, seq: u64, lost: u64, sink: Arc<LogSink>) -> Arc<Self> {
        let tail = Tail {
            seq,
            lost,
            open: None,
            older: None,
            bytes: 0,
            counted: 0,
            minute: Minute::default(),
            queued: false,
            hurried: false,
            closed: false,
        };
        Arc::new(Self { task, name, sink, tail: Mutex::new(tail) })
    }

    /// A log that is nobody's: it keeps its newest lines in memory and is never written. For runs without a host, and tests.
    pub fn detached(task: TaskId, name: TaskName) -> Arc<Self> {
        let now = || crate::ports::Clock::now(&crate::ports::SystemClock);
        Self::detached_on(task, name, EventBus::new(), now)
    }

    /// The same, with its lines published on `bus`, and their times those of another clock.
    pub fn detached_on(
        task: TaskId,
        name: TaskName,
        bus: EventBus,
        now: impl Fn() -> Time + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::new(task, name, 0, 0, Arc::new(LogSink::with(now, bus)))
    }

    /// Has the processor fetch what a line is appended to: at depth 0 the chunk, at 1 where the line will stand.
    pub(crate) fn prefetch(&self, depth: usize) {
        // Who reads it has it in his caches.
        if let Ok(tail) = self.tail.try_lock()
            && let Some(open) = &tail.open
        {
            match depth {
                0 => prefetch(&**open),
                _ => open.prefetch_end(),
            }
        }
    }

    /// Takes one line without its newline, of any bytes; it is cut at [`MAX_LINE_BYTES`], or `truncated` says that it was
    /// already.
    pub fn push(self: &Arc<Self>, stream: Stream, line: &[u8], truncated: bool) {
        let time = (self.sink.now)();
        self.push_now(self.lock(), time, stream, line, truncated);
    }

    /// The same, unless the task has written too much in this minute, over all its runs.
    pub fn push_rated(self: &Arc<Self>, stream: Stream, line: &[u8], truncated: bool, most: PerMinute) -> Rated {
        let time = (self.sink.now)();
        let mut tail = self.lock();
        let rated = tail.minute.take(line.len().min(MAX_LINE_BYTES), most, time);
        if rated == Rated::Kept {
            self.push_now(tail, time, stream, line, truncated);
        }
        rated
    }

    fn push_now(
        self: &Arc<Self>,
        mut tail: MutexGuard<'_, Tail>,
        time: Time,
        stream: Stream,
        line: &[u8],
        truncated: bool,
    ) {
        let kept = &line[..line.len().min(MAX_LINE_BYTES)];
        let truncated = truncated || kept.len() < line.len();
        tail.seq += 1;
        let seq = tail.seq;
        self.append(&mut tail, time, stream, kept, truncated);
        let hurry = stream == Stream::Host || tail.bytes >= LARGE_CHUNK_BYTES;
        self.queue(tail, hurry);
        if self.sink.bus.wants_logs() {
            self.sink.bus.publish(|| {
                let text = String::from_utf8_lossy(kept).into_owned();
                let line = LogLine { seq, time, stream, text, truncated };
                Event { time, kind: EventKind::Log { task: self.name.clone(), line } }
            });
        }
    }

    /// Marks the newest chunk as one with lines of a run that did not succeed, so that it is kept longest, and is written soon.
    pub fn mark_failed(self: &Arc<Self>) {
        let mut tail = self.lock();
        if let Some(open) = &mut tail.open {
            open.failed = true;
            self.queue(tail, true);
        }
    }

    /// Has the log written, some time or soon.
    fn queue(self: &Arc<Self>, mut tail: MutexGuard<'_, Tail>, hurry: bool) {
        if tail.closed {
            return;
        }
        let queue = !std::mem::replace(&mut tail.queued, true);
        let hurry = hurry && !std::mem::replace(&mut tail.hurried, true);
        drop(tail);
        for queue in [(queue, &self.sink.unwritten), (hurry, &self.sink.hurried)] {
            if let (true, Some(queue)) = queue {
                // Fails only when the recorder is gone, at the very end.
                queue.send(Arc::clone(self)).ok();
            }
        }
    }

    /// The newest `limit` lines in memory with `seq > after_seq`, oldest first.
    pub fn tail(&self, after_seq: u64, limit: usize) -> Vec<LogLine> {
        self.tail_from(Level::Trace, after_seq, limit)
    }

    /// The same of this level and those above.
    pub fn tail_from(&self, level: Level, after_seq: u64, limit: usize) -> Vec<LogLine> {
        let tail = self.lock();
        newest_lines(tail.chunks(), level, after_seq, limit)
    }

    /// The `seq` of the newest line, and how many lines were lost.
    pub fn position(&self) -> (u64, u64) {
        let tail = self.lock();
        (tail.seq, tail.lost)
    }

    /// What is to be written now, of a log that came out of the queue or of the one of those in a hurry. Readers see it until
    /// [`written`](Self::written) or [`refused`](Self::refused).
    pub(crate) fn take_unwritten(&self, hurried: bool, chunks: &mut Vec<LogChunk>) {
        let mut tail = self.lock();
        *(if hurried { &mut tail.hurried } else { &mut tail.queued }) = false;
        // Another write may be on its way, of what came out of the other queue.
        if tail.closed || tail.bytes == 0 {
            return;
        }
        let open = tail.open.take().map(|open| *open);
        let older = tail.older();
        for chunk in std::mem::take(&mut older.sealed).into_iter().chain(open) {
            older.in_flight.push(chunk.clone());
            chunks.push(chunk);
        }
        tail.bytes = 0;
        self.count(&mut tail);
    }

    /// Puts it back into the sink's queue, out of which it was taken for nothing.
    pub(crate) fn queue_again(self: &Arc<Self>) {
        if let Some(unwritten) = &self.sink.unwritten {
            // Fails only when the recorder is gone, at the very end.
            unwritten.send(Arc::clone(self)).ok();
        }
    }

    /// The store has what was taken.
    pub(crate) fn written(&self) {
        let mut tail = self.lock();
        if let Some(older) = &mut tail.older {
            older.in_flight = Vec::new();
        }
        tail.trim();
    }

    /// The store did not take it: it waits again, in its old place.
    pub(crate) fn refused(self: &Arc<Self>) {
        let mut tail = self.lock();
        for chunk in std::mem::take(&mut tail.older().in_flight).into_iter().rev() {
            tail.bytes += chunk.data.len();
            tail.older().sealed.push_front(chunk);
        }
        self.shrink(&mut tail);
        self.queue(tail, true);
    }

    /// Forgets everything: the task is deleted.
    pub(crate) fn close(&self) {
        let mut tail = self.lock();
        tail.closed = true;
        (tail.open, tail.older) = (None, None);
        tail.bytes = 0;
        self.count(&mut tail);
    }

    fn append(&self, tail: &mut Tail, time: Time, stream: Stream, line: &[u8], truncated: bool) {
        if tail.closed {
            return;
        }
        if tail.open.as_ref().is_some_and(|open| open.data.len() + line.len() > CHUNK_BYTES) {
            let sealed = tail.open.take();
            tail.older().sealed.extend(sealed.map(|sealed| *sealed));
        }
        let seq = tail.seq;
        let open = tail.open.get_or_insert_with(|| Box::new(LogChunk::new(self.task, seq, time)));
        tail.bytes += open.push(time, stream, line, truncated);
        self.shrink(tail);
    }

    /// Loses the oldest lines while too much waits.
    fn shrink(&self, tail: &mut Tail) {
        self.count(tail);
        let too_much = |tail: &Tail| {
            tail.bytes > MAX_WAITING_BYTES_PER_TASK
                || self.sink.waiting_bytes.load(Ordering::Relaxed) > MAX_WAITING_BYTES
        };
        while too_much(tail) {
            // The open chunk stays: it has the newest line.
            let Some(oldest) = tail.older.as_mut().and_then(|older| older.sealed.pop_front()) else { break };
            tail.bytes -= oldest.data.len();
            self.count(tail);
            tail.lost += u64::from(oldest.lines);
            self.sink.lost_lines.fetch_add(u64::from(oldest.lines), Ordering::Relaxed);
        }
    }

    /// Counts what waits with what waits of all logs.
    fn count(&self, tail: &mut Tail) {
        let Tail { bytes, counted, .. } = *tail;
        if bytes >= counted + COUNTED_BYTES {
            self.sink.waiting_bytes.fetch_add(bytes - counted, Ordering::Relaxed);
        } else if bytes < counted {
            self.sink.waiting_bytes.fetch_sub(counted - bytes, Ordering::Relaxed);
        } else {
            return;
        }
        tail.counted = bytes;
    }

    fn lock(&self) -> MutexGuard<'_, Tail> {
        // Nothing that panics is done under the lock, and half a line is better than none.
        self.tail.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for TaskLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for TaskLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskLog").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The newest `limit` lines of `chunks` of this level and above with `seq > after_seq`, oldest first. The chunks are in order.
pub(crate) fn newest_lines<'a>(
    chunks: impl IntoIterator<Item = &'a LogChunk>,
    level: Level,
    after_seq: u64,
    limit: usize,
) -> Vec<LogLine> {
    let mut lines: VecDeque<LogLine> = VecDeque::new();
    for line in chunks.into_iter().flat_map(LogChunk::lines) {
        if line.seq > after_seq && line.stream.level() >= level {
            if lines.len() == limit {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }
    lines.truncate(limit);
    lines.into()
}

#[cfg(test)]
mod tests;
