//! Files that are no plugins: each refused when it is added, saying what was found and what was expected.

use std::fs::File;

use serde_json::json;

use crate::support::{Host, TestEnv, guest, guest_bytes};

#[test]
fn what_is_no_plugin_is_refused_with_what_was_found_and_what_was_expected() {
    let env = TestEnv::new();
    let host = env.host();
    let native = std::fs::canonicalize("/proc/self/exe").expect("this test is a program");
    let text = env.write("hello.txt", "hello");
    let empty = env.write("empty.wasm", "");
    let half = env.write("half.wasm", &guest_bytes("probe/probe.wasm")[..1000]);
    let broken = env.write("broken.wat", "(module (func");
    for (file, fragments) in [
        (text, &["the file is no WebAssembly", "text"][..]),
        (empty, &["the file is no WebAssembly", "empty"]),
        (broken, &["the WebAssembly text does not parse", "\n       --> <anon>:"]),
        (half, &["cut off", "send the whole file again"]),
        (guest("truncated.wasm"), &["cut off"]),
        (guest("no-start.wat"), &["exports `memory`, `main`, and no `_start`", "build it as a program"]),
        (guest("foreign-world.wat"), &["acme:db/handler@1.0.0", "acme:db/query@1.0.0", "taskhost:plugin/guest@0.1.0"]),
        (guest("no-guest.wat"), &["acme:db/handler@1.0.0", "taskhost:plugin/guest@0.1.0"]),
        (guest("future-version.wat"), &["taskhost:plugin/guest@9.0.0", "taskhost:plugin@0.1.0"]),
        (guest("unknown-import.wat"), &["env.frobnicate", "wasi_snapshot_preview1"]),
        (guest("wrong-signature.wat"), &["run"]),
    ] {
        let file = file.to_str().expect("a path of UTF-8");
        let ran = host.ctl(&["add", "x", "--wasm", file]).fails_with(5).says(fragments);
        assert!(!ran.stderr.contains("panicked"), "{file}: {ran:?}");
    }
    if std::fs::metadata(&native).is_ok_and(|metadata| metadata.len() <= 64 << 20) {
        let native = native.to_str().expect("a path of UTF-8");
        host.ctl(&["add", "x", "--wasm", native]).fails_with(5).says(&["a native program (ELF)"]);
    }
    let plugins = host.call("Plugin.List", json!({}));
    assert_eq!(plugins["plugins"].as_array().map(Vec::len), Some(1), "only the built-in one: {plugins}");
    assert_eq!(host.call("TaskUnit.List", json!({})), json!({ "tasks": [] }));
}

#[test]
fn a_plugin_that_ends_the_process_that_looks_at_it_ends_no_host() {
    let env = TestEnv::new();
    let mut host = env.host();
    let file = guest("packages-in-a-circle.wasm");
    for _ in 0..2 {
        host.ctl(&["add", "x", "--wasm", file.to_str().expect("a path of UTF-8")]).fails_with(5).says(&["plugin"]);
    }
    host.ok(&["add", "t", "--every", "50ms"]);
    host.wait_successes("t", 1);
    assert!(host.is_alive());
    let inspected = env.run_taskhost(&["inspect", file.to_str().expect("a path of UTF-8")]);
    let inspected = inspected.fails_with(5);
    assert!(
        inspected.stdout.contains("the compiler crashed on it") && inspected.stdout.contains("hint"),
        "{inspected:?}"
    );
}

#[test]
fn a_plugin_of_wasi_0_3_is_refused_unless_the_host_is_told_to_run_such() {
    let env = TestEnv::new();
    let file = guest("command-0.3.wat");
    let add = ["add", "x", "--wasm", file.to_str().expect("a path of UTF-8")];
    let host = env.host();
    host.ctl(&add).fails_with(5).says(&["WASI 0.3, which this host does not run", "`wasi_0_3 = true`"]);
    host.stop();

    let config = env.write("config.toml", "wasi_0_3 = true");
    let mut serve = env.serve();
    serve.arg("--config").arg(config);
    let host = Host::start(&env, serve);
    host.ok(&add);
    host.wait_successes("x", 1);
    host.stop();
    // What was compiled is found again.
    let host = env.host();
    assert!(
        host.task("x")["fault"].as_str().is_some_and(|fault| fault.contains("WASI 0.3")),
        "it is there, and can't run"
    );
}

#[test]
fn a_rejected_edit_leaves_the_old_plugin_running() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--every", "50ms"]);
    let no_start = guest("no-start.wat");
    host.ctl(&["edit", "t", "--wasm", no_start.to_str().expect("a path of UTF-8")]).fails_with(5);
    let task = host.task("t");
    assert_eq!((&task["revision"], &task["spec"]["plugin"]), (&json!(1), &json!({ "builtin": "ticker" })));
    let before = host.count("t", "success");
    host.wait_successes("t", before + 3);
}

#[test]
fn a_file_of_65_mib_is_refused_before_it_is_read() {
    let env = TestEnv::new();
    let host = env.host();
    let path = env.path("huge.wasm");
    // Sparse: 65 MiB of nothing.
    File::create(&path).and_then(|file| file.set_len(65 << 20)).expect("a sparse file");
    let before = host.peak_memory_bytes();
    let ran = host.ctl(&["add", "x", "--wasm", path.to_str().expect("a path of UTF-8")]).fails_with(5);
    ran.says(&["it has 68157440 bytes; a plugin has at most 64 MiB"]);
    assert!(host.peak_memory_bytes() - before < 8 << 20, "nothing of it reached the host");
}
