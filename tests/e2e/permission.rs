//! Who may use a host: its own user and root, and whom the configuration names.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::json;

use crate::support::{Host, TestEnv, run_to_end};

/// A user of no account, as it is on every Linux.
const STRANGER_UID: u32 = 65_534;

/// Asks a host over TCP as somebody else, with nothing but what every machine has: a shell with `/dev/tcp`.
fn ask_as_stranger(address: std::net::SocketAddr, request: &str) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can be somebody else");
        return None;
    }
    let script =
        format!("exec 3<>/dev/tcp/{}/{}; printf '%s\\n' '{request}' >&3; head -n 1 <&3", address.ip(), address.port());
    let asked =
        Command::new("bash").args(["-c", &script]).uid(STRANGER_UID).gid(STRANGER_UID).current_dir("/").output();
    match asked {
        Ok(output) if !output.stdout.is_empty() => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => panic!("the host says nothing: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            eprintln!("skipped: no shell for somebody else: {error}");
            None
        }
    }
}

#[test]
fn a_stranger_is_told_who_it_is_and_which_setting_would_let_it_in() {
    let env = TestEnv::new();
    let host = env.host();
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "TaskUnit.Add", "params": ["x"] }).to_string();
    let Some(answer) = ask_as_stranger(host.tcp(), &request) else { return };
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer["error"]["data"]["name"], "not_permitted", "{answer}");
    assert!(answer.to_string().contains("65534") && answer.to_string().contains("access.users"), "{answer}");
    assert_eq!(host.call("Host.Info", json!({}))["tasks"], 0);
}

#[test]
fn not_to_be_let_in_is_exit_code_7() {
    let env = TestEnv::new();
    let host = env.host();
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can be somebody else");
        return;
    }
    // Where somebody else may run it from, wherever it was built.
    let public = tempfile::tempdir().expect("a temporary directory can be made");
    std::fs::set_permissions(public.path(), std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    let taskctl = public.path().join("taskctl");
    std::fs::copy(env!("CARGO_BIN_EXE_taskctl"), &taskctl).expect("the program can be read");
    let add_at = |address: String| {
        let mut command = Command::new(&taskctl);
        command.args(["--host", address.as_str(), "add", "x"]).env_clear().current_dir("/");
        run_to_end(command.uid(STRANGER_UID).gid(STRANGER_UID)).fails_with(7)
    };
    add_at(host.tcp().to_string()).says(&["failed to add `x`", "65534", "access.users"]);
    add_at(format!("unix:{}", env.socket().display())).says(&["permission denied", "access.users"]);
}

#[test]
fn a_stranger_that_the_configuration_names_is_let_in() {
    let env = TestEnv::new();
    let config = env.write("config.toml", format!("[access]\nusers = [\"{STRANGER_UID}\"]\n"));
    let host = env.host_with(&["--config", config.to_str().expect("a path of UTF-8")]);
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "TaskUnit.Add", "params": ["x"] }).to_string();
    let Some(answer) = ask_as_stranger(host.tcp(), &request) else { return };
    assert!(answer.contains(r#""result":true"#), "{answer}");
    let socket = std::fs::metadata(env.socket()).expect("it is there");
    assert_eq!(socket.permissions().mode() & 0o777, 0o666, "the socket lets others knock");
}

#[test]
fn a_user_of_the_host_grants_what_is_listed_and_uses_no_grants_of_others() {
    let env = TestEnv::new();
    let (root, outer) = (env.path("shared"), env.path("private"));
    for folder in [&root, &outer] {
        std::fs::create_dir(folder).expect("the temporary directory can be written");
    }
    let root = root.canonicalize().expect("it was made");
    let root = root.to_str().expect("a path of UTF-8");
    let text = format!(
        "[access]\nusers = [\"{STRANGER_UID}\"]\n[grants]\ndirs = [\"{root}\"]\nprivate_hosts = [\"10.0.0.0/8:*\"]\n"
    );
    let config = env.write("config.toml", text);
    let mut serve = env.serve();
    serve.arg("--config").arg(config).env("TASKHOST_SECRET_KEY", "hush");
    let host = Host::start(&env, serve);
    let outer = outer.to_str().expect("a path of UTF-8");
    host.ok(&["add", "owned", "--manual", "--dir", outer, "--secret", "key", "--allow-host", "localhost:80"]);

    let ask = |method: &str, params: serde_json::Value| {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": [params] }).to_string();
        ask_as_stranger(host.tcp(), &request).map(|answer| serde_json::from_str(&answer).expect("JSON"))
    };
    let add = |grants: serde_json::Value| {
        ask(
            "TaskUnit.Add",
            json!({ "name": "theirs", "schedules": [{ "manual": true }], "grants": grants, "replace": true }),
        )
    };
    let allowed = json!({ "dirs": [{ "host": root, "guest": "/data" }], "hosts": ["example.com:443", "10.1.2.3:80"], "kv": true });
    let Some(answer): Option<serde_json::Value> = add(allowed) else { return };
    assert_eq!(answer["result"]["revision"], 1, "{answer}");
    for (grants, told) in [
        (json!({ "dirs": [{ "host": outer, "guest": "/data" }] }), "grants.dirs"),
        (json!({ "dirs": [{ "host": "/absent", "guest": "/data" }] }), "grants.dirs"),
        (json!({ "secrets": ["key"] }), "grants.secrets"),
        (json!({ "secrets": ["absent"] }), "grants.secrets"),
        (json!({ "hosts": ["127.0.0.1:80"] }), "grants.private_hosts"),
    ] {
        let answer = add(grants.clone()).expect("there is a shell");
        assert_eq!(answer["error"]["data"]["name"], "not_permitted", "{grants}: {answer}");
        assert!(answer["error"]["data"]["hint"].as_str().is_some_and(|hint| hint.contains(told)), "{grants}: {answer}");
    }
    for (patch, may) in [
        (json!({ "name": "owned", "args": ["--send", "it"] }), false),
        (json!({ "name": "owned", "grants": { "secrets": ["key"] } }), false),
        (json!({ "name": "owned", "timeout": "5s" }), true),
        (json!({ "name": "owned", "grants": null, "args": ["x"] }), true),
    ] {
        let answer: serde_json::Value = ask("TaskUnit.Edit", patch.clone()).expect("there is a shell");
        assert_eq!(answer.get("result").is_some(), may, "{patch}: {answer}");
        assert!(may || answer["error"]["data"]["name"] == "not_permitted", "{patch}: {answer}");
    }
    let apply = json!({ "tasks": [{ "name": "new", "grants": { "secrets": ["key"] } }], "dry_run": true });
    let answer: serde_json::Value = ask("TaskUnit.Apply", apply).expect("there is a shell");
    assert_eq!(answer["error"]["data"]["name"], "not_permitted", "{answer}");
}
