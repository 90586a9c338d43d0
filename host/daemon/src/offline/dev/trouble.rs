//! What it says while it goes on, and why it does not.

use std::io::Write as _;

use taskhost_cli::dev::Refusal;

use crate::echo::printable;

/// As `EX_USAGE` of clap.
pub(super) const USAGE: u8 = 2;
pub(super) const FAILED: u8 = 1;
/// As `taskctl` has them.
pub(super) const CONFLICT: u8 = 4;
pub(super) const UNREACHABLE: u8 = 6;

/// Why it does not go on.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Trouble {
    pub(super) message: String,
    pub(super) hint: Option<String>,
    pub(super) exit: u8,
}

impl Trouble {
    pub(super) fn usage(message: impl ToString, hint: &str) -> Self {
        Self { message: message.to_string(), hint: Some(hint.to_owned()), exit: USAGE }
    }

    pub(super) fn failed(message: String) -> Self {
        Self { message, hint: None, exit: FAILED }
    }

    pub(super) fn with_hint(self, hint: &str) -> Self {
        Self { hint: Some(hint.to_owned()), ..self }
    }

    pub(super) fn tell(&self) {
        say(&self.message);
        if let Some(hint) = &self.hint {
            write_line(&format!("hint: {}", printable(hint)));
        }
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        let Refusal { message, hint, exit, is_host_gone: _ } = refusal;
        Self { message, hint, exit }
    }
}

/// Says what it does, on stderr: stdout is the guest's. Some of what a host answers has several lines, which belong below each other.
pub(super) fn say(text: &str) {
    let mut lines = text.lines();
    write_line(&format!("dev: {}", printable(lines.next().unwrap_or_default())));
    lines.for_each(|line| write_line(&format!("  {}", printable(line))));
}

fn write_line(line: &str) {
    // Nobody is left to tell that the standard error is closed.
    drop(writeln!(std::io::stderr(), "{line}"));
}
