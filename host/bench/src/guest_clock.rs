//! Lateness by the guests' own clock: some tasks run a guest that prints by how much its clock is past the due time.
//!
//! The host's figure ends where it enters a guest; this one ends within it. The two must agree.

use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use jsonrpsee::core::client::Client;
use taskhost_api::{LogsRequest, PluginRef, TaskUnitApiClient};

/// Prints nanoseconds.
const GUEST_WAT: &str = include_str!("../guests/lateness.wat");

/// How many tasks look at the clock at most, and one in how many does where there are few: enough to be worth a percentile, too
/// few to change what ticks cost.
const MOST_TASKS: u32 = 100;
const ONE_IN: u32 = 10;

/// How many lines of one task are read at most: as many as a host answers with.
const MOST_LINES: u32 = 10_000;

/// How many of so many tasks look at the clock.
pub(crate) fn tasks_among(tasks: u32) -> u32 {
    (tasks / ONE_IN).clamp(1, MOST_TASKS)
}

/// The name of one of them.
pub(crate) fn name(number: u32) -> String {
    format!("clock-{number}")
}

/// What they run.
pub(crate) fn plugin() -> PluginRef {
    PluginRef::Wasm(BASE64_STANDARD.encode(GUEST_WAT))
}

/// By how much every run of them within these times was late.
pub(crate) async fn lateness(
    client: &Client,
    tasks: u32,
    (from, to): (Timestamp, Timestamp),
) -> anyhow::Result<Vec<Duration>> {
    let mut lateness = Vec::new();
    for number in 0..tasks_among(tasks) {
        let request = LogsRequest { name: name(number), limit: Some(MOST_LINES), ..LogsRequest::default() };
        let logs = client.logs(request).await.context("failed to read what a guest's clock said")?;
        for line in logs.lines.iter().filter(|line| (from..to).contains(&line.time)) {
            lateness.push(told(&line.text)?);
        }
    }
    Ok(lateness)
}

/// A clock that was set back between the due time and the run tells less than nothing, which counts as nothing.
fn told(line: &str) -> anyhow::Result<Duration> {
    let nanos: i64 = line.parse().with_context(|| format!("a guest's clock said `{line}`"))?;
    Ok(Duration::from_nanos(nanos.try_into().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_tasks_look_at_the_clock_and_one_always_does() {
        assert_eq!([1, 10, 500, 1000, 1_000_000].map(tasks_among), [1, 1, 50, 100, 100]);
    }

    #[test]
    fn what_a_clock_says_is_nanoseconds_and_nothing_else_is() {
        assert_eq!(told("1500000").expect("a number"), Duration::from_micros(1500));
        assert_eq!(told("-3").expect("a number"), Duration::ZERO);
        assert!(told("Task clock-1 tick").is_err());
    }
}
