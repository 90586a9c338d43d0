//! `taskctl`: adds, edits, deletes and watches the tasks of a `taskhost`, over one JSON-RPC connection.
//!
//! One file per verb in `verb`; each turns its flags into a request, calls the host, and shows the answer. What may be
//! said in a flag is checked here only as far as reading it needs: names, durations and limits are the host's to judge, so
//! that this program never refuses what a newer host would accept. It knows nothing of the host's core or engine, and
//! starts in milliseconds: the runtime is built only when there is somebody to call.

pub mod addr;
mod call_error;
mod cause;
mod cell;
pub mod client;
pub mod dev;
mod exit;
mod failure;
mod output;
mod table;
mod task_file;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod text;
mod transport;
mod upload;
mod value;
mod verb;

use std::process::ExitCode;

use clap::Parser;

use crate::addr::HostAddr;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Format, Output};
use crate::verb::Verb;

/// The widest help text, in columns.
const MAX_HELP_COLUMNS: usize = 100;

/// What every verb's help ends with.
const GLOBAL_OPTIONS: &str = "Global options";

/// Adds, edits, deletes and watches the tasks of a taskhost.
#[derive(Debug, Parser)]
#[command(name = "taskctl", version, max_term_width = MAX_HELP_COLUMNS, after_help = exit::HELP)]
struct Cli {
    /// Where the host listens: HOST[:PORT] or unix:PATH [default: unix:$XDG_RUNTIME_DIR/taskhost.sock if it is there, else
    /// 127.0.0.1:3333]
    #[arg(long, value_name = "ADDR", global = true, help_heading = GLOBAL_OPTIONS)]
    #[arg(env = "TASKHOST_HOST", hide_env_values = true)]
    host: Option<HostAddr>,

    /// How to show answers; json is what the host sent: one document, or an object a line where more follow
    #[arg(short, long, value_name = "FORMAT", global = true, help_heading = GLOBAL_OPTIONS, value_enum, default_value_t)]
    output: Format,

    #[command(subcommand)]
    verb: Verb,
}

/// The program: reads the command line and the environment, does what they say, and tells how it went.
pub fn main_impl() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and usage errors; nobody is left to tell when they can't be printed.
            error.print().ok();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let mut output = Output::of_process(cli.output);
    let exit = run(cli, &mut output).unwrap_or_else(|failure| output.report(&failure));
    exit.into()
}

fn run(cli: Cli, output: &mut Output) -> Result<Exit, Failure> {
    let verb = match cli.verb {
        Verb::Completions(completions) => return completions.run(output),
        Verb::Remote(verb) => verb,
    };
    let hosts = cli.host.map_or_else(addr::default_hosts, |host| vec![host]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::runtime)?;
    runtime.block_on(async {
        let client = client::connect_first(&hosts).await?;
        verb.run(&client, output).await
    })
}
