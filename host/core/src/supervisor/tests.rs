use std::pin::pin;

use bytes::Bytes;
use futures_util::poll;
use tokio::time::sleep;

use super::*;
use crate::events::Next;
use crate::plugin::PluginRef;
use crate::ports::SystemClock;
use crate::spec::ScheduleText;
use crate::testing::{FakeEngine, MemoryStore};

type TestSupervisor = Supervisor<FakeEngine, SystemClock>;

const BY: Actor = Actor::Uid(1001);

async fn start(store: &Arc<MemoryStore>) -> TestSupervisor {
    start_with(store, FakeEngine::default()).await
}

async fn start_with(store: &Arc<MemoryStore>, engine: FakeEngine) -> TestSupervisor {
    let config = SupervisorConfig { workers: 2, cancel_grace: Duration::from_millis(50) };
    let store = Arc::clone(store);
    Supervisor::start(config, Arc::new(engine), store, SystemClock).await.expect("the store loads")
}

/// A task that does what `args` say, so seldom that only manual runs count.
fn patch(args: &[&str]) -> SpecPatch {
    SpecPatch {
        schedules: Some(Some(vec![ScheduleText { every: Some("1h".to_owned()) }])),
        args: Some(Some(args.iter().map(ToString::to_string).collect())),
        ..SpecPatch::default()
    }
}

async fn add(supervisor: &TestSupervisor, name: &str, args: &[&str]) -> TaskView {
    supervisor.add(name, patch(args), false, false, BY).await.expect("the task is added")
}

#[tokio::test]
async fn of_a_hundred_adds_of_one_name_exactly_one_succeeds() {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    let adds = (0..100).map(|_| supervisor.add("a", patch(&[]), false, false, BY));
    let results = futures_util::future::join_all(adds).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().flat_map(|result| result.as_ref().err()).all(|error| matches!(error, TaskError::Exists(_))));
    assert_eq!(store.commits.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_change_that_the_store_refuses_never_happened() {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    add(&supervisor, "a", &[]).await;
    store.full.store(true, Ordering::Relaxed);
    let refused = |result: Result<(), TaskError>| assert!(matches!(result, Err(TaskError::Store(StoreError::Full(_)))));
    refused(supervisor.add("b", patch(&[]), false, false, BY).await.map(drop));
    refused(supervisor.edit("a", patch(&["fail"]), None, BY).await.map(drop));
    refused(supervisor.delete("a", DeleteMode::Cancel, BY).await);
    assert!(matches!(supervisor.get("b").await, Err(TaskError::NotFound(_))));
    let task = supervisor.get("a").await.expect("it is still there");
    assert_eq!((task.revision, task.spec.args.len()), (1, 0));
    store.full.store(false, Ordering::Relaxed);
    supervisor.delete("a", DeleteMode::Cancel, BY).await.expect("there is room again");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_store_and_worker_in_step() {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    add(&supervisor, "kept", &[]).await;
    add(&supervisor, "deleted", &[]).await;
    // Each future is polled once, so that the change is begun, and dropped.
    assert!(poll!(pin!(supervisor.add("added", patch(&[]), false, false, BY))).is_pending());
    assert!(poll!(pin!(supervisor.edit("kept", patch(&["fail"]), None, BY))).is_pending());
    assert!(poll!(pin!(supervisor.delete("deleted", DeleteMode::Wait, BY))).is_pending());
    // The changes take their turns before it halts anything.
    tokio::task::yield_now().await;
    supervisor.shutdown(sleep(Duration::from_secs(1))).await.expect("a clean end");
    let stored = store.tasks.lock().expect("no panic");
    let mut stored: Vec<_> = stored.values().map(|task| (task.spec.name.to_string(), task.revision)).collect();
    stored.sort();
    assert_eq!(stored, [("added".to_owned(), 1), ("kept".to_owned(), 2)]);
}

#[tokio::test]
async fn a_rejected_edit_leaves_the_old_definition_running() {
    let supervisor = start(&Arc::default()).await;
    add(&supervisor, "a", &[]).await;
    let bad = SpecPatch { timeout: Some(Some("0s".to_owned())), ..patch(&["fail"]) };
    assert!(matches!(supervisor.edit("a", bad, None, BY).await, Err(TaskError::Spec(_))));
    let run = supervisor.run("a", true).await.expect("it runs");
    assert_eq!((run.record.outcome, run.record.revision), (Outcome::Success, 1));
}

#[tokio::test]
async fn an_edit_is_a_numbered_revision_and_an_edit_of_nothing_is_none() {
    let supervisor = start(&Arc::default()).await;
    add(&supervisor, "a", &[]).await;
    assert_eq!(supervisor.edit("a", patch(&[]), None, BY).await.expect("no change").revision, 1);
    assert_eq!(supervisor.edit("a", patch(&["fail"]), Some(1), BY).await.expect("an edit").revision, 2);
    let conflict = supervisor.edit("a", patch(&[]), Some(1), BY).await;
    assert!(matches!(conflict, Err(TaskError::RevisionConflict { expected: 1, actual: 2, .. })));
    let run = supervisor.run("a", true).await.expect("it runs");
    assert_eq!((run.record.outcome, run.record.revision), (Outcome::Error, 2));
}

#[tokio::test]
async fn replace_makes_the_task_exactly_what_is_asked_and_keeps_its_identity() {
    let supervisor = start(&Arc::default()).await;
    let first = add(&supervisor, "a", &["fail"]).await;
    let second = supervisor.add("a", SpecPatch::default(), false, true, BY).await.expect("replaced");
    assert_eq!((second.revision, second.added_at), (2, first.added_at));
    assert_eq!(*second.spec, TaskSpec::new(second.spec.name.clone()));
}

#[tokio::test]
async fn tasks_and_what_they_did_survive_a_restart() {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    let added = add(&supervisor, "a", &["print", "hello"]).await;
    supervisor.run("a", true).await.expect("it runs");
    supervisor.shutdown(sleep(Duration::from_secs(1))).await.expect("a clean end");
    assert!(matches!(supervisor.add("b", patch(&[]), false, false, BY).await, Err(TaskError::ShuttingDown)));

    let supervisor = start(&store).await;
    let task = supervisor.get("a").await.expect("it is there");
    assert_eq!((task.added_at, task.next_due, task.counts.get(Outcome::Success)), (added.added_at, added.next_due, 1));
    assert_eq!(supervisor.runs("a", None, 10).await.expect("runs").len(), 1);
    supervisor.run("a", true).await.expect("it runs");
    let page = supervisor.logs("a", 0, 10).await.expect("logs");
    assert_eq!(
        page.lines.iter().map(|line| (line.seq, line.text.as_str())).collect::<Vec<_>>(),
        [(1, "hello"), (2, "hello")]
    );
}

#[tokio::test]
async fn a_task_whose_plugin_is_broken_does_not_keep_the_others_from_starting() {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    let plugin = supervisor.put_plugin(Bytes::from_static(b"\0asm")).await.expect("admitted").facts.sha256;
    let with_plugin = SpecPatch { plugin: Some(PluginRef::Sha256(plugin)), ..patch(&[]) };
    supervisor.add("broken", with_plugin, false, false, BY).await.expect("added");
    add(&supervisor, "whole", &[]).await;
    supervisor.shutdown(sleep(Duration::ZERO)).await.expect("a clean end");

    let engine = FakeEngine::default();
    engine.broken.lock().expect("no panic").push(plugin);
    let supervisor = start_with(&store, engine).await;
    let fault = supervisor.get("broken").await.expect("it is there").fault.expect("it can't run");
    assert_eq!(fault, PluginError::Damaged(plugin).to_string());
    assert_eq!(supervisor.run("broken", true).await.expect("it is accounted for").record.outcome, Outcome::HostError);
    assert_eq!(supervisor.run("whole", true).await.expect("it runs").record.outcome, Outcome::Success);

    assert_eq!(supervisor.plugin(&plugin.to_string()).await.expect("it is stored").fault, Some(fault));
    supervisor.inner.engine.broken.lock().expect("no panic").clear();
    supervisor.put_plugin(Bytes::from_static(b"\0asm")).await.expect("it is mended");
    assert_eq!(supervisor.plugin(&plugin.to_string()).await.expect("it is stored").fault, None);
    assert_eq!(supervisor.get("broken").await.expect("it is there").fault, None);
    assert_eq!(supervisor.run("broken", true).await.expect("it runs").record.outcome, Outcome::Success);
}

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
async fn a_list_comes_in_order_of_name_in_pages_over_all_workers() {
    let supervisor = start(&Arc::default()).await;
    for n in 0..25 {
        add(&supervisor, &format!("task-{n:02}"), &[]).await;
    }
    let mut names = Vec::new();
    let mut after = None;
    loop {
        let query = ListQuery { after: after.take(), limit: 10, ..ListQuery::default() };
        let (tasks, more) = supervisor.list(query).await.expect("a page");
        names.extend(tasks.iter().map(|task| task.spec.name.to_string()));
        after = names.last().cloned();
        if !more {
            break;
        }
    }
    assert_eq!(names, (0..25).map(|n| format!("task-{n:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_run_is_refused_while_one_is_going_on_and_a_delete_ends_it() {
    let supervisor = start(&Arc::default()).await;
    add(&supervisor, "a", &["sleep", "1h"]).await;
    let run = supervisor.run("a", false).await.expect("it starts");
    assert!(run.running);
    let refused = supervisor.run("a", false).await;
    assert!(matches!(refused, Err(TaskError::RunInProgress { run: id, .. }) if id == run.id));
    supervisor.delete("a", DeleteMode::Cancel, BY).await.expect("deleted");
    assert_eq!(supervisor.stats().await.expect("stats").runs.get(Outcome::Cancelled), 1);
}

#[tokio::test]
async fn whoever_listens_hears_what_happens_in_order() {
    let supervisor = start(&Arc::default()).await;
    let mut events = supervisor.subscribe(false);
    add(&supervisor, "a", &[]).await;
    supervisor.run("a", true).await.expect("it runs");
    supervisor.edit("a", patch(&["fail"]), None, BY).await.expect("edited");
    supervisor.delete("a", DeleteMode::Wait, BY).await.expect("deleted");
    supervisor.shutdown(sleep(Duration::ZERO)).await.expect("a clean end");
    let mut heard = Vec::new();
    while let Next::Event(event) = events.next().await {
        heard.push(match &event.kind {
            EventKind::TaskAdded { .. } => "added",
            EventKind::RunFinished(run) => run.record.outcome.as_str(),
            EventKind::TaskEdited { revision, .. } => ["", "", "edited to 2"][*revision as usize],
            EventKind::TaskDeleted { .. } => "deleted",
            EventKind::Log { .. } => "log",
            EventKind::Shutdown => "shutdown",
        });
        if heard.last() == Some(&"shutdown") {
            break;
        }
    }
    assert_eq!(heard, ["added", "success", "edited to 2", "deleted", "shutdown"]);
}

#[tokio::test]
async fn a_shutdown_stops_what_does_not_end_in_the_grace_and_keeps_its_outcome() {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    add(&supervisor, "a", &["sleep", "1h"]).await;
    supervisor.run("a", false).await.expect("it starts");
    supervisor.shutdown(sleep(Duration::from_millis(20))).await.expect("a clean end");
    let states = store.states.lock().expect("no panic");
    assert_eq!(states.values().next().expect("a state").counts.get(Outcome::Cancelled), 1);
}

#[tokio::test]
async fn a_bad_name_is_refused_with_what_is_wrong() {
    let supervisor = start(&Arc::default()).await;
    for name in ["", "../x", "a\0b", "p\u{430}ypal"] {
        assert!(
            matches!(supervisor.add(name, patch(&[]), false, false, BY).await, Err(TaskError::Spec(_))),
            "{name:?}"
        );
        assert!(matches!(supervisor.get(name).await, Err(TaskError::Spec(_))), "{name:?}");
    }
}
