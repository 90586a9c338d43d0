//! Puts tasks onto a host, as a client would: over one connection, many calls on the way at a time.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::{StreamExt, TryStreamExt, stream};
use jsonrpsee::core::client::Client;
use taskhost_api::{AddRequest, AddTask, ApplyRequest, ListRequest, PluginRef, Schedule, TaskUnitApiClient};
use taskhost_core::time::format_duration;

use crate::guest_clock;
use crate::host::Host;

/// How many calls are on the way at once.
const PIPELINED_CALLS: usize = 128;

/// How many tasks are added in one commit, where it does not matter how: half the time of single calls, and more gain nothing.
const APPLIED_TASKS: usize = 1250;

/// How often is told how far adding has come.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(5);

/// How often a host is asked whether it has come as far as is waited for.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long tasks may take to begin to run, beyond their interval.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// A program that never comes to an end.
const SPINNER_WAT: &str = include_str!("../../../tests/guests/spin.wat");

/// A spinner runs until its deadline, and again a second later: nearly all of them spin at any time, and what it costs to
/// stop them and to start them again is measured too.
const SPINNER_TIMEOUT: &str = "19s";
const SPINNER_EVERY: &str = "20s";

/// Adds this many tasks that tick, some of which look at the clock ([`guest_clock`]); answers how long that took.
///
/// Their due times are spread evenly over the interval, however fast they are added.
pub(crate) async fn add_ticking(client: &Client, tasks: u32, every: Duration) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let mut told = started;
    for first in (0..tasks).step_by(APPLIED_TASKS) {
        let last = tasks.min(first + APPLIED_TASKS as u32);
        let specs = (first..last).map(|number| ticking(number, tasks, every).into_spec()).collect();
        let request = ApplyRequest { tasks: specs, prune: false, selector: None, dry_run: false };
        client.apply(request).await.with_context(|| format!("failed to add tasks {first} to {last}"))?;
        if told.elapsed() > PROGRESS_INTERVAL {
            told = Instant::now();
            eprintln!("taskbench: {last} of {tasks} tasks are there");
        }
    }
    Ok(started.elapsed())
}

/// The name of one of so many tasks.
pub(crate) fn name(number: u32, tasks: u32) -> String {
    if number < guest_clock::tasks_among(tasks) { guest_clock::name(number) } else { ticker_name(number) }
}

fn ticking(number: u32, tasks: u32, every: Duration) -> AddRequest {
    let plugin = if number < guest_clock::tasks_among(tasks) { guest_clock::plugin() } else { PluginRef::default() };
    AddRequest { plugin, ..spread(&name(number, tasks), number, every) }
}

/// A task with the built-in plugin whose due times are apart from those of other numbers.
pub(crate) fn spread(name: &str, number: u32, every: Duration) -> AddRequest {
    let phase = format_duration(phase(number, every));
    let schedule = Schedule { phase: Some(phase), ..schedule(&format_duration(every)) };
    AddRequest { name: name.to_owned(), schedules: Some(vec![schedule]), ..AddRequest::default() }
}

/// How far into the interval this task is due: by the golden ratio, so that any number of tasks in a row is spread evenly, and
/// neighbours by name are not neighbours in time. To the millisecond, as people write it: tasks of one phase share a definition, and are
/// due as far apart as they were added.
fn phase(number: u32, every: Duration) -> Duration {
    // 2^64 divided by the golden ratio: the product is where in an interval of 2^64.
    let at = u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let millis = (every.as_millis() * u128::from(at)) >> 64;
    Duration::from_millis(millis.try_into().unwrap_or(u64::MAX))
}

/// Adds this many tasks with the built-in plugin, one by one.
pub(crate) async fn add_tickers(client: &Client, tasks: u32, every: &str) -> anyhow::Result<()> {
    add_all(client, (0..tasks).map(|number| ticker(&ticker_name(number), every))).await
}

/// The name of one of those.
pub(crate) fn ticker_name(number: u32) -> String {
    format!("tick-{number}")
}

/// A task with the built-in plugin.
pub(crate) fn ticker(name: &str, every: &str) -> AddRequest {
    AddRequest { name: name.to_owned(), schedules: Some(vec![schedule(every)]), ..AddRequest::default() }
}

/// Adds tasks that never come to an end, and waits until all are in the slow lane.
pub(crate) async fn add_spinners(host: &Host, spinners: u32) -> anyhow::Result<()> {
    let requests = (0..spinners).map(|number| AddRequest {
        name: format!("spin-{number}"),
        plugin: PluginRef::Wasm(BASE64_STANDARD.encode(SPINNER_WAT)),
        schedules: Some(vec![schedule(SPINNER_EVERY)]),
        timeout: Some(SPINNER_TIMEOUT.to_owned()),
        labels: Some([spinner_label()].into()),
        now: true,
        ..AddRequest::default()
    });
    add_all(host.client(), requests).await?;
    let deadline = Instant::now() + BEGIN_TIMEOUT;
    while host.info().await?.slow_lane < spinners.into() {
        pause(deadline).await.context("the spinners do not spin")?;
    }
    Ok(())
}

/// How many due times of spinners ended with this outcome.
pub(crate) async fn spinners_ended(client: &Client, outcome: &str) -> anyhow::Result<u64> {
    let (key, value) = spinner_label();
    let request = ListRequest { selector: Some(format!("{key}={value}")), ..ListRequest::default() };
    let list = client.list(request).await.context("failed to list the spinners")?;
    Ok(list.tasks.iter().filter_map(|task| task.counts.get(outcome)).sum())
}

/// Waits until the host has finished as many runs more as there are tasks.
pub(crate) async fn wait_until_ticking(host: &Host, tasks: u32, every: Duration) -> anyhow::Result<()> {
    let runs = async || anyhow::Ok(host.info().await?.runs.values().sum::<u64>());
    let goal = runs().await? + u64::from(tasks);
    let deadline = Instant::now() + every + BEGIN_TIMEOUT;
    while runs().await? < goal {
        pause(deadline).await.context("the tasks do not tick")?;
    }
    Ok(())
}

pub(crate) async fn add_all(client: &Client, requests: impl Iterator<Item = AddRequest>) -> anyhow::Result<()> {
    let calls = stream::iter(requests).map(async |request| {
        let name = request.name.clone();
        let added = client.add(AddTask::Spec(Box::new(request))).await;
        added.map(drop).with_context(|| format!("failed to add `{name}`"))
    });
    calls.buffer_unordered(PIPELINED_CALLS).try_collect().await
}

pub(crate) fn schedule(every: &str) -> Schedule {
    Schedule { every: Some(every.to_owned()), ..Schedule::default() }
}

fn spinner_label() -> (String, String) {
    ("bench".to_owned(), "spinner".to_owned())
}

/// Waits before the host is asked again.
async fn pause(deadline: Instant) -> anyhow::Result<()> {
    if Instant::now() > deadline {
        bail!("the host was waited for in vain");
    }
    tokio::time::sleep(POLL_INTERVAL).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_are_spread_evenly_over_the_interval() {
        const TASKS: u32 = 1000;
        let every = Duration::from_secs(60);
        let mut phases: Vec<_> = (0..TASKS).map(|number| phase(number, every)).collect();
        phases.sort_unstable();
        let gaps = phases.windows(2).map(|pair| pair[1] - pair[0]);
        // Three lengths of gaps, as the golden ratio has it, of which none is twice the mean.
        assert!(gaps.max().expect("there are some") < every / TASKS * 2);
        assert!(phases.last().expect("there are some") < &every);
        assert!(phase(1, every).abs_diff(phase(0, every)) > every / 3, "neighbours are far apart");
    }
}
