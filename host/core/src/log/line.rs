//! Lines, and how much they matter.

use std::str::FromStr;

use crate::time::Time;

/// The longest line that is kept, in bytes; the rest of a longer one is lost.
pub const MAX_LINE_BYTES: usize = 8 * 1024;

/// Where a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
    /// A word of the host's own, about the run.
    Host,
    /// `wasi:logging`.
    Log(Level),
}

/// How much a line matters; as in `wasi:logging`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

/// All levels, the least first.
pub const LEVELS: [Level; 6] = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error, Level::Critical];

impl Stream {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Host => "host",
            Self::Log(_) => "log",
        }
    }

    /// How much its lines matter: plain output counts as `info`, and the host speaks up only where something is amiss.
    pub fn level(self) -> Level {
        match self {
            Self::Stdout | Self::Stderr => Level::Info,
            Self::Host => Level::Warn,
            Self::Log(level) => level,
        }
    }
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

/// What is no level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a level is one of `trace`, `debug`, `info`, `warn`, `error` and `critical`")]
pub struct NotALevel;

impl FromStr for Level {
    type Err = NotALevel;

    fn from_str(text: &str) -> Result<Self, NotALevel> {
        LEVELS.into_iter().find(|level| level.as_str() == text).ok_or(NotALevel)
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Counts the task's lines from 1, over restarts. Lines that a crash lost leave their numbers to others.
    pub seq: u64,
    pub time: Time,
    pub stream: Stream,
    /// Bytes that are no UTF-8 are U+FFFD. May hold control characters.
    pub text: String,
    /// Whether the line was longer than [`MAX_LINE_BYTES`].
    pub truncated: bool,
}
