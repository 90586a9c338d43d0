//! Plugins: files with rows.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use sha2::Digest;
use taskhost_core::plugin::{PluginError, PluginFacts, PluginKind, Sha256};
use taskhost_core::ports::{PluginSource, Store, StoreError};

use super::*;

fn facts(wasm: &[u8]) -> PluginFacts {
    PluginFacts {
        sha256: Sha256(sha2::Sha256::digest(wasm).into()),
        kind: PluginKind::Command,
        size_bytes: wasm.len() as u64,
        imports: vec!["wasi:cli/environment@0.2.3".to_owned()],
        exports: vec![],
        about: None,
    }
}

async fn put(store: &SqliteStore, wasm: &'static [u8]) -> Result<PluginFacts, StoreError> {
    let facts = facts(wasm);
    store.put_plugin(facts.clone(), Time(9), Bytes::from_static(wasm)).await.map(|()| facts)
}

fn file(dir: &Path, facts: &PluginFacts) -> PathBuf {
    dir.join("plugins").join(format!("{}.wasm", facts.sha256))
}

#[tokio::test]
async fn a_stored_plugin_survives_a_crash_with_its_facts() {
    let dir = temp_dir();
    let store = open(dir.path());
    let stored = put(&store, b"wasm").await.expect("stored");
    put(&store, b"wasm").await.expect("stored already is no error");
    let copy = crashed(dir.path());
    let after = open(copy.path());
    let plugins = after.plugins().await.expect("lists");
    assert_eq!(plugins.len(), 1);
    assert_eq!((&plugins[0].facts, plugins[0].added_at, &plugins[0].fault), (&stored, Time(9), &None));
    assert_eq!(after.read(stored.sha256).expect("reads"), "wasm");
    close(store).await;
}

#[tokio::test]
async fn a_deleted_plugin_is_gone_with_its_file() {
    let dir = temp_dir();
    let store = open(dir.path());
    let stored = put(&store, b"wasm").await.expect("stored");
    store.delete_plugin(stored.sha256).await.expect("deleted");
    store.delete_plugin(stored.sha256).await.expect("not there is no error");
    assert!(store.plugins().await.expect("lists").is_empty());
    assert!(!file(dir.path(), &stored).exists());
    assert!(matches!(store.read(stored.sha256), Err(PluginError::NotFound(_))));
    close(store).await;
}

#[tokio::test]
async fn a_damaged_plugin_is_told_and_kept_and_mended_by_putting_it_again() {
    let dir = temp_dir();
    let store = open(dir.path());
    let stored = put(&store, b"wasm").await.expect("stored");
    let path = file(dir.path(), &stored);
    fs::write(&path, b"wasX").expect("damages");
    assert!(matches!(store.read(stored.sha256), Err(PluginError::Damaged(sha256)) if sha256 == stored.sha256));
    assert_eq!(store.faults(), [format!("the file {} of a plugin is damaged; it was kept as it is", path.display())]);
    assert_eq!(fs::read(&path).expect("is kept"), b"wasX");

    put(&store, b"wasm").await.expect("mended");
    assert_eq!(store.read(stored.sha256).expect("reads"), "wasm");
    assert_eq!(store.faults(), Vec::<String>::new());
    close(store).await;
}

#[tokio::test]
async fn a_missing_or_cut_file_is_told_at_start_and_in_the_list() {
    let dir = temp_dir();
    let store = open(dir.path());
    let missing = put(&store, b"missing").await.expect("stored");
    let cut = put(&store, b"cut").await.expect("stored");
    let sound = put(&store, b"sound").await.expect("stored");
    close(store).await;
    fs::remove_file(file(dir.path(), &missing)).expect("removes");
    fs::write(file(dir.path(), &cut), b"c").expect("cuts");

    let store = open(dir.path());
    assert_eq!(store.faults().len(), 2, "{:?}", store.faults());
    let plugins = store.plugins().await.expect("lists");
    let fault = |facts: &PluginFacts| {
        let plugin = plugins.iter().find(|plugin| plugin.facts == *facts).expect("is listed");
        plugin.fault.clone().unwrap_or_default()
    };
    assert_eq!(fault(&missing), format!("its file {} is missing", file(dir.path(), &missing).display()));
    assert_eq!(fault(&cut), format!("its file {} has 1 bytes instead of 3", file(dir.path(), &cut).display()));
    assert_eq!(fault(&sound), "");
    close(store).await;
}
