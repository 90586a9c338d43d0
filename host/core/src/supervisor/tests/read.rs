use super::*;
use crate::events::Next;
use crate::supervisor::read::Gotten;

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
