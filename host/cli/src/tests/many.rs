//! One task or many: `pause`, `resume`, `edit`, `run`, `del`.

use clap::Parser;
use serde_json::{Value, json};
use taskhost_api::ErrorCode;

use super::{task, taskctl};
use crate::Cli;
use crate::exit::Exit;
use crate::testing::{Shown, a_run, client_of};

/// Does what `words` say with a host that picks `a` and `b` and says that it changed so many, and checks what it is asked to do.
async fn bulk(words: &str, request: Value, changed: u64) -> Shown {
    let dry_run = request["dry_run"] == json!(true);
    let client = client_of(move |call| {
        assert_eq!((call.method.as_str(), &call.request), ("TaskUnit.Bulk", &request));
        vec![call.answer(json!({"tasks": ["a", "b"], "changed": changed, "dry_run": dry_run}))]
    });
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &words.split(' ').collect::<Vec<_>>(), &mut shown).await, Exit::Done, "{words}");
    shown
}

#[tokio::test]
async fn every_verb_on_many_tasks_is_one_call() {
    for (words, request, done) in [
        (
            "edit -l team=web --timeout 5s --retry 3 --label old- -- x -y",
            json!({"selector": "team=web", "action": {"edit": {
                "timeout": "5s", "retry": {"attempts": 3}, "labels": {"old": null}, "args": ["x", "-y"],
            }}}),
            "edited 2 tasks\n",
        ),
        (
            "pause --all --note maintenance --until +2h",
            json!({"all": true, "action": {"pause": {"note": "maintenance", "until": "2026-01-02T05:04:05Z"}}}),
            "paused 2 tasks\n",
        ),
        ("resume --selector a=b,!c", json!({"selector": "a=b,!c", "action": {"resume": {}}}), "resumed 2 tasks\n"),
        (
            "run --all --overlap buffer_one",
            json!({"all": true, "action": {"run": {"overlap": "buffer_one"}}}),
            "started 2 tasks\n",
        ),
        ("del --all --wait", json!({"all": true, "action": {"delete": {"mode": "wait"}}}), "deleted 2 tasks\n"),
    ] {
        let shown = bulk(words, request, 2).await;
        assert_eq!((shown.out().as_str(), shown.err().as_str()), (done, ""), "{words}");
    }
}

#[tokio::test]
async fn tasks_that_are_so_already_are_told_from_those_that_changed() {
    let request = json!({"all": true, "action": {"pause": {}}});
    assert_eq!(bulk("pause --all", request, 1).await.out(), "paused 1 of 2 tasks; the others are so already\n");
}

#[tokio::test]
async fn a_dry_run_names_the_tasks() {
    let request = json!({"all": true, "dry_run": true, "action": {"delete": {"mode": "cancel"}}});
    let shown = bulk("del --all --dry-run", request, 2).await;
    assert_eq!((shown.out().as_str(), shown.err().as_str()), ("a\nb\n", "would delete 2 tasks; nothing was done\n"));
}

#[tokio::test]
async fn no_task_at_all_is_said() {
    let client = client_of(|call| vec![call.answer(json!({"tasks": [], "changed": 0, "dry_run": false}))]);
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["pause", "-l", "team=wbe"], &mut shown).await, Exit::Done);
    assert_eq!((shown.out().as_str(), shown.err().as_str()), ("", "there are no such tasks; nothing was done\n"));
}

#[tokio::test]
async fn the_first_refusal_is_the_answer_for_all() {
    let client = client_of(|call| vec![call.refuse(ErrorCode::RunInProgress, "`b` is running", None)]);
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["run", "-l", "team=web"], &mut shown).await, Exit::Conflict);
    assert_eq!(shown.err(), "error: failed to run the tasks with `team=web`: `b` is running\n");
}

#[tokio::test]
async fn waits_are_not_changed_where_each_task_has_its_own() {
    let client = client_of(|_| Vec::new());
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["edit", "--all", "--retry-backoff", "5s"], &mut shown).await, Exit::Usage);
    insta::assert_snapshot!(shown.err(), @r"
    error: failed to edit all tasks: each may retry in its own way
    hint: give the number of attempts with --retry too
    ");
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["edit", "-l", "a=b"], &mut shown).await, Exit::Usage);
    insta::assert_snapshot!(shown.err(), @r"
    error: failed to edit the tasks with `a=b`: nothing to change
    hint: name a setting, like `taskctl edit --selector a=b --every 5m`
    ");
}

#[test]
fn tasks_are_named_in_exactly_one_way() {
    for verb in ["edit", "pause", "resume", "run", "del"] {
        for words in [
            &[][..],
            &["a", "--all"],
            &["a", "--selector", "team=web"],
            &["--all", "--selector", "team=web"],
            &["a", "--dry-run"],
            &["--dry-run"],
        ] {
            let refused = Cli::try_parse_from([&["taskctl", verb], words].concat()).expect_err("refused");
            assert_eq!(refused.exit_code(), 2, "{verb} {words:?}");
        }
    }
    for words in [&["edit", "--all", "--if-revision", "1"][..], &["del", "--all", "--if-exists"]] {
        assert!(Cli::try_parse_from([&["taskctl"], words].concat()).is_err(), "{words:?}");
    }
}

#[tokio::test]
async fn a_task_is_paused_with_a_note_and_goes_on() {
    let client = client_of(|call| match call.method.as_str() {
        "TaskUnit.Pause" if call.request["until"].is_null() => {
            let mut answer = task(2);
            answer["paused"] = json!({"since": "2026-01-02T03:04:05Z", "by": "uid 1000"});
            vec![call.answer(answer)]
        }
        "TaskUnit.Pause" => {
            let until = "2026-01-02T06:04:05Z";
            assert_eq!(call.request, json!({"name": "a", "note": "the disk is full", "until": until}));
            vec![call.answer(task(2))]
        }
        _ => {
            assert_eq!((call.method.as_str(), &call.request), ("TaskUnit.Resume", &json!({"name": "a"})));
            vec![call.answer(task(1))]
        }
    });
    let mut shown = Shown::new();
    let words = ["pause", "a", "--note", "the disk is full", "--until", "+3h"];
    assert_eq!(taskctl(&client, &words, &mut shown).await, Exit::Done);
    assert_eq!(taskctl(&client, &["pause", "a"], &mut shown).await, Exit::Done);
    assert_eq!(taskctl(&client, &["resume", "a"], &mut shown).await, Exit::Done);
    insta::assert_snapshot!(shown.out(), @r"
    paused paused: no due time runs until 2026-01-02T06:00:00Z (in 2h)
    paused paused: no due time runs until `taskctl resume paused`
    resumed hello: next due 2026-01-02T03:04:06Z (in 1s)
    ");
}

#[tokio::test]
async fn a_run_that_waits_for_another_is_queued() {
    let client = client_of(|call| {
        assert_eq!(call.request, json!({"name": "a", "overlap": "buffer_one"}));
        let mut run = serde_json::to_value(a_run("success", None, None)).expect("a run");
        let members = run.as_object_mut().expect("an object");
        members.retain(|name, _| !["outcome", "started", "finished"].contains(&name.as_str()));
        members.insert("state".to_owned(), json!("queued"));
        vec![call.answer(json!({"run": run}))]
    });
    let mut shown = Shown::new();
    let words = ["run", "a", "--overlap", "buffer_one", "--no-wait"];
    assert_eq!(taskctl(&client, &words, &mut shown).await, Exit::Done);
    assert_eq!(shown.out(), "queued a: run 00c0ffee00c0ffee-18866d1a2b3c4d5e\n");
}
