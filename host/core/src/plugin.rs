//! What the core knows of plugins: how they are named, and what the engine found out about them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::manifest::About;

/// A plugin's identity: the sha256 of its bytes as they were sent. Written in lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(pub [u8; 32]);

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no sha256.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sha256 is 64 digits of lower-case hex")]
pub struct Sha256Error;

impl FromStr for Sha256 {
    type Err = Sha256Error;

    fn from_str(text: &str) -> Result<Self, Sha256Error> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(Sha256Error);
        }
        let digit = |at: usize| match digits[at] {
            digit @ b'0'..=b'9' => Ok(digit - b'0'),
            digit @ b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(Sha256Error),
        };
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = digit(2 * at)? << 4 | digit(2 * at + 1)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Sha256 {
    type Error = Sha256Error;

    fn try_from(text: String) -> Result<Self, Sha256Error> {
        text.parse()
    }
}

impl From<Sha256> for String {
    fn from(sha256: Sha256) -> Self {
        sha256.to_string()
    }
}

/// Which plugin a spec names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginRef {
    /// One that the daemon brings along; a newer daemon may bring a newer one.
    Builtin(String),
    /// A stored one.
    Sha256(Sha256),
}

/// How a plugin is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginKind {
    /// A component of our world: exports `taskhost:plugin/guest`.
    Task,
    /// A WASI 0.2 command: exports `wasi:cli/run`.
    Command,
    /// A core module that imports WASI preview 1 and exports `_start`.
    Preview1,
}

impl PluginKind {
    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task component",
            Self::Command => "command component",
            Self::Preview1 => "preview-1 command",
        }
    }
}

/// What the engine found in a plugin that it admits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginFacts {
    pub sha256: Sha256,
    pub kind: PluginKind,
    pub size_bytes: u64,
    /// Every import by its full name, sorted: `wasi:cli/environment@0.2.3`.
    pub imports: Vec<String>,
    /// Every export by its full name, sorted.
    pub exports: Vec<String>,
    /// What it says of itself; `None` of one that a host stored that did not look for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<Arc<About>>,
}

/// Why a plugin can't be used. Messages are whole: they name what was found and what was expected.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PluginError {
    /// The bytes are no plugin for this host; the caller's fault.
    #[error("{message}")]
    Invalid {
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The bytes end the process that reads them, and may not be read again; the caller's fault.
    #[error("the compiler crashed on it: {0}")]
    Crashed(String),
    /// More than the host accepts.
    #[error("the plugin has {size_bytes} bytes; at most {limit_bytes} are accepted")]
    TooLarge { size_bytes: u64, limit_bytes: u64 },
    /// Nothing is stored under this name.
    #[error("no plugin {0} is stored")]
    NotFound(String),
    /// The host brings no plugin of this name along.
    #[error("no built-in plugin is named `{name}`; there is {known}")]
    NotBuiltin {
        name: String,
        /// Those that there are, for people.
        known: String,
    },
    /// What is stored does not have the sha256 that it should have.
    #[error("the stored file of plugin {0} is damaged")]
    Damaged(Sha256),
    /// The host has too much to do; later it may not.
    #[error("{0}")]
    Busy(String),
    /// The host failed.
    #[error("{0}")]
    Host(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sha256_reads_back_as_it_was_written() {
        let sha256 = Sha256(std::array::from_fn(|at| at as u8 * 7));
        assert_eq!(sha256.to_string().parse(), Ok(sha256));
        for text in ["", "ab", &"g".repeat(64), &"AB".repeat(32), &"é".repeat(32)] {
            assert_eq!(text.parse::<Sha256>(), Err(Sha256Error), "{text}");
        }
    }
}
