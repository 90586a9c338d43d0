use std::pin::pin;

use futures_util::poll;

use super::*;
use crate::plugin::PluginRef;
use crate::spec::{GrantsText, SpecError, TaskSpec};

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
async fn a_schedule_that_has_passed_is_refused_unless_it_was_there_before() {
    let supervisor = start(&Arc::default()).await;
    let past = ScheduleText { at: Some("2001-01-01T00:00:00Z".into()), ..ScheduleText::default() };
    let past = SpecPatch { schedules: Some(Some(vec![past])), ..SpecPatch::default() };
    let refused = supervisor.add("a", past.clone(), false, false, BY).await;
    assert!(matches!(refused, Err(TaskError::Spec(SpecError::NeverDue))));
    add(&supervisor, "a", &[]).await;
    assert!(supervisor.edit("a", past, None, BY).await.is_err());
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
