//! Plugins that are hostile already to those who compile them: the host goes on, and so do its tasks.

use std::path::Path;

use serde_json::json;

use crate::big;
use crate::support::{Host, TestEnv, eventually};

/// What an honest neighbour does while others are compiled.
const NEIGHBOUR: &str = "honest";

/// The processes that this host started and that are there.
fn children(host: &Host<'_>) -> Vec<u32> {
    let parent = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name may have spaces; after it come the state and the parent.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let processes = std::fs::read_dir("/proc").expect("Linux has it").filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent(*pid) == Some(host.pid())).collect()
}

fn slow_to_compile(env: &TestEnv) -> String {
    env.write("slow.wasm", big::command(1_000, 60, 0)).to_str().expect("a path of UTF-8").to_owned()
}

#[test]
fn a_plugin_with_too_much_of_something_is_refused_with_what_and_how_much() {
    let env = TestEnv::new();
    let host = env.host();
    let locals = format!("(module (func (export \"_start\") (local {})))", "i32 ".repeat(20_001));
    let deep = format!("(component {}", "(component ".repeat(500_000));
    for (text, fragments) in [
        (locals, &["the plugin has 20001 locals; at most 20000 are accepted", "build it with optimisation"][..]),
        (deep, &["parentheses within each other; at most 1000 are accepted", "hint: "]),
    ] {
        let file = env.write("bomb.wat", text);
        host.ctl(&["add", "x", "--wasm", file.to_str().expect("a path of UTF-8")]).fails_with(5).says(fragments);
    }
    assert_eq!(host.call("TaskUnit.List", json!({})), json!({ "tasks": [] }));
}

#[test]
fn a_neighbour_keeps_its_time_while_two_megabytes_are_compiled() {
    let env = TestEnv::new();
    let host = env.host();
    // Late is what a run may be on a busy machine; one that is not there would be skipped or missed.
    host.ok(&["add", NEIGHBOUR, "--every", "100ms", "--overlap", "buffer_all"]);
    host.wait_successes(NEIGHBOUR, 1);
    let file = slow_to_compile(&env);
    assert!(std::fs::metadata(&file).expect("it was written").len() > 2_000_000);
    let before = host.count(NEIGHBOUR, "success");
    let start = std::time::Instant::now();
    host.ok(&["add", "slow", "--wasm", &file, "--every", "10y"]);
    let due = u64::try_from(start.elapsed().as_millis() / 100).expect("it took seconds");
    host.wait_successes(NEIGHBOUR, before + due);
    let counts = host.task(NEIGHBOUR)["counts"].clone();
    // Where the whole machine stands still for a moment, a due time may pass before anybody sees it; not for compiling.
    let runs: u64 = counts.as_object().expect("counts").values().filter_map(serde_json::Value::as_u64).sum();
    let lost = runs - counts["success"].as_u64().unwrap_or_default();
    assert!(lost * 20 <= runs, "{counts}");
}

#[test]
fn the_compiler_ends_with_its_host() {
    let env = TestEnv::new();
    let host = env.host();
    let file = slow_to_compile(&env);
    let add = host.follow(&["add", "slow", "--wasm", &file]);
    let compiler = eventually("it is compiled", || {
        let child = *children(&host).first()?;
        let command = std::fs::read_to_string(format!("/proc/{child}/cmdline")).ok()?;
        command.starts_with("taskhost\0compile\0compile\0").then_some(child)
    });
    host.kill();
    assert_ne!(add.end(), Some(0));
    eventually("the compiler has ended", || (!Path::new(&format!("/proc/{compiler}")).exists()).then_some(()));
}

#[test]
fn what_the_host_starts_to_compile_is_not_for_people() {
    let env = TestEnv::new();
    env.run_taskhost(&["compile"]).fails_with(2).says(&["it is not for people"]);
    assert!(!env.run_taskhost(&["--help"]).ok().stdout.contains("compile"));
}
