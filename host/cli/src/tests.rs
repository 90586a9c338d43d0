//! The verbs against a host that answers as told, and the texts of `--help`.

mod files;
mod grants;
mod history;
mod many;
mod schedules;

use std::io::Write as _;

use clap::{CommandFactory, Parser};
use jsonrpsee::core::client::Client;
use serde_json::{Value, json};
use taskhost_api::{ErrorCode, Event, EventKind};
use tokio::net::{TcpListener, UnixListener};

use crate::addr::HostAddr;
use crate::client;
use crate::exit::Exit;
use crate::output::Format;
use crate::testing::{Call, Shown, a_run, client_of, event, log_line, notification, plugins, serve, tasks};
use crate::verb::Verb;
use crate::{Cli, exit};

/// Does what `words` say, as `taskctl` would; how it ended.
async fn taskctl(client: &Client, words: &[&str], shown: &mut Shown) -> Exit {
    let cli = Cli::try_parse_from([&["taskctl"], words].concat()).expect("a command line");
    let Verb::Remote(verb) = cli.verb else { panic!("{words:?} needs no host") };
    let done = verb.run(client, &mut shown.output).await;
    done.unwrap_or_else(|failure| shown.output.report(&failure))
}

/// A task as the host answers it, by its place in [`tasks`].
fn task(at: usize) -> Value {
    serde_json::to_value(&tasks()[at]).expect("a task")
}

#[test]
fn the_help_of_every_verb_fits_eighty_columns() {
    fn paths(command: &clap::Command, path: &[String]) -> Vec<Vec<String>> {
        let verbs = command.get_subcommands().filter(|verb| verb.get_name() != "help");
        let inner = verbs.flat_map(|verb| paths(verb, &[path, &[verb.get_name().to_owned()]].concat()));
        [path.to_vec()].into_iter().chain(inner).collect()
    }
    let command = Cli::command().term_width(80);
    for path in paths(&command, &["taskctl".to_owned()]) {
        let words = [path.as_slice(), &["--help".to_owned()]].concat();
        let help = command.clone().try_get_matches_from(&words).expect_err("help").to_string();
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{words:?}: {line}");
        }
        insta::assert_snapshot!(format!("help_{}", path.join("_")), help);
    }
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
    assert!(Cli::command().get_after_help().is_some_and(|help| help.to_string() == exit::HELP));
}

#[test]
fn wrong_usage_is_told_from_help() {
    for (words, code) in [(&["taskctl", "--help"][..], 0), (&["taskctl", "add"], 2), (&["taskctl", "del"], 2)] {
        assert_eq!(Cli::try_parse_from(words).expect_err("no verb to do").exit_code(), code, "{words:?}");
    }
}

#[test]
fn a_value_with_a_hyphen_is_a_value_and_told_as_one() {
    for words in [&["add", "a", "--every", "-5s", "--timeout", "-1s"][..], &["edit", "a", "--every", "-5s"]] {
        assert!(Cli::try_parse_from([&["taskctl"], words].concat()).is_ok(), "the host judges durations: {words:?}");
    }
    for (words, told) in [
        (&["add", "a", "--memory", "-1"][..], "a size is a number of bytes"),
        (&["logs", "a", "-n", "abc"], "it is no whole number; write it like 20"),
        (&["logs", "a", "-n", "-5"], "it is no whole number; write it like 20"),
        (&["runs", "a", "--limit", "-5"], "it is no whole number; write it like 20"),
        (&["edit", "a", "--if-revision", "-1"], "it is no whole number; write it like 20"),
    ] {
        let refused = Cli::try_parse_from([&["taskctl"], words].concat()).expect_err("refused").to_string();
        assert!(refused.contains(told), "{words:?}: {refused}");
    }
}

#[tokio::test]
async fn add_says_the_default_rate_and_how_to_change_it() {
    let client = client_of(|call| match call.method.as_str() {
        "TaskUnit.Add" => {
            assert_eq!(call.request, json!({"name": "it's me", "plugin": {"builtin": "ticker"}}));
            let mut task = task(1);
            task["spec"]["name"] = json!("it's me");
            vec![call.answer(task)]
        }
        _ => {
            assert_eq!((call.method.as_str(), &call.request["effective"]), ("TaskUnit.Get", &json!(true)));
            let mut task = task(1);
            task["spec"]["schedules"] = json!([{"every": "1s"}]);
            vec![call.answer(task)]
        }
    });
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["add", "it's me"], &mut shown).await, Exit::Done);
    let change = r"taskctl edit 'it'\''s me' --every 5m";
    assert_eq!(shown.out(), format!("added it's me: runs every 1s (default); change it with `{change}`\n"));
}

#[tokio::test]
async fn add_sends_what_its_flags_say() {
    let client = client_of(|call| {
        assert_eq!(
            call.request,
            json!({
                "name": "a", "plugin": {"builtin": "other"}, "schedules": [{"every": "1h30m"}], "timeout": "5s",
                "memory_bytes": 1 << 30, "labels": {"team": "web"}, "args": ["-x", "y"], "now": true, "replace": true,
            })
        );
        vec![call.answer(task(0))]
    });
    let mut shown = Shown::new();
    let words =
        "add a --builtin other --every 1h30m --timeout 5s --memory 1GiB --label team=web --now --replace -- -x y";
    assert_eq!(taskctl(&client, &words.split(' ').collect::<Vec<_>>(), &mut shown).await, Exit::Done);
    assert!(shown.out().starts_with("replaced backup/"), "{}", shown.out());
}

#[tokio::test]
async fn a_plugin_is_sent_from_where_an_interrupted_upload_ended() {
    const SIZE: usize = 5 << 19;
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(&vec![7; SIZE]).expect("room");
    let mut received: u64 = 1000;
    let client = client_of(move |call| match call.method.as_str() {
        "Plugin.Has" => vec![call.answer(json!({"has": false, "received": received}))],
        "Plugin.Put" => {
            assert_eq!((&call.request["offset"], &call.request["size"]), (&json!(received), &json!(SIZE)));
            let data = call.request["data"].as_str().expect("base64");
            assert!(data.len() <= (1 << 20) / 3 * 4 + 4, "{}", data.len());
            received += (data.trim_end_matches('=').len() * 3 / 4) as u64;
            let plugin = (received == SIZE as u64).then(|| plugins()[0].clone());
            vec![call.answer(json!({"received": received, "plugin": plugin}))]
        }
        _ => {
            assert_eq!(received, SIZE as u64);
            assert_eq!(call.request["plugin"]["sha256"].as_str().map(str::len), Some(64));
            vec![call.answer(task(0))]
        }
    });
    let mut shown = Shown::new();
    let path = file.path().to_str().expect("a plain path");
    assert_eq!(taskctl(&client, &["add", "a", "--wasm", path, "--every", "1h"], &mut shown).await, Exit::Done);
}

#[tokio::test]
async fn a_plugin_that_the_host_has_is_not_sent() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let client = client_of(|call| {
        assert_eq!(call.method, "Plugin.Has");
        vec![call.answer(json!({"has": true}))]
    });
    let mut shown = Shown::new();
    let path = file.path().to_str().expect("a plain path");
    assert_eq!(taskctl(&client, &["plugin", "put", path], &mut shown).await, Exit::Done);
    assert_eq!(shown.out(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n");
}

#[tokio::test]
async fn a_host_that_takes_no_piece_is_not_sent_it_for_ever() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let client = client_of(|call| match call.method.as_str() {
        "Plugin.Has" => vec![call.answer(json!({"has": false}))],
        _ => vec![call.answer(json!({"received": 0}))],
    });
    let mut shown = Shown::new();
    let path = file.path().to_str().expect("a plain path");
    assert_eq!(taskctl(&client, &["plugin", "put", path], &mut shown).await, Exit::HostFailed);
    assert!(shown.err().contains("makes no sense"), "{}", shown.err());
}

#[tokio::test]
async fn edit_is_a_patch() {
    let client = client_of(|call| {
        assert_eq!(
            call.request,
            json!({
                "name": "a", "if_revision": 6, "schedules": [{"every": "5m"}], "timeout": null, "memory_bytes": null,
                "labels": {"team": "web", "old": null}, "args": null,
            })
        );
        vec![call.answer(task(0))]
    });
    let mut shown = Shown::new();
    let words =
        "edit a --every 5m --timeout default --memory default --label team=web --label old- --no-args --if-revision 6";
    assert_eq!(taskctl(&client, &words.split(' ').collect::<Vec<_>>(), &mut shown).await, Exit::Done);
    assert!(shown.out().ends_with(": revision 7\n"), "{}", shown.out());
}

#[tokio::test]
async fn an_edit_of_nothing_is_wrong_usage() {
    let client = client_of(|_| Vec::new());
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["edit", "a", "--if-revision", "1"], &mut shown).await, Exit::Usage);
    insta::assert_snapshot!(shown.err(), @r"
    error: failed to edit `a`: nothing to change
    hint: name a setting, like `taskctl edit a --every 5m`
    ");
}

#[tokio::test]
async fn a_refusal_is_told_with_the_hint_of_the_host_and_harmless() {
    let client = client_of(|call| {
        vec![call.refuse(
            ErrorCode::TaskExists,
            "a task named `a\x1b[2J` exists",
            Some("edit it with `taskctl edit a`"),
        )]
    });
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["add", "a"], &mut shown).await, Exit::Conflict);
    insta::assert_snapshot!(shown.err(), @r"
    error: failed to add `a`: a task named `a\x1b[2J` exists
    hint: edit it with `taskctl edit a`
    ");
}

#[tokio::test]
async fn del_goes_on_after_a_failure_and_ends_as_the_first_says() {
    let client = client_of(|call| match call.request["name"].as_str() {
        Some("gone") => vec![call.refuse(ErrorCode::TaskNotFound, "there is no task named `gone`", None)],
        name => vec![call.answer(json!({"deleted": name == Some("here")}))],
    });
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["rm", "gone", "here", "absent"], &mut shown).await, Exit::NotFound);
    assert_eq!(shown.out(), "deleted here\nthere was no `absent`\n");
    assert_eq!(shown.err(), "error: failed to delete `gone`: there is no task named `gone`\n");
}

#[tokio::test]
async fn a_list_is_all_its_pages() {
    let page = |call: &Call| match call.request["cursor"].as_str() {
        None => vec![call.answer(json!({"tasks": [task(0)], "next_cursor": "after backup"}))],
        Some(_) => vec![call.answer(json!({"tasks": [task(1), task(2)]}))],
    };
    let mut shown = Shown::of_format(Format::Json);
    assert_eq!(taskctl(&client_of(page), &["list"], &mut shown).await, Exit::Done);
    let document: Value = serde_json::from_str(&shown.out()).expect("one document");
    assert_eq!(document, json!({"tasks": [task(0), task(1), task(2)]}));
    assert!(!shown.out().contains('\u{202e}'), "{}", shown.out());
}

#[tokio::test]
async fn an_empty_list_says_how_to_fill_it() {
    let client = client_of(|call| vec![call.answer(json!({"tasks": []}))]);
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["ls"], &mut shown).await, Exit::Done);
    assert_eq!((shown.out().as_str(), shown.err().as_str()), ("", "no tasks; add one with `taskctl add NAME`\n"));
}

#[tokio::test]
async fn a_run_that_does_not_succeed_has_its_exit_code() {
    let client = client_of(|call| match call.request["name"].as_str() {
        Some("good") => vec![call.answer(json!({"run": a_run("success", None, Some("did\nit"))}))],
        _ => vec![call.answer(json!({"run": a_run("trapped", Some("unreachable"), None)}))],
    });
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["run", "good"], &mut shown).await, Exit::Done);
    assert_eq!(taskctl(&client, &["run", "bad"], &mut shown).await, Exit::RunFailed);
    insta::assert_snapshot!(shown.out(), @r"
    good: success in 4.5s (run 00c0ffee00c0ffee-18866d1a2b3c4d5e)
    did
    it
    bad: trapped in 4.5s (run 00c0ffee00c0ffee-18866d1a2b3c4d5e)
    unreachable
    ");
    assert_eq!(shown.err(), "hint: see what it printed with `taskctl logs bad`\n");
}

#[tokio::test]
async fn a_followed_log_has_no_line_twice_and_says_what_is_lost() {
    let log =
        |seq: u64| notification(&Event { line: Some(log_line(seq, &format!("line {seq}"))), ..event(EventKind::Log) });
    let lines = |seqs: std::ops::RangeInclusive<u64>| -> Vec<_> {
        seqs.map(|seq| log_line(seq, &format!("line {seq}"))).collect()
    };
    let mut subscribed = 0;
    let client = client_of(move |call| match (call.method.as_str(), subscribed) {
        ("TaskUnit.Watch", _) => {
            subscribed += 1;
            let mut sent = vec![call.answer(1)];
            if subscribed == 1 {
                sent.push(log(3));
            }
            sent
        }
        ("TaskUnit.Logs", 1) => {
            assert_eq!(call.request, json!({"name": "hello", "limit": 2}));
            let lagged = Event { lost: Some(9), ..event(EventKind::Lagged) };
            vec![call.answer(json!({"lines": lines(2..=3), "dropped": 1})), log(4), notification(&lagged)]
        }
        ("TaskUnit.Logs", _) => {
            assert_eq!(call.request["after_seq"], json!(4));
            let deleted = notification(&event(EventKind::TaskDeleted));
            vec![call.answer(json!({"lines": lines(7..=8), "dropped": 3})), log(8), log(9), deleted]
        }
        _ => vec![call.answer(true)],
    });
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["logs", "hello", "-f", "-n", "2"], &mut shown).await, Exit::Done);
    let shown_lines: Vec<_> =
        shown.out().lines().map(|line| line.split(' ').next_back().unwrap_or_default().to_owned()).collect();
    assert_eq!(shown_lines, ["2", "3", "4", "7", "8", "9"]);
    assert_eq!(shown.err(), "lagged: 2 lines lost\nhello was deleted\n");
}

#[tokio::test]
async fn a_log_can_be_followed_from_now_on() {
    let client = client_of(|call| match call.method.as_str() {
        "TaskUnit.Watch" => vec![call.answer(1)],
        "TaskUnit.Logs" => {
            assert_eq!(call.request["limit"], json!(1));
            let new = notification(&Event { line: Some(log_line(8, "new")), ..event(EventKind::Log) });
            let shutdown = notification(&event(EventKind::Shutdown));
            vec![call.answer(json!({"lines": [log_line(7, "old")], "dropped": 0})), new, shutdown]
        }
        _ => vec![call.answer(true)],
    });
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["logs", "hello", "--follow", "-n", "0"], &mut shown).await, Exit::Done);
    assert_eq!(shown.out(), "2026-01-02T03:04:05Z stdout new\n");
    assert_eq!(shown.err(), "the host is shutting down\n");
}

#[tokio::test]
async fn a_flood_of_events_overflows_no_buffer() {
    const EVENTS: u64 = 50_000;
    let mut subscribed = false;
    let client = client_of(move |call| match call.method.as_str() {
        "TaskUnit.Watch" if std::mem::replace(&mut subscribed, true) => panic!("the subscription was given up"),
        "TaskUnit.Watch" => {
            let line = |seq| notification(&Event { line: Some(log_line(seq, "x")), ..event(EventKind::Log) });
            let shutdown = notification(&event(EventKind::Shutdown));
            [call.answer(1)].into_iter().chain((1..=EVENTS).map(line)).chain([shutdown]).collect()
        }
        _ => vec![call.answer(true)],
    });
    let mut shown = Shown::of_format(Format::Json);
    assert_eq!(taskctl(&client, &["watch", "--kind", "log"], &mut shown).await, Exit::Done);
    assert_eq!(shown.out().lines().count() as u64, EVENTS + 1);
    assert_eq!(shown.err(), "");
}

#[tokio::test]
async fn a_watch_of_a_task_that_does_not_exist_says_that_it_waits() {
    let client = client_of(|call| match call.method.as_str() {
        "TaskUnit.Watch" => vec![call.answer(1)],
        "TaskUnit.Get" => {
            let refusal = call.refuse(ErrorCode::TaskNotFound, "no task is named `later`", None);
            vec![refusal, notification(&event(EventKind::TaskAdded)), notification(&event(EventKind::Shutdown))]
        }
        _ => vec![call.answer(true)],
    });
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["watch", "later"], &mut shown).await, Exit::Done);
    assert_eq!(shown.err(), "no task is named `later` yet; waiting for it\n");
    assert_eq!(shown.out().lines().count(), 2);
}

#[tokio::test]
async fn a_plugin_that_is_refused_is_told_with_its_file_and_its_task() {
    let mut file = tempfile::Builder::new().suffix(".md").tempfile().expect("a temporary file");
    file.write_all(b"# Read me").expect("room");
    let client = client_of(|call| match call.method.as_str() {
        "Plugin.Has" => vec![call.answer(json!({"has": false}))],
        _ => vec![call.refuse(ErrorCode::PluginInvalid, "the file is no WebAssembly", None)],
    });
    let path = file.path().to_str().expect("a plain path");
    for (words, doing) in [
        (&["add", "a", "--wasm", path][..], "add `a` with FILE"),
        (&["edit", "a", "--wasm", path], "edit `a` with FILE"),
        (&["plugin", "put", path], "send FILE"),
    ] {
        let mut shown = Shown::new();
        assert_eq!(taskctl(&client, words, &mut shown).await, Exit::Invalid);
        let told = shown.err().replace(path, "FILE");
        assert_eq!(told, format!("error: failed to {doing}: the file is no WebAssembly\n"));
    }
}

#[tokio::test]
async fn a_connection_that_closes_is_an_unreachable_host() {
    let client = client_of(|_| Vec::new());
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["list"], &mut shown).await, Exit::Unreachable);
    insta::assert_snapshot!(shown.err(), @r"
    error: failed to list tasks: the host closed the connection
    hint: see whether the host still runs with `taskctl host`
    ");
}

#[tokio::test]
async fn a_connection_that_closes_ends_a_subscription_with_an_error() {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let mut calls = 0;
    tokio::spawn(serve(theirs, move |call| {
        calls += 1;
        if calls == 1 { vec![call.answer(1)] } else { Vec::new() }
    }));
    let client = client::over(ours);
    let mut shown = Shown::new();
    // The second call is the one that the host doesn't answer.
    assert_eq!(taskctl(&client, &["logs", "-f", "hello"], &mut shown).await, Exit::Unreachable);
    assert!(shown.err().contains("the host closed the connection"), "{}", shown.err());
}

#[tokio::test]
async fn the_last_word_of_a_host_is_heard() {
    let refusal = json!({"jsonrpc": "2.0", "id": null, "error": ErrorCode::NotPermitted.to_error(
        "user 1000 is not admitted", Some("name it in access.users".to_owned()))});
    let client = client_of(move |_| vec![refusal.to_string()]);
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["list"], &mut shown).await, Exit::NotPermitted);
    insta::assert_snapshot!(shown.err(), @r"
    error: failed to list tasks: user 1000 is not admitted
    hint: name it in access.users
    ");
}

#[tokio::test]
async fn an_answer_of_another_shape_is_the_hosts_failure() {
    let client = client_of(|call| vec![call.answer(json!({"tsaks": []}))]);
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["list"], &mut shown).await, Exit::HostFailed);
    assert!(shown.err().contains("missing field `tasks`"), "{}", shown.err());
}

#[tokio::test]
async fn answers_find_their_calls_in_any_order() {
    let mut held = None;
    let client = client_of(move |call| {
        let answer = call.answer(json!({"tasks": [], "next_cursor": call.request["selector"]}));
        match held.take() {
            // Something must be said, or the connection closes.
            None => {
                held = Some(answer);
                vec![String::new()]
            }
            Some(first) => vec![answer, first],
        }
    });
    use taskhost_api::{ListRequest, TaskUnitApiClient};
    let list =
        |selector: &str| client.list(ListRequest { selector: Some(selector.to_owned()), ..ListRequest::default() });
    let (a, b) = tokio::join!(list("a"), list("b"));
    assert_eq!(a.expect("an answer").next_cursor.as_deref(), Some("a"));
    assert_eq!(b.expect("an answer").next_cursor.as_deref(), Some("b"));
}

#[tokio::test]
async fn both_kinds_of_address_are_reached() {
    let empty = |call: &Call| vec![call.answer(json!({"tasks": []}))];
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("host.sock");
    let unix = UnixListener::bind(&path).expect("a socket");
    let tcp_addr = tcp.local_addr().expect("an address").to_string().parse().expect("an address");
    tokio::spawn(async move { serve(tcp.accept().await.expect("a client").0, empty).await });
    tokio::spawn(async move { serve(unix.accept().await.expect("a client").0, empty).await });
    for addr in [tcp_addr, HostAddr::Unix(path)] {
        let client = client::connect(&addr).await.expect("a host");
        assert_eq!(taskctl(&client, &["list"], &mut Shown::new()).await, Exit::Done, "{addr}");
    }
}

#[tokio::test]
async fn a_socket_that_nobody_listens_on_does_not_hide_the_next_host() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let stale = dir.path().join("stale.sock");
    drop(UnixListener::bind(&stale).expect("a socket"));
    let tcp = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let addr = tcp.local_addr().expect("an address").to_string().parse().expect("an address");
    assert!(client::connect_first(&[HostAddr::Unix(stale), addr]).await.is_ok());
}

#[tokio::test]
async fn an_unreachable_host_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let stale = dir.path().join("stale.sock");
    drop(UnixListener::bind(&stale).expect("a socket"));
    let failure = client::connect(&HostAddr::Unix(stale.clone())).await.expect_err("nobody listens").into();
    let mut shown = Shown::new();
    assert_eq!(shown.output.report(&failure), Exit::Unreachable);
    let told = shown.err().replace(stale.to_str().expect("a plain path"), "SOCKET");
    insta::assert_snapshot!(told, @r"
    error: failed to reach the host at unix:SOCKET: connection refused
    hint: start one with `taskhost`, or name another with --host
    ");
}
