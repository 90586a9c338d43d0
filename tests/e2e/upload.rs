//! Plugins in pieces: `Plugin.Put`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::{TestEnv, guest_bytes, run_to_end, sha256};

/// One byte more than a plugin may have.
const TOO_LARGE_BYTES: u64 = (64 << 20) + 1;

fn piece(wasm: &[u8], from: usize, to: usize) -> Value {
    json!({ "sha256": sha256(wasm), "size": wasm.len(), "offset": from, "data": BASE64_STANDARD.encode(&wasm[from..to]) })
}

#[test]
fn an_interrupted_upload_goes_on_where_it_was_on_another_connection() {
    let env = TestEnv::new();
    let host = env.host();
    let wasm = guest_bytes("probe/probe.wasm");
    let sum = sha256(&wasm);
    let mut first = host.stream();
    assert_eq!(first.call("Plugin.Has", json!(sum)), Ok(json!({ "has": false, "received": 0 })));
    assert_eq!(first.call("Plugin.Put", piece(&wasm, 0, 10_000)), Ok(json!({ "received": 10_000 })));
    drop(first);

    let mut second = host.stream();
    assert_eq!(second.call("Plugin.Has", json!(sum)), Ok(json!({ "has": false, "received": 10_000 })));
    let gap = second.refused("Plugin.Put", piece(&wasm, 20_000, wasm.len()));
    assert_eq!(gap.name, "invalid_params");
    assert!(gap.message.contains("10000 bytes"), "{gap:?}");
    let whole = second.call("Plugin.Put", piece(&wasm, 10_000, wasm.len())).expect("the rest is taken");
    assert_eq!((&whole["received"], &whole["plugin"]["sha256"]), (&json!(wasm.len()), &json!(sum)));
    assert_eq!(second.call("Plugin.Has", json!(sum)).expect("asked")["has"], true);
    assert_eq!(std::fs::read(env.data_dir().join(format!("plugins/{sum}.wasm"))).expect("it is stored"), wasm);
}

#[test]
fn clients_that_send_the_same_plugin_at_once_all_succeed() {
    let env = TestEnv::new();
    let host = env.host();
    // A custom section makes it large: several pieces.
    let mut wasm = guest_bytes("probe/probe.wasm");
    let padding: Vec<u8> = [&[3][..], b"pad", &vec![7; 3 << 20]].concat();
    wasm.extend([&[0][..], &leb128(padding.len()), &padding].concat());
    let file = env.write("large.wasm", &wasm);
    let file = file.to_str().expect("a path of UTF-8");
    let address = host.tcp().to_string();
    let add = |number: u32| {
        let name = format!("t{number}");
        env.taskctl(&["--host", address.as_str(), "add", name.as_str(), "--wasm", file, "--every", "1h"])
    };
    std::thread::scope(|scope| {
        for mut add in (0..6).map(add) {
            scope.spawn(move || run_to_end(&mut add).ok());
        }
    });
    assert_eq!(host.call("Host.Info", json!({}))["tasks"], 6);
}

/// A length as wasm writes it.
fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

#[test]
fn a_plugin_that_is_not_what_was_announced_is_refused_and_leaves_nothing() {
    let env = TestEnv::new();
    let host = env.host();
    let mut stream = host.stream();
    let wasm = guest_bytes("exit.wat");
    let mut chunk = piece(&wasm, 0, wasm.len());
    chunk["sha256"] = json!(sha256(b"other"));
    let refused = stream.refused("Plugin.Put", chunk);
    assert_eq!(refused.name, "plugin_invalid");
    assert!(refused.message.contains(&sha256(&wasm)), "the message names what came: {refused:?}");
    assert_eq!(stream.call("Plugin.Has", json!(sha256(b"other"))), Ok(json!({ "has": false, "received": 0 })));
}

#[test]
fn a_plugin_that_is_announced_too_large_is_refused_with_its_first_piece() {
    let env = TestEnv::new();
    let host = env.host();
    let mut stream = host.stream();
    let mut chunk = piece(b"\0asm", 0, 4);
    chunk["size"] = json!(TOO_LARGE_BYTES);
    let refused = stream.refused("Plugin.Put", chunk);
    assert_eq!(refused.name, "too_large");
    assert!(refused.message.contains("67108864"), "{refused:?}");
}

#[test]
fn what_is_no_base64_is_refused() {
    let env = TestEnv::new();
    let host = env.host();
    let mut chunk = piece(b"\0asm", 0, 4);
    chunk["data"] = json!("not base64!");
    assert_eq!(host.stream().refused("Plugin.Put", chunk).name, "invalid_params");
}

#[test]
fn a_small_plugin_comes_with_its_task() {
    let env = TestEnv::new();
    let host = env.host();
    let wasm = guest_bytes("exit.wat");
    let plugin = json!({ "wasm": BASE64_STANDARD.encode(&wasm) });
    let mut stream = host.stream();
    let added = stream.call("TaskUnit.Add", json!({ "name": "a", "plugin": plugin, "args": ["4"] })).expect("added");
    assert_eq!(added["spec"]["plugin"], json!({ "sha256": sha256(&wasm) }));
    let ran = stream.call("TaskUnit.Run", json!({ "name": "a", "wait": true })).expect("it runs");
    assert_eq!((&ran["run"]["outcome"], &ran["run"]["exit_code"]), (&json!("error"), &json!(4)));
}

#[test]
fn a_task_that_is_refused_leaves_no_plugin_behind() {
    let env = TestEnv::new();
    let host = env.host();
    let mut stream = host.stream();
    let plugin = json!({ "wasm": BASE64_STANDARD.encode(guest_bytes("exit.wat")) });
    let refused = stream.refused("TaskUnit.Add", json!({ "name": "a", "plugin": plugin, "timeout": "never" }));
    assert_eq!(refused.name, "spec_invalid");
    let plugins = stream.call("Plugin.List", json!({})).expect("listed");
    assert_eq!(plugins["plugins"].as_array().map(Vec::len), Some(1), "only the built-in one: {plugins}");
}
