//! The verbs: one file each, from its flags to what is shown.

mod add;
mod cancel;
mod completions;
mod del;
mod edit;
mod host;
mod list;
mod logs;
mod plugin;
mod plugin_choice;
mod run;
mod runs;
mod show;
mod watch;

use clap::Subcommand;
use jsonrpsee::core::client::Client;
use taskhost_api::Run;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    #[command(flatten)]
    Remote(Box<RemoteVerb>),
    Completions(completions::Completions),
}

/// The verbs that need a host.
#[derive(Debug, Subcommand)]
pub(crate) enum RemoteVerb {
    Add(add::Add),
    Edit(edit::Edit),
    Del(del::Del),
    List(list::List),
    Show(show::Show),
    Logs(logs::Logs),
    Runs(runs::Runs),
    Run(run::Run),
    Cancel(cancel::Cancel),
    Watch(watch::Watch),
    Plugin(plugin::Plugin),
    Host(host::Host),
}

impl RemoteVerb {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        match self {
            Self::Add(verb) => verb.run(client, output).await,
            Self::Edit(verb) => verb.run(client, output).await,
            Self::Del(verb) => verb.run(client, output).await,
            Self::List(verb) => verb.run(client, output).await,
            Self::Show(verb) => verb.run(client, output).await,
            Self::Logs(verb) => verb.run(client, output).await,
            Self::Runs(verb) => verb.run(client, output).await,
            Self::Run(verb) => verb.run(client, output).await,
            Self::Cancel(verb) => verb.run(client, output).await,
            Self::Watch(verb) => verb.run(client, output).await,
            Self::Plugin(verb) => verb.run(client, output).await,
            Self::Host(verb) => verb.run(client, output).await,
        }
    }
}

/// How a run ended, or that it has not.
fn outcome(run: &Run) -> &str {
    run.outcome.as_deref().unwrap_or("running")
}

/// How long the last attempt took, once it is over.
fn took(run: &Run) -> Option<String> {
    Some(text::took(run.started?, run.finished?))
}

/// What there is to say about how a run ended: what went wrong, else what the guest returned.
fn remark(run: &Run) -> Option<&str> {
    run.detail.as_deref().or(run.result.as_deref())
}
