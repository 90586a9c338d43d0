//! Who may use a host: its own user and root, and whom the configuration names.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::json;

use crate::support::{TestEnv, run_to_end};

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
