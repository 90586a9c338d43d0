//! The command line of `taskhost dev`.

use std::path::PathBuf;

use clap::Args;
use taskhost_api::{LimitText, Size};
use taskhost_cli::addr::HostAddr;

use crate::offline::grant_args::GrantArgs;

pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 Ctrl-C or SIGTERM ended it; 1 it could not go on; 2 wrong usage, or no plugin to be found; 4 there is another task of \
this name; 6 the host is not reachable, or went away; 7 not permitted.";

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// The plugin's folder
    #[arg(default_value = ".")]
    pub(crate) dir: PathBuf,
    /// What builds it, for `sh` in its folder [default: ./build.sh if it is
    /// there; else the plugin itself is watched]
    #[arg(long, value_name = "COMMAND")]
    pub(crate) build: Option<String>,
    /// The plugin, as a path from its folder [default: the .wasm or .wat that
    /// has the folder's name, else the only one there]
    #[arg(long, value_name = "FILE")]
    pub(crate) wasm: Option<PathBuf>,
    /// Do not watch these files, named as in .gitignore; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub(crate) ignore: Vec<String>,
    /// The task's name [default: the folder's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Run it in the host that listens there, HOST[:PORT] or unix:PATH; so does
    /// TASKHOST_HOST [default: in a host of its own, which keeps nothing]
    #[arg(long, value_name = "ADDR", env = "TASKHOST_HOST", hide_env = true)]
    pub(crate) host: Option<HostAddr>,
    /// In a running host: leave a task there that was added
    #[arg(long, requires = "host")]
    pub(crate) keep: bool,
    /// In a running host: give a task of this name the plugin, whatever it runs
    #[arg(long, requires = "host")]
    pub(crate) take_over: bool,
    /// Run it at this rate, from 10ms to 10y [default: as the plugin suggests,
    /// else 1s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) every: Option<String>,
    /// Run it by a cron expression of 5 fields, or of 6 with seconds first
    #[arg(long, value_name = "EXPRESSION", conflicts_with = "every")]
    pub(crate) cron: Option<String>,
    /// With --cron: an IANA time zone like Europe/Berlin [default: the host's,
    /// else UTC]
    #[arg(long, value_name = "ZONE", visible_alias = "zone", requires = "cron")]
    pub(crate) timezone: Option<String>,
    /// How long one run may take [default: 1m]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) timeout: Option<String>,
    /// How much memory it may have, like `64MiB` [default: 128MiB]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) memory: Option<Size>,
    /// Limit something else, like `cpu_ms=5s` or `log_bytes=64KiB`; may be
    /// repeated
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    pub(crate) limits: Vec<LimitText>,
    /// Give every run an instance of its own, `fresh`, or all the same one,
    /// `keep` [default: fresh]
    #[arg(long, value_name = "POLICY")]
    pub(crate) instance: Option<String>,
    /// In a host of its own: where secrets are, a file for each; else the
    /// variable TASKHOST_SECRET_NAME has one
    #[arg(long, value_name = "DIR", conflicts_with = "host")]
    pub(crate) secrets_dir: Option<PathBuf>,
    /// The guest's arguments
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
    // The last, for its help heading goes on to what follows.
    #[command(flatten)]
    pub(crate) grants: GrantArgs,
}
