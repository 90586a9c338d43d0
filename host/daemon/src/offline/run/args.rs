//! The command line of `taskhost run`.

use std::path::PathBuf;

use clap::Args;
use taskhost_api::{LimitText, Size};

use crate::offline::grant_args::GrantArgs;

pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 success; a command's own exit code; 1 the task failed, or a file can't be read or written; 65 a host would refuse \
the plugin; 70 it trapped, timed out, hit a limit or could not be run; 129, 130 or 143 a signal stopped it; 2 wrong usage.";

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The plugin
    pub(crate) file: PathBuf,
    /// How many ticks to hand it; the first that does not succeed is the last
    #[arg(long, value_name = "N", default_value_t = 1, allow_hyphen_values = true)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) ticks: u32,
    /// Have a tick due at this rate, from 10ms to 10y [default: when the one
    /// before has ended]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) every: Option<String>,
    /// Have ticks due by a cron expression of 5 fields, or of 6 with seconds
    /// first
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) cron: Option<String>,
    /// With --cron: an IANA time zone like Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", visible_alias = "zone")]
    pub(crate) timezone: Option<String>,
    /// Wait for nothing: jump from due time to due time, and from where the
    /// guest begins to sleep to where it wakes; its clocks show that time
    #[arg(long)]
    pub(crate) virtual_time: bool,
    /// With --virtual-time: when it begins, in RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) start: Option<String>,
    /// Give it the keys and values, and the answers to HTTP requests in place
    /// of the network, that stand in this file
    #[arg(long, value_name = "FILE")]
    pub(crate) fixture: Option<PathBuf>,
    /// Go on after a tick that does not succeed; the exit code is the last one's
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Write what it did to this file, as one JSON document
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// How long one tick may take [default: 1m]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub(crate) timeout: Option<String>,
    /// How much memory it may have, like `64MiB` [default: 128MiB]
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) memory: Option<Size>,
    /// Limit something else, like `cpu_ms=5s` or `log_bytes=64KiB`; may be
    /// repeated
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    pub(crate) limits: Vec<LimitText>,
    /// Give every tick an instance of its own, `fresh`, or all the same one,
    /// `keep` [default: fresh]
    #[arg(long, value_name = "POLICY")]
    pub(crate) instance: Option<String>,
    /// Where secrets are, a file for each; else the variable
    /// TASKHOST_SECRET_NAME has one
    #[arg(long, value_name = "DIR")]
    pub(crate) secrets_dir: Option<PathBuf>,
    /// The guest's arguments
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
    // The last, for its help heading goes on to what follows.
    #[command(flatten)]
    pub(crate) grants: GrantArgs,
}
