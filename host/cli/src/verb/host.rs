//! `taskctl host`

use clap::Args;
use jiff::Timestamp;
use jsonrpsee::core::client::Client;
use taskhost_api::{HostApiClient, HostInfo};

use crate::cell::{Cell, Style};
use crate::exit::Exit;
use crate::failure::{Doing, Failure};
use crate::output::Output;
use crate::text::{absolute, bytes, millis, relative};

/// Show what the host is and how it does
#[derive(Debug, Args)]
pub(crate) struct Host {}

impl Host {
    pub(crate) async fn run(self, client: &Client, output: &mut Output) -> Result<Exit, Failure> {
        let info = client.info().await.doing(|| "ask the host how it does".to_owned())?;
        if output.is_json() {
            output.document(&info)?;
        } else {
            output.fields(&fields(&info, output.now))?;
        }
        Ok(Exit::Done)
    }
}

fn fields(info: &HostInfo, now: Timestamp) -> Vec<(&'static str, Cell)> {
    let late = &info.lateness_ms;
    let runs: Vec<_> = info.runs.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
    let lateness = match late.count {
        0 => format!("no runs in the last {} s", late.window_s),
        count => format!(
            "p50 {}, p99 {}, max {} of {count} runs in the last {} s",
            millis(late.p50),
            millis(late.p99),
            millis(late.max),
            late.window_s
        ),
    };
    let mut fields = vec![
        ("version", Cell::plain(format!("{} (wasmtime {})", info.version, info.wasmtime))),
        ("plugins", Cell::plain(info.wit.join(", "))),
        ("started", Cell::plain(format!("{} ({})", absolute(info.started_at), relative(info.started_at, now)))),
        ("listens on", Cell::plain(info.listen.join(", "))),
        ("workers", Cell::plain(info.workers.to_string())),
        ("tasks", Cell::plain(info.tasks.to_string())),
        ("running", Cell::plain(format!("{} ({} in the slow lane)", info.running, info.slow_lane))),
        ("waiting", Cell::plain(info.queue_depth.to_string())),
        ("runs", Cell::plain(if runs.is_empty() { "none yet".to_owned() } else { runs.join(", ") })),
        ("lateness", Cell::plain(lateness)),
        ("memory", Cell::plain(bytes(info.memory_bytes))),
        ("guests' memory", Cell::plain(guests_memory(info))),
        ("loaded plugins", Cell::plain(format!("{} ({} compiled)", info.plugins_loaded, info.plugins_compiled))),
        ("kept instances", Cell::plain(info.kept_instances.to_string())),
        ("pool slots", Cell::plain(info.pool_slots.to_string())),
        ("pagemap scan", Cell::plain(if info.pagemap { "yes" } else { "no" })),
    ];
    if !info.limits_hit.is_empty() {
        let hit: Vec<_> = info.limits_hit.iter().map(|(limit, count)| format!("{limit} {count}")).collect();
        fields.push(("limits hit", Cell::plain(hit.join(", "))));
    }
    if info.lost_records > 0 {
        fields.push(("lost records", Cell::new(info.lost_records.to_string(), Style::Warning)));
    }
    if info.lost_log_lines > 0 {
        fields.push(("lost log lines", Cell::new(info.lost_log_lines.to_string(), Style::Warning)));
    }
    fields.extend(info.faults.iter().map(|fault| ("fault", Cell::new(fault, Style::Bad))));
    fields
}

/// An older host says nothing of a budget.
fn guests_memory(info: &HostInfo) -> String {
    let of = match info.memory_budget_bytes {
        0 => String::new(),
        budget => format!(" of {}", bytes(budget)),
    };
    let waiting = match info.waiting_for_memory {
        0 => String::new(),
        waiting => format!(" ({waiting} runs wait for memory)"),
    };
    format!("{}{of}{waiting}", bytes(info.guest_memory_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Shown, host_info};

    #[test]
    fn a_host_is_shown_with_what_is_wrong_with_it() {
        let mut shown = Shown::new();
        shown.output.fields(&fields(&host_info(), shown.output.now)).expect("memory takes all");
        insta::assert_snapshot!(shown.out());
    }
}
