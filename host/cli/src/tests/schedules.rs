//! When tasks run, and by which rules: `add`, `edit`, `next`, `backfill`.

use clap::Parser;
use serde_json::{Value, json};
use taskhost_api::ErrorCode;

use super::{task, taskctl};
use crate::Cli;
use crate::exit::Exit;
use crate::output::Format;
use crate::testing::{Shown, client_of};

/// What `words` send to a host that answers every call with a task, the last call alone.
async fn sent(words: &[&str]) -> (String, Value) {
    let (sender, calls) = std::sync::mpsc::channel();
    let client = client_of(move |call| {
        sender.send((call.method.clone(), call.request.clone())).expect("the test waits");
        let mut answer = task(0);
        answer["spec"]["retry"] = json!({"attempts": 5, "backoff": "2s", "max_backoff": "1m"});
        vec![call.answer(answer)]
    });
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, words, &mut shown).await, Exit::Done, "{words:?}: {}", shown.err());
    calls.try_iter().last().expect("a call")
}

#[tokio::test]
async fn every_rule_of_a_task_has_its_flag() {
    let words = "add a --builtin b --every 5m --every 1h --phase 10s --align --delay 10s --at +1h --starts-at now \
        --expires-at 2027-01-01T00:00:00Z --max-runs 7 --jitter 10s --stable-jitter --overlap buffer_all \
        --max-running 2 --max-buffered 3 --missed run_all --catchup-window 1h --max-catchup 4 --retry 3 \
        --retry-backoff 5s --retry-max-backoff 1m --retry-on error,trapped --pause-on-failure 5 --on-failure alert \
        --on-recovery calm --timezone Europe/Berlin --cron";
    let words: Vec<_> = words.split_whitespace().chain(["0 3 * * *"]).collect();
    let (_, request) = sent(&words).await;
    assert_eq!(
        request,
        json!({
            "name": "a", "plugin": {"builtin": "b"},
            "schedules": [
                {"every": "5m", "phase": "10s", "align": true}, {"every": "1h", "phase": "10s", "align": true},
                {"delay": "10s"}, {"cron": "0 3 * * *", "timezone": "Europe/Berlin"}, {"at": "2026-01-02T04:04:05Z"},
            ],
            "starts_at": "2026-01-02T03:04:05Z", "expires_at": "2027-01-01T00:00:00Z", "max_runs": 7,
            "jitter": {"max": "10s", "stable": true}, "overlap": "buffer_all", "max_running": 2, "max_buffered": 3,
            "missed": "run_all", "catchup_window": "1h", "max_catchup": 4,
            "retry": {"attempts": 3, "backoff": "5s", "max_backoff": "1m", "on": ["error", "trapped"]},
            "pause_on_failure": 5, "on_failure": "alert", "on_recovery": "calm",
        })
    );
    let (_, request) = sent(&["add", "a", "--manual"]).await;
    assert_eq!(request["schedules"], json!([{"manual": true}]));
}

#[tokio::test]
async fn edit_gives_every_rule_its_default_again() {
    let flags = [
        "every",
        "starts-at",
        "expires-at",
        "max-runs",
        "jitter",
        "overlap",
        "max-running",
        "max-buffered",
        "missed",
        "catchup-window",
        "max-catchup",
        "retry",
        "pause-on-failure",
        "on-failure",
        "on-recovery",
        "timeout",
        "memory",
        "limit",
        "instance",
    ];
    let flags: Vec<_> = flags.iter().map(|flag| format!("--{flag}=default")).collect();
    let words: Vec<_> = ["edit", "a", "--retry-backoff=default", "--retry-max-backoff=default", "--retry-on=default"]
        .into_iter()
        .chain(flags.iter().map(String::as_str))
        .collect();
    let (_, request) = sent(&words).await;
    let members = request.as_object().expect("an object");
    let given: Vec<_> = members.keys().filter(|member| !["name", "if_revision"].contains(&member.as_str())).collect();
    assert_eq!(given.len(), flags.len(), "{given:?}");
    assert!(given.iter().all(|member| members[*member].is_null()), "{request}");
    for kind in ["--delay", "--cron", "--at"] {
        assert_eq!(sent(&["edit", "a", kind, "default"]).await.1["schedules"], Value::Null);
    }
}

#[tokio::test]
async fn a_part_of_how_a_task_retries_is_changed_and_the_rest_stays() {
    let (method, request) = sent(&["edit", "a", "--retry-backoff", "9s", "--retry-max-backoff", "default"]).await;
    assert_eq!(method, "TaskUnit.Edit");
    // Only if nobody changed it in between.
    assert_eq!(request, json!({"name": "a", "if_revision": 7, "retry": {"attempts": 5, "backoff": "9s"}}));
    let (_, request) = sent(&["edit", "a", "--retry", "2"]).await;
    assert_eq!(request["retry"], json!({"attempts": 2, "backoff": "2s", "max_backoff": "1m"}));
    let (_, request) = sent(&["edit", "a", "--timeout", "2s"]).await;
    assert_eq!(request, json!({"name": "a", "timeout": "2s"}), "what is not asked for binds nobody");
}

#[tokio::test]
async fn the_default_schedule_stands_alone() {
    let client = client_of(|_| Vec::new());
    let mut shown = Shown::new();
    let words = ["edit", "a", "--every", "default", "--delay", "1s"];
    assert_eq!(taskctl(&client, &words, &mut shown).await, Exit::Usage);
    insta::assert_snapshot!(shown.err(), @r"
    error: the default schedule stands beside another one
    hint: give `default` alone, or leave it out
    ");
}

#[test]
fn what_goes_with_a_schedule_is_not_given_without_it() {
    for words in [
        &["add", "a", "--phase", "1s"][..],
        &["add", "a", "--cron", "* * * * *", "--align"],
        &["add", "a", "--every", "1s", "--timezone", "UTC"],
        &["edit", "a", "--stable-jitter"],
        &["next", "a", "--timeout", "1s"],
        &["add", "a", "--max-runs", "many"],
    ] {
        let refused = Cli::try_parse_from([&["taskctl"], words].concat()).expect_err("refused");
        assert_eq!(refused.exit_code(), 2, "{words:?}");
    }
}

#[tokio::test]
async fn add_says_when_the_task_runs() {
    let said = async |schedules: Value, next: Option<&str>| {
        let next = next.map(ToOwned::to_owned);
        let client = client_of(move |call| {
            let mut answer = task(1);
            answer["spec"]["schedules"] = schedules.clone();
            answer["next_due"] = json!(next);
            vec![call.answer(answer)]
        });
        let mut shown = Shown::new();
        assert_eq!(taskctl(&client, &["add", "hello", "--every", "x"], &mut shown).await, Exit::Done);
        shown.out()
    };
    let next = Some("2026-03-28T02:00:00Z");
    let cron = json!([{"cron": "0 3 * * *", "timezone": "Europe/Berlin"}]);
    insta::assert_snapshot!(
        [
            said(json!([{"every": "5m"}]), next).await,
            said(cron, next).await,
            said(json!([{"delay": "10s"}]), next).await,
            said(json!([{"at": "2027-01-31T03:00:00Z"}]), next).await,
            said(json!([{"manual": true}]), None).await,
        ]
        .concat(),
        @r"
    added hello: runs every 5m
    added hello: runs at 03:00 by cron `0 3 * * *` (Europe/Berlin), next 2026-03-28T02:00:00Z
    added hello: runs 10s after each run
    added hello: runs once at 2027-01-31T03:00:00Z
    added hello: runs only when told (`taskctl run hello`)
    "
    );
}

#[tokio::test]
async fn next_shows_local_time_and_utc_and_warns() {
    let answer = json!({
        "due": ["2026-01-02T06:04:05Z", "2026-03-29T01:00:00Z"],
        "local": ["2026-01-02T07:04:05+01:00", "2026-03-29T03:00:00+02:00"],
        "warnings": ["2026-03-29T02:30:00 does not exist in Europe/Berlin"],
    });
    let client = {
        let answer = answer.clone();
        client_of(move |call| {
            assert_eq!(call.method, "TaskUnit.Next");
            assert_eq!(
                call.request,
                json!({
                    "schedules": [{"cron": "30 2 * * *", "timezone": "Europe/Berlin"}], "limit": 2,
                    "from": "2026-01-02T04:04:05Z", "timeout": "5s",
                })
            );
            vec![call.answer(answer.clone())]
        })
    };
    let words =
        ["next", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin", "-n", "2", "--from", "+1h", "--timeout", "5s"];
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &words, &mut shown).await, Exit::Done);
    insta::assert_snapshot!(shown.out(), @r"
    LOCAL TIME                 UTC                   IN
    2026-01-02T07:04:05+01:00  2026-01-02T06:04:05Z  in 3h
    2026-03-29T03:00:00+02:00  2026-03-29T01:00:00Z  in 85d
    ");
    assert_eq!(shown.err(), "warning: 2026-03-29T02:30:00 does not exist in Europe/Berlin\n");
    let mut shown = Shown::of_format(Format::Json);
    assert_eq!(taskctl(&client, &words, &mut shown).await, Exit::Done);
    assert_eq!(serde_json::from_str::<Value>(&shown.out()).expect("one document"), answer);
    assert_eq!(shown.err(), "");
}

#[tokio::test]
async fn next_is_of_a_task_or_of_a_schedule() {
    let nothing = json!({"due": [], "local": [], "warnings": []});
    let client = client_of(move |call| {
        assert_eq!(call.request, json!({"name": "a"}));
        vec![call.answer(nothing.clone())]
    });
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["next", "a"], &mut shown).await, Exit::Done);
    assert_eq!((shown.out().as_str(), shown.err().as_str()), ("", "it is not due again by itself\n"));
    for words in [&["next"][..], &["next", "a", "--every", "1s"], &["next", "a", "--starts-at", "now"]] {
        let mut shown = Shown::new();
        assert_eq!(taskctl(&client, words, &mut shown).await, Exit::Usage, "{words:?}");
        assert!(shown.err().contains("hint: give one of them"), "{}", shown.err());
    }
}

#[tokio::test]
async fn a_backfill_says_how_much_it_is() {
    let client = client_of(|call| {
        let (from, until) = ("2026-01-01T03:04:05Z", "2026-01-02T03:04:05Z");
        match call.request["dry_run"].as_bool() {
            None => assert_eq!(call.request, json!({"name": "a b", "from": from, "until": until})),
            Some(dry_run) => assert!(dry_run),
        }
        vec![call.answer(json!({"due_times": 24, "backfill": 2}))]
    });
    let mut shown = Shown::new();
    let words = ["backfill", "a b", "--from", "-1d", "--to", "now"];
    assert_eq!(taskctl(&client, &words, &mut shown).await, Exit::Done);
    assert_eq!(taskctl(&client, &[&words[..], &["--dry-run"]].concat(), &mut shown).await, Exit::Done);
    insta::assert_snapshot!(shown.out(), @r"
    backfill 2 of a b: 24 due times to run
    would run 24 due times of a b again; nothing was done
    ");
    assert_eq!(shown.err(), "hint: see what becomes of them with `taskctl runs 'a b'`\n");
}

#[tokio::test]
async fn a_schedule_that_the_host_refuses_is_told_as_it_says() {
    let client = client_of(|call| {
        assert_eq!(call.request["schedules"], json!([{"at": "tomorrow"}]));
        vec![call.refuse(ErrorCode::SpecInvalid, "`tomorrow` is no point in time", None)]
    });
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["add", "a", "--at", "tomorrow"], &mut shown).await, Exit::Invalid);
    assert_eq!(shown.err(), "error: failed to add `a`: `tomorrow` is no point in time\n");
}
