//! `taskhost dev`: what is saved is built and runs a moment later, what is broken changes nothing, and in the end nothing is left.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::process::Signal;
use serde_json::json;

use crate::support::{Followed, HEEDING_HANGUP, Host, TestEnv, eventually, guest_bytes, make_fifo, started_by};

/// A plugin that prints this word of five letters.
fn printing(word: &str) -> String {
    assert_eq!(word.len(), 5);
    include_str!("../../host/daemon/templates/wat/{{name}}.wat").replace("hello", word)
}

/// A folder `mine`, with nothing in it.
fn mine(env: &TestEnv) -> PathBuf {
    let dir = env.path("mine");
    fs::create_dir(&dir).expect("the temporary directory can be written");
    dir
}

/// Writes a file as a whole, as editors do.
fn save(path: &Path, bytes: impl AsRef<[u8]>) {
    let beside = path.with_extension("tmp~");
    fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path)).expect("the folder can be written");
}

#[track_caller]
fn dev(env: &TestEnv, words: &[&str]) -> Followed {
    Followed::spawn_with_stderr(&mut started_by(&HEEDING_HANGUP, &env.taskhost(&[&["dev", "mine"], words].concat())))
}

#[track_caller]
fn dev_in(host: &Host<'_>, env: &TestEnv, words: &[&str]) -> Followed {
    let mut command = env.taskhost(&[&["dev", "mine"], words].concat());
    command.env("TASKHOST_HOST", format!("127.0.0.1:{}", host.tcp().port()));
    Followed::spawn_with_stderr(&mut command)
}

/// The processes below one.
fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children: Vec<u32> = list.split_whitespace().map(|pid| pid.parse().expect("a number")).collect();
    children.iter().copied().chain(children.iter().flat_map(|pid| self::children(*pid))).collect()
}

/// Waits until all of these have ended. A process that nobody has waited for yet has.
#[track_caller]
fn all_end(pids: &[u32]) {
    let has_ended = |pid: &u32| match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')),
        Err(_) => true,
    };
    eventually("they end", || pids.iter().all(has_ended).then_some(()));
}

/// What is left in the folder for temporary files.
fn temporary(env: &TestEnv) -> usize {
    fs::read_dir(env.path("tmp")).expect("it was made").count()
}

#[test]
fn what_is_saved_runs_what_is_broken_does_not_and_in_the_end_nothing_is_left() {
    let env = TestEnv::new();
    let source = mine(&env).join("mine.wat");
    save(&source, printing("hello"));
    let dev = dev(&env, &["--every", "50ms"]);
    assert!(dev.line_with("dev: mine runs sha256 ").ends_with("…, every 50ms"));
    dev.line_with(" stdout hello");
    let below = children(dev.pid());
    assert!(!below.is_empty() && temporary(&env) == 1);

    save(&source, printing("moved"));
    assert_eq!(dev.line_with("dev: mine.wat"), "dev: mine.wat changed");
    dev.line_with("dev: mine runs sha256 ");
    dev.line_with(" stdout moved");

    save(&source, printing("wrong").replace("(module", "(modul"));
    dev.line_with("dev: failed to run mine.wat: ");
    dev.line_with("dev: mine goes on with sha256 ");
    dev.line_with(" stdout moved");

    save(&source, printing("fixed"));
    dev.line_with(" stdout fixed");
    dev.interrupt();
    let (_, code) = dev.rest();
    assert_eq!(code, Some(0));
    all_end(&below);
    assert_eq!(temporary(&env), 0, "its host's folder and socket are gone");
}

#[test]
fn a_build_that_fails_changes_nothing_and_an_edit_during_one_is_built_after_it() {
    let env = TestEnv::new();
    let dir = mine(&env);
    let source = dir.join("source.wat");
    save(&source, printing("hello"));
    make_fifo(&dir.join("gate"));
    let open_gate = || {
        // Without waiting, it can be opened only while somebody reads from it.
        let gate = || open(dir.join("gate"), OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).ok();
        let mut gate = File::from(eventually("the build waits", gate));
        gate.write_all(b"open\n").expect("the build reads it");
    };
    let build = "cp source.wat mine.wasm && read open <gate && ! grep wrong source.wat";
    let dev = dev(&env, &["--every", "50ms", "--build", build]);
    assert_eq!(dev.line(), format!("dev: building with `{build}`…"));
    eventually("the build has read the source", || {
        fs::metadata(dir.join("mine.wasm")).ok().filter(|file| file.len() > 0)
    });
    save(&source, printing("later"));
    open_gate();
    dev.line_with("dev: built in ");
    dev.line_with("dev: mine runs sha256 ");
    assert_eq!(dev.line_with("dev: source"), "dev: source.wat changed");
    open_gate();
    dev.line_with(" stdout later");

    save(&source, printing("wrong"));
    dev.line_with("dev: building");
    open_gate();
    dev.line_with("dev: the build failed with exit code 1");
    dev.line_with("dev: mine goes on with sha256 ");
    dev.line_with(" stdout later");
    dev.signal(Signal::TERM);
    assert_eq!(dev.rest().1, Some(0));
}

#[test]
fn what_it_started_ends_with_it_even_if_it_is_killed() {
    let env = TestEnv::new();
    let dir = mine(&env);
    save(&dir.join("source"), "");
    // Below a shell that is below a shell.
    let build = "sh -c 'echo begun >begun.wasm; sleep 1000; true'; true";
    for signal in [Signal::KILL, Signal::INT, Signal::HUP] {
        let dev = dev(&env, &["--build", build]);
        eventually("the build has begun", || fs::remove_file(dir.join("begun.wasm")).ok());
        let below = eventually("all are there", || Some(children(dev.pid())).filter(|below| below.len() >= 5));
        dev.signal(signal);
        let code = dev.rest().1;
        assert_eq!(code, (signal != Signal::KILL).then_some(0));
        all_end(&below);
        eventually("its host's folder is gone", || (temporary(&env) == 0).then_some(()));
    }
}

#[test]
fn keys_and_values_stay_when_the_plugin_is_built_anew() {
    let env = TestEnv::new();
    let plugin = mine(&env).join("mine.wasm");
    let mut keeper = guest_bytes("keeper/keeper.wasm");
    save(&plugin, &keeper);
    let dev = dev(&env, &["--every", "50ms", "--kv", "--", "increment", "count", "1"]);
    let count = |line: String| line.rsplit(' ').next().and_then(|last| last.parse::<u64>().ok()).expect("a number");
    dev.line_with("dev: mine runs");
    let before = count(dev.line_with(" stdout increment: "));
    // A custom section without a name or contents: another plugin that does the same.
    keeper.extend([0, 1, 0]);
    save(&plugin, &keeper);
    dev.line_with("dev: mine runs");
    assert!(count(dev.line_with(" stdout increment: ")) > before);
}

#[test]
fn in_a_running_host_no_run_is_lost_and_it_is_left_as_it_was() {
    let env = TestEnv::new();
    let host = env.host();
    let source = mine(&env).join("mine.wat");
    save(&source, printing("hello"));
    let plugins = || {
        let list = host.call("Plugin.List", json!({}));
        let plugins = list["plugins"].as_array().expect("plugins").clone();
        plugins.into_iter().map(|plugin| plugin["sha256"].to_string()).collect::<BTreeSet<_>>()
    };
    let before = plugins();
    let dev = dev_in(&host, &env, &["--every", "50ms"]);
    dev.line_with(" stdout hello");
    save(&source, printing("moved"));
    dev.line_with(" stdout moved");
    let task = host.task("mine");
    assert_eq!(task["revision"], 2);
    let outcomes: Vec<_> = task["counts"].as_object().expect("counts").keys().collect();
    assert_eq!(outcomes, ["success"], "no due time was missed: {task}");
    host.ok(&["add", "other"]);
    dev.interrupt();
    let (lines, code) = dev.rest();
    assert_eq!(code, Some(0));
    assert!(lines.contains(&"dev: deleted mine".to_owned()), "{lines:?}");
    assert!(host.stream().call("TaskUnit.Get", json!({ "name": "mine" })).is_err());
    assert!(host.task("other")["revision"] == 1);
    assert_eq!(plugins(), before, "nor are its plugins left");
}

#[test]
fn a_task_that_was_there_stays_and_is_not_taken_from_another_plugin() {
    let env = TestEnv::new();
    let host = env.host();
    let source = mine(&env).join("mine.wat");
    save(&source, printing("hello"));
    let dev = dev_in(&host, &env, &["--every", "50ms", "--keep"]);
    dev.line_with(" stdout hello");
    dev.interrupt();
    assert_eq!(dev.rest().1, Some(0));
    host.wait_successes("mine", 3);

    // What it runs is in the folder.
    let dev = dev_in(&host, &env, &[]);
    assert_eq!(dev.line(), "dev: mine is there already; it will stay");
    save(&source, printing("moved"));
    dev.line_with(" stdout moved");
    dev.interrupt();
    assert_eq!(dev.rest().1, Some(0));
    let (revision, plugin) = (host.task("mine")["revision"].clone(), host.task("mine")["spec"]["plugin"].clone());

    save(&source, printing("other"));
    let refused = dev_in(&host, &env, &[]).rest();
    assert_eq!(refused.1, Some(4), "{refused:?}");
    assert!(refused.0[0].contains("the host has a task `mine` already"), "{refused:?}");
    assert!(refused.0[1].starts_with("hint: --take-over gives that task"), "{refused:?}");
    assert_eq!(host.task("mine")["revision"], revision);
    assert_eq!(host.task("mine")["spec"]["plugin"], plugin);

    let dev = dev_in(&host, &env, &["--take-over"]);
    dev.line_with(" stdout other");
    host.ok(&["del", "mine"]);
    dev.line_with("dev: somebody deleted mine");
    save(&source, printing("again"));
    dev.line_with(" stdout again");
    host.stop();
    let (lines, code) = dev.rest();
    assert_eq!(code, Some(6), "{lines:?}");
}

#[test]
fn a_plugin_runs_as_its_manifest_suggests_and_not_without_what_it_needs() {
    let env = TestEnv::new();
    let host = env.host();
    let dir = mine(&env);
    let manifest = |every: &str| {
        format!(
            "name = \"mine\"\n[[grants.required]]\nkind = \"env\"\nvalue = \"WHO\"\n[schedule]\nevery = \"{every}\"\n"
        )
    };
    let imports = "(module (import \"wasi_snapshot_preview1\" \"environ_get\" (func (param i32 i32) (result i32)))";
    save(&dir.join("source.wat"), printing("hello").replace("(module", imports));
    save(&dir.join("plugin.toml"), manifest("50ms"));
    // It is found where the PATH has none.
    let build = "taskhost pack source.wat -o mine.wasm";
    let dev = |words: &[&str]| {
        let mut command = env.taskhost(&[&["dev", "mine", "--build", build], words].concat());
        command.env("PATH", "/usr/bin:/bin").env("TASKHOST_HOST", format!("127.0.0.1:{}", host.tcp().port()));
        Followed::spawn_with_stderr(&mut command)
    };
    let lacking = dev(&[]);
    lacking.line_with("dev: failed to add `mine`: the plugin needs what the task is not granted: `--env WHO");
    lacking.line_with("hint: add --env WHO");
    lacking.line_with("dev: waiting for a change");
    lacking.interrupt();
    assert_eq!(lacking.rest().1, Some(0));

    let dev = dev(&["--env", "WHO=me"]);
    assert!(dev.line_with("dev: mine runs").ends_with(", every 50ms"));
    dev.line_with(" stdout hello");
    save(&dir.join("plugin.toml"), manifest("60ms"));
    assert!(dev.line_with("dev: mine runs").ends_with(", every 60ms"));
    assert_eq!(host.task("mine")["spec"]["schedules"], json!([{ "every": "60ms" }]));
}

#[test]
fn what_it_can_not_do_it_says_before_it_begins() {
    let env = TestEnv::new();
    mine(&env);
    for (words, code, told) in [
        (&["nowhere"][..], 2, &["failed to look at nowhere: no such file", "hint: give the folder of a plugin"][..]),
        (&["mine"], 2, &["there is no mine.wasm, nor any other plugin, in ", "hint: say what builds the plugin"]),
        (&["mine", "--build", "true", "--every", "soon"], 2, &["soon"]),
        (&["mine", "--build", "true", "--keep"], 2, &["--host"]),
        (&["mine", "--build", "true", "--host", "http://localhost"], 2, &["an address has no http://"]),
        (
            &["mine", "--build", "true", "--host", "unix:/nowhere"],
            6,
            &["failed to reach the host", "hint: start it with"],
        ),
    ] {
        env.run_taskhost(&[&["dev"], words].concat()).fails_with(code).says(told);
    }
    let missing = dev(&env, &["--build", "no-such-compiler"]);
    missing.line_with("dev: the build failed with exit code 127");
    missing.line_with("hint: a program that the build calls is not there");
    missing.line_with("dev: waiting for a change");
    drop(missing);
    eventually("its host's folder is gone", || (temporary(&env) == 0).then_some(()));
}
