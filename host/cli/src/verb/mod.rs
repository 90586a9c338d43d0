//! The verbs: one file each, from its flags to what is shown.

mod add;
mod apply;
mod backfill;
mod cancel;
mod changes;
mod completions;
mod definition_flags;
mod del;
mod differences;
mod edit;
mod export;
mod grant_flags;
mod host;
mod kv;
mod list;
pub(crate) mod logs;
mod next;
mod pause;
mod plugin;
mod plugin_choice;
mod policy_flags;
mod resume;
mod run;
mod runs;
mod schedule_flags;
mod schedule_words;
mod show;
mod target;
mod watch;
mod why;

use clap::Subcommand;
use jsonrpsee::core::client::Client;
use taskhost_api::{Run, RunState};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

pub(crate) use self::schedule_words::in_words;

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
    Pause(pause::Pause),
    Resume(resume::Resume),
    Apply(apply::Apply),
    Export(export::Export),
    List(list::List),
    Show(show::Show),
    Next(next::Next),
    Logs(logs::Logs),
    Runs(runs::Runs),
    Changes(changes::Changes),
    Why(why::Why),
    Run(run::Run),
    Backfill(backfill::Backfill),
    Cancel(cancel::Cancel),
    Watch(watch::Watch),
    Kv(kv::Kv),
    Plugin(plugin::Plugin),
    Host(host::Host),
}

impl RemoteVerb {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        match self {
            Self::Add(verb) => verb.run(client, output).await,
            Self::Edit(verb) => verb.run(client, output).await,
            Self::Del(verb) => verb.run(client, output).await,
            Self::Pause(verb) => verb.run(client, output).await,
            Self::Resume(verb) => verb.run(client, output).await,
            Self::Apply(verb) => verb.run(client, output).await,
            Self::Export(verb) => verb.run(client, output).await,
            Self::List(verb) => verb.run(client, output).await,
            Self::Show(verb) => verb.run(client, output).await,
            Self::Next(verb) => verb.run(client, output).await,
            Self::Logs(verb) => verb.run(client, output).await,
            Self::Runs(verb) => verb.run(client, output).await,
            Self::Changes(verb) => verb.run(client, output).await,
            Self::Why(verb) => verb.run(client, output).await,
            Self::Run(verb) => verb.run(client, output).await,
            Self::Backfill(verb) => verb.run(client, output).await,
            Self::Cancel(verb) => verb.run(client, output).await,
            Self::Watch(verb) => verb.run(client, output).await,
            Self::Kv(verb) => verb.run(client, output).await,
            Self::Plugin(verb) => verb.run(client, output).await,
            Self::Host(verb) => verb.run(client, output).await,
        }
    }
}

/// How a run ended, or how far it is.
pub(crate) fn outcome(run: &Run) -> &str {
    let state = match run.state {
        RunState::Queued => "queued",
        RunState::Running | RunState::Ended => "running",
        RunState::Retrying => "retrying",
    };
    run.outcome.as_deref().unwrap_or(state)
}

/// How long the last attempt took, once it is over; on average, of several runs.
fn took(run: &Run) -> Option<String> {
    match &run.span {
        Some(span) => (span.took_max_ms > 0.0).then(|| text::millis(span.took_mean_ms)),
        None => Some(text::took(run.started?, run.finished?)),
    }
}

/// What there is to say about how a run ended: what went wrong, else what the guest returned.
pub(crate) fn remark(run: &Run) -> Option<&str> {
    run.detail.as_deref().or(run.result.as_deref())
}
