use super::*;
use crate::events::Next;
use crate::time::Time;

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
