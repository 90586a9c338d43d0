//! `taskctl show`

use clap::Args;
use jiff::Timestamp;
use jsonrpsee::core::client::Client;
use taskhost_api::{GetRequest, PluginRef, Task, TaskUnitApiClient};

use super::{outcome, remark, took};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::{Cell, Output, Style};
use crate::text::{absolute, bytes, quoted, relative, shell_word};

/// Show all about a task
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The task
    name: String,

    /// Fill in the defaults for what was not given
    #[arg(long)]
    effective: bool,
}

impl Show {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let Self { name, effective } = self;
        let task = client
            .get(GetRequest { name: name.clone(), effective })
            .await
            .doing(|| format!("show {}", quoted(&name)))?;
        if output.is_json() {
            output.document(&task)?;
        } else {
            output.fields(&fields(&task, output.now))?;
        }
        Ok(Exit::Done)
    }
}

fn fields(task: &Task, now: Timestamp) -> Vec<(&'static str, Cell)> {
    let spec = &task.spec;
    let or_default = |value: Option<String>| value.map_or(Cell::new("default", Style::Dim), Cell::plain);
    let every = spec.schedules.iter().flatten().find_map(|schedule| schedule.every.clone());
    let mut fields = vec![
        ("name", Cell::bold(&spec.name)),
        ("state", Cell::plain(&task.state)),
        ("revision", Cell::plain(task.revision.to_string())),
        ("plugin", Cell::plain(plugin(&spec.plugin))),
        ("every", or_default(every)),
        ("timeout", or_default(spec.timeout.clone())),
        ("memory", or_default(spec.memory_bytes.map(bytes))),
        ("overlap", or_default(spec.overlap.clone())),
    ];
    if let Some(labels) = spec.labels.as_ref().filter(|labels| !labels.is_empty()) {
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        fields.push(("labels", Cell::plain(labels.join(" "))));
    }
    if let Some(args) = spec.args.as_ref().filter(|args| !args.is_empty()) {
        let args: Vec<_> = args.iter().map(|arg| shell_word(arg)).collect();
        fields.push(("args", Cell::plain(args.join(" "))));
    }
    let with_distance = |time| format!("{} ({})", absolute(time), relative(time, now));
    fields.push(("added", Cell::plain(absolute(task.added_at))));
    if let Some(next) = task.next_due {
        fields.push(("next due", Cell::plain(with_distance(next))));
    }
    if let Some(run) = &task.last_run {
        fields.push(("last run", Cell::plain(&run.run_id)));
        fields.push(("  due", Cell::plain(with_distance(run.due))));
        fields.push(("  outcome", Cell::outcome(outcome(run))));
        fields.extend(took(run).map(|took| ("  took", Cell::plain(took))));
        fields.extend(remark(run).map(|remark| ("  remark", Cell::plain(remark))));
    }
    let counts: Vec<_> = task.counts.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
    if !counts.is_empty() {
        fields.push(("runs", Cell::plain(counts.join(", "))));
    }
    fields.extend(task.fault.as_ref().map(|fault| ("fault", Cell::new(fault, Style::Bad))));
    fields
}

fn plugin(plugin: &PluginRef) -> String {
    match plugin {
        PluginRef::Builtin(name) => format!("{name} (built-in)"),
        PluginRef::Sha256(sha256) => sha256.clone(),
        // A host answers with the sha256 that it stored it under.
        PluginRef::Wasm(_) => "inline".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shown, tasks};

    #[test]
    fn all_about_a_task_is_shown() {
        let mut shown = Shown::new();
        for task in tasks() {
            shown.output.fields(&fields(&task, shown.output.now)).expect("memory takes all");
        }
        insta::assert_snapshot!(shown.out());
    }
}
