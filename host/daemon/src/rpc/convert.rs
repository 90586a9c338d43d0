//! Values of the wire and of the core, carried into each other. Nothing is checked here but what has no meaning at all.

use std::collections::BTreeMap;
use std::time::Duration;

use taskhost_api as api;
use taskhost_core::events::{Event, EventKind};
use taskhost_core::lateness::LatenessStats;
use taskhost_core::log::LogLine;
use taskhost_core::outcome::{Counts, Run, RunMore};
use taskhost_core::plugin::PluginRef;
use taskhost_core::schedule::Schedule;
use taskhost_core::spec::{ScheduleText, SpecPatch, TaskSpec};
use taskhost_core::supervisor::{PluginView, TaskView};
use taskhost_core::time::format_duration;

/// A definition as a change of one of defaults: every member is set, or takes its default. The plugin is named already.
pub(crate) fn add_patch(spec: api::Spec, plugin: PluginRef) -> SpecPatch {
    let labels = spec.labels.unwrap_or_default();
    SpecPatch {
        plugin: Some(plugin),
        schedules: Some(spec.schedules.map(schedules)),
        timeout: Some(spec.timeout),
        memory_bytes: Some(spec.memory_bytes),
        overlap: Some(spec.overlap),
        labels: Some(Some(labels.into_iter().map(|(key, value)| (key, Some(value))).collect())),
        args: Some(spec.args),
    }
}

/// A patch member for member. The plugin is named already.
pub(crate) fn edit_patch(request: api::EditRequest, plugin: Option<PluginRef>) -> SpecPatch {
    SpecPatch {
        plugin,
        schedules: request.schedules.map(|given| given.map(schedules)),
        timeout: request.timeout,
        memory_bytes: request.memory_bytes,
        overlap: request.overlap,
        labels: request.labels,
        args: request.args,
    }
}

fn schedules(schedules: Vec<api::Schedule>) -> Vec<ScheduleText> {
    schedules.into_iter().map(|api::Schedule { every }| ScheduleText { every }).collect()
}

/// A task; `effective` writes out the defaults of its definition.
pub(crate) fn task(view: TaskView, effective: bool) -> api::Task {
    api::Task {
        spec: if effective { spec(&view.spec.effective(), true) } else { spec(&view.spec, false) },
        revision: view.revision.into(),
        state: state(view.running).to_owned(),
        added_at: view.added_at.to_timestamp(),
        next_due: view.next_due.map(|due| due.to_timestamp()),
        last_run: view.last_run.map(run),
        counts: counts(&view.counts),
        fault: view.fault,
    }
}

/// The word for whether a task is running.
pub(crate) fn state(running: bool) -> &'static str {
    if running { "running" } else { "idle" }
}

fn spec(spec: &TaskSpec, with_empty: bool) -> api::Spec {
    api::Spec {
        name: spec.name.to_string(),
        plugin: match &spec.plugin {
            PluginRef::Builtin(name) => api::PluginRef::Builtin(name.clone()),
            PluginRef::Sha256(sha256) => api::PluginRef::Sha256(sha256.to_string()),
        },
        schedules: spec.schedules.as_ref().map(|schedules| schedules.iter().map(schedule).collect()),
        timeout: spec.timeout.map(format_duration),
        memory_bytes: spec.memory_bytes,
        overlap: spec.overlap.map(|overlap| overlap.as_str().to_owned()),
        labels: (with_empty || !spec.labels.is_empty()).then(|| spec.labels.clone()),
        args: (with_empty || !spec.args.is_empty()).then(|| spec.args.clone()),
    }
}

fn schedule(schedule: &Schedule) -> api::Schedule {
    match schedule {
        Schedule::Every(interval) => api::Schedule { every: Some(format_duration((*interval).into())) },
    }
}

/// How often each outcome occurred, by its word.
pub(crate) fn counts(counts: &Counts) -> BTreeMap<String, u64> {
    counts.iter().map(|(outcome, times)| (outcome.to_string(), times)).collect()
}

/// A run, finished or going on.
pub(crate) fn run(run: Run) -> api::Run {
    let Run { id, task, record, running, plugin } = run;
    let started = record.lateness_us.map(|late| record.due.saturating_add(Duration::from_micros(late.into())));
    // Of a due time that nothing ran for, the outcome was known when it came.
    let finished = started.unwrap_or(record.due).saturating_add(Duration::from_micros(record.took_us.into()));
    let RunMore { detail, result, exit_code, further } = record.more.map(|more| *more).unwrap_or_default();
    api::Run {
        run_id: id.to_string(),
        task: task.to_string(),
        reason: record.reason.as_str().to_owned(),
        due: record.due.to_timestamp(),
        started: started.map(|time| time.to_timestamp()),
        finished: (!running).then(|| finished.to_timestamp()),
        outcome: (!running).then(|| record.outcome.to_string()),
        detail: with_further(detail, further),
        exit_code,
        lateness_ms: record.lateness_us.map(|late| f64::from(late) / 1000.0),
        attempts: record.attempts,
        result: result.map(String::from),
        plugin_sha256: plugin.map(|sha256| sha256.to_string()),
        revision: record.revision.into(),
    }
}

/// Says in words how many due times a record stands for beyond its own.
fn with_further(detail: Option<Box<str>>, further: u64) -> Option<String> {
    match (detail.map(String::from), further) {
        (detail, 0) => detail,
        (None, further) => Some(format!("and {further} more due times after it")),
        (Some(detail), further) => Some(format!("{detail}; and {further} more due times after it")),
    }
}

pub(crate) fn line(line: LogLine) -> api::LogLine {
    api::LogLine {
        seq: line.seq,
        time: line.time.to_timestamp(),
        stream: line.stream.as_str().to_owned(),
        text: line.text,
        truncated: line.truncated,
    }
}

pub(crate) fn plugin(view: PluginView) -> api::PluginInfo {
    api::PluginInfo {
        sha256: view.facts.sha256.to_string(),
        builtin: view.builtin,
        kind: view.facts.kind.as_str().to_owned(),
        size_bytes: view.facts.size_bytes,
        added_at: view.added_at.map(|time| time.to_timestamp()),
        tasks: view.tasks,
        imports: view.facts.imports,
        exports: view.facts.exports,
        fault: view.fault,
    }
}

pub(crate) fn lateness(stats: &LatenessStats) -> api::LatenessMs {
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
    api::LatenessMs {
        window_s: u32::try_from(stats.window.as_secs()).unwrap_or(u32::MAX),
        count: stats.count,
        p50: ms(stats.p50),
        p99: ms(stats.p99),
        max: ms(stats.max),
    }
}

/// An event as subscribers get it.
pub(crate) fn event(event: &Event) -> api::Event {
    let mut sent = bare_event(api::EventKind::Shutdown, event.time.to_timestamp());
    match &event.kind {
        EventKind::TaskAdded { task, revision } => {
            sent.kind = api::EventKind::TaskAdded;
            sent.task = Some(task.to_string());
            sent.revision = Some((*revision).into());
        }
        EventKind::TaskEdited { task, revision } => {
            sent.kind = api::EventKind::TaskEdited;
            sent.task = Some(task.to_string());
            sent.revision = Some((*revision).into());
        }
        EventKind::TaskDeleted { task } => {
            sent.kind = api::EventKind::TaskDeleted;
            sent.task = Some(task.to_string());
        }
        EventKind::RunFinished(finished) => {
            sent.kind = api::EventKind::RunFinished;
            sent.task = Some(finished.task.to_string());
            sent.run = Some(run(finished.clone()));
        }
        EventKind::Log { task, line: written } => {
            sent.kind = api::EventKind::Log;
            sent.task = Some(task.to_string());
            sent.line = Some(line(written.clone()));
        }
        EventKind::Shutdown => {}
    }
    sent
}

/// The word that `lost` events are gone.
pub(crate) fn lagged(lost: u64) -> api::Event {
    api::Event { lost: Some(lost), ..bare_event(api::EventKind::Lagged, jiff::Timestamp::now()) }
}

fn bare_event(kind: api::EventKind, time: jiff::Timestamp) -> api::Event {
    api::Event { kind, time, task: None, revision: None, run: None, line: None, lost: None }
}
