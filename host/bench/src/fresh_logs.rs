//! Whether the logs of tasks can be read while the host has much to do: one task after the other is asked for its newest line.

use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use jsonrpsee::core::client::Client;
use taskhost_api::{LogsRequest, TaskUnitApiClient};

use crate::load;

/// How often one is asked: so seldom that it costs nothing.
const ASK_INTERVAL: Duration = Duration::from_millis(200);

/// How much older than an interval a newest line may be: what a run may be late, and more.
const TOLERANCE: Duration = Duration::from_secs(2);

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FreshLogs {
    pub(crate) asked: u64,
    /// How many had no line, or only older ones than of their newest run.
    pub(crate) stale: u64,
}

impl FreshLogs {
    /// Does `work`, and asks tasks all over the place meanwhile.
    pub(crate) async fn while_doing<T>(
        client: &Client,
        tasks: u32,
        every: Duration,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<(Self, T)> {
        let mut seen = Self::default();
        let asking = async {
            loop {
                tokio::time::sleep(ASK_INTERVAL).await;
                let number = scattered(seen.asked, tasks);
                let newest = newest_line(client, &load::name(number, tasks)).await?;
                seen.asked += 1;
                seen.stale += u64::from(!is_fresh(newest, Timestamp::now(), every));
            }
        };
        let done = tokio::select! {
            done = work => done?,
            asked = asking => {
                let asked: anyhow::Result<()> = asked;
                return Err(asked.expect_err("it asks for ever"));
            }
        };
        Ok((seen, done))
    }
}

/// Tasks in an order that looks like none, and in which none comes soon again.
fn scattered(count: u64, tasks: u32) -> u32 {
    let at = count.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((u128::from(tasks) * u128::from(at)) >> 64) as u32
}

async fn newest_line(client: &Client, name: &str) -> anyhow::Result<Option<Timestamp>> {
    let request = LogsRequest { name: name.to_owned(), limit: Some(1), ..LogsRequest::default() };
    let logs = client.logs(request).await.with_context(|| format!("failed to read the log of `{name}`"))?;
    Ok(logs.lines.last().map(|line| line.time))
}

fn is_fresh(newest: Option<Timestamp>, now: Timestamp, every: Duration) -> bool {
    newest.is_some_and(|newest| now.duration_since(newest).unsigned_abs() <= every + TOLERANCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_fresh_until_the_next_should_have_come() {
        let now = Timestamp::UNIX_EPOCH + Duration::from_secs(1000);
        let ago = |seconds| Some(now - Duration::from_secs(seconds));
        let fresh = |newest| is_fresh(newest, now, Duration::from_secs(10));
        assert!(fresh(ago(0)) && fresh(ago(12)));
        assert!(!fresh(ago(13)) && !fresh(None));
    }

    #[test]
    fn all_of_few_tasks_are_asked_in_turn() {
        let mut asked: Vec<_> = (0..100).map(|count| scattered(count, 10)).collect();
        asked.sort_unstable();
        asked.dedup();
        assert_eq!(asked, (0..10).collect::<Vec<_>>());
    }
}
