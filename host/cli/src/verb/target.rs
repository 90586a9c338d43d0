//! The arguments that say which tasks a verb is for: one by its name, or many at once.

use clap::{ArgGroup, Args};
use jsonrpsee::core::client::Client;
use taskhost_api::{BulkAction, BulkRequest, TaskUnitApiClient, shell_word};

use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::text::quoted;

/// One task, or many.
#[derive(Debug, Args)]
#[command(group = one_or_many())]
pub(crate) struct Target {
    /// The task
    name: Option<String>,

    #[command(flatten)]
    many: ManyFlags,
}

/// Many tasks at once. Where they are flattened, an argument `name` takes those that are named, and all are of the group
/// [`one_or_many`].
#[derive(Debug, Args)]
pub(crate) struct ManyFlags {
    /// The tasks with these labels: team=web,env!=dev,owner,!legacy
    #[arg(short = 'l', long, value_name = "LABELS", help_heading = MANY)]
    selector: Option<String>,

    /// All tasks
    #[arg(long, help_heading = MANY)]
    all: bool,

    /// Only tell which tasks it would be
    #[arg(long, help_heading = MANY, conflicts_with = "name")]
    dry_run: bool,
}

/// The heading says what sets a verb on many tasks apart from many verbs.
const MANY: &str = "Many tasks: all of them, or none if one can't be";

/// Tasks are named in one of these ways: nothing is done to all of them but by `--all`.
pub(super) fn one_or_many() -> ArgGroup {
    ArgGroup::new("one_or_many").args(["name", "selector", "all"]).required(true)
}

/// Which tasks a verb is for.
pub(super) enum Which {
    One(String),
    Many(Many),
}

/// The tasks with these labels; all if there are none.
pub(super) struct Many {
    selector: Option<String>,
    pub(super) dry_run: bool,
}

/// What a verb does with many tasks, as "failed to {verb} all tasks" and "{done} 3 tasks" have it.
pub(super) struct Deed {
    pub(super) verb: &'static str,
    pub(super) done: &'static str,
}

impl Target {
    pub(super) fn which(self) -> Which {
        match self.name {
            Some(name) => Which::One(name),
            None => Which::Many(self.many.many()),
        }
    }
}

impl ManyFlags {
    pub(super) fn is_given(&self) -> bool {
        self.all || self.selector.is_some()
    }

    /// The tasks, of flags that are given.
    pub(super) fn many(self) -> Many {
        Many { selector: self.selector, dry_run: self.dry_run }
    }
}

impl Many {
    /// Completes "failed to …".
    pub(super) fn doing(&self, verb: &str) -> String {
        match &self.selector {
            Some(selector) => format!("{verb} the tasks with {}", quoted(selector)),
            None => format!("{verb} all tasks"),
        }
    }

    /// As the command line names them.
    pub(super) fn words(&self) -> String {
        match &self.selector {
            Some(selector) => format!("--selector {}", shell_word(selector)),
            None => "--all".to_owned(),
        }
    }

    /// Does it with each of them, and shows what was done.
    pub(super) async fn act(
        self,
        client: &Client,
        output: &mut Output,
        deed: Deed,
        action: BulkAction,
    ) -> Result<Exit, Failure> {
        let doing = self.doing(deed.verb);
        let Self { selector, dry_run } = self;
        let request = BulkRequest { all: selector.is_none(), selector, dry_run, action };
        let done = client.bulk(request).await.doing(|| doing)?;
        if output.is_json() {
            output.document(&done)?;
            return Ok(Exit::Done);
        }
        if dry_run {
            for name in &done.tasks {
                output.line(name)?;
            }
        }
        let picked = done.tasks.len() as u64;
        let tasks = match picked {
            1 => "1 task".to_owned(),
            _ => format!("{picked} tasks"),
        };
        let of_them = if done.changed == picked { tasks } else { format!("{} of {tasks}", done.changed) };
        let rest = if done.changed == picked { "" } else { "; the others are so already" };
        match (picked, dry_run) {
            (0, _) => output.note("there are no such tasks; nothing was done"),
            // Beside the names, which may be piped.
            (_, true) => output.note(&format!("would {} {of_them}{rest}; nothing was done", deed.verb)),
            (_, false) => output.line(&format!("{} {of_them}{rest}", deed.done))?,
        }
        Ok(Exit::Done)
    }
}
