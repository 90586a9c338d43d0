//! Many tasks at once: all of them or, if one can't be, none.

use serde_json::{Value, json};

use crate::support::{Host, TestEnv, eventually, guest_bytes, sha256};

/// Three tasks, two of which are of one team.
fn three(host: &Host<'_>) {
    for (name, team) in [("a", "web"), ("b", "web"), ("c", "db")] {
        host.ok(&["add", name, "--manual", "--label", &format!("team={team}")]);
    }
}

/// Every task's definition and revision.
fn definitions(host: &Host<'_>) -> Vec<(Value, Value)> {
    let list = host.call("TaskUnit.List", json!({}));
    let tasks = list["tasks"].as_array().expect("tasks").iter();
    tasks.map(|task| (task["spec"].clone(), task["revision"].clone())).collect()
}

#[test]
fn a_selector_picks_the_tasks_that_are_changed() {
    let env = TestEnv::new();
    let host = env.host();
    three(&host);
    assert_eq!(host.ok(&["edit", "--selector", "team=web", "--timeout", "7s"]), "edited 2 tasks\n");
    assert_eq!(host.task("b")["spec"]["timeout"], "7s");
    assert_eq!(host.task("c")["revision"], 1);
    assert_eq!(
        host.ok(&["edit", "-l", "team=web", "--timeout", "7s"]),
        "edited 0 of 2 tasks; the others are so already\n"
    );
    assert_eq!(host.ok(&["pause", "--selector", "team!=web", "--note", "moving"]), "paused 1 task\n");
    assert_eq!(host.task("c")["paused"]["note"], "moving");
    assert_eq!(host.ok(&["resume", "--all"]), "resumed 1 of 3 tasks; the others are so already\n");
    assert_eq!(host.ok(&["run", "--all"]), "started 3 tasks\n");
    for name in ["a", "b", "c"] {
        host.wait_successes(name, 1);
    }
    assert_eq!(host.ok(&["del", "--selector", "team=db"]), "deleted 1 task\n");
    host.ctl(&["del", "--selector", "team=none"]).ok();
    assert_eq!(definitions(&host).len(), 2);
}

#[test]
fn a_dry_run_tells_which_tasks_and_does_nothing() {
    let env = TestEnv::new();
    let host = env.host();
    three(&host);
    let before = definitions(&host);
    for (verb, told) in [
        (&["edit", "--timeout", "7s"][..], "would edit 2 tasks"),
        (&["pause"], "would pause 2 tasks"),
        (&["run"], "would run 2 tasks"),
        (&["del"], "would delete 2 tasks"),
    ] {
        let ran = host.ctl(&[verb, &["--selector", "team=web", "--dry-run"]].concat()).ok();
        assert!(ran.stdout.starts_with("a\nb\n"), "{ran:?}");
        assert!(format!("{}{}", ran.stdout, ran.stderr).contains(&format!("{told}; nothing was done")), "{ran:?}");
    }
    assert_eq!(definitions(&host), before);
    assert!(["a", "b"].iter().all(|name| host.task(name)["counts"] == json!({})));
}

#[test]
fn if_one_task_can_not_be_changed_none_is() {
    let env = TestEnv::new();
    let host = env.host();
    three(&host);
    // One more label is one too many for the last of them alone.
    let full: Vec<String> = (0..63).flat_map(|number| ["--label".to_owned(), format!("l{number}=x")]).collect();
    let full: Vec<&str> = full.iter().map(String::as_str).collect();
    host.ok(&[&["edit", "c"], &full[..]].concat());
    let before = definitions(&host);
    let refused = host.ctl(&["edit", "--all", "--label", "more=x"]).fails_with(5);
    refused.says(&["task `c`", "65 labels", "at most 64"]);
    assert_eq!(definitions(&host), before);

    host.add_probe("d", &["--manual", "--label", "team=web"], &["wait-cancel"]);
    host.ok(&["run", "d", "--no-wait"]);
    let ran = host.ctl(&["run", "--selector", "team=web"]).fails_with(4).says(&["`d`", "is running"]);
    assert_eq!(ran.stdout, "");
    assert!(["a", "b"].iter().all(|name| host.task(name)["counts"] == json!({})), "none was started");
    for nonsense in [&["del", "--selector", "=,="][..], &["pause", "--selector", "=,="]] {
        host.ctl(nonsense).fails_with(5);
    }
    host.ctl(&["pause", "a", "--all"]).fails_with(2);
    host.ctl(&["pause"]).fails_with(2);
}

/// A file of two tasks, one of which runs a plugin that stands beside the file.
const TASKS: &str = r#"
[[task]]
name = "report"
plugin = { wasm = "begin.wat" }
schedules = [{ cron = "0 3 1 1 *", timezone = "Europe/Berlin" }]
labels = { team = "web" }

[[task]]
name = "alert"
schedules = [{ manual = true }]
"#;

#[test]
fn apply_makes_tasks_as_the_file_says_and_says_what_it_did() {
    let env = TestEnv::new();
    let host = env.host();
    let dir = env.path("etc");
    std::fs::create_dir(&dir).expect("the temporary directory can be written");
    env.write("etc/begin.wat", guest_bytes("begin.wat"));
    env.write("etc/tasks.toml", TASKS);
    let apply = |flags: &[&str]| host.ok(&[&["apply", "-f", "etc/tasks.toml"], flags].concat());
    assert_eq!(apply(&[]), "+ alert\n+ report\n2 added, 0 edited, 0 deleted, 0 unchanged\n");
    assert_eq!(host.task("report")["spec"]["plugin"], json!({ "sha256": sha256(&guest_bytes("begin.wat")) }));
    assert_eq!(apply(&[]), "0 added, 0 edited, 0 deleted, 2 unchanged\n");
    host.ok(&["run", "report"]);
    assert!(host.ok(&["logs", "report"]).contains("begin report"));

    env.write("etc/tasks.toml", TASKS.replace("0 3 1 1 *", "0 4 1 1 *"));
    let before = definitions(&host);
    let dry = apply(&["--dry-run"]);
    assert!(dry.contains("~ report  schedules: by cron `0 3 1 1 *`"), "{dry}");
    assert!(dry.ends_with("0 to add, 1 to edit, 0 to delete, 1 unchanged; nothing was done\n"), "{dry}");
    assert_eq!(definitions(&host), before);
    assert!(apply(&[]).ends_with("0 added, 1 edited, 0 deleted, 1 unchanged\n"));
    let report = host.task("report");
    assert_eq!((&report["revision"], &report["counts"]), (&json!(2), &json!({ "success": 1 })), "its history stays");

    host.ok(&["add", "old", "--manual", "--label", "team=web"]);
    host.ok(&["add", "other", "--manual"]);
    assert_eq!(apply(&["--prune", "--selector", "team=web"]), "- old\n0 added, 0 edited, 1 deleted, 2 unchanged\n");
    assert!(apply(&["--prune", "--dry-run"]).starts_with("- other\n"));
    apply(&["--prune"]);
    assert_eq!(definitions(&host).len(), 2);
}

#[test]
fn what_export_prints_is_what_apply_reads() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "plain"]);
    host.ok(&["pause", "plain"]);
    host.add_probe(
        "full",
        &[
            "--every",
            "1h",
            "--phase",
            "5m",
            "--align",
            "--cron",
            "0 3 * * *",
            "--timezone",
            "Europe/Berlin",
            "--at",
            "2099-01-01T00:00:00Z",
            "--jitter",
            "10s",
            "--stable-jitter",
            "--overlap",
            "buffer_all",
            "--max-buffered",
            "3",
            "--missed",
            "run_all",
            "--max-catchup",
            "4",
            "--catchup-window",
            "1h",
            "--retry",
            "3",
            "--on-failure",
            "plain",
            "--pause-on-failure",
            "5",
            "--max-runs",
            "9",
            "--label",
            "team=web",
            "--memory",
            "64MiB",
        ],
        &["summary", "it's \"quoted\"\n", "日本"],
    );
    let before = definitions(&host);
    let exported = env.write("exported.toml", host.ok(&["export"]));
    let again = host.ctl_reading(&["apply", "-f", "-"], &exported).ok();
    assert_eq!(again.stdout, "0 added, 0 edited, 0 deleted, 2 unchanged\n");
    assert_eq!(definitions(&host), before);

    let other_env = TestEnv::new();
    let other = other_env.host();
    other.ok(&["plugin", "put", crate::support::probe().to_str().expect("a path of UTF-8")]);
    other.ctl_reading(&["apply", "-f", "-"], &exported).ok();
    let specs = |host: &Host<'_>| definitions(host).into_iter().map(|(spec, _)| spec).collect::<Vec<_>>();
    assert_eq!(specs(&other), specs(&host));
}

#[test]
fn a_file_with_one_bad_task_changes_nothing() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "a", "--every", "1h"]);
    let before = definitions(&host);
    let good = "[[task]]\nname = \"a\"\n[[task]]\nname = \"x\"\n";
    for (bad, code, told) in [
        (
            "[[task]]\nname = \"y\"\nschedules = [{ every = \"1ns\" }]\n",
            5,
            "task `y`: the interval 1ns is out of range",
        ),
        (
            "[[task]]\nname = \"y\"\nschedules = [{ at = 2020-01-01T00:00:00Z }]\n",
            5,
            "task `y`: its schedules never come due",
        ),
        ("[[task]]\nname = \"../y\"\n", 5, "segment"),
        ("[[task]]\nname = \"x\"\n", 5, "task `x` is given more than once"),
        ("[[task]]\nname = \"y\"\nevry = \"1s\"\n", 5, "line 7: unknown field `evry`"),
        ("[[task]]\nname = \"y\"\nplugin = { wasm = \"none.wasm\" }\n", 2, "failed to read none.wasm"),
        ("[[task]]\nname = \"y\"\nplugin = { builtin = \"nope\" }\n", 3, "no built-in plugin is named `nope`"),
    ] {
        env.write("bad.toml", format!("{good}{bad}"));
        let ran = host.ctl(&["apply", "-f", "bad.toml", "--prune"]).fails_with(code).says(&[told]);
        assert_eq!(ran.stdout, "", "{bad}");
        assert_eq!(definitions(&host), before, "{bad}");
    }
    host.ctl(&["apply", "-f", "no-such.toml"]).fails_with(2).says(&["failed to read no-such.toml"]);
}

#[test]
fn what_is_deleted_in_bulk_runs_no_more() {
    let env = TestEnv::new();
    let host = env.host();
    let mut watcher = host.stream();
    watcher.watch(json!({ "kinds": ["task_deleted"] }));
    for number in 0..20 {
        host.call("TaskUnit.Add", json!({ "name": format!("t{number}"), "schedules": [{ "every": "50ms" }] }));
    }
    eventually("they run", || (host.count("t19", "success") > 0).then_some(()));
    assert_eq!(host.ok(&["del", "--all"]), "deleted 20 tasks\n");
    for _ in 0..20 {
        watcher.event_of("task_deleted");
    }
    assert_eq!(host.json(&["list"]), json!({ "tasks": [] }));
    assert_eq!(host.call("Host.Info", json!({}))["tasks"], 0);
}
