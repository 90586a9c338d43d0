//! The lines of guests on the host's stdout: on a terminal, or where `--echo` asks for it.
//!
//! On a thread of its own, since stdout may block for as long as it likes (a pipe that nobody reads, a stopped terminal), and
//! nothing else may wait for it: who reads too slowly loses lines, and is told how many in the log.

use std::io::{self, BufWriter, Write};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::FutureExt;
use taskhost_core::events::{Event, EventKind, EventStream, Next};
use taskhost_core::log::{LogLine, Stream};

/// How long the last lines may take to be written at the end.
const LAST_LINES_PATIENCE: Duration = Duration::from_secs(1);

/// How often it is looked whether they are.
const LAST_LINES_POLL: Duration = Duration::from_millis(5);

/// The thread that writes.
pub(crate) struct Echo {
    thread: JoinHandle<()>,
}

impl Echo {
    /// Writes the lines that `events` has, until the host's last event.
    pub(crate) fn spawn(events: EventStream) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let write = move || {
            // Not locked for good: others have a word to say on it too.
            let stdout = BufWriter::new(io::stdout());
            if let Err(error) = runtime.block_on(echo(events, stdout)) {
                tracing::warn!(%error, "no more lines of guests are written to stdout");
            }
        };
        Ok(Self { thread: std::thread::Builder::new().name("echo".to_owned()).spawn(write)? })
    }

    /// Waits for the last lines, a while: the host must be able to end while nobody reads its stdout.
    pub(crate) async fn finish(self) {
        let written = async {
            while !self.thread.is_finished() {
                tokio::time::sleep(LAST_LINES_POLL).await;
            }
        };
        if tokio::time::timeout(LAST_LINES_PATIENCE, written).await.is_err() {
            tracing::warn!("stdout is blocked; its last lines are lost");
        } else if self.thread.join().is_err() {
            tracing::error!("the thread that writes to stdout panicked");
        }
    }
}

async fn echo(mut events: EventStream, mut out: impl Write) -> io::Result<()> {
    loop {
        let mut next = events.next().await;
        loop {
            match &next {
                Next::Event(event) => match &event.kind {
                    EventKind::Shutdown => return out.flush(),
                    _ => write_event(&mut out, event)?,
                },
                Next::Lagged(lost) => tracing::warn!(lost, "stdout is read too slowly; lines of guests are left out"),
                Next::Closed => return out.flush(),
            }
            // Lines that are there already share one write.
            match events.next().now_or_never() {
                Some(another) => next = another,
                None => break,
            }
        }
        out.flush()?;
    }
}

fn write_event(out: &mut impl Write, event: &Event) -> io::Result<()> {
    match &event.kind {
        EventKind::Log {
            line: LogLine { stream: Stream::Stdout | Stream::Stderr | Stream::Log(_), text, .. }, ..
        } => {
            writeln!(out, "{}", printable(text))
        }
        _ => Ok(()),
    }
}

/// The text with everything escaped that could move the cursor, change colours, reorder or hide what stands beside it: a
/// guest must not steer somebody's terminal. Tabs stay.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if is_dangerous(character) {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

/// The same of a text of several lines, which stay lines; those after the first are indented.
pub(crate) fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n  ")
}

/// Control characters but tab, line and paragraph separators, bidirectional controls, the byte order mark, and tags: the
/// same as for `taskctl`, which shows the same lines.
fn is_dangerous(letter: char) -> bool {
    match letter {
        '\t' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' => true,
        '\u{e0000}'..='\u{e007f}' => true,
        _ => letter.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use taskhost_core::events::EventBus;
    use taskhost_core::log::Level;
    use taskhost_core::name::TaskName;
    use taskhost_core::time::Time;

    use super::*;

    fn log(stream: Stream, text: &str) -> Event {
        let line = LogLine { seq: 1, time: Time(0), stream, text: text.to_owned(), truncated: false };
        Event { time: Time(0), kind: EventKind::Log { task: TaskName::new("a").expect("a name"), line } }
    }

    #[tokio::test]
    async fn lines_of_guests_are_written_as_they_are_until_the_end() {
        let bus = EventBus::new();
        let events = bus.subscribe(true);
        for event in [
            log(Stream::Stdout, "Task a tick at 1"),
            log(Stream::Host, "a word of the host's"),
            log(Stream::Stderr, "to stderr"),
            log(Stream::Log(Level::Warn), "disk: nearly full"),
            Event { time: Time(0), kind: EventKind::Shutdown },
            log(Stream::Stdout, "after the end"),
        ] {
            bus.publish(|| event);
        }
        let mut out = Vec::new();
        echo(events, &mut out).await.expect("a vector takes everything");
        assert_eq!(String::from_utf8(out).expect("text"), "Task a tick at 1\nto stderr\ndisk: nearly full\n");
    }

    #[test]
    fn nothing_from_a_guest_draws_on_the_terminal() {
        for (text, shown) in [
            ("plain ünïcödé 日本\ttab \\x1b", "plain ünïcödé 日本\ttab \\x1b"),
            ("\x1b[31mred\x1b[0m", "\\u{1b}[31mred\\u{1b}[0m"),
            ("a\rb\nc\0", "a\\rb\\nc\\u{0}"),
            ("\u{9b}31m\x7f", "\\u{9b}31m\\u{7f}"),
            ("abc\u{202e}fdp.exe\u{2066}\u{200f}", "abc\\u{202e}fdp.exe\\u{2066}\\u{200f}"),
            ("\u{feff}\u{e0041}", "\\u{feff}\\u{e0041}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }
}
