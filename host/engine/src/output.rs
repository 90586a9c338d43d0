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
use taskhost_core::log::{Level, MAX_LINE_BYTES, Stream, TaskLog};
use taskhost_core::outcome::cut;
use tokio::io::AsyncWrite;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::grant::secrets::Secrets;

/// How much of what one run writes goes to the log, in bytes; the rest is dropped, with a line that says so.
pub const MAX_RUN_LOG_BYTES: usize = 1 << 20;

/// How much a guest may write in one call; wasmtime holds a copy of it meanwhile.
const WRITE_PERMIT_BYTES: usize = 64 << 10;

/// Where the two streams of one attempt end. Unfinished lines are flushed when it is dropped.
pub(crate) struct Output {
    log: Arc<TaskLog>,
    /// Locked for the length of one write, by the thread that runs the guest; a mutex only because streams must be `Sync`.
    lines: Mutex<Lines>,
    /// Hidden in every line, once the line is whole.
    secrets: Option<Arc<Secrets>>,
}

struct Lines {
    stdout: Line,
    stderr: Line,
    left_bytes: usize,
}

/// A line that has no end yet.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Output {
    pub(crate) fn new(log: Arc<TaskLog>, secrets: Option<Arc<Secrets>>) -> Arc<Self> {
        let lines = Lines { stdout: Line::default(), stderr: Line::default(), left_bytes: MAX_RUN_LOG_BYTES };
        Arc::new(Self { log, lines: Mutex::new(lines), secrets })
    }

    pub(crate) fn stdout(self: &Arc<Self>) -> Capture {
        Capture { output: Arc::clone(self), stream: Stream::Stdout }
    }

    pub(crate) fn stderr(self: &Arc<Self>) -> Capture {
        Capture { output: Arc::clone(self), stream: Stream::Stderr }
    }

    fn write(&self, stream: Stream, mut bytes: &[u8]) {
        let mut lines = self.lock();
        while !bytes.is_empty() && lines.left_bytes > 0 {
            let Some(end) = memchr(b'\n', bytes) else {
                lines.open(stream).extend(bytes);
                return;
            };
            let (head, rest) = (&bytes[..end], &bytes[end + 1..]);
            let mut line = std::mem::take(lines.open(stream));
            if line.bytes.is_empty() {
                // The common case: a whole line in one write is not copied.
                self.push(&mut lines, stream, head, false);
            } else {
                line.extend(head);
                self.push(&mut lines, stream, &line.bytes, line.truncated);
            }
            line.clear();
            *lines.open(stream) = line;
            bytes = rest;
        }
    }

    /// What the guest says through `wasi:logging`: each line of it by itself, after the context.
    pub(crate) fn log(&self, level: Level, context: &str, message: &str) {
        let mut lines = self.lock();
        let message = message.strip_suffix('\n').unwrap_or(message);
        let mut line = Line::default();
        for text in message.split('\n') {
            if lines.left_bytes == 0 {
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
            self.push(&mut lines, Stream::Log(level), &line.bytes, line.truncated);
        }
    }

    /// A word of the host's own about the run. It may repeat what the guest said.
    pub(crate) fn host_line(&self, text: &str) {
        let kept = cut(text, MAX_LINE_BYTES);
        let truncated = kept.len() < text.len();
        self.log.push(Stream::Host, &self.masked(kept.as_bytes(), truncated), truncated);
    }

    /// Hands a line on, as far as the run may still write. An empty line counts too, with its newline.
    fn push(&self, lines: &mut Lines, stream: Stream, line: &[u8], truncated: bool) {
        if lines.left_bytes == 0 {
            return;
        }
        let kept = &line[..line.len().min(MAX_LINE_BYTES)];
        let truncated = truncated || kept.len() < line.len();
        self.log.push(stream, &self.masked(kept, truncated), truncated);
        lines.left_bytes = lines.left_bytes.saturating_sub(kept.len() + 1);
        if lines.left_bytes == 0 {
            let told = format!("the run wrote more than {MAX_RUN_LOG_BYTES} bytes; the rest is dropped");
            self.log.push(Stream::Host, told.as_bytes(), false);
        }
    }

    /// The line without secrets; with `cut`, without the beginning of one at its end.
    fn masked<'l>(&self, line: &'l [u8], cut: bool) -> Cow<'l, [u8]> {
        match self.secrets.as_ref().and_then(|secrets| secrets.mask.as_ref()) {
            Some(mask) => mask.line(line, cut),
            None => Cow::Borrowed(line),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let mut lines = self.lock();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let line = std::mem::take(lines.open(stream));
            if !line.bytes.is_empty() {
                self.push(&mut lines, stream, &line.bytes, line.truncated);
            }
        }
    }
}

impl Lines {
    fn open(&mut self, stream: Stream) -> &mut Line {
        match stream {
            Stream::Stderr => &mut self.stderr,
            Stream::Stdout | Stream::Host | Stream::Log(_) => &mut self.stdout,
        }
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
