use std::pin::pin;

use bytes::Bytes;
use futures_util::poll;
use tokio::time::sleep;

use super::*;
use crate::events::Next;
use crate::outcome::{Outcome, RunPhase};
use crate::plugin::PluginRef;
use crate::ports::{Actor, GrantFault, GrantGate, SystemClock};
use crate::schedule::ScheduleText;
use crate::spec::{Ceilings, Grants, GrantsText, SpecPatch};
use crate::testing::{FakeEngine, MemoryStore};
use crate::time::Time;

type TestSupervisor = Supervisor<FakeEngine, SystemClock>;

const BY: Actor = Actor::Uid(1001);

/// Lets nobody but [`BY`] grant anything.
#[derive(Debug)]
struct OnlyOwner;

impl GrantGate for OnlyOwner {
    fn check(&self, by: Actor, _grants: &Grants) -> Result<(), GrantFault> {
        if by == BY { Ok(()) } else { Err(GrantFault { message: format!("{by} may not"), hint: "ask".to_owned() }) }
    }
}

async fn start(store: &Arc<MemoryStore>) -> TestSupervisor {
    start_with(store, FakeEngine::default()).await
}

async fn start_with(store: &Arc<MemoryStore>, engine: FakeEngine) -> TestSupervisor {
    let config = SupervisorConfig {
        workers: 2,
        cancel_grace: Duration::from_millis(50),
        zone: Zone::utc(),
        ceilings: Ceilings::default(),
        gate: Arc::new(OnlyOwner),
    };
    let store = Arc::clone(store);
    Supervisor::start(config, Arc::new(engine), store, SystemClock).await.expect("the store loads")
}

/// A task that does what `args` say, so seldom that only manual runs count.
fn patch(args: &[&str]) -> SpecPatch {
    SpecPatch {
        schedules: Some(Some(vec![ScheduleText { every: Some("1h".to_owned()), ..ScheduleText::default() }])),
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
    let mut stored: Vec<_> = stored.values().map(|task| (task.name.to_string(), task.revision)).collect();
    stored.sort();
    assert_eq!(stored, [("added".to_owned(), 1), ("kept".to_owned(), 2)]);
}

#[tokio::test]
async fn a_rejected_edit_leaves_the_old_definition_running() {
    let supervisor = start(&Arc::default()).await;
    add(&supervisor, "a", &[]).await;
    let bad = SpecPatch { timeout: Some(Some("0s".to_owned())), ..patch(&["fail"]) };
    assert!(matches!(supervisor.edit("a", bad, None, BY).await, Err(TaskError::Spec(_))));
    let run = supervisor.run("a", true, None).await.expect("it runs");
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
    let run = supervisor.run("a", true, None).await.expect("it runs");
    assert_eq!((run.record.outcome, run.record.revision), (Outcome::Error, 2));
}

#[tokio::test]
async fn replace_makes_the_task_exactly_what_is_asked_and_keeps_its_identity() {
    let supervisor = start(&Arc::default()).await;
    let first = add(&supervisor, "a", &["fail"]).await;
    let second = supervisor.add("a", SpecPatch::default(), false, true, BY).await.expect("replaced");
    assert_eq!((second.revision, second.added_at), (2, first.added_at));
    assert_eq!(*second.spec, TaskSpec::default());
}

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
    assert_eq!(
        supervisor.run("broken", true, None).await.expect("it is accounted for").record.outcome,
        Outcome::HostError
    );
    assert_eq!(supervisor.run("whole", true, None).await.expect("it runs").record.outcome, Outcome::Success);

    assert_eq!(supervisor.plugin(&plugin.to_string()).await.expect("it is stored").fault, Some(fault));
    supervisor.inner.engine.broken.lock().expect("no panic").clear();
    supervisor.put_plugin(Bytes::from_static(b"\0asm")).await.expect("it is mended");
    assert_eq!(supervisor.plugin(&plugin.to_string()).await.expect("it is stored").fault, None);
    assert_eq!(supervisor.get("broken").await.expect("it is there").fault, None);
    assert_eq!(supervisor.run("broken", true, None).await.expect("it runs").record.outcome, Outcome::Success);
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
        names.extend(tasks.iter().map(|task| task.name.to_string()));
        after = names.last().cloned();
        if !more {
            break;
        }
    }
    assert_eq!(names, (0..25).map(|n| format!("task-{n:02}")).collect::<Vec<_>>());
}

/// What becomes of asking for these together, in the order of the names.
async fn got(supervisor: &TestSupervisor, names: &[&str]) -> Vec<Gotten> {
    let parts = futures_util::future::join_all(supervisor.get_together(names)).await;
    let mut got: Vec<_> = parts.into_iter().flatten().collect();
    got.sort_by_key(|(at, _)| *at);
    assert_eq!(got.iter().map(|(at, _)| *at).collect::<Vec<_>>(), (0..names.len()).collect::<Vec<_>>());
    got.into_iter().map(|(_, got)| got).collect()
}

async fn unchanged(supervisor: &TestSupervisor, name: &str) -> Unchanged {
    let (_, unchanged) = got(supervisor, &[name]).await.remove(0).expect("it is there");
    assert!(unchanged.holds(), "it was told just now");
    unchanged
}

#[tokio::test]
async fn tasks_are_got_together_from_each_worker_in_one_part() {
    let supervisor = start(&Arc::default()).await;
    let names: Vec<String> = (0..20).map(|number| format!("task-{number}")).collect();
    for name in &names {
        add(&supervisor, name, &[]).await;
    }
    let mut asked: Vec<&str> = names.iter().map(String::as_str).collect();
    asked.splice(3..3, ["none", "-"]);
    assert_eq!(supervisor.get_together(&asked).len(), 3, "one for each worker, and one for what is no name");
    for (name, got) in asked.iter().zip(got(&supervisor, &asked).await) {
        match *name {
            "none" => assert!(matches!(got, Err(TaskError::NotFound(_))), "{got:?}"),
            "-" => assert!(matches!(got, Err(TaskError::Spec(_))), "{got:?}"),
            name => assert_eq!(got.expect("it is there").0.name.as_str(), name),
        }
    }
    assert!(supervisor.get_together(&[]).is_empty());
    supervisor.shutdown(std::future::pending()).await.expect("the store closes");
    assert!(matches!(got(&supervisor, &["task-0"]).await[..], [Err(TaskError::ShuttingDown)]));
}

#[tokio::test]
async fn what_was_told_of_a_task_holds_until_something_of_it_changes() {
    let supervisor = start(&Arc::default()).await;
    add(&supervisor, "a", &[]).await;
    add(&supervisor, "b", &[]).await;
    let other = unchanged(&supervisor, "b").await;

    let told = unchanged(&supervisor, "a").await;
    let again = unchanged(&supervisor, "a").await;
    assert!(told.holds(), "being asked changes nothing");
    let timeout = SpecPatch { timeout: Some(Some("5s".to_owned())), ..SpecPatch::default() };
    supervisor.edit("a", timeout, None, BY).await.expect("edited");
    assert!(!told.holds() && !again.holds(), "an edit that was answered");
    let told = unchanged(&supervisor, "a").await;
    supervisor.pause("a", None, None, BY).await.expect("paused");
    assert!(!told.holds(), "a pause that was answered");
    let told = unchanged(&supervisor, "a").await;
    supervisor.resume("a", BY).await.expect("resumed");
    assert!(!told.holds(), "a resumption that was answered");

    let told = unchanged(&supervisor, "a").await;
    let mut events = supervisor.subscribe(false);
    supervisor.run("a", false, None).await.expect("it starts");
    let Next::Event(event) = events.next().await else { panic!("nothing is lost") };
    assert!(matches!(event.kind, EventKind::RunFinished(_)), "{event:?}");
    assert!(!told.holds(), "a run that was told of");

    let told = unchanged(&supervisor, "a").await;
    supervisor.delete("a", DeleteMode::Cancel, BY).await.expect("deleted");
    assert!(!told.holds(), "a deletion that was answered");
    assert!(other.holds(), "what is done to one is nothing to another");
    supervisor.shutdown(std::future::pending()).await.expect("the store closes");
    assert!(!other.holds(), "nobody knows of it any more");
}

#[tokio::test]
async fn a_run_is_refused_while_one_is_going_on_and_a_delete_ends_it() {
    let supervisor = start(&Arc::default()).await;
    add(&supervisor, "a", &["sleep", "1h"]).await;
    let run = supervisor.run("a", false, None).await.expect("it starts");
    assert_eq!(run.phase, RunPhase::Running);
    let refused = supervisor.run("a", false, None).await;
    assert!(matches!(refused, Err(TaskError::RunInProgress { run: id, .. }) if id == run.id));
    supervisor.delete("a", DeleteMode::Cancel, BY).await.expect("deleted");
    assert_eq!(supervisor.stats().await.expect("stats").runs.get(Outcome::Cancelled), 1);
}

#[tokio::test]
async fn whoever_listens_hears_what_happens_in_order() {
    let supervisor = start(&Arc::default()).await;
    let mut events = supervisor.subscribe(false);
    add(&supervisor, "a", &[]).await;
    supervisor.run("a", true, None).await.expect("it runs");
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
            EventKind::TaskPaused { .. } => "paused",
            EventKind::TaskResumed { .. } => "resumed",
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
    supervisor.run("a", false, None).await.expect("it starts");
    supervisor.shutdown(sleep(Duration::from_millis(20))).await.expect("a clean end");
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

#[tokio::test]
async fn a_pause_is_durable_and_kept_over_a_restart_until_it_is_resumed() {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    add(&supervisor, "a", &[]).await;
    let paused = supervisor.pause("a", Some("maintenance".into()), None, BY).await.expect("paused");
    assert_eq!((paused.revision, paused.state(), paused.next_due), (2, TaskState::Paused, None));
    supervisor.shutdown(sleep(Duration::ZERO)).await.expect("a clean end");
    let supervisor = start(&store).await;
    let task = supervisor.get("a").await.expect("the task");
    assert_eq!(task.paused.and_then(|pause| pause.note).as_deref(), Some("maintenance"));
    let resumed = supervisor.resume("a", BY).await.expect("resumed");
    assert_eq!((resumed.revision, resumed.state()), (3, TaskState::Idle));
    assert_eq!(supervisor.resume("a", BY).await.expect("nothing to do").revision, 3);
    let ended = supervisor.pause("a", None, Some("2001-01-01T00:00:00Z"), BY).await;
    assert!(matches!(ended, Err(TaskError::PauseEnded(_))));
}

#[tokio::test]
async fn a_task_that_pauses_itself_is_paused_durably_and_triggers_others() {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    add(&supervisor, "alarm", &[]).await;
    let failing =
        SpecPatch { pause_on_failure: Some(Some(1)), on_failure: Some(Some("alarm".into())), ..patch(&["fail"]) };
    supervisor.add("a", failing, false, false, BY).await.expect("added");
    let mut events = supervisor.subscribe(false);
    supervisor.run("a", true, None).await.expect("it runs");
    let mut heard = (false, false);
    while heard != (true, true) {
        let Next::Event(event) = events.next().await else { panic!("events go on") };
        match &event.kind {
            EventKind::TaskPaused { revision: 2, .. } => heard.0 = true,
            EventKind::RunFinished(run) if run.task.as_str() == "alarm" => {
                let trigger = run.record.more.as_ref().and_then(|more| more.trigger.clone()).expect("a trigger");
                assert_eq!((trigger.task.as_str(), trigger.outcome), ("a", Outcome::Error));
                heard.1 = true;
            }
            _ => {}
        }
    }
    let stored = store.tasks.lock().expect("no panic");
    let paused = stored.values().find(|task| task.name.as_str() == "a").and_then(|task| task.paused.clone());
    assert_eq!(paused.expect("it is durable").by, Actor::Host);
}

#[tokio::test]
async fn a_change_of_many_is_made_to_all_or_to_none() {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    for n in 0..10 {
        add(&supervisor, &format!("task-{n}"), &[]).await;
    }
    let commits = store.commits.load(Ordering::Relaxed);
    let pause = || BulkAction::Pause { note: None, until: None };
    let (tasks, changed) = supervisor.bulk(None, pause(), true, BY).await.expect("a dry run");
    assert_eq!((tasks.len(), changed, store.commits.load(Ordering::Relaxed)), (10, 10, commits));
    supervisor.bulk(None, pause(), false, BY).await.expect("paused");
    assert_eq!(store.commits.load(Ordering::Relaxed), commits + 1, "in one commit");
    let paused = ListQuery { state: Some(TaskState::Paused), limit: 100, ..ListQuery::default() };
    assert_eq!(supervisor.list(paused.clone()).await.expect("a list").0.len(), 10);
    store.full.store(true, Ordering::Relaxed);
    assert!(supervisor.bulk(None, BulkAction::Resume, false, BY).await.is_err());
    assert_eq!(supervisor.list(paused).await.expect("a list").0.len(), 10, "none of them");
    store.full.store(false, Ordering::Relaxed);
    let wrong = SpecPatch { timeout: Some(Some("8d".into())), ..SpecPatch::default() };
    let refused = supervisor.bulk(None, BulkAction::Edit(Box::new(wrong)), false, BY).await;
    assert!(matches!(refused, Err(TaskError::Among { name, .. }) if name.as_str() == "task-0"));
    supervisor.bulk(None, BulkAction::Delete(DeleteMode::Cancel), false, BY).await.expect("deleted");
    assert_eq!(supervisor.stats().await.expect("stats").tasks, 0);
}

#[tokio::test]
async fn tasks_that_are_applied_become_exactly_what_is_given() {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    add(&supervisor, "kept", &[]).await;
    add(&supervisor, "edited", &[]).await;
    add(&supervisor, "left", &[]).await;
    let tasks = || {
        let given = [("kept", patch(&[])), ("edited", patch(&["fail"])), ("new", patch(&[]))];
        given.into_iter().map(|(name, patch)| (name.to_owned(), patch)).collect::<Vec<_>>()
    };
    let kinds = |applied: &[Applied]| applied.iter().map(|task| (task.task.to_string(), task.kind)).collect::<Vec<_>>();
    let expected = [
        ("edited".to_owned(), AppliedKind::Edit),
        ("kept".to_owned(), AppliedKind::Unchanged),
        ("new".to_owned(), AppliedKind::Add),
        ("left".to_owned(), AppliedKind::Delete),
    ];
    let dry = supervisor.apply(tasks(), Some(None), true, BY).await.expect("a dry run");
    assert_eq!(kinds(&dry), expected);
    assert!(supervisor.get("left").await.is_ok(), "nothing was done");
    let applied = supervisor.apply(tasks(), Some(None), false, BY).await.expect("applied");
    assert_eq!(kinds(&applied), expected);
    assert!(matches!(supervisor.get("left").await, Err(TaskError::NotFound(_))));
    assert_eq!(supervisor.get("edited").await.expect("the task").revision, 2);
    let again = supervisor.apply(tasks(), Some(None), false, BY).await.expect("nothing to do");
    assert!(again.iter().all(|task| task.kind == AppliedKind::Unchanged));
    let unknown = SpecPatch { plugin: Some(PluginRef::Sha256(Sha256([7; 32]))), ..patch(&[]) };
    let unknown = vec![("kept".to_owned(), unknown)];
    let dry = supervisor.apply(unknown.clone(), None, true, BY).await.expect("the plugin need not be there yet");
    assert_eq!(kinds(&dry), [("kept".to_owned(), AppliedKind::Edit)]);
    assert!(matches!(supervisor.apply(unknown, None, false, BY).await, Err(TaskError::Among { .. })));
    let twice = supervisor.apply([tasks(), tasks()].concat(), None, false, BY).await;
    assert!(matches!(twice, Err(TaskError::Twice(_))));
}

#[tokio::test]
async fn a_schedule_that_has_passed_is_refused_unless_it_was_there_before() {
    let supervisor = start(&Arc::default()).await;
    let past = ScheduleText { at: Some("2001-01-01T00:00:00Z".into()), ..ScheduleText::default() };
    let past = SpecPatch { schedules: Some(Some(vec![past])), ..SpecPatch::default() };
    let refused = supervisor.add("a", past.clone(), false, false, BY).await;
    assert!(matches!(refused, Err(TaskError::Spec(crate::spec::SpecError::NeverDue))));
    add(&supervisor, "a", &[]).await;
    assert!(supervisor.edit("a", past, None, BY).await.is_err());
}

#[tokio::test]
async fn due_times_to_come_are_told_of_a_task_and_of_a_thought() {
    let supervisor = start(&Arc::default()).await;
    let task = add(&supervisor, "a", &[]).await;
    let query = NextQuery { task: Some("a".into()), limit: 2, ..NextQuery::default() };
    let next = supervisor.next(query).await.expect("due times");
    let expected = [1, 2].map(|hours| task.added_at.saturating_add(Duration::from_secs(3_600 * hours)));
    assert_eq!(next.due.iter().map(|due| due.0).collect::<Vec<_>>(), expected);
    let few = SpecPatch { max_runs: Some(Some(1)), ..SpecPatch::default() };
    supervisor.edit("a", few, None, BY).await.expect("edited");
    let query = NextQuery { task: Some("a".into()), limit: 2, ..NextQuery::default() };
    assert_eq!(supervisor.next(query).await.expect("due times").due.len(), 1, "no more than it may have");
    let cron = ScheduleText {
        cron: Some("0 3 * * *".into()),
        timezone: Some("Europe/Berlin".into()),
        ..ScheduleText::default()
    };
    let patch = SpecPatch { schedules: Some(Some(vec![cron])), ..SpecPatch::default() };
    let from = crate::schedule::parse_time("2027-06-01T00:00:00Z").ok();
    let next = supervisor.next(NextQuery { task: None, patch, from, limit: 1 }).await.expect("due times");
    assert_eq!(next.due[0].0.to_string(), "2027-06-01T01:00:00Z");
    assert_eq!(next.due[0].1, "2027-06-01T03:00:00+02:00");
}

#[tokio::test]
async fn a_backfill_is_refused_where_it_can_not_be_meant_and_runs_else() {
    let supervisor = start(&Arc::default()).await;
    let task = add(&supervisor, "a", &[]).await;
    let now = Clock::now(&SystemClock);
    let ago = |seconds: i64| Time(now.0 - seconds * 1_000_000_000);
    let future = supervisor.backfill("a", ago(5), ago(-100), false).await;
    assert!(matches!(future, Err(TaskError::BackfillRange { .. })));
    assert!(matches!(supervisor.backfill("a", ago(5), ago(10), false).await, Err(TaskError::BackfillRange { .. })));
    assert_eq!(supervisor.backfill("a", ago(7_200), task.added_at, false).await.expect("none"), (0, 1));
    let cron = ScheduleText { cron: Some("* * * * * *".into()), ..ScheduleText::default() };
    let every_second = SpecPatch { schedules: Some(Some(vec![cron])), ..SpecPatch::default() };
    supervisor.edit("a", every_second, None, BY).await.expect("edited");
    let year = supervisor.backfill("a", ago(365 * 86_400), ago(0), false).await;
    assert!(matches!(year, Err(TaskError::BackfillTooLong { .. })));
    assert_eq!(supervisor.backfill("a", ago(10), ago(0), true).await.expect("a dry run"), (10, 1));
    let mut events = supervisor.subscribe(false);
    assert_eq!(supervisor.backfill("a", ago(10), ago(0), false).await.expect("backfilled"), (10, 1));
    let mut ran = 0;
    while ran < 10 {
        let Next::Event(event) = events.next().await else { panic!("events go on") };
        ran += usize::from(matches!(&event.kind, EventKind::RunFinished(run) if run.id.key.backfill == 1));
    }
}

#[tokio::test]
async fn why_a_task_did_not_run_is_told_in_words() {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    add(&supervisor, "a", &["fail"]).await;
    supervisor.run("a", true, None).await.expect("it runs");
    let text = supervisor.why("a", None).await.expect("an answer").text.join("\n");
    assert!(text.contains("(manual)") && text.contains(": error: told to"), "{text}");
    assert!(text.contains("next due at"), "{text}");
    supervisor.pause("a", Some("maintenance".into()), None, BY).await.expect("paused");
    let text = supervisor.why("a", None).await.expect("an answer").text.join("\n");
    assert!(text.contains("paused at") && text.contains("by uid 1001 (revision 2)"), "{text}");
    assert!(text.contains("it is paused since") && text.contains(": maintenance"), "{text}");
    assert!(text.contains("nothing comes due while it is paused"), "{text}");
}

#[tokio::test]
async fn runs_are_told_from_memory_and_from_the_store_and_each_once() {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    add(&supervisor, "a", &[]).await;
    for _ in 0..30 {
        supervisor.run("a", true, None).await.expect("it runs");
    }
    supervisor.shutdown(sleep(Duration::ZERO)).await.expect("a clean end");
    let supervisor = start(&store).await;
    let filter = RunsFilter { limit: 100, ..RunsFilter::default() };
    let runs = supervisor.runs("a", filter.clone()).await.expect("runs").runs;
    assert_eq!(runs.len(), 30);
    assert!(runs.windows(2).all(|pair| pair[0].id.key > pair[1].id.key), "newest first, each once");
    let until = Some(runs[10].id.key.due);
    let older = supervisor.runs("a", RunsFilter { until, ..filter }).await.expect("runs").runs;
    assert_eq!(older.len(), 19);
}

#[tokio::test]
async fn who_may_not_grant_something_may_not_have_it_used_otherwise_either() {
    const OTHER: Actor = Actor::Uid(1002);
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    let granted = || {
        let grants = GrantsText { kv: true, ..GrantsText::default() };
        SpecPatch { grants: Some(Some(grants)), ..patch(&[]) }
    };
    let refused = |result: Result<(), TaskError>| {
        let error = match result {
            Err(TaskError::Among { error, .. }) => *error,
            other => other.expect_err("it is not theirs to give"),
        };
        assert!(matches!(error, TaskError::MayNotGrant(_)), "{error}");
    };
    refused(supervisor.add("a", granted(), false, false, OTHER).await.map(drop));
    refused(supervisor.apply(vec![("a".to_owned(), granted())], None, true, OTHER).await.map(drop));
    supervisor.add("a", granted(), false, false, BY).await.expect("the owner may");
    for other_use in [
        patch(&["other"]),
        SpecPatch { plugin: Some(PluginRef::Builtin("other".to_owned())), ..SpecPatch::default() },
        SpecPatch { grants: Some(Some(GrantsText { kv: true, ..more() })), ..SpecPatch::default() },
    ] {
        refused(supervisor.edit("a", other_use.clone(), None, OTHER).await.map(drop));
        let bulk = BulkAction::Edit(Box::new(other_use));
        refused(supervisor.bulk(None, bulk, false, OTHER).await.map(drop));
    }
    refused(
        supervisor
            .add("a", SpecPatch { grants: granted().grants, ..patch(&["x"]) }, false, true, OTHER)
            .await
            .map(drop),
    );
    assert_eq!(supervisor.get("a").await.expect("it is there").revision, 1);
    let slower = SpecPatch { timeout: Some(Some("5s".to_owned())), ..SpecPatch::default() };
    supervisor.edit("a", slower, None, OTHER).await.expect("when and how long is anybody's to say");
    let away = SpecPatch { grants: Some(None), ..patch(&["other"]) };
    supervisor.edit("a", away, None, OTHER).await.expect("and so is to take all away");
}

fn more() -> GrantsText {
    GrantsText { secrets: vec!["key".to_owned()], ..GrantsText::default() }
}
