//! The command line of `taskhost`: what its commands, each of which knows its own options, are joined to.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::compiler::COMPILE;
use crate::offline::dev::{self, DEV_BUILD, DEV_HOST, DevArgs};
use crate::offline::inspect::{self, InspectArgs};
use crate::offline::new::NewArgs;
use crate::offline::pack::{self, PackArgs};
use crate::offline::run::{self, RunArgs};
use crate::serve::ServeArgs;

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
    /// Run the host, until SIGTERM, Ctrl-C or a closed terminal (the default)
    Serve(ServeArgs),
    /// Run a plugin without a host; its exit code is the guest's
    #[command(after_help = run::EXIT_CODES)]
    Run(Box<RunArgs>),
    /// Show what a plugin is, what it imports and exports, and what is wrong
    #[command(after_help = inspect::EXIT_CODES)]
    Inspect(InspectArgs),
    /// Make a folder with all that a plugin begins with
    New(NewArgs),
    /// Build a plugin whenever its source changes, run what was built, and show
    /// what it prints, until Ctrl-C
    #[command(after_help = dev::EXIT_CODES)]
    Dev(Box<DevArgs>),
    /// Write into a plugin what it says of itself: its name, version and so
    /// on, and what it needs of a host
    #[command(after_help = pack::EXIT_CODES)]
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
