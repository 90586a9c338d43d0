//! Every setting of the host, and where it comes from. The first that is set wins:
//!
//! 1. options on the command line,
//! 2. `TASKHOST_…` in the environment (`TASKHOST_DATA_DIR`, `_LISTEN` with commas between, `_SOCKET`, `_WORKERS`, `_GRACE`,
//!    `_CANCEL_GRACE`, `_TIMEZONE`, `_ECHO`, `_LOG`, `_SECRETS_DIR`; `TASKHOST_CONFIG` names the file),
//! 3. the configuration file, by default `$XDG_CONFIG_HOME/taskhost/config.toml` if there is one,
//! 4. `default-config.toml`, which is part of the program, and for what depends on the machine, XDG's folders and the number
//!    of cores.
//!
//! Where the secrets are has one source more, between the last two: systemd's `$CREDENTIALS_DIRECTORY`.
//!
//! Each layer is checked by itself, so that a wrong value is told with the place that it stands in, even if an upper layer
//! hides it. Nothing else reads the environment, and nothing here binds or makes anything.

mod checked;
mod error;
mod layer;
mod limits;
mod read;
mod surroundings;
mod value;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use taskhost_core::schedule::Zone;
use taskhost_core::spec::Ceilings;

use self::checked::Checked;
pub use self::error::{ConfigError, Place};
pub use self::layer::{AccessLayer, Amount, GrantsLayer, Layer};
use self::read::{environment_layer, file_layer, parse_layer};
pub use self::surroundings::Surroundings;
use self::value::MAX_WORKERS;
use crate::access::AccessPolicy;
use crate::grant_rules::GrantRules;

/// The defaults, as people read them.
pub const DEFAULT_CONFIG: &str = include_str!("default-config.toml");

/// The longest path that a Unix socket can have, as of unix(7); a default one that would be longer is left out.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// Everything that a host is set up with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub data_dir: PathBuf,
    /// Loopback addresses.
    pub listen: Vec<SocketAddr>,
    /// `None` for no Unix socket.
    pub socket: Option<PathBuf>,
    pub workers: usize,
    /// How long runs may go on when the host is stopped.
    pub grace: Duration,
    /// How long a cancelled run has before it is stopped hard.
    pub cancel_grace: Duration,
    /// How long a due time may wait for others, so that they share a wake-up.
    pub timer_slack: Duration,
    /// The time zone of cron expressions that name none.
    pub timezone: Zone,
    /// `None`: if stdout is a terminal.
    pub echo: Option<bool>,
    /// What is logged, as of `tracing_subscriber`'s `EnvFilter`.
    pub log: String,
    pub access: AccessPolicy,
    /// Where files with secrets are, one each, named after them.
    pub secrets_dir: Option<PathBuf>,
    /// The most that tasks may ask for.
    pub ceilings: Ceilings,
    /// How much memory all guests together may have; `None` for what the engine finds right.
    pub memory_budget_bytes: Option<u64>,
    /// Whether plugins of WASI 0.3 are run.
    pub wasi_0_3: bool,
    /// What others than root and the daemon's own user may grant.
    pub grants: GrantRules,
}

impl Config {
    /// Puts the layers together. `file` is the one that was named on the command line, `environment` looks a variable up.
    ///
    /// # Errors
    /// If a layer can't be read or has a value that won't do; the error names the place.
    pub fn load(
        command_line: Layer,
        file: Option<PathBuf>,
        environment: impl Fn(&str) -> Option<OsString>,
        surroundings: &Surroundings,
    ) -> Result<Self, ConfigError> {
        let from_environment = environment_layer(&environment)?;
        let named = file.or_else(|| environment("TASKHOST_CONFIG").map(PathBuf::from));
        let from_file = file_layer(named, surroundings.config_home.as_deref())?;
        let defaults = parse_layer(DEFAULT_CONFIG, Place::Defaults)?;
        let check = |layer, place| Checked::new(layer, place, surroundings);
        let checked = check(command_line, Place::CommandLine)?
            .over(check(from_environment, Place::Environment)?)
            .over(match from_file {
                Some((layer, path)) => check(layer, Place::File(path))?,
                None => Checked::default(),
            })
            .over(check(defaults, Place::Defaults)?);
        let Checked {
            data_dir, listen, socket, workers, grace, cancel_grace, timer_slack, timezone, echo, log, ..
        } = checked;
        let usual_data_dir = surroundings.data_home.as_ref().map(|home| home.join("taskhost"));
        let data_dir = data_dir.or_else(|| usual_data_dir.clone()).ok_or(ConfigError::NoHome)?;
        let socket = match socket {
            // An empty path is how a lower layer's socket is taken away.
            Some(path) => (!path.as_os_str().is_empty()).then_some(path),
            None => {
                // The well-known one is the usual host's; another host of the same user has its own.
                let is_usual = usual_data_dir.as_ref() == Some(&data_dir);
                let dir = surroundings.runtime_dir.as_ref().filter(|_| is_usual).unwrap_or(&data_dir);
                Some(dir.join("taskhost.sock")).filter(|path| path.as_os_str().len() <= MAX_SOCKET_PATH_BYTES)
            }
        };
        let listen = listen.unwrap_or_default();
        if listen.is_empty() && socket.is_none() {
            return Err(ConfigError::NoAddress);
        }
        Ok(Self {
            listen,
            socket,
            workers: workers.unwrap_or(surroundings.cores).clamp(1, MAX_WORKERS),
            grace: grace.unwrap_or_default(),
            cancel_grace: cancel_grace.unwrap_or_default(),
            timer_slack: timer_slack.unwrap_or_default(),
            timezone: timezone.unwrap_or_else(Zone::utc),
            echo,
            log: log.unwrap_or_default(),
            access: AccessPolicy { uids: checked.uids.unwrap_or_default(), gids: checked.gids.unwrap_or_default() },
            // An empty path is no folder at all.
            secrets_dir: checked
                .secrets_dir
                .or_else(|| environment("CREDENTIALS_DIRECTORY").map(PathBuf::from))
                .or_else(|| Some(surroundings.config_home.as_ref()?.join("taskhost/secrets")))
                .filter(|dir| !dir.as_os_str().is_empty()),
            ceilings: checked.ceilings.unwrap_or_default(),
            memory_budget_bytes: checked.memory_budget_bytes,
            wasi_0_3: checked.wasi_0_3.unwrap_or_default(),
            grants: GrantRules {
                dirs: checked.grant_dirs.unwrap_or_default(),
                secrets: checked.grant_secrets.unwrap_or_default(),
                private_hosts: checked.grant_hosts.unwrap_or_default(),
            },
            data_dir,
        })
    }
}

#[cfg(test)]
mod tests;
