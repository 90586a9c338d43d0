//! Grants, limits and the instance policy from flags to the definition: given, shown, exported, edited, taken away, refused. What a
//! guest can do with them is shown elsewhere.

use serde_json::{Value, json};

use crate::support::{Ran, TestEnv, guest};

/// Flags that give some of everything. The folder `srv` is told from the working folder.
const FLAGS: [&str; 21] = [
    "--env",
    "MODE=fast",
    "--env",
    "EMPTY=",
    "--dir",
    "srv::/data:ro",
    "--allow-host",
    "*.example.com:443",
    "--allow-host",
    "127.0.0.1:8080",
    "--config",
    "city=Köln",
    "--secret",
    "hook-key",
    "--kv",
    "--limit",
    "cpu_ms=5s",
    "--limit",
    "log_bytes=64KiB",
    "--instance",
    "keep",
];

/// A world with a folder to grant and a secret.
fn world() -> TestEnv {
    let env = TestEnv::new();
    std::fs::create_dir_all(env.path("config/taskhost/secrets")).expect("the temporary directory can be written");
    std::fs::create_dir(env.path("srv")).expect("the temporary directory can be written");
    env.write("config/taskhost/secrets/hook-key", "hush");
    env
}

fn text(path: std::path::PathBuf) -> String {
    path.to_str().expect("a path of UTF-8").to_owned()
}

#[test]
fn what_flags_grant_is_stored_shown_exported_edited_and_taken_away() {
    let env = world();
    let host = env.host();
    host.ok(&[&["add", "a", "--manual"][..], &FLAGS].concat());
    let granted = json!({
        "env": { "MODE": "fast", "EMPTY": "" },
        "dirs": [{ "host": text(env.path("srv")), "guest": "/data", "read_only": true }],
        "hosts": ["*.example.com:443", "127.0.0.1:8080"],
        "config": { "city": "Köln" }, "secrets": ["hook-key"], "kv": true,
    });
    let spec = host.task("a")["spec"].clone();
    assert_eq!(spec["grants"], granted);
    assert_eq!((&spec["limits"], &spec["instance"]), (&json!({ "cpu_ms": 5000, "log_bytes": 65536 }), &json!("keep")));
    host.kill();

    let host = env.host();
    assert_eq!(host.task("a")["spec"], spec, "over a restart");
    let shown = host.ok(&["show", "a"]);
    for line in ["cpu_ms=5s", "log_bytes=64KiB", "keep", "MODE=fast", "srv::/data:ro", "127.0.0.1:8080", "hook-key"] {
        assert!(shown.lines().any(|shown| shown.ends_with(line)), "no `{line}` in {shown}");
    }
    assert!(!shown.contains("hush"), "a secret is named and never shown: {shown}");

    let exported = env.write("tasks.toml", host.ok(&["export"]));
    assert!(host.ok(&["apply", "-f", "tasks.toml"]).ends_with("0 deleted, 1 unchanged\n"));
    host.ok(&["del", "a"]);
    host.ctl_reading(&["apply", "-f", "-"], &exported).ok();
    assert_eq!(host.task("a")["spec"], spec);

    host.ok(&[
        "edit",
        "a",
        "--env",
        "MODE-",
        "--env",
        "NEW=1",
        "--dir",
        "/data-",
        "--kv=false",
        "--limit",
        "cpu_ms=250",
    ]);
    assert_eq!(
        host.ok(&["changes", "a", "-n", "1"]).lines().skip(1).map(str::trim).collect::<Vec<_>>(),
        [
            format!("grants.dirs: {}::/data:ro → (none)", text(env.path("srv"))).as_str(),
            "grants.env.MODE: fast → (none)",
            "grants.env.NEW: (none) → 1",
            "grants.kv: true → (none)",
            "limits.cpu_ms: 5s → 250ms",
        ]
    );
    host.ok(&["edit", "a", "--no-grants", "--limit", "default", "--instance", "default"]);
    let spec = &host.task("a")["spec"];
    assert!(["grants", "limits", "instance"].iter().all(|member| spec.get(member).is_none()), "{spec}");
    let shown = host.ok(&["show", "a", "--effective"]);
    assert!(shown.contains("log_lines=10000") && shown.contains("fresh") && shown.contains("none"), "{shown}");
    let refused = host.ctl(&["edit", "--all", "--kv"]).fails_with(2);
    refused.says(&["each may be granted something else", "hint: with --no-grants"]);
    host.ok(&["edit", "--all", "--no-grants", "--kv"]);
    assert_eq!(host.task("a")["spec"]["grants"], json!({ "kv": true }));
}

#[test]
fn a_grant_or_limit_that_no_host_takes_is_refused_with_what_would_do() {
    let env = world();
    let host = env.host();
    host.ok(&["add", "t", "--manual"]);
    for (flag, value, message) in [
        ("--env", "A\u{1b}B=x", "it has a control character"),
        ("--dir", "/srv/../etc", "a path on the host has no `..`"),
        ("--allow-host", "example.com", "`example.com` is no host that can be granted: it has no port; write it like"),
        ("--allow-host", "https://example.com:443", "it has a scheme"),
        ("--allow-host", "10.0.0.1/8:80", "the address has bits past"),
        ("--secret", "../key", "`../key` is no name for secret"),
        ("--limit", "lines=5", "`lines` is no limit; limits are memory_bytes, cpu_ms,"),
        ("--limit", "handles=0", "the limit `handles` is 0; it must be from 1 to 100000"),
        ("--limit", "memory_bytes=1MiB", "the member `memory_bytes`"),
        ("--instance", "warm", "`warm` is no policy for instances; it is one of fresh and keep"),
    ] {
        for verb in [&["add", "x", "--manual"][..], &["edit", "t"]] {
            let ran = host.ctl(&[verb, &[flag, value]].concat()).fails_with(5).says(&[message]);
            assert!(!ran.stderr.contains('\u{1b}'), "safe to print: {ran:?}");
        }
    }
    for (flag, value) in
        [("--env", "A"), ("--dir", "/srv:/data"), ("--limit", "cpu_ms=64KiB"), ("--limit", "handles=-1")]
    {
        host.ctl(&["add", "x", flag, value]).fails_with(2).says(&[flag]);
    }
    let mut stream = host.stream();
    for (params, message) in [
        (r#"{"name":"x","limits":{"handles":5,"handles":6}}"#, "`handles` is given twice"),
        (r#"{"name":"x","limits":{"handles":-5}}"#, "invalid value"),
        (r#"{"name":"x","grants":{"env":{"A":"1","A":"2"}}}"#, "`A` is given twice"),
        (r#"{"name":"x","grants":{"network":true}}"#, "unknown field `network`"),
        (r#"{"name":"x","grants":{"dirs":[{"host":"/srv"}]}}"#, "missing field `guest`"),
    ] {
        stream.send(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"TaskUnit.Add","params":{params}}}"#));
        let answer = stream.value();
        assert_eq!(answer["error"]["data"]["name"], "invalid_params", "{params}: {answer}");
        let said = answer["error"]["message"].as_str().expect("a message");
        assert!(said.contains(message), "{params}: {said}");
    }
    let twice = json!({ "dirs": [{ "host": "/srv", "guest": "/d" }, { "host": "/tmp", "guest": "/d/" }] });
    for (grants, message) in [
        (twice, "each folder of the guest is granted once, and `/d` is there twice"),
        (json!({ "config": { "key": "x" }, "secrets": ["key"] }), "`key` is a secret and a setting"),
        (json!({ "env": { "A": "x".repeat(70_000) } }), "at most 65536"),
        (json!({ "hosts": vec!["a.example:1"; 257] }), "257 hosts are too many"),
    ] {
        let refused = stream.refused("TaskUnit.Add", json!({ "name": "x", "grants": grants }));
        assert_eq!(refused.name, "spec_invalid", "{refused:?}");
        assert!(refused.message.contains(message), "{refused:?}");
    }
    assert_eq!(host.call("Host.Info", json!({}))["tasks"], 1);
    assert_eq!(host.task("t")["revision"], 1);
}

#[test]
fn what_the_host_does_not_have_is_refused_with_what_to_do() {
    let env = world();
    let host = env.host();
    host.ok(&["add", "t", "--manual"]);
    let (file, absent) = (text(env.write("file", "")), text(env.path("absent")));
    let data = text(env.data_dir());
    for (flag, value, told) in [
        ("--dir", absent.as_str(), &["can't be granted: ", "hint: make it first"][..]),
        ("--dir", file.as_str(), &["it is no folder", "hint: grant the folder that the file is in"]),
        ("--dir", data.as_str(), &["the host keeps its own data there", "hint: grant a folder apart"]),
        ("--dir", "/", &["the host keeps its own data there"]),
        ("--dir", "config", &["the host keeps its own data there"]),
        ("--secret", "other", &["the host has no secret `other`", "secrets/other", "TASKHOST_SECRET_OTHER"]),
    ] {
        for verb in [&["add", "x", "--manual"][..], &["edit", "t"]] {
            host.ctl(&[verb, &[flag, value]].concat()).fails_with(5).says(told);
        }
    }
    assert_eq!(host.call("Host.Info", json!({}))["tasks"], 1);

    host.ok(&["edit", "t", "--dir", "srv", "--secret", "hook-key"]);
    std::fs::remove_dir(env.path("srv")).expect("it is empty");
    host.ok(&["edit", "t", "--timeout", "5s"]);
    assert_eq!(host.task("t")["revision"], 3, "what it has already binds no other edit");
}

#[test]
fn a_ceiling_of_the_host_refuses_what_is_past_it_by_its_name() {
    let env = world();
    let config = env.write(
        "ceilings.toml",
        "[limits]\ntimeout = '5m'\nmax_running = 4\nmemory_bytes = '64MiB'\ncpu_ms = '5s'\nlog_lines = 1000\n",
    );
    let host = env.host_with(&["--config", config.to_str().expect("a path of UTF-8")]);
    host.ok(&["add", "t", "--manual", "--memory", "64MiB", "--timeout", "5m", "--limit", "cpu_ms=5s"]);
    for (flags, message) in [
        (&["--timeout", "301s"][..], "`timeout` is 5m1s, and this host allows 5m at most"),
        (&["--max-running", "5"], "`max_running` is 5, and this host allows 4 at most"),
        (&["--memory", "65MiB"], "`memory_bytes` is 68157440, and this host allows 67108864 at most"),
        (&["--limit", "cpu_ms=5001"], "`cpu_ms` is 5001, and this host allows 5000 at most"),
        (&["--limit", "log_lines=1001"], "its administrator sets that under [limits]"),
    ] {
        for verb in [&["add", "x", "--manual"][..], &["edit", "t"]] {
            host.ctl(&[verb, flags].concat()).fails_with(5).says(&[message]);
        }
    }
    assert_eq!(host.task("t")["revision"], 1);
    let effective = host.call("TaskUnit.Get", json!({ "name": "t", "effective": true }));
    let limits = &effective["spec"]["limits"];
    assert_eq!(
        (&limits["cpu_ms"], &limits["log_lines"], &limits["handles"]),
        (&json!(5000), &json!(1000), &json!(1000))
    );
    assert_eq!(effective["spec"]["max_running"], 4, "what is in force");
}

#[test]
fn a_folder_of_secrets_that_others_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let env = world();
    let secrets = env.path("config/taskhost/secrets");
    for (mode, warns) in [(0o755, true), (0o700, false)] {
        std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(mode)).expect("it is ours");
        std::fs::write(env.path("taskhost.log"), "").expect("it is ours");
        env.host().stop();
        let log = std::fs::read_to_string(env.path("taskhost.log")).expect("it was written");
        assert_eq!(log.contains("other users can read the folder of secrets"), warns, "{mode:o}: {log}");
    }
}

#[test]
fn a_plugin_without_a_host_takes_the_same_flags_and_refuses_the_same() {
    let env = world();
    let file = text(crate::support::ticker());
    let run = |flags: &[&str]| -> Ran { env.run_taskhost(&[&["run", file.as_str()], flags].concat()) };
    let secrets = ["--secrets-dir", "config/taskhost/secrets"];
    run(&[&FLAGS[..], &secrets].concat()).ok();
    for (flags, told) in [
        (&["--dir", "absent"][..], &["can't be granted", "hint: make it first"][..]),
        (&["--secret", "hook-key"], &["has no secret `hook-key`", "TASKHOST_SECRET_HOOK_KEY"]),
        (&["--allow-host", "example.com"], &["it has no port"]),
        (&["--limit", "lines=5"], &["`lines` is no limit"]),
        (&["--limit", "cpu_ms=64KiB"], &["it is no length of time"]),
        (&["--instance", "warm"], &["fresh and keep"]),
        (&["--env", "A"], &["it is written KEY=VALUE"]),
    ] {
        run(flags).fails_with(2).says(told);
    }
    let command = text(guest("exit.wat"));
    let kept = env.run_taskhost(&["run", &command, "--instance", "keep"]);
    kept.fails_with(65).says(&["can't be entered twice", "hint: leave `instance` at `fresh`"]);
}

#[test]
fn a_task_in_a_file_has_grants_and_limits() {
    let env = world();
    let host = env.host();
    env.write(
        "tasks.toml",
        "[[task]]\nname = 'a'\nschedules = [{ manual = true }]\ninstance = 'keep'\n[task.limits]\nlog_lines = 5\n[task.grants]\n\
         env = { A = 'b' }\nkv = true\n",
    );
    host.ok(&["apply", "-f", "tasks.toml"]);
    let spec = host.task("a")["spec"].clone();
    assert_eq!(spec["grants"], json!({ "env": { "A": "b" }, "kv": true }));
    assert_eq!(spec["limits"], json!({ "log_lines": 5 }));
    env.write("tasks.toml", "[[task]]\nname = 'a'\nschedules = [{ manual = true }]\n");
    let dry = host.ok(&["apply", "-f", "tasks.toml", "--dry-run"]);
    assert!(
        dry.contains("~ a  grants.env.A: b → (none)\n") && dry.contains("limits.log_lines: 5 → (default)\n"),
        "{dry}"
    );
    host.ok(&["apply", "-f", "tasks.toml"]);
    assert_eq!(host.task("a")["spec"].get("grants"), None::<&Value>);
}
