//! The command line of `taskhost`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use taskhost_api::{DirText, LimitText, Pair, Size};
use taskhost_cli::addr::HostAddr;

use crate::config::Layer;
use crate::offline::new::Language;

/// What the host starts itself with to have a plugin compiled.
pub(crate) const COMPILE: &str = "compile";

/// What `taskhost dev` starts itself with, for a host of its own and for a build.
pub(crate) const DEV_HOST: &str = "dev-host";
pub(crate) const DEV_BUILD: &str = "dev-build";

/// A host that runs many named tasks, each a sandboxed WebAssembly plugin, on
/// schedules. Tasks are added, edited and deleted with `taskctl` while it runs.
#[derive(Debug, Parser)]
#[command(name = "taskhost", version, args_conflicts_with_subcommands = true, max_term_width = 100)]
#[command(after_help = "Every option of `serve` can also be given in the environment, as TASKHOST_DATA_DIR, \
    TASKHOST_LISTEN (comma-separated) and so on, and in the configuration file; an option beats the environment, \
    which beats the file. TASKHOST_LOG sets what is logged to stderr, like `debug` or `taskhost_core=trace`.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the host, until SIGTERM or Ctrl-C (the default)
    Serve(ServeArgs),
    /// Run a plugin without a host; its exit code is the guest's
    #[command(after_help = crate::offline::run::EXIT_CODES)]
    Run(Box<RunArgs>),
    /// Show what a plugin is, what it imports and exports, and what is wrong
    #[command(after_help = crate::offline::inspect::EXIT_CODES)]
    Inspect(InspectArgs),
    /// Make a folder with all that a plugin begins with
    New(NewArgs),
    /// Build a plugin whenever its source changes, run what was built, and show
    /// what it prints, until Ctrl-C
    #[command(after_help = crate::offline::dev::EXIT_CODES)]
    Dev(Box<DevArgs>),
    /// Write into a plugin what it says of itself: its name, version and so
    /// on, and what it needs of a host
    #[command(after_help = crate::offline::pack::EXIT_CODES)]
    Pack(PackArgs),
    /// The host of a `taskhost dev`
    #[command(name = DEV_HOST, hide = true)]
    DevHost { parent: u32, dir: PathBuf, secrets_dir: Option<PathBuf> },
    /// A build of a `taskhost dev`
    #[command(name = DEV_BUILD, hide = true)]
    DevBuild { parent: u32, command: String },
    /// Compile a plugin, as a child of the host
    #[command(name = COMPILE, hide = true)]
    Compile {
        /// The engine's, from itself to itself
        order: Vec<String>,
    },
}

#[derive(Debug, Default, Args)]
pub(crate) struct ServeArgs {
    /// Where tasks, plugins, history and logs are kept
    /// [default: $XDG_DATA_HOME/taskhost]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A TCP address to listen on; may be repeated; port 0 takes a free one
    /// [default: 127.0.0.1:3333]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<String>,
    /// The Unix socket to listen on; empty for none
    /// [default: $XDG_RUNTIME_DIR/taskhost.sock; with --data-dir, in there]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The configuration file
    /// [default: $XDG_CONFIG_HOME/taskhost/config.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How many threads run tasks [default: one per core]
    #[arg(long, value_name = "N", allow_hyphen_values = true, value_parser = number)]
    workers: Option<usize>,
    /// How long runs may go on when the host is stopped [default: 10s]
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    grace: Option<String>,
    /// Write the lines of guests to stdout [default: if it is a terminal]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    echo: Option<bool>,
}

impl ServeArgs {
    /// What was given, as the uppermost layer of the configuration.
    pub(crate) fn into_layer(self) -> Layer {
        Layer {
            data_dir: self.data_dir,
            listen: (!self.listen.is_empty()).then_some(self.listen),
            socket: self.socket,
            workers: self.workers,
            grace: self.grace,
            echo: self.echo,
            ..Layer::default()
        }
    }
}

/// Reads a count; whether it is one that will do, is the configuration's to say.
fn number(text: &str) -> Result<usize, &'static str> {
    text.parse().map_err(|_| "it is no whole number")
}

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// The plugin's name, which its folder gets
    #[arg(allow_hyphen_values = true)]
    pub(crate) name: String,
    /// What it is written in
    #[arg(long, value_enum, value_name = "LANGUAGE", ignore_case = true)]
    pub(crate) lang: Language,
    /// Where its folder is made [default: here]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

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

/// What a plugin may do beside computing, flag for flag as with `taskctl add`.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Grants: nothing by default; each but --kv may be repeated")]
pub(crate) struct GrantArgs {
    /// Set an environment variable
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) env: Vec<Pair>,
    /// Give it this folder, under another name with ::GUEST, only to read
    /// with :ro
    #[arg(long = "dir", value_name = "HOST[::GUEST][:ro]")]
    pub(crate) dirs: Vec<DirText>,
    /// Let it connect there: a name, *.NAME, an address, a net like 10.0.0.0/8
    /// or *, with a port or *. Addresses that are not public must be named as
    /// addresses
    #[arg(long = "allow-host", value_name = "HOST:PORT")]
    pub(crate) hosts: Vec<String>,
    /// Set a value that it reads through wasi:config
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) config: Vec<Pair>,
    /// Let it read this secret through wasi:config
    #[arg(long = "secret", value_name = "NAME")]
    pub(crate) secrets: Vec<String>,
    /// Give it a key-value store, which is gone at the end
    #[arg(long)]
    pub(crate) kv: bool,
}

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

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The file to look at
    pub(crate) file: PathBuf,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct PackArgs {
    /// The plugin
    pub(crate) file: PathBuf,
    /// The file that has it: docs/manifest.md tells what stands in it
    #[arg(short, long, value_name = "PLUGIN.TOML", default_value = "plugin.toml")]
    pub(crate) manifest: PathBuf,
    /// Where the plugin is written [default: in the place of FILE]
    #[arg(short, long, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    const TERM_WIDTH_COLUMNS: usize = 80;

    fn help(path: &[&str]) -> String {
        let mut command = Cli::command().term_width(TERM_WIDTH_COLUMNS);
        command.build();
        let command = path
            .iter()
            .fold(&mut command, |command, name| command.find_subcommand_mut(name).expect("a subcommand of this name"));
        command.render_long_help().to_string()
    }

    #[test]
    fn help_says_what_there_is() {
        insta::assert_snapshot!("help", help(&[]));
        insta::assert_snapshot!("help-run", help(&["run"]));
        insta::assert_snapshot!("help-dev", help(&["dev"]));
        insta::assert_snapshot!("help-inspect", help(&["inspect"]));
        insta::assert_snapshot!("help-pack", help(&["pack"]));
    }

    #[test]
    fn serve_is_what_is_done_without_a_command() {
        let bare = Cli::try_parse_from(["taskhost", "--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--echo"]);
        let bare = bare.expect("valid");
        assert!(bare.command.is_none());
        let layer = bare.serve.into_layer();
        assert_eq!(layer.listen, Some(vec!["127.0.0.1:0".to_owned(), "[::1]:0".to_owned()]));
        assert_eq!(layer.echo, Some(true));
        match Cli::try_parse_from(["taskhost", "serve", "--echo=false"]).expect("valid").command {
            Some(Command::Serve(args)) => assert_eq!(args.into_layer().echo, Some(false)),
            other => panic!("another command: {other:?}"),
        }
    }

    #[test]
    fn a_value_with_a_hyphen_is_a_value_and_told_as_one() {
        let grace = Cli::try_parse_from(["taskhost", "--grace", "-5s"]).expect("the configuration judges it").serve;
        assert_eq!(grace.into_layer().grace.as_deref(), Some("-5s"));
        for (words, told) in [
            (&["--workers", "-1"][..], "it is no whole number"),
            (&["--workers", "two"], "it is no whole number"),
            (&["run", "a.wasm", "--ticks", "-1"], "-1 is not in 1.."),
            (&["run", "a.wasm", "--ticks", "0"], "0 is not in 1.."),
        ] {
            let refused = Cli::try_parse_from([&["taskhost"], words].concat()).expect_err("refused").to_string();
            assert!(refused.contains(told), "{words:?}: {refused}");
        }
    }

    #[test]
    fn arguments_after_two_hyphens_are_the_guests() {
        let cli = Cli::try_parse_from(["taskhost", "run", "a.wasm", "--ticks", "3", "--", "--ticks", "x"]);
        match cli.expect("valid").command {
            Some(Command::Run(args)) => assert_eq!((args.ticks, args.args), (3, vec!["--ticks".into(), "x".into()])),
            other => panic!("another command: {other:?}"),
        }
    }
}
