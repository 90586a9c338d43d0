//! Many changes in one call, pauses, and what is kept of changes.

use rusqlite::Connection;
use taskhost_core::ports::{Revision, RevisionKind};
use tokio::task::JoinSet;

use super::*;
use crate::MAX_REVISIONS;

async fn revisions(store: &SqliteStore, task: TaskId, limit: usize) -> Vec<Revision> {
    store.revisions(task, limit).await.expect("reads")
}

fn connect(dir: &Path) -> Connection {
    Connection::open(dir.join("definitions.db")).expect("opens")
}

#[tokio::test]
async fn of_changes_that_come_in_one_call_all_are_made_or_none() {
    let dir = temp_dir();
    let store = open(dir.path());
    let first = definition(1, "first");
    store.commit(vec![add(1, "first"), add(2, "second")]).await.expect("added");
    let many = vec![edit(&first, &["x"]), delete(2, "second", 2), add(3, "third"), add(4, "first")];
    let refused = store.commit(many).await.expect_err("of a name that is there");
    assert_eq!(refused.to_string(), "a task named `first` is stored already");
    assert_eq!(names(&store), ["first", "second"]);
    assert_eq!(load(&store).tasks[0].definition, first);
    assert_eq!((revisions(&store, 1, 9).await.len(), revisions(&store, 2, 9).await.len()), (1, 1));

    store.commit(vec![edit(&first, &["x"]), delete(2, "second", 2), add(3, "third")]).await.expect("changed");
    let copy = crashed(dir.path());
    let after = open(copy.path());
    assert_eq!(names(&after), ["first", "third"]);
    assert_eq!(load(&after).tasks[0].definition.spec.args, ["x"]);
    close(store).await;
}

#[tokio::test]
async fn a_refused_call_takes_nothing_from_those_that_come_with_it() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(0, "taken")]).await.expect("added");
    let mut calls = JoinSet::new();
    for id in (1..1000).step_by(3) {
        let own = |id| add(id, &format!("own-{id:04}"));
        calls.spawn(store.commit(vec![own(id), own(id + 1)]));
        calls.spawn(store.commit(vec![own(id + 2), add(id + 5000, "taken")]));
    }
    let mut refused = 0;
    while let Some(answer) = calls.join_next().await {
        refused += usize::from(answer.expect("no panic").is_err());
    }
    assert_eq!(refused, 333);
    let expected = (1..1000).filter(|id| id % 3 != 0).map(|id| format!("own-{id:04}"));
    assert_eq!(names(&store), expected.chain(["taken".to_owned()]).collect::<Vec<_>>());
    close(store).await;
}

#[tokio::test]
async fn a_call_that_is_larger_than_a_commit_otherwise_gets_is_still_whole() {
    let dir = temp_dir();
    let store = open(dir.path());
    let all: Vec<_> = (0..2000).map(|id| add(id, &format!("task-{id:04}"))).collect();
    let refused = all.iter().cloned().chain([add(0, "other")]).collect();
    store.commit(refused).await.expect_err("an id that is taken");
    assert_eq!(names(&store).len(), 0);
    store.commit(all).await.expect("added");
    assert_eq!(names(&store).len(), 2000);
    close(store).await;
}

#[tokio::test]
async fn a_pause_is_there_after_a_crash_and_gone_after_it_ended() {
    let dir = temp_dir();
    let store = open(dir.path());
    let first = definition(1, "a");
    store.commit(vec![add(1, "a")]).await.expect("added");
    store.commit(vec![pause(&first, a_pause())]).await.expect("paused");
    let copy = crashed(dir.path());
    let paused = only_task(&open(copy.path())).definition;
    assert_eq!(paused, Definition { revision: 2, paused: Some(Box::new(a_pause())), ..first.clone() });

    store.commit(vec![edit(&paused, &["x"])]).await.expect("edited");
    let edited = only_task(&store).definition;
    assert_eq!((edited.revision, &edited.paused), (3, &Some(Box::new(a_pause()))), "an edit leaves it paused");
    store.commit(vec![resume(&edited)]).await.expect("resumed");
    close(store).await;
    let resumed = only_task(&open(dir.path())).definition;
    assert_eq!(resumed, Definition { revision: 4, paused: None, ..edited });
}

#[tokio::test]
async fn a_pause_that_contradicts_what_is_stored_is_refused() {
    let dir = temp_dir();
    let store = open(dir.path());
    let first = definition(1, "a");
    store.commit(vec![add(1, "a")]).await.expect("added");
    let stale = Definition { revision: 7, ..first.clone() };
    let empty = change(ChangeKind::Pause(Definition { revision: 2, ..first.clone() }));
    let paused = Definition { revision: 2, paused: Some(Box::new(a_pause())), ..first.clone() };
    for (refused, words) in [
        (pause(&stale, a_pause()), "no task `a` with revision 7 is stored"),
        (resume(&definition(2, "b")), "no task `b` with revision 1 is stored"),
        (empty, "the pause of task `a` says nothing"),
        (change(ChangeKind::Resume(paused)), "the task `a` that goes on is still paused"),
    ] {
        assert_eq!(store.commit(vec![refused]).await.expect_err("contradicts").to_string(), words);
    }
    assert_eq!(only_task(&store).definition, first);
    close(store).await;
}

#[tokio::test]
async fn a_task_whose_pause_cannot_be_read_is_not_run() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "a"), pause(&definition(1, "a"), a_pause())]).await.expect("added");
    close(store).await;
    connect(dir.path()).execute("UPDATE tasks SET paused = '{}'", []).expect("updates");
    let store = open(dir.path());
    assert_eq!(names(&store), Vec::<String>::new());
    assert!(store.faults()[0].starts_with("the task `a` is not run: its definition can't be read ("));
    close(store).await;
}

#[tokio::test]
async fn revisions_say_who_changed_what_newest_first_and_outlive_the_task() {
    let dir = temp_dir();
    let store = open(dir.path());
    let first = definition(1, "a");
    let edited = Definition {
        spec: Arc::new(TaskSpec { args: vec!["x".to_owned()], ..(*first.spec).clone() }),
        ..first.clone()
    };
    let of = |revision| Definition { revision, ..edited.clone() };
    for change in [
        add(1, "a"),
        edit(&first, &["x"]),
        pause(&of(2), a_pause()),
        resume(&of(3)),
        Change { at: Time(6_000), by: Actor::Host, ..delete(1, "a", 5) },
    ] {
        store.commit(vec![change]).await.expect("changed");
    }
    let revision = |revision, kind, spec: &Arc<TaskSpec>| Revision {
        revision,
        at: Time(5_000),
        by: Actor::Uid(1000),
        kind,
        spec: Some(Arc::clone(spec)),
        paused: None,
    };
    let all = [
        Revision { at: Time(6_000), by: Actor::Host, spec: None, ..revision(5, RevisionKind::Delete, &first.spec) },
        revision(4, RevisionKind::Resume, &edited.spec),
        Revision { paused: Some(a_pause()), ..revision(3, RevisionKind::Pause, &edited.spec) },
        revision(2, RevisionKind::Edit, &edited.spec),
        revision(1, RevisionKind::Add, &first.spec),
    ];
    assert_eq!(revisions(&store, 1, usize::MAX).await, all);
    assert_eq!(revisions(&store, 1, 2).await, all[..2]);
    assert_eq!(revisions(&store, 2, 2).await, []);
    close(store).await;
}

#[tokio::test]
async fn a_revision_whose_spec_cannot_be_read_any_more_is_told_without_it() {
    let dir = temp_dir();
    let store = open(dir.path());
    store.commit(vec![add(1, "a"), pause(&definition(1, "a"), a_pause())]).await.expect("added");
    let conn = connect(dir.path());
    conn.execute("UPDATE revisions SET spec = '{', paused = '{' WHERE revision = 2", []).expect("updates");
    conn.execute("UPDATE revisions SET format = 9 WHERE revision = 1", []).expect("updates");
    let told = revisions(&store, 1, 9).await;
    let told: Vec<_> = told.iter().map(|told| (told.revision, told.kind, &told.spec, &told.paused)).collect();
    assert_eq!(told, [(2, RevisionKind::Pause, &None, &None), (1, RevisionKind::Add, &None, &None)]);
    close(store).await;
}

#[tokio::test]
async fn the_newest_revisions_are_kept_and_long_after_a_deletion_none() {
    let dir = temp_dir();
    let store = open(dir.path());
    let mut last = definition(1, "edited");
    store.commit(vec![add(1, "edited")]).await.expect("added");
    for number in 0..MAX_REVISIONS + 9 {
        let next = match number % 3 {
            0 => edit(&last, &[]),
            1 => pause(&last, a_pause()),
            _ => resume(&last),
        };
        store.commit(vec![next]).await.expect("changed");
        last.revision += 1;
    }
    store.commit(vec![delete(1, "edited", last.revision + 1)]).await.expect("deleted");
    let kept = revisions(&store, 1, usize::MAX).await;
    assert_eq!((kept.len(), kept[0].revision), (MAX_REVISIONS as usize + 1, last.revision + 1));
    close(store).await;
    // The deletion was long ago, by the times of these tests.
    close(open(dir.path())).await;
    let left = connect(dir.path()).query_row("SELECT count(*) FROM revisions", [], |row| row.get(0));
    assert_eq!(left, Ok(0));
}
