//! All that is written to the terminal. Everything passes [`escape`] on its way, since names, log lines and messages were
//! written by strangers.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use jiff::Timestamp;
use serde::Serialize;

use crate::cause::IoCause;
use crate::cell::{Cell, Style};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::table::{self, Column};
use crate::text::{escape, escape_json};

/// How answers are shown: to people, or to programs. (A doc on a variant would lengthen every help text.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
}

/// Where answers and messages go.
pub(crate) struct Output {
    format: Format,
    /// Whether answers, and messages, may be in colour.
    out_colour: bool,
    err_colour: bool,
    /// Whether answers go to a terminal.
    is_terminal: bool,
    /// Of the terminal, where answers go to one.
    width: Option<usize>,
    /// Whether progress is shown on the standard error.
    pub(crate) progress: bool,
    /// What relative times are relative to.
    pub(crate) now: Timestamp,
    out: Box<dyn Write>,
    err: Box<dyn Write>,
}

impl Output {
    /// On the process's own standard output and error, as they and the environment are.
    pub(crate) fn of_process(format: Format) -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let size = if out.is_terminal() { console::Term::stdout().size_checked() } else { None };
        Self {
            format,
            out_colour: colour && out.is_terminal(),
            err_colour: colour && err.is_terminal(),
            is_terminal: out.is_terminal(),
            width: size.map(|(_, columns)| usize::from(columns)),
            progress: err.is_terminal(),
            now: Timestamp::now(),
            out: Box::new(out),
            err: Box::new(err),
        }
    }

    #[cfg(test)]
    pub(crate) fn of_test(format: Format, out: Box<dyn Write>, err: Box<dyn Write>) -> Self {
        let now = crate::testing::time("2026-01-02T03:04:05Z");
        Self {
            format,
            out_colour: false,
            err_colour: false,
            is_terminal: false,
            width: Some(80),
            progress: false,
            now,
            out,
            err,
        }
    }

    /// Whether programs read it.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// One JSON document.
    pub(crate) fn document(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(value).expect("wire types have string keys");
        self.write(&format!("{}\n", escape_json(&json)))
    }

    /// One JSON object on a line, where more may follow.
    pub(crate) fn object(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string(value).expect("wire types have string keys");
        self.write(&format!("{}\n", escape_json(&json)))
    }

    /// A line of text.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.write(&format!("{}\n", escape(text)))
    }

    /// A line of pieces with a space between.
    pub(crate) fn cells(&mut self, cells: &[Cell]) -> Result<(), Failure> {
        let painted: Vec<_> = cells.iter().map(|cell| cell.style.paint(&escape(&cell.text), self.out_colour)).collect();
        self.write(&format!("{}\n", painted.join(" ")))
    }

    pub(crate) fn table<const N: usize>(&mut self, columns: &[Column; N], rows: &[[Cell; N]]) -> Result<(), Failure> {
        let table = table::render(columns, rows, self.width, self.out_colour);
        self.write(&table)
    }

    /// Names and what they are, a line each.
    pub(crate) fn fields(&mut self, fields: &[(&str, Cell)]) -> Result<(), Failure> {
        let widest = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        let mut text = String::new();
        for (name, cell) in fields {
            let name = Style::Bold.paint(&format!("{name:widest$}"), self.out_colour);
            let value = cell.style.paint(&escape(&cell.text), self.out_colour);
            writeln!(text, "{name}  {value}").expect("a string takes all");
        }
        self.write(&text)
    }

    /// Bytes as they are; on a terminal, which they must not steer, as text on a line.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if self.is_terminal {
            let text = String::from_utf8_lossy(bytes);
            let lines: Vec<_> = text.lines().map(escape).collect();
            return self.write(&format!("{}\n", lines.join("\n")));
        }
        let written = self.out.write_all(bytes).and_then(|()| self.out.flush());
        written.map_err(|error| Failure::Output(IoCause(error)))
    }

    /// Text that is this program's own, as it is.
    pub(crate) fn write(&mut self, text: &str) -> Result<(), Failure> {
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
        written.map_err(|error| Failure::Output(IoCause(error)))
    }

    /// Something beside the answer, on the standard error.
    pub(crate) fn note(&mut self, text: &str) {
        let line = format!("{}\n", escape(text));
        // Nobody is left to tell that the standard error is closed.
        self.err.write_all(line.as_bytes()).ok();
    }

    /// What may surprise, on the standard error.
    pub(crate) fn warning(&mut self, text: &str) {
        self.labelled("warning", Style::Warning, text);
    }

    /// What to type next, on the standard error.
    pub(crate) fn hint(&mut self, text: &str) {
        self.labelled("hint", Style::Bold, text);
    }

    /// Tells what went wrong and what to type next; how the program ends for it.
    pub(crate) fn report(&mut self, failure: &Failure) -> Exit {
        if !failure.is_silent() {
            self.labelled("error", Style::Bad, &chain(failure));
            if let Some(hint) = failure.hint() {
                self.hint(&hint);
            }
        }
        failure.exit()
    }

    fn labelled(&mut self, label: &str, style: Style, text: &str) {
        // One of several lines, like where a text does not parse, stays so; those after the first are indented, so that none is taken
        // for a message of its own.
        let text = text.lines().map(escape).collect::<Vec<_>>().join("\n  ");
        let line = format!("{}: {text}\n", style.paint(label, self.err_colour));
        self.err.write_all(line.as_bytes()).ok();
    }
}

/// An error and its causes in one sentence.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let links = std::iter::successors(Some(error), |&link| link.source());
    links.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
