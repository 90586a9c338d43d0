//! A full disk: changes are refused, nothing is lost, and room is all that it takes to go on.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::sync::Arc;

use sha2::Digest;
use taskhost_core::key_value::{KeyValueChange, KeyValueError};
use taskhost_core::log::LogChunk;
use taskhost_core::plugin::{PluginFacts, PluginKind, Sha256};
use taskhost_core::ports::{ChangeKind, HistoryBatch, Store, StoreError};

use super::*;

/// Set where the test runs again, inside its own small disk.
const SMALL_DISK: &str = "TASKHOST_STORE_TEST_SMALL_DISK";

const MOUNT_AND_RUN: &str = r#"mount -t tmpfs -o size=32m tmpfs "$1" || exit 77; shift; exec "$@""#;

/// What [`MOUNT_AND_RUN`] and `unshare` exit with where the system lets no ordinary user mount.
const NO_MOUNT: [i32; 2] = [77, 1];

#[tokio::test]
async fn a_full_disk_refuses_changes_until_there_is_room_and_needs_no_restart() {
    if let Some(dir) = std::env::var_os(SMALL_DISK) {
        return on_a_small_disk(Path::new(&dir)).await;
    }
    let dir = temp_dir();
    let probe =
        Command::new("unshare").args(["-Urm", "sh", "-c", MOUNT_AND_RUN, "sh"]).arg(dir.path()).arg("true").status();
    if probe.as_ref().map_or(true, |status| status.code().is_none_or(|code| NO_MOUNT.contains(&code))) {
        eprintln!("not run: this system lets no ordinary user mount a small disk");
        return;
    }
    let this = std::env::current_exe().expect("this test");
    let output = Command::new("unshare")
        .args(["-Urm", "sh", "-c", MOUNT_AND_RUN, "sh"])
        .arg(dir.path())
        .arg(this)
        .args([
            "--exact",
            "--nocapture",
            "tests::full_disk::a_full_disk_refuses_changes_until_there_is_room_and_needs_no_restart",
        ])
        .env(SMALL_DISK, dir.path())
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

async fn on_a_small_disk(dir: &Path) {
    let data = dir.join("data");
    let store = open(&data);
    store.commit(vec![add(0, "before")]).await.expect("added");
    let filler = dir.join("filler");
    let mut file = File::create(&filler).expect("creates");
    while file.write_all(&[1; 4096]).is_ok() {}

    // The log was grown, so there is room for some.
    let args = "x".repeat(30 << 10);
    let large = |id| {
        let mut added = definition(id, &format!("task-{id:03}"));
        added.spec = Arc::new(TaskSpec { args: vec![args.clone()], ..(*added.spec).clone() });
        change(ChangeKind::Add(added))
    };
    let mut taken = vec!["before".to_owned()];
    let mut refused = 0;
    for id in 1..=400 {
        match store.commit(vec![large(id)]).await {
            Ok(()) => taken.push(format!("task-{id:03}")),
            Err(StoreError::Full(_)) => refused += 1,
            Err(other) => panic!("not told as full: {other}"),
        }
    }
    assert!(refused > 0 && taken.len() > 1, "{refused} refused of {}", taken.len());
    let chunk = |seq| LogChunk {
        task: 0,
        first_seq: seq,
        lines: 1,
        first_time: Time(1),
        last_time: Time(1),
        failed: false,
        data: vec![0; 512 << 10],
    };
    let batch = HistoryBatch {
        logs: (0..64).map(|seq| LogChunk { task: seq, ..chunk(seq) }).collect(),
        ..HistoryBatch::default()
    };
    assert!(matches!(store.record(Arc::new(batch.clone())).await, Err(StoreError::Full(_))));
    // More than the log has room for, which was grown before.
    let starts: Vec<_> = (0..500_000).map(|second| start(0, second)).collect();
    assert!(matches!(store.record_starts(starts).await, Err(StoreError::Full(_))));
    let kv = store.key_values();
    let value = bytes::Bytes::from(vec![1; 1 << 20]);
    let write = |key: usize| KeyValueChange::Write { set: vec![(key.to_string(), value.clone())], delete: Vec::new() };
    let mut values = 0;
    let full = loop {
        match kv.change(0, write(values), u64::MAX).await {
            Ok(_) => values += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, KeyValueError::Store(StoreError::Full(_))), "{full:?}");
    assert_eq!(kv.usage(0).await.expect("readable").keys, values as u64, "nothing of what was refused");
    let wasm = bytes::Bytes::from(vec![0; 1 << 20]);
    let facts = PluginFacts {
        sha256: Sha256(sha2::Sha256::digest(&wasm).into()),
        kind: PluginKind::Task,
        size_bytes: wasm.len() as u64,
        imports: vec![],
        exports: vec![],
        about: None,
    };
    assert!(matches!(store.put_plugin(facts.clone(), Time(1), wasm.clone()).await, Err(StoreError::Full(_))));
    assert!(fs::read_dir(data.join("plugins")).expect("a directory").next().is_none(), "nothing half written");
    let faults = store.faults();
    assert!(faults.len() == 3 && faults.iter().all(|fault| fault.starts_with("the disk is full: ")), "{faults:?}");
    assert_eq!(names(&store), taken);

    fs::remove_file(&filler).expect("makes room");
    drop(file);
    store.commit(vec![add(1000, "zz-after")]).await.expect("added without a restart");
    taken.push("zz-after".to_owned());
    store
        .record(Arc::new(HistoryBatch { logs: vec![chunk(1)], ..HistoryBatch::default() }))
        .await
        .expect("recorded without a restart");
    store.record_starts(vec![start(0, 1)]).await.expect("recorded without a restart");
    store.put_plugin(facts, Time(1), wasm).await.expect("stored without a restart");
    kv.change(0, write(values), u64::MAX).await.expect("written without a restart");
    assert_eq!(store.faults(), Vec::<String>::new());
    assert_eq!(names(&store), taken);
    close(store).await;
    let store = open(&data);
    assert_eq!(names(&store), taken);
    assert_eq!(load(&store).tasks[0].starts, [start(0, 1).run]);
    close(store).await;
}
