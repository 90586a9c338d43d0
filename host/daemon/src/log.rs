//! The host's own log, on stderr.
//!
//! On a thread of its own, since stderr may block for as long as it likes (a pipe that nobody reads, a stopped terminal), and workers
//! have things to say too: who reads too slowly loses lines, and is told how many. `tracing-appender` does the same, but prints to stdout
//! where its last lines can't be written, and that is often the same pipe.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How many lines wait before new ones are lost.
const MAX_WAITING_LINES: usize = 1024;

/// How long the last lines may take to be written at the end.
const LAST_LINES_PATIENCE: Duration = Duration::from_secs(1);

/// How often it is looked whether they are.
const LAST_LINES_POLL: Duration = Duration::from_millis(5);

enum Message {
    Line(Vec<u8>),
    End,
}

/// Where lines go in. Cheap to clone.
#[derive(Clone)]
struct Lines {
    waiting: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

/// Writes what still waits when it is dropped, for a while.
pub(crate) struct Log {
    lines: Lines,
    thread: JoinHandle<()>,
}

/// From now on what is traced goes to stderr, as far as the filter lets it. The filter was checked with the rest of the configuration.
pub(crate) fn to_stderr(filter: &str) -> io::Result<Log> {
    let log = Log::spawn(io::stderr())?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_ansi(io::stderr().is_terminal())
        .with_writer(log.lines.clone())
        .init();
    Ok(log)
}

impl Log {
    fn spawn(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (waiting, lines) = sync_channel(MAX_WAITING_LINES);
        let lost = Arc::<AtomicU64>::default();
        let told = Arc::clone(&lost);
        // Who closed stderr does without a log.
        let write = move || drop(write_all(&lines, &told, out));
        let thread = thread::Builder::new().name("log".to_owned()).spawn(write)?;
        Ok(Self { lines: Lines { waiting, lost }, thread })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let end = Instant::now() + LAST_LINES_PATIENCE;
        let mut is_told = false;
        while !self.thread.is_finished() && Instant::now() < end {
            is_told = is_told || !matches!(self.lines.waiting.try_send(Message::End), Err(TrySendError::Full(_)));
            thread::sleep(LAST_LINES_POLL);
        }
    }
}

fn write_all(lines: &Receiver<Message>, lost: &AtomicU64, mut out: impl Write) -> io::Result<()> {
    while let Ok(Message::Line(line)) = lines.recv() {
        out.write_all(&line)?;
        match lost.swap(0, Ordering::Relaxed) {
            0 => {}
            lost => {
                let told =
                    format!("taskhost: stderr was read too slowly; {lost} lines of the log are left out about here\n");
                out.write_all(told.as_bytes())?;
            }
        }
    }
    Ok(())
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Lines {
    /// Takes a line, all of it: that is how `tracing_subscriber` writes.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.waiting.try_send(Message::Line(line.to_vec())) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    /// Takes a write only when it is let.
    struct Slow {
        let_in: Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.let_in.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.written.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Log, Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (let_go, let_in) = channel();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let log = Log::spawn(Slow { let_in, written: Arc::clone(&written) }).expect("a thread");
        (log, let_go, written)
    }

    #[test]
    fn who_logs_never_waits_and_lines_that_are_lost_are_counted() {
        let (log, let_go, written) = slow();
        let mut lines = log.lines.clone();
        // One may be on its way to be written already.
        let sent = 2 * MAX_WAITING_LINES + 1;
        (0..sent).for_each(|at| lines.write_all(format!("line {at}\n").as_bytes()).expect("it is taken or lost"));
        let lost = lines.lost.load(Ordering::Relaxed);
        assert!((MAX_WAITING_LINES as u64..=MAX_WAITING_LINES as u64 + 1).contains(&lost), "{lost}");
        (0..sent).for_each(|_| let_go.send(()).expect("it is written"));
        drop(log);
        let written = String::from_utf8(written.lock().expect("no panic").clone()).expect("text");
        assert!(written.starts_with("line 0\ntaskhost: stderr was read too slowly; "), "{written}");
        assert!(written.contains(&format!("; {lost} lines of the log are left out")), "{written}");
        assert_eq!(written.lines().filter(|line| line.starts_with("line ")).count() as u64, sent as u64 - lost);
    }

    #[test]
    fn a_host_ends_though_nobody_reads_its_log() {
        let (log, _let_go, written) = slow();
        log.lines.clone().write_all(b"a line\n").expect("it is taken");
        drop(log);
        assert!(written.lock().expect("no panic").is_empty());
    }
}
