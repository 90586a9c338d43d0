//! Damaged files: the host says which, keeps them as they are, and runs the rest where it can.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::{Host, TestEnv, eventually, guest_bytes, probe, sha256};

/// Where SQLite keeps `user_version` in a file, big-endian: <https://www.sqlite.org/fileformat.html>.
const USER_VERSION_AT: usize = 60;

/// Overwrites the first page and what follows it.
fn damage(file: &Path) -> Vec<u8> {
    let mut bytes = fs::read(file).expect("the file is there");
    let end = bytes.len().min(16 * 1024);
    bytes[..end].iter_mut().for_each(|byte| *byte = !*byte);
    fs::write(file, &bytes).expect("the file can be written");
    bytes
}

#[track_caller]
fn add_probe(host: &Host<'_>, name: &str) {
    let wasm = probe();
    host.ok(&["add", name, "--wasm", wasm.to_str().expect("a path of UTF-8"), "--every", "100ms", "--", "ok"]);
}

fn faults(host: &Host<'_>) -> Vec<String> {
    let info = host.call("Host.Info", json!({}));
    let faults = info["faults"].as_array().expect("faults");
    faults.iter().map(|fault| fault.as_str().expect("a sentence").to_owned()).collect()
}

#[test]
fn damaged_definitions_are_named_and_kept_and_nothing_starts() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t"]);
    host.stop();
    let file = env.data_dir().join("definitions.db");
    for damaged in [damage(&file), Vec::new()] {
        fs::write(&file, &damaged).expect("the file can be written");
        let ran = env.run_host(&[]).fails_with(1);
        ran.says(&[file.to_str().expect("a path of UTF-8"), "damaged", "kept as it is", "restore it from a backup"]);
        assert_eq!(fs::read(&file).expect("the file is there"), damaged);
    }
}

#[test]
fn definitions_of_a_newer_version_are_refused_and_kept() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t"]);
    host.stop();
    let file = env.data_dir().join("definitions.db");
    let mut newer = fs::read(&file).expect("the file is there");
    newer[USER_VERSION_AT..USER_VERSION_AT + 4].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&file, &newer).expect("the file can be written");
    env.run_host(&[]).fails_with(1).says(&["schema version 99", "run the version that wrote it, or a newer one"]);
    assert_eq!(fs::read(&file).expect("the file is there"), newer);
}

#[test]
fn a_damaged_history_is_set_aside_and_tasks_run_on() {
    let env = TestEnv::new();
    let host = env.host();
    host.ok(&["add", "t", "--every", "50ms"]);
    host.wait_successes("t", 2);
    host.stop();
    let damaged = damage(&env.data_dir().join("history.db"));

    let host = env.host();
    host.wait_successes("t", 2);
    let faults = faults(&host);
    assert!(faults.iter().any(|fault| fault.contains("history.db") && fault.contains("kept as")), "{faults:?}");
    let kept = fs::read_dir(env.data_dir())
        .expect("the directory is there")
        .any(|entry| fs::read(entry.expect("it can be listed").path()).is_ok_and(|bytes| bytes == damaged));
    assert!(kept, "the damaged file is still there under another name");
    host.ctl(&["host"]).ok();
}

#[test]
fn a_damaged_plugin_stops_its_tasks_alone_until_it_is_put_again() {
    let env = TestEnv::new();
    let host = env.host();
    add_probe(&host, "broken");
    host.ok(&["add", "fine", "--every", "50ms"]);
    host.wait_successes("broken", 1);
    host.stop();
    let sum = sha256(&guest_bytes("probe/probe.wasm"));
    let file = env.data_dir().join(format!("plugins/{sum}.wasm"));
    let damaged = damage(&file);
    // Else the compiled form, which is whole, would be run.
    fs::remove_dir_all(env.data_dir().join("cache")).expect("the cache is there");

    let host = env.host();
    let fault = eventually("it is found when it is compiled anew", || host.task("broken").get("fault").cloned());
    assert!(fault.as_str().is_some_and(|fault| fault.contains(&sum) && fault.contains("damaged")), "{fault}");
    eventually("its due times are accounted for", || (host.count("broken", "host_error") > 0).then_some(()));
    let before = host.count("fine", "success");
    host.wait_successes("fine", before + 2);
    assert!(faults(&host).iter().any(|fault| fault.contains(&sum)), "{:?}", faults(&host));
    host.ctl(&["list"]).ok().says(&["broken can't run: "]);
    assert_eq!(fs::read(&file).expect("it is kept"), damaged);

    let wasm = probe();
    // As the fault's own hint says.
    host.ok(&["plugin", "put", wasm.to_str().expect("a path of UTF-8")]);
    assert_eq!(host.task("broken").get("fault"), None);
    let before = host.count("broken", "success");
    host.wait_successes("broken", before + 2);
    assert_eq!(faults(&host), Vec::<String>::new());
}

#[test]
fn a_missing_plugin_file_is_told_and_mended_by_the_same_file() {
    let env = TestEnv::new();
    let host = env.host();
    add_probe(&host, "t");
    host.wait_successes("t", 1);
    host.stop();
    let sum = sha256(&guest_bytes("probe/probe.wasm"));
    let file = env.data_dir().join(format!("plugins/{sum}.wasm"));
    fs::remove_file(&file).expect("the file is there");
    let host = env.host();
    let shown = host.json(&["plugin", "show", &sum]);
    assert!(shown["fault"].as_str().is_some_and(|fault| fault.contains("missing")), "{shown}");
    host.ok(&["plugin", "put", probe().to_str().expect("a path of UTF-8")]);
    assert!(file.exists());
    assert_eq!(host.json(&["plugin", "show", &sum]).get("fault"), None);
}

#[test]
fn a_damaged_cache_costs_a_compilation_and_nothing_else() {
    let env = TestEnv::new();
    let host = env.host();
    add_probe(&host, "t");
    host.wait_successes("t", 1);
    host.stop();
    for file in files_under(&env.data_dir().join("cache")) {
        damage(&file);
    }
    let host = env.host();
    let before = host.count("t", "success");
    host.wait_successes("t", before + 2);
    assert_eq!(host.task("t").get("fault"), None);
}

fn files_under(dir: &Path) -> Vec<std::path::PathBuf> {
    let entries =
        fs::read_dir(dir).expect("the directory is there").map(|entry| entry.expect("it can be listed").path());
    entries.flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] }).collect()
}
