use bytes::Bytes;
use tokio::sync::Semaphore;

use super::*;
use crate::plugin::PluginRef;
use crate::spec::GrantsText;

#[tokio::test]
async fn a_plugin_that_a_task_uses_is_not_deleted() {
    let supervisor = start(&Arc::default()).await;
    let plugin = supervisor.put_plugin(Bytes::from_static(b"\0asm")).await.expect("admitted").facts.sha256;
    let id = plugin.to_string();
    let with_plugin = SpecPatch { plugin: Some(PluginRef::Sha256(plugin)), ..patch(&[]) };
    supervisor.add("a", with_plugin.clone(), false, false, BY).await.expect("added");
    let in_use = supervisor.delete_plugin(&id).await;
    assert!(matches!(in_use, Err(TaskError::PluginInUse { tasks: 1, ref example, .. }) if example.as_str() == "a"));
    assert!(supervisor.prune_plugins().await.expect("pruned").0.is_empty());
    supervisor
        .edit("a", SpecPatch { plugin: Some(PluginRef::Builtin("ticker".into())), ..SpecPatch::default() }, None, BY)
        .await
        .expect("edited");
    assert_eq!(supervisor.delete_plugin(&id[..8]).await.expect("deleted"), plugin);
    let missing = supervisor.add("b", with_plugin, false, false, BY).await;
    assert!(matches!(missing, Err(TaskError::Plugin(PluginError::NotFound(_)))));
}

#[tokio::test]
async fn a_slow_edit_holds_up_neither_a_prune_nor_others_and_its_plugin_is_not_pruned() {
    let store = Arc::new(MemoryStore::default());
    let compiled = Arc::new(Semaphore::new(0));
    let engine = FakeEngine { compiled: Some(Arc::clone(&compiled)), ..FakeEngine::default() };
    let supervisor = start_with(&store, engine).await;
    let plugin = supervisor.put_plugin(Bytes::from_static(b"\0asm")).await.expect("admitted").facts.sha256;
    let unused = supervisor.put_plugin(Bytes::from_static(b"\0asm, another")).await.expect("admitted").facts.sha256;
    let with_plugin = SpecPatch { plugin: Some(PluginRef::Sha256(plugin)), ..patch(&[]) };
    let mut adding = Box::pin(supervisor.add("slow", with_plugin, false, false, BY));
    assert!(futures_util::poll!(&mut adding).is_pending());
    while supervisor.inner.plugin_uses.delete(plugin).is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(supervisor.prune_plugins().await.expect("it does not wait").0, [unused]);
    let in_use = supervisor.delete_plugin(&plugin.to_string()).await;
    assert!(matches!(in_use, Err(TaskError::PluginInUse { tasks: 1, ref example, .. }) if example.as_str() == "slow"));
    compiled.add_permits(1);
    adding.await.expect("added");
    assert_eq!(supervisor.run("slow", true, None).await.expect("it runs").record.outcome, Outcome::Success);
}

#[tokio::test]
async fn a_plugin_is_kept_from_the_check_of_a_change_until_it_is_made_or_given_up() {
    let supervisor = start(&Arc::default()).await;
    let plugin = supervisor.put_plugin(Bytes::from_static(b"\0asm")).await.expect("admitted").facts.sha256;
    let spec = SpecPatch { plugin: Some(PluginRef::Sha256(plugin)), ..patch(&[]) };
    let spec = Arc::new(supervisor.new_spec(spec).expect("a spec"));
    let name = TaskName::new("a").expect("a name");
    let ready = supervisor.ready_add(name, spec, false, BY).await.expect("it is checked");
    assert!(matches!(supervisor.delete_plugin(&plugin.to_string()).await, Err(TaskError::PluginInUse { .. })));
    drop(ready);
    supervisor.delete_plugin(&plugin.to_string()).await.expect("nobody uses it");
}

/// One that needs a key-value store, which is found in its file only.
fn needy_engine() -> FakeEngine {
    let json = br#"{"manifest": 1, "grants": {"required": [{"kind": "kv"}]}}"#;
    let manifest = crate::manifest::Manifest::parse(json).expect("a manifest");
    let about = crate::manifest::About { manifest: Some(Arc::new(manifest)), ..Default::default() };
    FakeEngine { about: Mutex::new(Arc::new(about)), ..FakeEngine::default() }
}

fn granting(plugin: Sha256, kv: bool) -> SpecPatch {
    let grants = Some(Some(GrantsText { kv, ..GrantsText::default() }));
    SpecPatch { plugin: Some(PluginRef::Sha256(plugin)), grants, ..patch(&[]) }
}

#[tokio::test]
async fn a_task_without_what_its_plugin_needs_is_refused_and_nothing_is_changed() {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start_with(&store, needy_engine()).await;
    let plugin = supervisor.put_plugin(Bytes::from_static(b"\0asm")).await.expect("admitted").facts.sha256;
    let refused = |result: Result<TaskView, TaskError>| match result {
        Err(TaskError::Manifest(fault)) => {
            assert_eq!(fault.message, "the plugin needs what the task is not granted: `--kv`");
            assert_eq!(fault.hint, "add --kv");
        }
        other => panic!("it should be refused: {other:?}"),
    };
    refused(supervisor.add("a", granting(plugin, false), false, false, BY).await);
    assert_eq!(store.commits.load(Ordering::Relaxed), 0);
    supervisor.add("a", granting(plugin, true), false, false, BY).await.expect("it is granted");
    let no_grants = SpecPatch { grants: Some(None), ..SpecPatch::default() };
    refused(supervisor.edit("a", no_grants, None, BY).await);
    add(&supervisor, "b", &[]).await;
    let other_plugin = SpecPatch { plugin: Some(PluginRef::Sha256(plugin)), ..SpecPatch::default() };
    refused(supervisor.edit("b", other_plugin, None, BY).await);
    let applied = vec![("c".to_owned(), granting(plugin, false))];
    let applied = supervisor.apply(applied, None, false, BY).await;
    assert!(
        matches!(applied, Err(TaskError::Among { ref error, .. }) if matches!(**error, TaskError::Manifest(_))),
        "{applied:?}"
    );
    assert!(matches!(supervisor.get("c").await, Err(TaskError::NotFound(_))));
}

#[tokio::test]
async fn what_an_older_host_stored_is_looked_at_once_and_what_runs_goes_on() {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    let plugin = supervisor.put_plugin(Bytes::from_static(b"\0asm")).await.expect("admitted").facts.sha256;
    supervisor.add("a", granting(plugin, false), false, false, BY).await.expect("it says nothing");
    supervisor.shutdown(sleep(Duration::ZERO)).await.expect("a clean end");

    let supervisor = start_with(&store, needy_engine()).await;
    assert_eq!(supervisor.get("a").await.expect("it is there").fault, None, "nobody asks again");
    let slower = SpecPatch { timeout: Some(Some("5s".to_owned())), ..SpecPatch::default() };
    supervisor.edit("a", slower, None, BY).await.expect("plugin and grants are as they were");
    assert_eq!(supervisor.inner.engine.looks.load(Ordering::Relaxed), 0);
    for name in ["b", "c"] {
        assert!(supervisor.add(name, granting(plugin, false), false, false, BY).await.is_err());
    }
    assert!(supervisor.plugin(&plugin.to_string()).await.expect("it is stored").facts.about.is_some());
    assert_eq!(supervisor.inner.engine.looks.load(Ordering::Relaxed), 1);
}
