//! Values of the wire and of the core, carried into each other. Nothing is checked here but what has no meaning at all.

use std::collections::BTreeMap;
use std::time::Duration;

use taskhost_api as api;
use taskhost_core::events::{Event, EventKind};
use taskhost_core::lateness::LatenessStats;
use taskhost_core::log::{LogLine, Stream};
use taskhost_core::manifest::{Manifest, Need, SuggestedSchedule};
use taskhost_core::outcome::{Counts, Run, RunMore, RunPhase, Trigger};
use taskhost_core::plugin::PluginRef;
use taskhost_core::ports::{Pause, Revision, RevisionKind};
use taskhost_core::schedule::{Schedule, ScheduleText};
use taskhost_core::spec::{
    DirGrant, Grants, GrantsText, Jitter, JitterText, Limit, Retry, RetryText, SpecPatch, TaskSpec,
};
use taskhost_core::supervisor::{Applied, AppliedKind, NextView, PluginView, TaskState, TaskView, WhyView};
use taskhost_core::time::{Time, format_duration};

/// A definition as a change of one of defaults: every member is set, or takes its default. The plugin is named already.
pub(crate) fn add_patch(spec: api::Spec, plugin: PluginRef) -> SpecPatch {
    let labels = spec.labels.unwrap_or_default();
    SpecPatch {
        plugin: Some(plugin),
        schedules: Some(spec.schedules.map(schedule_texts)),
        timeout: Some(spec.timeout),
        memory_bytes: Some(spec.memory_bytes),
        starts_at: Some(spec.starts_at),
        expires_at: Some(spec.expires_at),
        max_runs: Some(spec.max_runs),
        jitter: Some(spec.jitter.map(jitter_text)),
        overlap: Some(spec.overlap),
        max_running: Some(spec.max_running),
        max_buffered: Some(spec.max_buffered),
        missed: Some(spec.missed),
        catchup_window: Some(spec.catchup_window),
        max_catchup: Some(spec.max_catchup),
        retry: Some(spec.retry.map(retry_text)),
        pause_on_failure: Some(spec.pause_on_failure),
        on_failure: Some(spec.on_failure),
        on_recovery: Some(spec.on_recovery),
        labels: Some(Some(labels.into_iter().map(|(key, value)| (key, Some(value))).collect())),
        args: Some(spec.args),
        grants: Some(spec.grants.map(grants_text)),
        limits: Some(spec.limits.map(|limits| limits.0)),
        instance: Some(spec.instance),
    }
}

/// A patch member for member. The plugin is named already.
pub(crate) fn edit_patch(patch: api::Patch, plugin: Option<PluginRef>) -> SpecPatch {
    SpecPatch {
        plugin,
        schedules: patch.schedules.map(|given| given.map(schedule_texts)),
        timeout: patch.timeout,
        memory_bytes: patch.memory_bytes,
        starts_at: patch.starts_at,
        expires_at: patch.expires_at,
        max_runs: patch.max_runs,
        jitter: patch.jitter.map(|given| given.map(jitter_text)),
        overlap: patch.overlap,
        max_running: patch.max_running,
        max_buffered: patch.max_buffered,
        missed: patch.missed,
        catchup_window: patch.catchup_window,
        max_catchup: patch.max_catchup,
        retry: patch.retry.map(|given| given.map(retry_text)),
        pause_on_failure: patch.pause_on_failure,
        on_failure: patch.on_failure,
        on_recovery: patch.on_recovery,
        labels: patch.labels,
        args: patch.args,
        grants: patch.grants.map(|given| given.map(grants_text)),
        limits: patch.limits.map(|given| given.map(|limits| limits.0)),
        instance: patch.instance,
    }
}

pub(crate) fn schedule_texts(schedules: Vec<api::Schedule>) -> Vec<ScheduleText> {
    let text = |api::Schedule { every, phase, align, delay, cron, timezone, at, manual }| ScheduleText {
        every,
        phase,
        align,
        delay,
        cron,
        timezone,
        at,
        manual,
    };
    schedules.into_iter().map(text).collect()
}

fn jitter_text(api::Jitter { max, stable }: api::Jitter) -> JitterText {
    JitterText { max, stable }
}

fn retry_text(api::Retry { attempts, backoff, max_backoff, on }: api::Retry) -> RetryText {
    RetryText { attempts, backoff, max_backoff, on }
}

fn grants_text(grants: api::Grants) -> GrantsText {
    let api::Grants { env, dirs, hosts, config, secrets, kv } = grants;
    let dir = |api::Dir { host, guest, read_only }| DirGrant { host, guest, read_only };
    GrantsText { env, dirs: dirs.into_iter().map(dir).collect(), hosts, config, secrets, kv }
}

/// A task; `effective` writes out the defaults of its definition.
pub(crate) fn task(view: TaskView, effective: bool) -> api::Task {
    api::Task {
        spec: if effective {
            spec(view.name.as_str(), &view.spec.effective(), true)
        } else {
            spec(view.name.as_str(), &view.spec, false)
        },
        revision: view.revision.into(),
        state: state(view.state()).to_owned(),
        paused: view.paused.map(paused),
        added_at: view.added_at.to_timestamp(),
        next_due: view.next_due.map(Time::to_timestamp),
        last_run: view.last_run.map(run),
        counts: counts(&view.counts),
        failures: view.failures.into(),
        backlog: view.backlog as u64,
        fault: view.fault,
    }
}

/// The word for what a task is doing.
fn state(state: TaskState) -> &'static str {
    match state {
        TaskState::Idle => "idle",
        TaskState::Running => "running",
        TaskState::Paused => "paused",
    }
}

fn paused(pause: Pause) -> api::Paused {
    api::Paused {
        since: pause.since.to_timestamp(),
        until: pause.until.map(Time::to_timestamp),
        note: pause.note,
        by: pause.by.to_string(),
    }
}

pub(crate) fn spec(name: &str, spec: &TaskSpec, with_empty: bool) -> api::Spec {
    api::Spec {
        name: name.to_owned(),
        plugin: match &spec.plugin {
            PluginRef::Builtin(name) => api::PluginRef::Builtin(name.clone()),
            PluginRef::Sha256(sha256) => api::PluginRef::Sha256(sha256.to_string()),
        },
        schedules: spec.schedules.as_ref().map(|schedules| schedules.iter().map(schedule).collect()),
        timeout: spec.timeout.map(format_duration),
        memory_bytes: spec.memory_bytes,
        starts_at: spec.starts_at.map(|time| time.to_string()),
        expires_at: spec.expires_at.map(|time| time.to_string()),
        max_runs: spec.max_runs,
        jitter: spec.jitter.map(jitter),
        overlap: spec.overlap.map(|overlap| overlap.as_str().to_owned()),
        max_running: spec.max_running,
        max_buffered: spec.max_buffered,
        missed: spec.missed.map(|missed| missed.as_str().to_owned()),
        catchup_window: spec.catchup_window.map(format_duration),
        max_catchup: spec.max_catchup,
        retry: spec.retry.as_ref().map(retry),
        pause_on_failure: spec.pause_on_failure,
        on_failure: spec.on_failure.as_ref().map(ToString::to_string),
        on_recovery: spec.on_recovery.as_ref().map(ToString::to_string),
        labels: (with_empty || !spec.labels.is_empty()).then(|| spec.labels.clone()),
        args: (with_empty || !spec.args.is_empty()).then(|| spec.args.clone()),
        grants: spec.grants.as_deref().or(with_empty.then_some(&Grants::none())).map(grants),
        limits: spec
            .limits
            .as_deref()
            .map(|limits| api::Limits(limits.iter().map(|(limit, value)| (limit.to_string(), value)).collect())),
        instance: spec.instance.map(|instance| instance.as_str().to_owned()),
    }
}

fn grants(grants: &Grants) -> api::Grants {
    let dir = |DirGrant { host, guest, read_only }: &DirGrant| api::Dir {
        host: host.clone(),
        guest: guest.clone(),
        read_only: *read_only,
    };
    api::Grants {
        env: grants.env.clone(),
        dirs: grants.dirs.iter().map(dir).collect(),
        hosts: grants.hosts.iter().map(ToString::to_string).collect(),
        config: grants.config.clone(),
        secrets: grants.secrets.clone(),
        kv: grants.kv,
    }
}

fn schedule(schedule: &Schedule) -> api::Schedule {
    of_text(schedule.to_text())
}

fn of_text(text: ScheduleText) -> api::Schedule {
    let ScheduleText { every, phase, align, delay, cron, timezone, at, manual } = text;
    api::Schedule { every, phase, align, delay, cron, timezone, at, manual }
}

fn jitter(jitter: Jitter) -> api::Jitter {
    api::Jitter { max: format_duration(jitter.max), stable: jitter.stable }
}

fn retry(retry: &Retry) -> api::Retry {
    api::Retry {
        attempts: Some(retry.attempts),
        backoff: Some(format_duration(retry.backoff)),
        max_backoff: Some(format_duration(retry.max_backoff)),
        on: Some(retry.on.iter().map(ToString::to_string).collect()),
    }
}

/// How often each outcome occurred, by its word.
pub(crate) fn counts(counts: &Counts) -> BTreeMap<String, u64> {
    counts.iter().map(|(outcome, times)| (outcome.to_string(), times)).collect()
}

/// How many attempts ran into each limit, by its name.
pub(crate) fn limits_hit(hits: &[(Limit, u64)]) -> BTreeMap<String, u64> {
    hits.iter().map(|(limit, times)| (limit.to_string(), *times)).collect()
}

/// A run, ended or not.
pub(crate) fn run(run: Run) -> api::Run {
    let Run { id, task, record, phase, plugin } = run;
    let due = record.key.due;
    let started = record.lateness_us.map(|late| due.saturating_add(Duration::from_micros(late.into())));
    // Of a due time that nothing ran for, the outcome was known when it came.
    let finished = started.unwrap_or(due).saturating_add(Duration::from_micros(record.took_us.into()));
    let ended = phase == RunPhase::Ended;
    let RunMore { detail, result, exit_code, trigger } = record.more.map(|more| *more).unwrap_or_default();
    api::Run {
        run_id: id.to_string(),
        task: task.to_string(),
        reason: record.reason.as_str().to_owned(),
        trigger: trigger.map(|trigger| self::trigger(&trigger)),
        state: match phase {
            RunPhase::Queued => api::RunState::Queued,
            RunPhase::Running => api::RunState::Running,
            RunPhase::Retrying(_) => api::RunState::Retrying,
            RunPhase::Ended => api::RunState::Ended,
        },
        due: due.to_timestamp(),
        started: started.map(Time::to_timestamp),
        finished: ended.then(|| finished.to_timestamp()),
        outcome: ended.then(|| record.outcome.to_string()),
        detail: detail.map(String::from),
        exit_code,
        lateness_ms: record.lateness_us.map(|late| micros(late.into())),
        attempts: record.attempts,
        next_attempt: match phase {
            RunPhase::Retrying(at) => Some(at.to_timestamp()),
            _ => None,
        },
        result: result.map(String::from),
        plugin_sha256: plugin.map(|sha256| sha256.to_string()),
        revision: record.revision.into(),
        span: record.span.map(|span| api::Span {
            first_due: span.first_due.to_timestamp(),
            times: span.times,
            took_mean_ms: micros(span.took_total_us) / span.times.max(1) as f64,
            took_max_ms: micros(span.took_max_us.into()),
            lateness_max_ms: micros(span.lateness_max_us.into()),
        }),
    }
}

fn micros(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

fn trigger(trigger: &Trigger) -> api::Trigger {
    api::Trigger {
        task: trigger.task.to_string(),
        run_id: trigger.run_id.to_string(),
        outcome: trigger.outcome.to_string(),
    }
}

/// What became of a task that was applied.
pub(crate) fn task_change(applied: &Applied) -> api::TaskChange {
    api::TaskChange {
        task: applied.task.to_string(),
        kind: match applied.kind {
            AppliedKind::Add => api::TaskChangeKind::Add,
            AppliedKind::Edit => api::TaskChangeKind::Edit,
            AppliedKind::Delete => api::TaskChangeKind::Delete,
            AppliedKind::Unchanged => api::TaskChangeKind::Unchanged,
        },
        diff: match (applied.kind, &applied.old, &applied.new) {
            (AppliedKind::Edit, Some(old), Some(new)) => differences(old, new),
            _ => Vec::new(),
        },
    }
}

/// What one definition of a task has that another has not.
fn differences(old: &TaskSpec, new: &TaskSpec) -> Vec<api::Difference> {
    // A task never changes its name.
    spec("", old, false).differences(&spec("", new, false))
}

/// Revisions, newest first, each with what it changed of the one before it.
pub(crate) fn changes(revisions: &[Revision], limit: usize) -> Vec<api::Change> {
    let change = |(at, revision): (usize, &Revision)| {
        let before = revisions.get(at + 1).and_then(|before| before.spec.as_ref());
        let diff = match (revision.kind, before, &revision.spec) {
            (RevisionKind::Edit, Some(old), Some(new)) => differences(old, new),
            _ => Vec::new(),
        };
        api::Change {
            revision: revision.revision.into(),
            at: revision.at.to_timestamp(),
            by: revision.by.to_string(),
            kind: match revision.kind {
                RevisionKind::Add => api::ChangeKind::Add,
                RevisionKind::Edit => api::ChangeKind::Edit,
                RevisionKind::Pause => api::ChangeKind::Pause,
                RevisionKind::Resume => api::ChangeKind::Resume,
                RevisionKind::Delete => api::ChangeKind::Delete,
            },
            diff,
            note: revision.paused.as_ref().and_then(|pause| pause.note.clone()),
        }
    };
    revisions.iter().enumerate().take(limit).map(change).collect()
}

pub(crate) fn next(view: NextView) -> api::NextDue {
    let (due, local) = view.due.into_iter().map(|(due, local)| (due.to_timestamp(), local)).unzip();
    api::NextDue { due, local, warnings: view.warnings }
}

pub(crate) fn why(view: WhyView) -> api::Explanation {
    api::Explanation {
        at: view.at.to_timestamp(),
        text: view.text,
        due: view.due.map(Time::to_timestamp),
        run: view.run.map(run),
        next_due: view.next_due.map(Time::to_timestamp),
    }
}

pub(crate) fn line(line: LogLine) -> api::LogLine {
    api::LogLine {
        seq: line.seq,
        time: line.time.to_timestamp(),
        stream: line.stream.as_str().to_owned(),
        level: match line.stream {
            Stream::Log(level) => Some(level.as_str().to_owned()),
            Stream::Stdout | Stream::Stderr | Stream::Host => None,
        },
        text: line.text,
        truncated: line.truncated,
    }
}

/// A plugin with its manifest, or without: a list of many would be long.
pub(crate) fn plugin(view: PluginView, with_manifest: bool) -> api::PluginInfo {
    let about = view.facts.about.as_deref().cloned().unwrap_or_default();
    api::PluginInfo {
        sha256: view.facts.sha256.to_string(),
        builtin: view.builtin,
        kind: view.facts.kind.as_str().to_owned(),
        size_bytes: view.facts.size_bytes,
        added_at: view.added_at.map(|time| time.to_timestamp()),
        tasks: view.tasks,
        imports: view.facts.imports,
        exports: view.facts.exports,
        name: about.name,
        version: about.version,
        description: about.description,
        authors: about.authors,
        licenses: about.licenses,
        source: about.source,
        homepage: about.homepage,
        revision: about.revision,
        toolchain: about.toolchain.iter().map(ToString::to_string).collect(),
        manifest: about.manifest.filter(|_| with_manifest).map(|wanted| manifest(&wanted)),
        fault: view.fault,
    }
}

fn manifest(manifest: &Manifest) -> api::PluginManifest {
    let need = |need: &Need| api::PluginNeed {
        kind: need.kind.as_str().to_owned(),
        value: need.value.clone(),
        why: need.why.clone(),
        flag: need.flag(),
    };
    api::PluginManifest {
        config: manifest.config.clone(),
        grants: api::PluginNeeds {
            required: manifest.grants.required.iter().map(need).collect(),
            optional: manifest.grants.optional.iter().map(need).collect(),
        },
        schedule: manifest.schedule.as_ref().map(suggested_schedule),
        limits: manifest.limits.clone(),
    }
}

/// A schedule that a plugin suggests.
pub(crate) fn suggested_schedule(suggested: &SuggestedSchedule) -> api::Schedule {
    of_text(suggested.to_text())
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
        EventKind::TaskPaused { task, revision } => {
            sent.kind = api::EventKind::TaskPaused;
            sent.task = Some(task.to_string());
            sent.revision = Some((*revision).into());
        }
        EventKind::TaskResumed { task, revision } => {
            sent.kind = api::EventKind::TaskResumed;
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
