//! `taskctl show`

use clap::Args;
use jiff::Timestamp;
use jsonrpsee::core::client::Client;
use taskhost_api::{GetRequest, Grants, Jitter, PluginRef, Retry, Spec, Task, TaskUnitApiClient, shell_word};

use super::schedule_words::in_words;
use super::{outcome, remark, took};
use crate::cell::{Cell, Style};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::text::{absolute, bytes, dir, limit, quoted, relative};

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
    let with_distance = |time| format!("{} ({})", absolute(time), relative(time, now));
    let mut fields = vec![("name", Cell::bold(&task.spec.name)), ("state", Cell::plain(&task.state))];
    if let Some(paused) = &task.paused {
        fields.push(("  since", Cell::plain(with_distance(paused.since))));
        fields.extend(paused.until.map(|until| ("  until", Cell::plain(with_distance(until)))));
        fields.push(("  by", Cell::plain(&paused.by)));
        fields.extend(paused.note.as_ref().map(|note| ("  note", Cell::plain(note))));
    }
    fields.push(("revision", Cell::plain(task.revision.to_string())));
    fields.extend(definition(&task.spec));
    fields.push(("added", Cell::plain(absolute(task.added_at))));
    if let Some(next) = task.next_due {
        fields.push(("next due", Cell::plain(with_distance(next))));
    }
    if let Some(run) = &task.last_run {
        fields.push(("last run", Cell::plain(&run.run_id)));
        fields.push(("  due", Cell::plain(with_distance(run.due))));
        fields.push(("  outcome", Cell::outcome(outcome(run))));
        fields.extend(took(run).map(|took| ("  took", Cell::plain(took))));
        if run.attempts > 1 {
            fields.push(("  attempts", Cell::plain(run.attempts.to_string())));
        }
        if let Some(trigger) = &run.trigger {
            let run = format!("{} ({}, run {})", trigger.task, trigger.outcome, trigger.run_id);
            fields.push(("  after", Cell::plain(run)));
        }
        fields.extend(remark(run).map(|remark| ("  remark", Cell::plain(remark))));
    }
    let counts: Vec<_> = task.counts.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
    if !counts.is_empty() {
        fields.push(("counts", Cell::plain(counts.join(", "))));
    }
    if task.failures > 0 {
        fields.push(("failures", Cell::new(format!("{} in a row", task.failures), Style::Bad)));
    }
    if task.backlog > 0 {
        fields.push(("backlog", Cell::plain(format!("{} due times to be made up for", task.backlog))));
    }
    fields.extend(task.fault.as_ref().map(|fault| ("fault", Cell::new(fault, Style::Bad))));
    fields
}

/// What was given, and `default` for what most tasks are given.
fn definition(spec: &Spec) -> Vec<(&'static str, Cell)> {
    let or_default = |value: Option<String>| value.map_or(Cell::new("default", Style::Dim), Cell::plain);
    let mut fields = vec![("plugin", Cell::plain(plugin(&spec.plugin)))];
    match &spec.schedules {
        None => fields.push(("runs", or_default(None))),
        Some(schedules) => {
            let names = std::iter::once("runs").chain(std::iter::repeat(""));
            let words = |schedule| Cell::plain(in_words(std::slice::from_ref(schedule), Some(&spec.name)));
            fields.extend(names.zip(schedules.iter().map(words)));
        }
    }
    let count = |number: u32| number.to_string();
    let jitter = |jitter: &Jitter| {
        let stable = if jitter.stable { ", the same for every due time" } else { "" };
        format!("up to {}{stable}", jitter.max)
    };
    let attempts = |attempts| if attempts == 1 { "no".to_owned() } else { format!("{attempts} attempts") };
    let retry = spec.retry.as_ref();
    // Waits are no use to read where nothing waits.
    let retried = retry.filter(|retry| retry.attempts != Some(1));
    let words = |words: &Vec<String>| words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ");
    let labels = spec
        .labels
        .as_ref()
        .filter(|labels| !labels.is_empty())
        .map(|labels| labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "));
    fields.extend([
        ("timeout", or_default(spec.timeout.clone())),
        ("memory", or_default(spec.memory_bytes.map(bytes))),
        ("overlap", or_default(spec.overlap.clone())),
    ]);
    let only_if_given = [
        ("max running", spec.max_running.map(count)),
        ("max buffered", spec.max_buffered.map(count)),
        ("missed", spec.missed.clone()),
        ("catch-up window", spec.catchup_window.clone()),
        ("max catch-up", spec.max_catchup.map(count)),
        ("starts at", spec.starts_at.clone()),
        ("expires at", spec.expires_at.clone()),
        ("max runs", spec.max_runs.map(|runs| runs.to_string())),
        ("jitter", spec.jitter.as_ref().map(jitter)),
        ("retry", retry.map(|retry| retry.attempts.map_or("default".to_owned(), attempts))),
        ("  backoff", retried.and_then(backoff)),
        ("  on", retried.and_then(|retry| Some(retry.on.as_ref()?.join(" ")))),
        ("pause on failure", spec.pause_on_failure.map(|runs| format!("after {runs} in a row"))),
        ("on failure", spec.on_failure.as_ref().map(|task| format!("run {task}"))),
        ("on recovery", spec.on_recovery.as_ref().map(|task| format!("run {task}"))),
        ("labels", labels),
        ("args", spec.args.as_ref().filter(|args| !args.is_empty()).map(words)),
    ];
    fields.extend(only_if_given.into_iter().filter_map(|(name, value)| Some((name, Cell::plain(value?)))));
    let limits =
        spec.limits.iter().flat_map(|limits| &limits.0).map(|(name, value)| format!("{name}={}", limit(name, *value)));
    fields.extend(listed("limits", limits.collect()));
    fields.extend(spec.instance.as_ref().map(|instance| ("instance", Cell::plain(instance))));
    fields.extend(spec.grants.as_ref().map(granted).into_iter().flatten());
    fields
}

/// What is granted, each kind by the name of its flag.
fn granted(grants: &Grants) -> Vec<(&'static str, Cell)> {
    let Grants { env, dirs, hosts, config, secrets, kv } = grants;
    let pairs = |(key, value): (&String, &String)| format!("{key}={value}");
    let fields: Vec<_> = listed("env", env.iter().map(pairs).collect())
        .chain(listed("dirs", dirs.iter().map(dir).collect()))
        .chain(listed("hosts", hosts.clone()))
        .chain(listed("config", config.iter().map(pairs).collect()))
        .chain(listed("secrets", secrets.clone()))
        .chain(kv.then(|| ("key-value", Cell::plain("a store of its own"))))
        .collect();
    if fields.is_empty() { vec![("grants", Cell::new("none", Style::Dim))] } else { fields }
}

/// One row for each value, the first with the name.
fn listed(name: &'static str, values: Vec<String>) -> impl Iterator<Item = (&'static str, Cell)> {
    std::iter::once(name).chain(std::iter::repeat("")).zip(values.into_iter().map(Cell::plain))
}

/// How long a run waits for its next attempt.
fn backoff(retry: &Retry) -> Option<String> {
    let backoff = retry.backoff.as_ref().map(|backoff| format!("{backoff}, then twice as long each time"));
    let max_backoff = retry.max_backoff.as_ref().map(|max| format!("at most {max}"));
    let parts: Vec<_> = [backoff, max_backoff].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
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
    use serde_json::json;

    use super::*;
    use crate::testing::{Shown, tasks};

    #[test]
    fn every_member_of_a_definition_is_shown() {
        let mut task = tasks().remove(2);
        task.spec = serde_json::from_value(json!({
            "name": "everything",
            "schedules": [{"every": "5m", "phase": "10s"}, {"cron": "0 3 * * *", "timezone": "Europe/Berlin"}],
            "starts_at": "2027-01-01T00:00:00Z", "expires_at": "2028-01-01T00:00:00Z", "max_runs": 3,
            "jitter": {"max": "10s", "stable": true}, "timeout": "5s", "memory_bytes": 65536, "overlap": "buffer_all",
            "max_running": 2, "max_buffered": 3, "missed": "run_all", "catchup_window": "1h", "max_catchup": 4,
            "retry": {"attempts": 3, "backoff": "1s", "max_backoff": "1m", "on": ["error", "trapped"]},
            "pause_on_failure": 5, "on_failure": "b", "on_recovery": "c", "args": ["x"], "labels": {"team": "web"},
            "limits": {"log_lines": 100, "cpu_ms": 90000, "log_bytes": 65536, "kv_bytes": 65537}, "instance": "keep",
            "grants": {
                "env": {"A": "b", "C": ""}, "hosts": ["*.example.com:443", "[::1]:80"], "config": {"mode": "fast"},
                "dirs": [{"host": "/srv", "guest": "/data", "read_only": true}, {"host": "/tmp", "guest": "/tmp"}],
                "secrets": ["key", "other"], "kv": true,
            },
        }))
        .expect("a definition");
        (task.failures, task.backlog) = (4, 12);
        let mut shown = Shown::new();
        shown.output.fields(&fields(&task, shown.output.now)).expect("memory takes all");
        let widest = shown.out().lines().map(console::measure_text_width).max();
        assert!(widest <= Some(80), "{}", shown.out());
        insta::assert_snapshot!(shown.out());
    }

    #[test]
    fn all_about_a_task_is_shown() {
        let mut shown = Shown::new();
        for task in tasks() {
            shown.output.fields(&fields(&task, shown.output.now)).expect("memory takes all");
        }
        insta::assert_snapshot!(shown.out());
    }
}
