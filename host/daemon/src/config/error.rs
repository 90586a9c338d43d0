//! What is wrong with a configuration, and where it stands.

use std::fmt;
use std::path::PathBuf;

/// Where a setting stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    CommandLine,
    Environment,
    File(PathBuf),
    Defaults,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("on the command line"),
            Self::Environment => f.write_str("in the environment"),
            Self::File(path) => write!(f, "in {}", path.display()),
            Self::Defaults => f.write_str("in the defaults"),
        }
    }
}

/// Why the host can't be set up so.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to read the configuration file {path}")]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("failed to read the configuration {place}")]
    Syntax {
        place: Place,
        #[source]
        source: Box<toml::de::Error>,
    },
    #[error("`{setting}` {place}: {message}")]
    Setting { setting: &'static str, place: Place, message: String },
    #[error("there is no home to keep data in; give --data-dir")]
    NoHome,
    #[error("there is no address to listen on; give --listen or --socket")]
    NoAddress,
}
