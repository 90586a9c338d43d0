//! The store as its users see it. What one module decides by itself is tested beside it.

mod damage;
mod definitions;
mod full_disk;
mod history;
mod plugins;
mod speed;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use taskhost_core::name::TaskName;
use taskhost_core::outcome::TaskId;
use taskhost_core::ports::{Actor, Change, ChangeKind, Definition, Loaded, LoadedTask, Store};
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
    let spec = Arc::new(TaskSpec::new(name(text)));
    Definition { id, revision: 1, spec, added_at: Time(1_000 + id.cast_signed()), due_at_once: id % 2 == 1 }
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

fn delete(id: TaskId, text: &str, revision: u32) -> Change {
    change(ChangeKind::Delete { id, name: name(text), revision })
}

fn load(store: &SqliteStore) -> Loaded {
    store.load().expect("a store that loads")
}

fn names(store: &SqliteStore) -> Vec<String> {
    load(store).tasks.iter().map(|task| task.definition.spec.name.as_str().to_owned()).collect()
}

fn only_task(store: &SqliteStore) -> LoadedTask {
    let mut tasks = load(store).tasks;
    assert_eq!(tasks.len(), 1);
    tasks.remove(0)
}
