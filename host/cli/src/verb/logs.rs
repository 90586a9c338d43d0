//! `taskctl logs`

use clap::Args;
use jsonrpsee::core::client::Client;
use taskhost_api::{EventKind, LogLine, LogsRequest, TaskUnitApiClient, WatchRequest};

use crate::cell::{Cell, Style};
use crate::client::{Events, Next, until_interrupted};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::text::{absolute, quoted};
use crate::value::number;

/// The most lines that a host gives at once.
const MAX_LINES: u32 = 10_000;

/// What ends following a task's log, and what it is made of.
const FOLLOWED_KINDS: [EventKind; 4] = [EventKind::Log, EventKind::TaskDeleted, EventKind::Lagged, EventKind::Shutdown];

/// Show what a task printed, the oldest line first
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The task
    name: String,

    /// Go on with lines as they are printed, until Ctrl-C
    #[arg(short, long)]
    follow: bool,

    /// Show at most so many of the last lines, to 10000 [the host's default: 100]
    #[arg(short = 'n', long, value_name = "N", allow_hyphen_values = true, value_parser = number::<u32>)]
    lines: Option<u32>,

    /// Show only lines of this level and above: trace, debug, info, warn, error or critical; what a task prints counts as
    /// info, the host's own words as warn
    #[arg(short, long, value_name = "LEVEL")]
    level: Option<String>,
}

impl Logs {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        if self.follow {
            if let Some(followed) = until_interrupted(self.follow(client, output)).await {
                followed?;
            }
            return Ok(Exit::Done);
        }
        let request = self.request(self.lines, None);
        let logs = client.logs(request).await.doing(|| self.doing())?;
        if output.is_json() {
            output.document(&logs)?;
        } else {
            for line in &logs.lines {
                show(output, line)?;
            }
            if logs.dropped > 0 {
                output.note(&format!("{} lines of {} are no longer kept", logs.dropped, self.name));
            }
        }
        Ok(Exit::Done)
    }

    /// Shows the last lines, and then those that come.
    ///
    /// Subscribes before it reads what was printed, so that no line falls between the two, and goes by `seq` to show none
    /// twice. When events were lost, here or on the way, it does the same again from the last line shown: the host still
    /// has most lines, and only what it no longer has is lost.
    async fn follow(&self, client: &Client, output: &mut Output) -> Result<Followed, Failure> {
        let watch = WatchRequest {
            name: Some(self.name.clone()),
            kinds: Some(FOLLOWED_KINDS.to_vec()),
            level: self.level.clone(),
        };
        let mut last_seq = None;
        loop {
            let mut events = Events::subscribe(client, watch.clone()).await.doing(|| self.doing())?;
            let limit = if last_seq.is_some() { Some(MAX_LINES) } else { self.lines.map(|lines| lines.max(1)) };
            let request = self.request(limit, last_seq);
            let logs = client.logs(request).await.doing(|| self.doing())?;
            // With a level, lines that are not shown lie between too.
            if let (None, Some(last), Some(first)) = (&self.level, last_seq, logs.lines.first()) {
                note_lost(output, first.seq.saturating_sub(last + 1));
            }
            // None of them were asked for, and still the last one tells where to go on.
            let unasked = last_seq.is_none() && self.lines == Some(0);
            for line in logs.lines.iter().filter(|_| !unasked) {
                show_followed(output, line)?;
            }
            last_seq = logs.lines.last().map(|line| line.seq).or(last_seq);
            match self.drain(&mut events, &mut last_seq, output).await? {
                Drained::Lagged { lost } if last_seq.is_none() => note_lost(output, lost),
                Drained::Lagged { .. } => {}
                Drained::Over(followed) => return Ok(followed),
            }
        }
    }

    /// Shows lines as they come, until there are no more or some were lost.
    async fn drain(
        &self,
        events: &mut Events<'_>,
        last_seq: &mut Option<u64>,
        output: &mut Output,
    ) -> Result<Drained, Failure> {
        loop {
            let event = match events.next().await.doing(|| self.doing())? {
                Next::Event(event) => event,
                Next::Lagged => return Ok(Drained::Lagged { lost: 0 }),
                Next::Ended => return Ok(Drained::Over(Followed::Shutdown)),
            };
            match (event.kind, event.line) {
                (EventKind::Log, Some(line)) if last_seq.is_none_or(|last| line.seq > last) => {
                    show_followed(output, &line)?;
                    *last_seq = Some(line.seq);
                }
                (EventKind::Lagged, _) => return Ok(Drained::Lagged { lost: event.lost.unwrap_or_default() }),
                (EventKind::TaskDeleted, _) => {
                    output.note(&format!("{} was deleted", self.name));
                    return Ok(Drained::Over(Followed::Deleted));
                }
                (EventKind::Shutdown, _) => {
                    output.note("the host is shutting down");
                    return Ok(Drained::Over(Followed::Shutdown));
                }
                _ => {}
            }
        }
    }

    fn request(&self, limit: Option<u32>, after_seq: Option<u64>) -> LogsRequest {
        LogsRequest { name: self.name.clone(), limit, after_seq, level: self.level.clone() }
    }

    fn doing(&self) -> String {
        format!("show the log of {}", quoted(&self.name))
    }
}

/// Where a log is followed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStart {
    /// Its first line.
    First,
    /// The line that comes next.
    Next,
}

/// Why there is nothing to follow any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// The task was deleted.
    Deleted,
    /// The host shuts down.
    Shutdown,
}

/// Shows lines of a task as they come, as [`Logs`] does.
pub(crate) async fn follow(
    client: &Client,
    output: &mut Output,
    name: String,
    start: LogStart,
) -> Result<Followed, Failure> {
    let lines = match start {
        LogStart::First => MAX_LINES,
        LogStart::Next => 0,
    };
    Logs { name, follow: true, lines: Some(lines), level: None }.follow(client, output).await
}

/// Why no more lines come.
enum Drained {
    Lagged { lost: u64 },
    Over(Followed),
}

fn note_lost(output: &mut Output, lost: u64) {
    if lost > 0 {
        output.note(&format!("lagged: {lost} lines lost"));
    }
}

fn show_followed(output: &mut Output, line: &LogLine) -> Result<(), Failure> {
    if output.is_json() { output.object(line) } else { show(output, line) }
}

fn show(output: &mut Output, line: &LogLine) -> Result<(), Failure> {
    output.cells(&cells(line))
}

/// A line with when and where it was printed, or how much it matters.
pub(super) fn cells(line: &LogLine) -> [Cell; 3] {
    let (origin, style) = match (line.level.as_deref(), line.stream.as_str()) {
        (Some(level @ ("trace" | "debug" | "info")), _) | (None, level @ "stdout") => (level, Style::Dim),
        (Some(level @ ("error" | "critical")), _) => (level, Style::Bad),
        (Some(level), _) | (None, level) => (level, Style::Warning),
    };
    let cut = if line.truncated { " … (cut)" } else { "" };
    [
        Cell::new(absolute(line.time), Style::Dim),
        Cell::new(format!("{origin:6}"), style),
        Cell::plain(format!("{}{cut}", line.text)),
    ]
}
