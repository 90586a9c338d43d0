use super::*;
use crate::events::Next;
use crate::outcome::RunPhase;

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
async fn the_last_run_of_a_deleted_task_can_be_cancelled_and_a_queued_one_is_told_that_the_task_is_gone() {
    let supervisor = start(&Arc::default()).await;
    add(&supervisor, "a", &["sleep", "1h"]).await;
    let run = supervisor.run("a", false, None).await.expect("it starts");
    let mut queued = Box::pin(supervisor.run("a", true, Some("buffer_one")));
    assert!(futures_util::poll!(&mut queued).is_pending());
    while supervisor.read("a", |slot| slot.open_runs().len()).await.expect("it is there") < 2 {
        tokio::task::yield_now().await;
    }
    let mut deleting = Box::pin(supervisor.delete("a", DeleteMode::Wait, BY));
    assert!(futures_util::poll!(&mut deleting).is_pending());
    assert!(matches!(queued.await, Err(TaskError::NotFound(_))));
    assert!(matches!(supervisor.get("a").await, Err(TaskError::NotFound(_))));
    assert_eq!(supervisor.cancel("a", None).await.expect("it still runs"), run.id);
    deleting.await.expect("deleted");
    assert!(matches!(supervisor.cancel("a", None).await, Err(TaskError::NotFound(_))));
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
async fn what_a_task_asks_for_waits_for_no_change_of_another_and_a_resume_comes_before_a_pause_on_its_way() {
    let supervisor = start(&Arc::default()).await;
    add(&supervisor, "alarm", &[]).await;
    let failing = || SpecPatch {
        pause_on_failure: Some(Some(1)),
        on_failure: Some(Some("alarm".to_owned())),
        ..patch(&["fail"])
    };
    for name in ["held", "free"] {
        supervisor.add(name, failing(), false, false, BY).await.expect("added");
    }
    assert_ne!(shard_of("held"), shard_of("free"));
    // A change of a task in the same shard goes on, and a resume waits for it, before the pause does.
    let change = Arc::clone(&supervisor.inner.shards[shard_of("held")]).lock_owned().await;
    let resuming = supervisor.clone();
    let resumed = tokio::spawn(async move { resuming.resume("held", BY).await });
    supervisor.run("held", true, None).await.expect("it runs");
    supervisor.run("free", true, None).await.expect("it runs");
    let task = async |name| supervisor.get(name).await.expect("it is there");
    while task("alarm").await.counts.get(Outcome::Success) < 2 || task("free").await.revision < 2 {
        sleep(Duration::from_millis(5)).await;
    }

    assert!(task("held").await.paused.is_some(), "the worker pauses it at once");
    drop(change);
    resumed.await.expect("no panic").expect("resumed");
    // Behind whoever waited for it.
    drop(supervisor.inner.shards[shard_of("held")].lock().await);
    assert!(task("free").await.paused.is_some());
    assert!(task("held").await.paused.is_none());
}

#[tokio::test]
async fn a_bulk_resume_resumes_what_paused_itself_though_that_is_not_durable() {
    let store = Arc::new(MemoryStore::default());
    let supervisor = start(&store).await;
    let failing = SpecPatch { pause_on_failure: Some(Some(1)), ..patch(&["fail"]) };
    supervisor.add("a", failing, false, false, BY).await.expect("added");
    store.full.store(true, Ordering::Relaxed);
    supervisor.run("a", true, None).await.expect("it runs");
    assert!(supervisor.get("a").await.expect("it is there").paused.is_some());
    // Whoever makes it durable has the name until he was refused.
    drop(supervisor.inner.shards[shard_of("a")].lock().await);
    store.full.store(false, Ordering::Relaxed);
    let (tasks, changed) = supervisor.bulk(None, BulkAction::Resume, false, BY).await.expect("resumed");
    assert_eq!((tasks.len(), changed), (1, 1));
    assert!(supervisor.get("a").await.expect("it is there").paused.is_none());
}
