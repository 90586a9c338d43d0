use bytes::Bytes;
use tokio::sync::Semaphore;

use super::*;
use crate::log::Level;
use crate::plugin::PluginRef;

#[tokio::test]
async fn tasks_and_what_they_did_survive_a_restart() {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    let added = add(&supervisor, "a", &["print", "hello"]).await;
    supervisor.run("a", true, None).await.expect("it runs");
    supervisor.shutdown(sleep(Duration::from_secs(1))).await.expect("a clean end");
    assert!(matches!(supervisor.add("b", patch(&[]), false, false, BY).await, Err(TaskError::ShuttingDown)));

    let supervisor = start(&store).await;
    let task = supervisor.get("a").await.expect("it is there");
    assert_eq!((task.added_at, task.next_due, task.counts.get(Outcome::Success)), (added.added_at, added.next_due, 1));
    assert_eq!(
        supervisor.runs("a", RunsFilter { limit: 10, ..RunsFilter::default() }).await.expect("runs").runs.len(),
        1
    );
    supervisor.run("a", true, None).await.expect("it runs");
    let page = supervisor.logs("a", Level::Trace, 0, 10).await.expect("logs");
    assert_eq!(
        page.lines.iter().map(|line| (line.seq, line.text.as_str())).collect::<Vec<_>>(),
        [(1, "hello"), (2, "hello")]
    );
}

#[tokio::test]
async fn a_task_whose_plugin_is_broken_does_not_keep_the_others_from_starting() {
    start_without_plugin(PluginError::Damaged).await;
}

#[tokio::test]
async fn a_task_that_the_host_failed_to_make_ready_runs_when_its_plugin_is_put_again() {
    start_without_plugin(|_| PluginError::Host("the compiler was killed".to_owned())).await;
}

/// Starts with a task whose plugin can't be made ready for this; when it is put again, it can.
async fn start_without_plugin(error: impl Fn(Sha256) -> PluginError) {
    let (store, plugin) = store_with_a_plugin().await;
    let engine = FakeEngine::default();
    engine.broken.lock().expect("no panic").push((plugin, error(plugin)));
    let supervisor = start_with(&store, engine).await;
    let fault = supervisor.get("of plugin").await.expect("it is there").fault.expect("it can't run");
    assert_eq!(fault, error(plugin).to_string());
    assert_eq!(
        supervisor.run("of plugin", true, None).await.expect("it is accounted for").record.outcome,
        Outcome::HostError
    );
    assert_eq!(supervisor.run("whole", true, None).await.expect("it runs").record.outcome, Outcome::Success);

    let of_plugin = matches!(error(plugin), PluginError::Damaged(_)).then_some(fault);
    assert_eq!(supervisor.plugin(&plugin.to_string()).await.expect("it is stored").fault, of_plugin);
    supervisor.inner.engine.broken.lock().expect("no panic").clear();
    supervisor.put_plugin(Bytes::from_static(b"\0asm")).await.expect("it is mended");
    assert_eq!(supervisor.plugin(&plugin.to_string()).await.expect("it is stored").fault, None);
    assert_eq!(supervisor.get("of plugin").await.expect("it is there").fault, None);
    assert_eq!(supervisor.run("of plugin", true, None).await.expect("it runs").record.outcome, Outcome::Success);
}

#[tokio::test]
async fn a_host_serves_before_what_it_runs_is_compiled_anew() {
    let (store, plugin) = store_with_a_plugin().await;
    let compiled = Arc::new(Semaphore::new(0));
    let engine = FakeEngine { compiled: Some(Arc::clone(&compiled)), ..FakeEngine::default() };
    let supervisor = start_with(&store, engine).await;
    assert_eq!(supervisor.get("of plugin").await.expect("it is there").fault, None);
    assert_eq!(supervisor.run("whole", true, None).await.expect("it runs").record.outcome, Outcome::Success);
    supervisor.delete("whole", DeleteMode::Wait, BY).await.expect("nothing is in the way");
    // What is compiled is kept from those who delete plugins.
    let in_use = supervisor.delete_plugin(&plugin.to_string()).await;
    assert!(matches!(in_use, Err(TaskError::PluginInUse { .. })), "{in_use:?}");
    compiled.add_permits(2);
    while compiled.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(supervisor.get("of plugin").await.expect("it is there").fault, None);
}

#[tokio::test]
async fn a_task_whose_plugin_fails_to_compile_anew_tells_so_until_the_plugin_is_put_again() {
    let (store, plugin) = store_with_a_plugin().await;
    let compiled = Arc::new(Semaphore::new(10));
    let engine = FakeEngine { compiled: Some(compiled), ..FakeEngine::default() };
    let error = PluginError::Crashed("the compiler was killed".to_owned());
    engine.broken.lock().expect("no panic").push((plugin, error.clone()));
    let supervisor = start_with(&store, engine).await;
    while supervisor.get("of plugin").await.expect("it is there").fault.is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(supervisor.get("of plugin").await.expect("it is there").fault, Some(error.to_string()));
    assert_eq!(supervisor.get("whole").await.expect("it is there").fault, None);
    let run = supervisor.run("of plugin", true, None).await.expect("it is accounted for");
    assert_eq!(run.record.outcome, Outcome::HostError);
    supervisor.inner.engine.broken.lock().expect("no panic").clear();
    supervisor.put_plugin(Bytes::from_static(b"\0asm")).await.expect("it is mended");
    assert_eq!(supervisor.run("of plugin", true, None).await.expect("it runs").record.outcome, Outcome::Success);
}

/// The store of a host that has ended, with a task of a plugin and one that is `whole`.
async fn store_with_a_plugin() -> (Arc<MemoryStore>, Sha256) {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    let plugin = supervisor.put_plugin(Bytes::from_static(b"\0asm")).await.expect("admitted").facts.sha256;
    let with_plugin = SpecPatch { plugin: Some(PluginRef::Sha256(plugin)), ..patch(&[]) };
    supervisor.add("of plugin", with_plugin, false, false, BY).await.expect("added");
    add(&supervisor, "whole", &[]).await;
    supervisor.shutdown(sleep(Duration::ZERO)).await.expect("a clean end");
    (store, plugin)
}

#[tokio::test]
async fn a_shutdown_stops_what_does_not_end_in_the_grace_and_keeps_its_outcome() {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    add(&supervisor, "a", &["sleep", "1h"]).await;
    supervisor.run("a", false, None).await.expect("it starts");
    let before = supervisor.inner.clock.now();
    // It begins when it is waited for.
    let grace_over = async { sleep(Duration::from_millis(20)).await };
    supervisor.shutdown(grace_over).await.expect("a clean end");
    let run = store.host_runs.lock().expect("no panic").last().copied().expect("the host was up");
    let stopped = run.stopped.expect("it ended well");
    assert!(
        stopped >= before && run.seen.since(stopped) >= Duration::from_millis(20),
        "it begins nothing in the grace"
    );
    let states = store.states.lock().expect("no panic");
    assert_eq!(states.values().next().expect("a state").counts.get(Outcome::Cancelled), 1);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_call_that_blocks_for_ever() {
    let supervisor = start(&Arc::default()).await;
    add(&supervisor, "a", &["block"]).await;
    supervisor.run("a", false, None).await.expect("it starts");
    let shutdown = supervisor.shutdown(sleep(Duration::from_millis(20)));
    tokio::time::timeout(Duration::from_secs(20), shutdown).await.expect("it ends").expect("a clean end");
}
