//! Settings, secrets, keys and values, and the log with levels, as the keeper of `tests/guests` uses them.

use std::collections::{BTreeMap, HashMap};
use std::future::pending;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::poll;
use taskhost_core::key_value::{KeyValue, KeyValueAnswer, KeyValueChange, KeyValueError, KeyValueUsage};
use taskhost_core::log::{Level, LogLine, Stream};
use taskhost_core::outcome::{Outcome, RunReport, TaskId};
use taskhost_core::ports::{BoxFuture, SecretSource, StoreError};
use taskhost_core::spec::{GrantsText, Limit};

use crate::host::{Host, Task, texts};

const KEEPER: &[u8] = include_bytes!("../../../../tests/guests/keeper/keeper.wasm");

/// Long enough to be told apart from all else, and of two lines.
const SECRET: &str = "hunter2-Äpfel";
const TWO_LINES: &str = "first line of it\nshort\nthird line of it";

/// Secrets that change while the host runs.
#[derive(Default)]
struct Safe(Mutex<HashMap<String, Bytes>>);

impl Safe {
    fn put(&self, name: &str, value: impl Into<Bytes>) {
        self.0.lock().expect("no test panics here").insert(name.to_owned(), value.into());
    }
}

impl SecretSource for Safe {
    fn read(&self, name: &str) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.lock().expect("no test panics here").get(name).cloned())
    }

    fn places(&self, name: &str) -> String {
        format!("the safe under {name}")
    }
}

fn safe() -> Arc<Safe> {
    let safe = Arc::new(Safe::default());
    safe.put("pw", SECRET);
    safe.put("two", TWO_LINES);
    safe
}

/// A task with these steps, which stand apart by `;`.
fn keeper(grants: GrantsText, steps: &[&str]) -> Task {
    let mut task = Task::of(KEEPER).args(steps);
    task.patch.grants = Some(Some(grants));
    task
}

fn secrets() -> GrantsText {
    GrantsText {
        config: BTreeMap::from([("place".to_owned(), "here".to_owned())]),
        secrets: vec!["pw".to_owned(), "two".to_owned()],
        ..GrantsText::default()
    }
}

fn kv() -> GrantsText {
    GrantsText { kv: true, ..GrantsText::default() }
}

async fn run(host: &Host, task: &Task) -> (RunReport, Vec<String>) {
    let (report, lines) = host.run(task).await;
    (report, texts(&lines))
}

/// Everything that people see of a run.
fn seen(report: &RunReport, lines: &[LogLine]) -> String {
    format!("{report:?} {lines:?}")
}

#[tokio::test]
async fn settings_and_secrets_are_read_and_all_of_them_listed() {
    let host = Host::with_secrets(safe());
    let steps = ["config", "place", ";", "config", "pw", ";", "config", "other", ";", "config-all"];
    let (report, lines) = run(&host, &keeper(secrets(), &steps)).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?} {lines:?}");
    assert_eq!(
        lines,
        [
            "stdout: config place: Some(\"here\")",
            "stdout: config pw: Some(\"***\")",
            "stdout: config other: None",
            r#"stdout: config-all: [("place", "here"), ("pw", "***"), ("two", "***\nshort\n***")]"#,
        ]
    );
    let (_, lines) = run(&host, &keeper(GrantsText::default(), &["config", "pw", ";", "config-all"])).await;
    assert_eq!(lines, ["stdout: config pw: None", "stdout: config-all: []"], "nothing is granted");
}

#[tokio::test]
async fn a_secret_shows_nowhere_whichever_way_the_guest_lets_it_out() {
    let host = Host::with_secrets(safe());
    for (steps, expected) in [
        (&["print", "@pw"][..], "stdout: ***"),
        (&["print-pieces", "@pw"], "stdout: ***"),
        (&["print-error", "@pw"], "stderr: ***"),
        (&["log", "warn", "the @", "@pw"], "log: the @: ***"),
        (&["log", "warn", "@pw", "ctx"], "log: ***: ctx"),
        (&["print", "@two"], "stdout: ***"),
        (&["summary", "@pw"], ""),
        (&["fail", "@pw"], ""),
        (&["panic", "@pw"], ""),
    ] {
        let (report, lines) = host.run(&keeper(secrets(), steps)).await;
        let seen = seen(&report, &lines);
        assert!(!seen.contains(SECRET) && !seen.contains("hunter2"), "{steps:?}: {seen}");
        assert!(!seen.contains("first line") && !seen.contains("third line"), "{steps:?}: {seen}");
        assert!(seen.contains("***"), "{steps:?}: {seen}");
        assert!(expected.is_empty() || texts(&lines)[0] == expected, "{steps:?}: {seen}");
    }
}

#[tokio::test]
async fn a_secret_that_is_cut_off_with_its_line_shows_no_letter() {
    let host = Host::with_secrets(safe());
    // The line is cut before the last letter of the secret, and after its first.
    for before in [8192 - SECRET.len() + 1, 8191] {
        let steps = ["print-cut", &format!("#{before}"), "@pw"];
        let (_, lines) = host.run(&keeper(secrets(), &steps)).await;
        let Some((_, end)) = lines[0].text.split_at_checked(before) else { panic!("{lines:?}") };
        assert!(lines[0].truncated && end.bytes().all(|letter| letter == b'*'), "{before}: {end}");
    }
}

#[tokio::test]
async fn a_summary_is_masked_before_it_is_cut() {
    let host = Host::with_secrets(safe());
    let safe = safe();
    safe.put("pw", "s".repeat(4_000) + "ecret");
    let long = Host::with_secrets(safe);
    let (report, _) = long.run(&keeper(secrets(), &["summary", "@pw"])).await;
    assert_eq!(report.result.as_deref(), Some("***"));
    let (report, _) = host.run(&keeper(secrets(), &["summary", "nothing of it"])).await;
    assert_eq!(report.result.as_deref(), Some("nothing of it"));
}

#[tokio::test]
async fn a_secret_that_changes_is_read_anew_and_one_that_is_gone_is_told_where_it_belongs() {
    let safe = safe();
    let host = Host::with_secrets(safe.clone());
    let task = keeper(secrets(), &["config", "pw", ";", "print", "new-value", ";", "config-all", ";", "config", "pw"]);
    let job = host.prepare(&task).await.expect("ready");
    let again = async || {
        let started = host.start_job(&job, &task, 1);
        (started.run.await, texts(&started.log.tail(0, 100)))
    };
    assert_eq!(again().await.1[1], "stdout: new-value");
    safe.put("pw", "new-value");
    assert_eq!(again().await.1[1], "stdout: ***", "the next attempt has the new one");
    safe.put("pw", Bytes::from_static(b"\xff\xfe"));
    assert!(again().await.1.iter().any(|line| line == "host: the secret `pw` can't be read: it is no text of UTF-8"));
    safe.0.lock().expect("no test panics here").clear();
    let (report, lines) = again().await;
    assert_eq!(report.outcome, Outcome::Success);
    let words = r#"Error::Upstream("the secret `pw` can't be read; the task's log says why")"#;
    assert_eq!(
        lines,
        [
            "host: the secret `pw` can't be read: the host has none of this name; put it in the safe under pw",
            &format!("stdout: config pw: {words}"),
            "stdout: new-value",
            &format!("stdout: config-all: {words}"),
            &format!("stdout: config pw: {words}"),
        ]
    );
}

#[tokio::test]
async fn without_the_grant_the_store_is_denied_and_the_log_says_once_how_to_allow_it() {
    let steps = ["set", "a", "1", ";", "draft2", "get", "a"];
    let (report, lines) = run(&Host::new(), &keeper(GrantsText::default(), &steps)).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
    assert_eq!(
        lines,
        [
            "host: denied: a store of keys and values; allow it with --kv",
            "stdout: set: error access denied",
            "stdout: draft2: error access denied",
        ]
    );
}

#[tokio::test]
async fn both_drafts_keep_the_same_keys_over_runs() {
    let host = Host::new();
    let first = ["open", "default", ";", "open", "other", ";", "set", "a", "1", ";", "draft2", "increment", "n", "-5"];
    let (_, lines) = run(&host, &keeper(kv(), &first)).await;
    assert_eq!(
        lines,
        ["stdout: open: ok", "stdout: open: error no such store", "stdout: set: ok", "stdout: draft2: -5"]
    );
    let second = [
        "draft2",
        "get",
        "a",
        ";",
        "exists",
        "b",
        ";",
        "set-many",
        "b=2",
        "c=3",
        ";",
        "get-many",
        "a",
        "x",
        "c",
        ";",
        "increment",
        "n",
        "7",
        ";",
        "delete-many",
        "a",
        "x",
        ";",
        "delete",
        "b",
        ";",
        "list",
        ";",
        "increment",
        "c",
        "-1",
    ];
    let (report, lines) = run(&host, &keeper(kv(), &second)).await;
    assert_eq!(
        lines,
        [
            "stdout: draft2: some 1",
            "stdout: exists: false",
            "stdout: set-many: ok",
            "stdout: get-many: a=1 none c=3",
            "stdout: increment: 2",
            "stdout: delete-many: ok",
            "stdout: delete: ok",
            "stdout: list: 2 keys in 1 pages, c to n",
        ]
    );
    assert_eq!(report.outcome, Outcome::Error, "the last step is none: a number of this draft has no sign");
}

#[tokio::test]
async fn of_two_that_swap_one_value_the_second_learns_what_the_first_did() {
    let host = Host::new();
    let steps = ["draft2", "race", "k", ";", "draft2", "append", "k", "+", ";", "get", "k"];
    let (_, lines) = run(&host, &keeper(kv(), &steps)).await;
    assert_eq!(
        lines,
        ["stdout: draft2: before none, then some first", "stdout: draft2: ok after 1", "stdout: get: some first+"]
    );
}

#[tokio::test]
async fn keys_are_listed_in_pages_by_both_drafts() {
    let host = Host::new();
    let pairs: Vec<String> = (0..1_000).map(|number| format!("{number:04}=x")).collect();
    let mut steps = vec!["set-many"];
    steps.extend(pairs.iter().map(String::as_str));
    steps.extend([";", "set-many", "1000=x", "1001=x", ";", "list", ";", "draft2", "list"]);
    let (_, lines) = run(&host, &keeper(kv(), &steps)).await;
    assert_eq!(lines[2], "stdout: list: 1002 keys in 2 pages, 0000 to 1001");
    assert_eq!(lines[3], "stdout: draft2: 1002 keys in 2 pages, 0000 to 1001");
}

#[tokio::test]
async fn past_the_quota_a_guest_is_refused_and_a_run_that_fails_for_it_says_so() {
    let host = Host::new();
    let quota = |steps: &[&str]| keeper(kv(), steps).limit(Limit::KvBytes, 100);
    let (report, lines) = run(&host, &quota(&["set", "a", "#90", ";", "set", "b", "#10", ";", "get", "b"])).await;
    assert_eq!(report.outcome, Outcome::Success, "a guest may live with it");
    let told = "stdout: set: error the task would keep 102 bytes of keys and values, and its limit `kv_bytes` is 100";
    assert_eq!(lines, ["stdout: set: ok", told, "stdout: get: none"]);
    let (report, _) = run(&host, &quota(&["must", "set", "b", "#10"])).await;
    assert_eq!((report.outcome, report.detail.as_deref()), (Outcome::LimitExceeded, Some("kv_bytes")));
}

/// A store whose disk never answers.
struct Stuck;

impl KeyValue for Stuck {
    fn get(&self, _: TaskId, _: String) -> BoxFuture<Result<Option<Bytes>, KeyValueError>> {
        Box::pin(pending())
    }

    fn change(&self, _: TaskId, _: KeyValueChange, _: u64) -> BoxFuture<Result<KeyValueAnswer, KeyValueError>> {
        Box::pin(pending())
    }

    fn list(&self, _: TaskId, _: Option<String>, _: usize) -> BoxFuture<Result<Vec<(String, u64)>, KeyValueError>> {
        Box::pin(pending())
    }

    fn usage(&self, _: TaskId) -> BoxFuture<Result<KeyValueUsage, KeyValueError>> {
        Box::pin(pending())
    }
}

#[tokio::test]
async fn a_guest_that_waits_for_its_store_keeps_nobody_waiting_and_ends_at_its_deadline() {
    let host = Host::with_key_values(Arc::new(Stuck));
    let stuck = keeper(kv(), &["print", "before", ";", "set", "a", "1"]).timeout_ms(300);
    let (mut stuck, other) = (host.start(&stuck).await, host.start(&keeper(kv(), &["print", "other"])).await);
    assert!(poll!(&mut stuck.run).is_pending());
    assert_eq!(other.run.await.outcome, Outcome::Success, "on the same thread");
    let report = stuck.run.await;
    assert_eq!(report.outcome, Outcome::TimedOut, "{report:?}");
    assert_eq!(texts(&stuck.log.tail(0, 10)), ["stdout: before"]);
}

#[tokio::test]
async fn a_log_line_keeps_its_level_and_several_lines_are_several() {
    let steps = ["log", "critical", "", "plain", ";", "log", "debug", "disk\nforged", "one\r\n\ntwo\n"];
    let (report, lines) = Host::new().run(&keeper(GrantsText::default(), &steps)).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
    let lines: Vec<_> = lines.iter().map(|line| (line.stream, line.text.as_str())).collect();
    let debug = Stream::Log(Level::Debug);
    assert_eq!(
        lines,
        [
            (Stream::Log(Level::Critical), "plain"),
            (debug, "disk forged: one"),
            (debug, "disk forged: "),
            (debug, "disk forged: two"),
        ]
    );
}

#[tokio::test]
async fn a_secret_that_is_asked_for_as_a_host_is_hidden_in_what_is_denied() {
    let safe = Arc::new(Safe::default());
    safe.put("pw", "hunter2.example");
    let host = Host::with_secrets(safe);
    let mut task = Task::reach(&["look-up", "hunter2.example"]);
    task.patch.grants = Some(Some(GrantsText { secrets: vec!["pw".to_owned()], ..GrantsText::default() }));
    let (_, lines) = host.run(&task).await;
    assert!(lines.iter().any(|line| line.text.starts_with("denied: looking up ***")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.text.contains("hunter2")), "{lines:?}");
}

#[tokio::test]
async fn a_kept_instance_is_made_anew_when_a_secret_has_changed() {
    const PROBE: &[u8] = include_bytes!("../../../../tests/guests/probe/probe.wasm");
    let safe = safe();
    let host = Host::with_secrets(Arc::clone(&safe) as Arc<dyn SecretSource>);
    let mut task = Task::of(PROBE).args(&["calls"]).keep();
    task.patch.grants = Some(Some(GrantsText { secrets: vec!["pw".to_owned()], ..GrantsText::default() }));
    let job = host.prepare(&task).await.expect("a plugin that this host runs");
    let calls = async || host.start_job(&job, &task, 1).run.await.result.expect("a number");
    assert_eq!((&*calls().await, &*calls().await), ("1", "2"));
    safe.put("pw", "another value");
    assert_eq!(&*calls().await, "1");
}
