//! More plugins than are loaded at once.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use taskhost_core::outcome::Outcome;
use taskhost_core::ports::{AtHand, Engine};
use taskhost_engine::Job;
use tempfile::TempDir;
use wasm_encoder::{CustomSection, Section};

use crate::guest::{ECHO, task};
use crate::host::{Host, Task};

/// How many plugins are loaded when a host starts.
const LOADED_AT_START: usize = 32;

/// Plugins that do the same and differ in a number.
fn plugins(count: u32) -> Vec<Task> {
    let wasm = task(ECHO);
    let numbered = |number: u32| {
        let mut wasm = wasm.clone();
        CustomSection { name: "number".into(), data: number.to_le_bytes().as_slice().into() }.append_to(&mut wasm);
        Task::of(wasm)
    };
    (0..count).map(numbered).collect()
}

async fn prepare_all(host: &Host, tasks: &[Task]) -> Vec<Job> {
    let mut jobs = Vec::new();
    for task in tasks {
        jobs.push(host.prepare(task).await.expect("a plugin that this host runs"));
    }
    jobs
}

async fn run(host: &Host, job: &Job, task: &Task) -> Outcome {
    host.start_job(job, task, 1).run.await.outcome
}

/// The artefacts of this folder that are mapped into the process.
fn mapped(cache: &Path) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").expect("Linux has it");
    let cache = cache.to_str().expect("a path of UTF-8");
    let artefacts: BTreeSet<&str> =
        maps.lines().filter_map(|line| line.split_once(cache)).map(|(_, name)| name).collect();
    artefacts.len()
}

#[tokio::test]
async fn only_so_many_plugins_are_loaded_and_all_run_when_they_are_due() {
    const MOST: usize = 3;
    let dir = tempfile::tempdir().expect("a directory");
    let (host, tasks) = (Host::with_most_loaded(dir.path(), MOST), plugins(10));
    let jobs = prepare_all(&host, &tasks).await;
    for _ in 0..2 {
        for (job, task) in jobs.iter().zip(&tasks) {
            assert_eq!(run(&host, job, task).await, Outcome::Success);
            assert!(host.engine.stats().plugins_loaded <= MOST as u64);
            assert!(mapped(dir.path()) <= MOST, "what was let go is mapped no more");
        }
    }
    assert_eq!(host.engine.stats().plugins_compiled, 10);
}

/// How long a run may take that is shorter than what it takes to make its plugin ready.
const HURRIED: Duration = Duration::from_millis(250);

/// A job whose plugin was let go and must even be compiled again, which takes longer than a run of its task may: with the host, and the
/// folder of what it compiled.
async fn let_go() -> (TempDir, Host, Job, Task) {
    let dir = tempfile::tempdir().expect("a directory");
    let (host, tasks) = (Host::with_most_loaded(dir.path(), 1), plugins(2));
    let job = prepare_all(&host, &tasks).await.swap_remove(0);
    fs::remove_dir_all(dir.path()).expect("it goes away");
    fs::create_dir(dir.path()).expect("it is made");
    *host.source.delay.lock().expect("no test panics here") = 2 * HURRIED;
    (dir, host, job, Task::of(tasks[0].wasm.clone()).timeout_ms(HURRIED.as_millis() as u64))
}

#[tokio::test]
async fn what_a_plugin_takes_to_be_made_ready_is_not_of_its_runs_time() {
    let (_dir, host, job, hurried) = let_go().await;
    assert_eq!(run(&host, &job, &hurried).await, Outcome::Success);
    assert_eq!(host.engine.stats().plugins_compiled, 3);
}

#[tokio::test]
async fn a_run_that_is_stopped_while_its_plugin_is_made_ready_leaves_that_to_others() {
    let (_dir, host, job, hurried) = let_go().await;
    let started = host.start_job(&job, &hurried, 1);
    started.control.stop();
    assert_eq!(started.run.await.outcome, Outcome::Cancelled);
    assert_eq!(run(&host, &job, &hurried).await, Outcome::Success);
    assert_eq!(host.engine.stats().plugins_compiled, 3, "once more, and not for each of the runs");
}

#[tokio::test]
async fn a_hundred_runs_of_a_plugin_that_was_let_go_load_it_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let (host, tasks) = (Host::with_most_loaded(dir.path(), 1), plugins(2));
    let jobs = prepare_all(&host, &tasks).await;
    let runs = (0..100).map(|_| run(&host, &jobs[0], &tasks[0]));
    let outcomes = futures_util::future::join_all(runs).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Success), "{outcomes:?}");
    assert_eq!(host.engine.stats().plugins_loaded, 1);
}

#[tokio::test]
async fn a_host_with_many_plugins_starts_without_loading_them_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let tasks = plugins(LOADED_AT_START as u32 + 2);
    prepare_all(&Host::with_cache(Some(dir.path())), &tasks).await;

    let host = Host::with_cache(Some(dir.path()));
    assert!(matches!(host.prepare_at_hand(&tasks[0]), AtHand::Unloaded), "the first ones are loaded");
    prepare_all(&host, &tasks[..LOADED_AT_START]).await;
    assert!(matches!(host.prepare_at_hand(&tasks[0]), AtHand::Ready(_)), "one that is loaded");
    let last = tasks.last().expect("there are some");
    let AtHand::Ready(job) = host.prepare_at_hand(last) else { panic!("its artefact is there") };
    assert_eq!(host.engine.stats().plugins_loaded, LOADED_AT_START as u64);
    assert_eq!(run(&host, &job, last).await, Outcome::Success);
    assert_eq!(host.engine.stats().plugins_loaded, LOADED_AT_START as u64 + 1);
    assert_eq!(host.engine.stats().plugins_compiled, 0);
}

#[tokio::test]
async fn a_plugin_without_an_artefact_is_not_waited_for_at_the_start_and_compiled_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let (host, tasks) = (Host::with_cache(Some(dir.path())), plugins(1));
    let jobs = [(); 3].map(|()| match host.prepare_at_hand(&tasks[0]) {
        AtHand::Uncompiled(job) => job,
        _ => panic!("it has no artefact"),
    });
    assert_eq!(host.engine.stats().plugins_compiled, 0);
    let runs = jobs.iter().map(|job| run(&host, job, &tasks[0]));
    assert_eq!(futures_util::future::join_all(runs).await, [Outcome::Success; 3]);
    assert_eq!(host.engine.stats().plugins_compiled, 1);
}
