//! Plugins that were built against released versions of the contract run for ever. `tests/contract` has them, and they are never
//! built anew.

use std::fs;
use std::path::Path;

use taskhost_core::outcome::Outcome;
use taskhost_core::plugin::PluginKind;
use taskhost_core::ports::Engine;

use crate::host::{Host, Task, texts};

/// The folders of `tests/contract`, by version.
fn kept() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/contract");
    let versions = fs::read_dir(folder).expect("the kept plugins").map(|entry| entry.expect("an entry").path());
    let mut kept: Vec<_> = versions
        .filter(|path| path.is_dir())
        .map(|path| {
            let version = path.file_name().and_then(|name| name.to_str()).expect("a version").to_owned();
            (version, fs::read(path.join("probe.wasm")).expect("a kept plugin"))
        })
        .collect();
    kept.sort();
    kept
}

#[tokio::test]
async fn a_plugin_of_every_released_version_is_kept_and_the_host_serves_it() {
    let host = Host::new();
    let mut kept_versions: Vec<String> = Vec::new();
    for (version, wasm) in kept() {
        let facts = host.engine.admit(wasm.into()).await.unwrap_or_else(|error| panic!("{version}: {error}"));
        assert_eq!(facts.kind, PluginKind::Task, "{version}");
        kept_versions.push(format!("taskhost:plugin@{version}"));
    }
    assert_eq!(kept_versions, host.engine.stats().wit);
}

#[tokio::test]
async fn what_was_built_against_0_1_0_is_handed_all_of_its_tick_and_says_all_that_it_could() {
    let (host, kept) = (Host::new(), kept());
    let (version, wasm) = &kept[0];
    assert_eq!(version, "0.1.0");
    let run = async |args: &[&str]| host.run(&Task::of(wasm.clone()).args(args)).await;

    let (report, lines) = run(&["tick"]).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
    let lines = texts(&lines);
    let members: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("stdout: ")?.split(' ').next()).collect();
    assert_eq!(members, ["task", "run_id", "attempt", "due_ms", "due_local", "since_ms", "reason"]);
    assert_eq!(lines[0], "stdout: task the task");

    assert_eq!(run(&["summary", "all", "well"]).await.0.result.as_deref(), Some("all well"));
    let left: u64 = run(&["remaining"]).await.0.result.and_then(|left| left.parse().ok()).expect("a number");
    assert!(left > 0);
    let failed = run(&["fail-retry-after", "1500"]).await.0;
    assert_eq!((failed.outcome, failed.detail.as_deref()), (Outcome::Error, Some("later")));
    assert_eq!(failed.retry_after.map(|after| after.as_millis()), Some(1500));
    let failed = run(&["fail-permanent", "no"]).await.0;
    assert_eq!((failed.outcome, failed.permanent), (Outcome::Error, true));
    assert_eq!(run(&["panic", "now"]).await.0.outcome, Outcome::Trapped);
}
