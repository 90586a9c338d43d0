//! Grants, limits and the instance policy: what flags make of those that a task has.

use serde_json::{Value, json};

use super::{task, taskctl};
use crate::exit::Exit;
use crate::testing::{Shown, client_of};

/// What `words` send to a host with a task that is granted and limited, the last call alone; how it ended, and what was said.
async fn asked(words: &str) -> (Option<Value>, Exit, String) {
    let (sender, calls) = std::sync::mpsc::channel();
    let client = client_of(move |call| {
        sender.send(call.request.clone()).expect("the test waits");
        let mut answer = task(0);
        answer["spec"]["grants"] = json!({"env": {"A": "1"}, "secrets": ["key"]});
        answer["spec"]["limits"] = json!({"log_lines": 5});
        match call.method.as_str() {
            "TaskUnit.Bulk" => vec![call.answer(json!({"tasks": [], "changed": 0, "dry_run": false}))],
            _ => vec![call.answer(answer)],
        }
    });
    let mut shown = Shown::new();
    let done = taskctl(&client, &words.split_whitespace().collect::<Vec<_>>(), &mut shown).await;
    (calls.try_iter().last(), done, shown.err())
}

async fn sent(words: &str) -> Value {
    let (request, done, err) = asked(words).await;
    assert_eq!(done, Exit::Done, "{words}: {err}");
    request.expect("a call")
}

#[tokio::test]
async fn add_grants_and_limits_what_its_flags_say() {
    let words = "add a --builtin b --every 1h --env A=b --dir /srv/data::/data:ro --allow-host example.com:443 --config mode=fast \
                 --secret key --kv --limit cpu_ms=5s --limit log_bytes=64KiB --instance keep";
    assert_eq!(
        sent(words).await,
        json!({
            "name": "a", "plugin": {"builtin": "b"}, "schedules": [{"every": "1h"}],
            "grants": {
                "env": {"A": "b"}, "dirs": [{"host": "/srv/data", "guest": "/data", "read_only": true}],
                "hosts": ["example.com:443"], "config": {"mode": "fast"}, "secrets": ["key"], "kv": true,
            },
            "limits": {"cpu_ms": 5000, "log_bytes": 65536}, "instance": "keep",
        })
    );
    let here = std::env::current_dir().expect("a working folder");
    let request = sent("add a --every 1h --dir data").await;
    let host = here.join("data").to_str().expect("a path of UTF-8").to_owned();
    assert_eq!(request["grants"]["dirs"], json!([{"host": host, "guest": "data"}]));
}

#[tokio::test]
async fn edit_changes_a_part_of_what_a_task_has_if_nobody_else_does() {
    assert_eq!(
        sent("edit a --env B=2 --secret key-").await,
        json!({"name": "a", "if_revision": 7, "grants": {"env": {"A": "1", "B": "2"}}})
    );
    assert_eq!(
        sent("edit a --limit cpu_ms=5s --if-revision 3").await,
        json!({"name": "a", "if_revision": 3, "limits": {"log_lines": 5, "cpu_ms": 5000}})
    );
    assert_eq!(sent("edit a --env A- --secret key-").await["grants"], Value::Null);
    assert_eq!(sent("edit a --limit log_lines=default").await["limits"], Value::Null);
    let whole = sent("edit a --no-grants --kv --limit default --instance default").await;
    assert_eq!(
        whole,
        json!({"name": "a", "grants": {"kv": true}, "limits": null, "instance": null}),
        "and binds nobody"
    );
}

#[tokio::test]
async fn of_many_tasks_all_grants_or_limits_are_changed_or_none() {
    let request = sent("edit --all --no-grants --env A=1 --limit default --limit log_lines=7").await;
    assert_eq!(request["action"]["edit"], json!({"grants": {"env": {"A": "1"}}, "limits": {"log_lines": 7}}));
    for (words, told) in [
        ("edit --all --env A=1", "each may be granted something else\nhint: with --no-grants,"),
        ("edit --all --limit log_lines=7", "each may have other limits\nhint: with `--limit default`,"),
    ] {
        let (request, done, err) = asked(words).await;
        assert_eq!((request, done), (None, Exit::Usage), "{words}");
        assert!(err.contains(told), "{words}: {err}");
    }
}

#[tokio::test]
async fn what_is_no_grant_or_limit_is_told_before_anything_is_asked() {
    use clap::Parser as _;
    for (words, told) in [
        ("add a --env A", "it is written KEY=VALUE"),
        ("edit a --config =b", "it is written KEY=VALUE"),
        ("add a --dir /srv:/data", "a folder is written HOST or HOST::GUEST"),
        ("add a --limit log_lines", "a limit is written NAME=VALUE"),
        ("add a --limit cpu_ms=64KiB", "it is no length of time"),
        ("add a --limit log_bytes=1MB", "a size is a number of bytes"),
        ("add a --limit log_lines=-5", "it is no whole number"),
        ("add a --kv=yes", "[possible values: true, false]"),
    ] {
        let words: Vec<_> = ["taskctl"].into_iter().chain(words.split(' ')).collect();
        let refused = crate::Cli::try_parse_from(&words).expect_err("refused").to_string();
        assert!(refused.contains(told), "{words:?}: {refused}");
    }
    let (request, done, err) = asked("add a --env A-").await;
    assert_eq!((request, done), (None, Exit::Usage));
    assert!(err.contains("there is no grant `A` to take away"), "{err}");
}
