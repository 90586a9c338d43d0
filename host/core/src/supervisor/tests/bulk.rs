use super::*;
use crate::plugin::PluginRef;

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
async fn all_that_is_wrong_with_what_is_applied_is_told_at_once() {
    let supervisor = start(&Arc::default()).await;
    let never = SpecPatch { timeout: Some(Some("never".to_owned())), ..patch(&[]) };
    let unknown = SpecPatch { plugin: Some(PluginRef::Sha256(Sha256([7; 32]))), ..patch(&[]) };
    for wrong in [never, unknown] {
        let tasks = (0..7).map(|number| (format!("task-{number}"), wrong.clone()));
        let tasks: Vec<_> = tasks.chain([("right".to_owned(), patch(&[]))]).collect();
        let refused = supervisor.apply(tasks, None, false, BY).await.expect_err("seven are wrong").to_string();
        assert!(refused.contains("task `task-4`: ") && !refused.contains("task-5"), "{refused}");
        assert!(refused.ends_with("; and 2 more"), "{refused}");
        assert!(matches!(supervisor.get("right").await, Err(TaskError::NotFound(_))), "nothing was done");
    }
}
