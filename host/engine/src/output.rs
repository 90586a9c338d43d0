//! What a guest writes to stdout and stderr, cut into lines for the task's log.
//!
//! Writing never blocks and never keeps more than one unfinished line per stream, so that a guest that prints without end
//! costs no memory.

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use memchr::memchr;
use taskhost_core::log::{Level, MAX_LINE_BYTES, Rated, Stream, TaskLog};
use taskhost_core::name::TaskName;
use taskhost_core::outcome::cut;
use taskhost_core::spec::Limit;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::secrets::Secrets;
use crate::setup::Setup;

/// How much a guest may write in one call; wasmtime holds a copy of it meanwhile.
const WRITE_PERMIT_BYTES: usize = 64 << 10;

/// Where the two streams of one attempt end. Unfinished lines are flushed when it is dropped.
pub(crate) struct Output {
    setup: Arc<Setup>,
    /// Locked for the length of one write, by the thread that runs the guest; a mutex only because streams must be `Sync`.
    lines: Mutex<Lines>,
}

struct Lines {
    log: Arc<TaskLog>,
    /// Hidden in every line, once the line is whole.
    secrets: Option<Arc<Secrets>>,
    stdout: Line,
    stderr: Line,
    /// What the attempt may still write, an empty line counted with its newline.
    left_bytes: u64,
    left_lines: u64,
    /// It wrote too much: nothing of the rest is kept.
    over: bool,
}

/// A line that has no end yet.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Output {
    pub(crate) fn new(setup: &Arc<Setup>, log: &Arc<TaskLog>, secrets: Option<Arc<Secrets>>) -> Arc<Self> {
        Arc::new(Self { setup: Arc::clone(setup), lines: Mutex::new(Lines::new(setup, log, secrets)) })
    }

    /// The same streams carry the lines of the next attempt.
    pub(crate) fn begin_again(&self, log: &Arc<TaskLog>) {
        let mut lines = self.lock();
        *lines = Lines::new(&self.setup, log, lines.secrets.take());
    }

    /// Hands on what has no newline.
    pub(crate) fn end(&self) {
        self.lock().flush(&self.setup);
    }

    pub(crate) fn stdout(self: &Arc<Self>) -> Capture {
        Capture { output: Arc::clone(self), stream: Stream::Stdout }
    }

    pub(crate) fn stderr(self: &Arc<Self>) -> Capture {
        Capture { output: Arc::clone(self), stream: Stream::Stderr }
    }

    fn write(&self, stream: Stream, mut bytes: &[u8]) {
        let mut lines = self.lock();
        while !bytes.is_empty() && !lines.over {
            let Some(end) = memchr(b'\n', bytes) else {
                lines.open(stream).extend(bytes);
                return;
            };
            let (head, rest) = (&bytes[..end], &bytes[end + 1..]);
            let mut line = std::mem::take(lines.open(stream));
            if line.bytes.is_empty() {
                // The common case: a whole line in one write is not copied.
                lines.push(&self.setup, stream, head, false);
            } else {
                line.extend(head);
                lines.push(&self.setup, stream, &line.bytes, line.truncated);
            }
            line.clear();
            *lines.open(stream) = line;
            bytes = rest;
        }
    }

    /// The name of the task.
    pub(crate) fn task_name(&self) -> TaskName {
        self.lock().log.name().clone()
    }

    /// What the guest says through `wasi:logging`: each line of it by itself, after the context.
    pub(crate) fn log(&self, level: Level, context: &str, message: &str) {
        let mut lines = self.lock();
        let message = message.strip_suffix('\n').unwrap_or(message);
        let mut line = Line::default();
        for text in message.split('\n') {
            if lines.over {
                return;
            }
            line.clear();
            if !context.is_empty() {
                // A context is a word; one of several lines would forge others.
                let words = context.split(['\r', '\n']).filter(|words| !words.is_empty());
                for (at, words) in words.enumerate() {
                    line.extend(if at == 0 { "" } else { " " }.as_bytes());
                    line.extend(words.as_bytes());
                }
                line.extend(b": ");
            }
            line.extend(text.strip_suffix('\r').unwrap_or(text).as_bytes());
            lines.push(&self.setup, Stream::Log(level), &line.bytes, line.truncated);
        }
    }

    /// A word of the host's own about the run. It may repeat what the guest said.
    pub(crate) fn host_line(&self, text: &str) {
        let lines = self.lock();
        let kept = cut(text, MAX_LINE_BYTES);
        let truncated = kept.len() < text.len();
        lines.log.push(Stream::Host, &lines.masked(kept.as_bytes(), truncated), truncated);
    }

    /// A text as people may see it: without the task's secrets.
    pub(crate) fn hidden(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.lock().masked(text.as_bytes(), false)).into_owned()
    }

    /// The same of bytes that may be a text; with `cut`, without the beginning of a secret at their end.
    pub(crate) fn hidden_in(&self, bytes: &[u8], cut: bool) -> Vec<u8> {
        self.lock().masked(bytes, cut).into_owned()
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.lines.get_mut().unwrap_or_else(PoisonError::into_inner).flush(&self.setup);
    }
}

impl Lines {
    fn new(setup: &Setup, log: &Arc<TaskLog>, secrets: Option<Arc<Secrets>>) -> Self {
        Self {
            log: Arc::clone(log),
            secrets,
            stdout: Line::default(),
            stderr: Line::default(),
            left_bytes: setup.bounds.of(Limit::LogBytes),
            left_lines: setup.bounds.of(Limit::LogLines),
            over: false,
        }
    }

    fn open(&mut self, stream: Stream) -> &mut Line {
        match stream {
            Stream::Stderr => &mut self.stderr,
            Stream::Stdout | Stream::Host | Stream::Log(_) => &mut self.stdout,
        }
    }

    /// Hands a line on, as far as the attempt and its task may still write.
    fn push(&mut self, setup: &Setup, stream: Stream, line: &[u8], truncated: bool) {
        if self.over {
            return;
        }
        let kept = &line[..line.len().min(MAX_LINE_BYTES)];
        let bytes = kept.len() as u64 + 1;
        let hit = match (self.left_lines.checked_sub(1), self.left_bytes.checked_sub(bytes)) {
            (Some(left_lines), Some(left_bytes)) => {
                (self.left_lines, self.left_bytes) = (left_lines, left_bytes);
                let truncated = truncated || kept.len() < line.len();
                let most = setup.bounds.per_minute();
                match self.log.push_rated(stream, &self.masked(kept, truncated), truncated, most) {
                    Rated::First(limit) => limit,
                    Rated::Kept | Rated::Dropped => return,
                }
            }
            (None, _) => Limit::LogLines,
            (_, None) => Limit::LogBytes,
        };
        self.over = matches!(hit, Limit::LogLines | Limit::LogBytes);
        setup.services.hits.count(hit);
        self.log.push(Stream::Host, told(hit, setup.bounds.of(hit)).as_bytes(), false);
    }

    /// The line without secrets; with `cut`, without the beginning of one at its end.
    fn masked<'l>(&self, line: &'l [u8], cut: bool) -> Cow<'l, [u8]> {
        match self.secrets.as_ref().and_then(|secrets| secrets.mask.as_ref()) {
            Some(mask) => mask.line(line, cut),
            None => Cow::Borrowed(line),
        }
    }

    /// Hands on what has no newline.
    fn flush(&mut self, setup: &Setup) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = std::mem::take(self.open(stream));
            if !line.bytes.is_empty() {
                self.push(setup, stream, &line.bytes, line.truncated);
            }
        }
    }
}

/// What the log says of lines that it does not get.
fn told(limit: Limit, most: u64) -> String {
    match limit {
        Limit::LogLines => format!("the run wrote more than {most} lines (`log_lines`); the rest is dropped"),
        Limit::LogLinesPerMinute => {
            format!("more than {most} lines in a minute (`log_lines_per_minute`); the rest of the minute is dropped")
        }
        Limit::LogBytesPerMinute => {
            format!("more than {most} bytes in a minute (`log_bytes_per_minute`); the rest of the minute is dropped")
        }
        _ => format!("the run wrote more than {most} bytes (`log_bytes`); the rest is dropped"),
    }
}

impl Line {
    fn extend(&mut self, bytes: &[u8]) {
        let room = MAX_LINE_BYTES - self.bytes.len();
        self.truncated |= bytes.len() > room;
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.truncated = false;
    }
}

/// One of the two streams, as WASI wants it.
#[derive(Clone)]
pub(crate) struct Capture {
    output: Arc<Output>,
    stream: Stream,
}

impl IsTerminal for Capture {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Capture {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Capture {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.output.write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_PERMIT_BYTES)
    }
}

#[async_trait]
impl Pollable for Capture {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Capture {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.output.write(self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
