//! A guest's lines, as they come: stdout on stdout, and all else on stderr.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use taskhost_core::events::{EventKind, EventStream, Next};
use taskhost_core::log::{LogLine, Stream, TaskLog};
use tokio::sync::watch;

use crate::echo::printable;

/// Prints on a thread of its own, since a guest does not wait for stdout. The next tick does, so that lines are lost only where
/// one tick writes more than can wait.
pub(super) struct Printer {
    /// The `seq` of the newest line that was printed; its sender is gone when the thread has ended.
    printed: watch::Receiver<u64>,
}

impl Printer {
    /// Prints what `events` has of this log, until the last event.
    pub(super) fn spawn(events: EventStream, log: Arc<TaskLog>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let (told, printed) = watch::channel(0);
        let print = move || runtime.block_on(print_lines(events, &log, &told));
        std::thread::Builder::new().name("printer".to_owned()).spawn(print)?;
        Ok(Self { printed })
    }

    /// Waits until the line of this `seq` is printed.
    pub(super) async fn catch_up(&mut self, seq: u64) {
        // It fails where the thread panicked: then nothing more is printed.
        drop(self.printed.wait_for(|printed| *printed >= seq).await);
    }

    /// Waits until all is printed, after the last event.
    pub(super) async fn finish(mut self) {
        while self.printed.changed().await.is_ok() {}
    }
}

async fn print_lines(mut events: EventStream, log: &TaskLog, printed: &watch::Sender<u64>) {
    let (raw_stdout, raw_stderr) = (!io::stdout().is_terminal(), !io::stderr().is_terminal());
    let mut seen = 0;
    let mut print = |line: &LogLine| {
        if line.seq <= seen {
            return;
        }
        if line.seq > seen + 1 {
            eprintln!(
                "taskhost: {} lines are lost: the guest wrote faster than they could be printed",
                line.seq - seen - 1
            );
        }
        seen = line.seq;
        // A terminal is not the guest's to steer; a file or pipe gets what the guest wrote.
        let text = |raw: bool| if raw { line.text.clone() } else { printable(&line.text) };
        // Who closed our stdout does not want to know.
        match line.stream {
            Stream::Stdout => drop(writeln!(io::stdout(), "{}", text(raw_stdout))),
            Stream::Stderr | Stream::Host => drop(writeln!(io::stderr(), "{}", text(raw_stderr))),
            Stream::Log(level) => drop(writeln!(io::stderr(), "{}: {}", level.as_str(), text(raw_stderr))),
        }
        printed.send_replace(seen);
    };
    loop {
        match events.next().await {
            Next::Event(event) => match &event.kind {
                EventKind::Log { line, .. } => print(line),
                EventKind::Shutdown => return,
                _ => {}
            },
            // The log still has the newest of what passed by.
            Next::Lagged(_) => log.tail(0, usize::MAX).iter().for_each(&mut print),
            Next::Closed => return,
        }
    }
}
