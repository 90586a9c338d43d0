//! The store as its users see it. What one module decides by itself is tested beside it.

mod damage;
mod definitions;
mod floor;
mod full_disk;
mod history;
mod journal;
mod key_values;
mod plugins;
mod revisions;
mod runs;
mod speed;
mod starts;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use taskhost_core::name::TaskName;
use taskhost_core::outcome::{Outcome, Reason, RunKey, RunRecord, Span, TaskId};
use taskhost_core::ports::{
    Actor, Change, ChangeKind, Definition, HistoryBatch, Loaded, LoadedTask, OpenRun, Pause, Progress, Start, Store,
};
use taskhost_core::spec::TaskSpec;
use taskhost_core::time::Time;
use tempfile::TempDir;

use crate::SqliteStore;

fn temp_dir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir).expect("a store that opens")
}

async fn close(store: SqliteStore) {
    store.close().await.expect("a store that closes");
}

/// What a host finds that starts on what the disk has now, as after `kill -9`: the store is still open and knows nothing
/// of it.
fn crashed(dir: &Path) -> TempDir {
    let copy = temp_dir();
    copy_dir(dir, copy.path());
    copy
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            fs::create_dir(&target).expect("a new directory");
            copy_dir(&entry.path(), &target);
        } else if entry.path().extension().is_none_or(|extension| extension != "db-shm") {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

fn name(text: &str) -> TaskName {
    TaskName::new(text).expect("a valid name")
}

fn definition(id: TaskId, text: &str) -> Definition {
    let spec = Arc::new(TaskSpec::default());
    let added_at = Time(1_000 + id.cast_signed());
    Definition { id, name: name(text), revision: 1, spec, added_at, due_at_once: id % 2 == 1, paused: None }
}

fn change(kind: ChangeKind) -> Change {
    Change { kind, at: Time(5_000), by: Actor::Uid(1000) }
}

fn add(id: TaskId, text: &str) -> Change {
    change(ChangeKind::Add(definition(id, text)))
}

fn edit(definition: &Definition, args: &[&str]) -> Change {
    let spec = TaskSpec { args: args.iter().map(|arg| (*arg).to_owned()).collect(), ..(*definition.spec).clone() };
    change(ChangeKind::Edit(Definition {
        revision: definition.revision + 1,
        spec: Arc::new(spec),
        ..definition.clone()
    }))
}

fn pause(definition: &Definition, pause: Pause) -> Change {
    let revision = definition.revision + 1;
    change(ChangeKind::Pause(Definition { revision, paused: Some(Box::new(pause)), ..definition.clone() }))
}

fn resume(definition: &Definition) -> Change {
    let revision = definition.revision + 1;
    change(ChangeKind::Resume(Definition { revision, paused: None, ..definition.clone() }))
}

fn a_pause() -> Pause {
    Pause { since: Time(7), until: Some(Time(8)), note: Some("maintenance".to_owned()), by: Actor::Uid(1000) }
}

fn delete(id: TaskId, text: &str, revision: u32) -> Change {
    change(ChangeKind::Delete { id, name: name(text), revision })
}

/// The record of a run of its own, `second` seconds after the epoch.
fn record(second: i64, outcome: Outcome) -> RunRecord {
    RunRecord {
        key: RunKey::of(at(second)),
        reason: Reason::Schedule,
        outcome,
        attempts: 1,
        revision: 2,
        lateness_us: Some(7),
        took_us: 8,
        span: None,
        more: None,
    }
}

/// The record of successes of every second, both ends with it.
fn span(first: i64, last: i64) -> RunRecord {
    let span = Span {
        first_due: at(first),
        times: (last - first + 1).cast_unsigned(),
        took_total_us: 9,
        took_max_us: 10,
        lateness_max_us: 11,
    };
    RunRecord { span: Some(Box::new(span)), ..record(last, Outcome::Success) }
}

fn records(task: TaskId, records: impl IntoIterator<Item = RunRecord>) -> HistoryBatch {
    let records = records.into_iter().map(|record| (task, record)).collect();
    HistoryBatch { records, ..HistoryBatch::default() }
}

fn at(second: i64) -> Time {
    Time(second * 1_000_000_000)
}

fn start(task: TaskId, second: i64) -> Start {
    let progress = Progress::Started { attempt: 1 };
    let run = OpenRun { key: RunKey::of(at(second)), reason: Reason::Schedule, trigger: None, revision: 1, progress };
    Start { task, run }
}

fn load(store: &SqliteStore) -> Loaded {
    store.load().expect("a store that loads")
}

fn names(store: &SqliteStore) -> Vec<String> {
    load(store).tasks.iter().map(|task| task.definition.name.as_str().to_owned()).collect()
}

fn only_task(store: &SqliteStore) -> LoadedTask {
    let mut tasks = load(store).tasks;
    assert_eq!(tasks.len(), 1);
    tasks.remove(0)
}
