//! What was: `runs`, `changes`, `why`.

use serde_json::{Value, json};

use super::taskctl;
use crate::exit::Exit;
use crate::output::Format;
use crate::testing::{Shown, client_of, runs};

#[tokio::test]
async fn runs_are_asked_for_by_outcome_and_time() {
    let client = client_of(|call| {
        assert_eq!(
            call.request,
            json!({
                "name": "a", "limit": 5, "outcomes": ["error", "timed_out"], "from": "2026-01-02T01:04:05Z",
                "until": "2026-01-02T02:04:05Z",
            })
        );
        vec![call.answer(json!({"runs": runs(), "history_lost": 3}))]
    });
    let mut shown = Shown::new();
    let words = "runs a -n 5 --outcome error,timed_out --from -2h --until -1h";
    assert_eq!(taskctl(&client, &words.split(' ').collect::<Vec<_>>(), &mut shown).await, Exit::Done);
    assert_eq!(shown.out().lines().count(), 1 + runs().len());
    assert_eq!(shown.err(), "3 records of a were lost before they were stored\n");
}

#[tokio::test]
async fn changes_say_who_changed_what() {
    let answer = json!({"changes": [
        {"revision": 10, "at": "2026-01-02T03:04:05Z", "by": "the host", "kind": "pause", "note": "5 runs in a row failed"},
        {"revision": 9, "at": "2026-01-02T03:04:00Z", "by": "uid 1000", "kind": "edit", "diff": [
            {"member": "labels.team", "from": "web", "to": "db"},
            {"member": "schedules", "from": [{"every": "1s"}], "to": [{"every": "5m"}, {"delay": "1s"}]},
        ]},
        {"revision": 1, "at": "2026-01-01T00:00:00Z", "by": "uid 0", "kind": "add"},
    ]});
    let client = client_of({
        let answer = answer.clone();
        move |call| {
            assert_eq!((call.method.as_str(), &call.request), ("TaskUnit.Changes", &json!({"name": "a", "limit": 3})));
            vec![call.answer(answer.clone())]
        }
    });
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["changes", "a", "-n", "3"], &mut shown).await, Exit::Done);
    insta::assert_snapshot!(shown.out(), @r"
    10 2026-01-02T03:04:05Z paused by the host
       note: 5 runs in a row failed
     9 2026-01-02T03:04:00Z edited by uid 1000
       labels.team: web → db
       schedules: every 1s → every 5m and 1s after each run
     1 2026-01-01T00:00:00Z added by uid 0
    ");
    let mut shown = Shown::of_format(Format::Json);
    assert_eq!(taskctl(&client, &["changes", "a", "-n", "3"], &mut shown).await, Exit::Done);
    assert_eq!(serde_json::from_str::<Value>(&shown.out()).expect("one document"), answer);
}

#[tokio::test]
async fn why_is_told_in_the_words_of_the_host() {
    let client = client_of(|call| {
        let at = "2026-01-02T02:04:05Z";
        assert_eq!((call.method.as_str(), &call.request), ("TaskUnit.Why", &json!({"name": "a", "at": at})));
        let text = ["a was due at 02:04:00", "it was skipped: the run before went on\u{1b}[2J"];
        vec![call.answer(json!({"at": at, "text": text, "due": "2026-01-02T02:04:00Z", "run": runs()[0]}))]
    });
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["why", "a", "--at", "-1h"], &mut shown).await, Exit::Done);
    assert_eq!(shown.out(), "a was due at 02:04:00\nit was skipped: the run before went on\\x1b[2J\n");
}
