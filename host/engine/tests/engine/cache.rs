//! What was compiled is kept, and used only if this host wrote it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use taskhost_core::outcome::Outcome;
use taskhost_core::plugin::PluginError;
use taskhost_core::ports::Engine;

use crate::guest::{ECHO, preview1, task};
use crate::host::{Host, Task};

/// Runs the task on a new host and says how often the plugin was read, which is how often it was compiled.
async fn reads(cache: &Path, task: &Task) -> usize {
    let host = Host::with_cache(Some(cache));
    let (report, _) = host.run(task).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
    host.source.reads.load(Ordering::Relaxed)
}

fn artefacts(cache: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cache).expect("the cache is there").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm")).collect()
}

#[tokio::test]
async fn a_second_start_compiles_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = dir.path().join("cache");
    for task in [Task::of(task(ECHO)), Task::of(preview1(""))] {
        assert_eq!(reads(&cache, &task).await, 1);
        assert_eq!(reads(&cache, &task).await, 0);
    }
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&cache), 0o700);
    assert_eq!(mode(&cache.join("key")), 0o600);
}

#[tokio::test]
async fn a_damaged_artefact_is_compiled_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let task = Task::of(task(ECHO));
    reads(dir.path(), &task).await;
    let [artefact] = &artefacts(dir.path())[..] else { panic!("one artefact") };
    let sound = fs::read(artefact).expect("an artefact");
    let flipped = |at: usize| {
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        damaged
    };
    for damaged in [Vec::new(), sound[..sound.len() / 2].to_vec(), flipped(sound.len() / 2), flipped(sound.len() - 1)] {
        fs::write(artefact, damaged).expect("it is written");
        assert_eq!(reads(dir.path(), &task).await, 1);
        assert_eq!(reads(dir.path(), &task).await, 0);
    }
}

#[tokio::test]
async fn an_artefact_that_goes_away_while_the_host_runs_is_compiled_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (host, task) = (Host::with_cache(Some(dir.path())), Task::of(task(ECHO)));
    host.engine.admit(task.wasm.clone()).await.expect("it is admitted");
    let [artefact] = &artefacts(dir.path())[..] else { panic!("one artefact") };
    fs::remove_file(artefact).expect("it goes away");
    assert_eq!(host.run(&task).await.0.outcome, Outcome::Success);
    assert_eq!(host.source.reads.load(Ordering::Relaxed), 1);
    assert!(artefact.exists());
}

#[tokio::test]
async fn a_plugin_in_use_whose_artefact_went_away_can_be_sent_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (host, task) = (Host::with_cache(Some(dir.path())), Task::of(task(ECHO)));
    let _job = host.prepare(&task).await.expect("a plugin");
    fs::remove_file(&artefacts(dir.path())[0]).expect("it goes away");
    host.engine.admit(task.wasm.clone()).await.expect("it is admitted");
    assert_eq!(artefacts(dir.path()).len(), 1);
}

#[tokio::test]
async fn an_artefact_that_another_host_wrote_is_not_used() {
    let dir = tempfile::tempdir().expect("a directory");
    let task = Task::of(task(ECHO));
    reads(dir.path(), &task).await;
    fs::write(dir.path().join("key"), [0; 32]).expect("another key");
    assert_eq!(reads(dir.path(), &task).await, 1);
}

#[tokio::test]
async fn an_artefact_that_does_not_load_here_is_compiled_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let task = Task::of(preview1(""));
    reads(dir.path(), &task).await;
    let [artefact] = &artefacts(dir.path())[..] else { panic!("one artefact") };
    // As of another processor, it has the right name and is signed, but made for what this host has not.
    let wasm = wat::parse_bytes(&task.wasm).expect("it parses");
    let foreign = wasmtime::Engine::default().precompile_module(&wasm).expect("it compiles");
    fs::write(artefact, signed(dir.path(), artefact, foreign)).expect("it is written");
    assert_eq!(reads(dir.path(), &task).await, 1);
    assert_eq!(reads(dir.path(), &task).await, 0);
}

/// With the tag of this cache (HMAC, RFC 2104).
fn signed(cache: &Path, artefact: &Path, code: Vec<u8>) -> Vec<u8> {
    let key = fs::read(cache.join("key")).expect("a key");
    let padded = |with: u8| (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect::<Vec<u8>>();
    let name = artefact.file_name().expect("a name").as_encoded_bytes();
    let inner = Sha256::digest([&padded(0x36)[..], name, &[0], &code].concat());
    let outer = Sha256::digest([&padded(0x5c)[..], &inner[..]].concat());
    [&code[..], &outer[..]].concat()
}

#[tokio::test]
async fn artefacts_of_another_version_are_deleted_at_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let stale = dir.path().join("00-1.2.3-0.cwasm");
    fs::write(&stale, "old").expect("it is written");
    drop(Host::with_cache(Some(dir.path())));
    assert!(!stale.exists());
}

#[tokio::test]
async fn what_another_process_writes_is_left_and_what_a_crash_left_is_deleted() {
    let dir = tempfile::tempdir().expect("a directory");
    let [now, long_ago] = [".tmpnow", ".tmplongago"].map(|name| dir.path().join(name));
    fs::write(&now, "half").expect("it is written");
    let file = fs::File::create(&long_ago).expect("a file");
    file.set_modified(SystemTime::now() - Duration::from_secs(7200)).expect("it is ours");
    drop(Host::with_cache(Some(dir.path())));
    assert_eq!((now.exists(), long_ago.exists()), (true, false));
}

#[tokio::test]
async fn what_is_forgotten_is_gone_from_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::with_cache(Some(dir.path()));
    let task = Task::of(preview1(""));
    host.engine.admit(task.wasm.clone()).await.expect("it is admitted");
    assert_eq!(artefacts(dir.path()).len(), 1);
    host.engine.forget(task.sha256());
    assert_eq!(artefacts(dir.path()).len(), 0);
}

#[tokio::test]
async fn many_tasks_of_one_plugin_compile_it_once() {
    let host = Host::new();
    let task = Task::of(task(ECHO));
    let (a, b, c) = tokio::join!(host.prepare(&task), host.prepare(&task), host.prepare(&task));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(host.source.reads.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_plugin_that_is_not_stored_is_not_found() {
    let host = Host::new();
    let spec = taskhost_core::spec::TaskSpec {
        plugin: taskhost_core::plugin::PluginRef::Sha256(Task::of("").sha256()),
        ..taskhost_core::spec::TaskSpec::default()
    };
    let refused = host.engine.prepare(0, spec.into()).await;
    assert!(matches!(refused, Err(PluginError::NotFound(_))));
}
