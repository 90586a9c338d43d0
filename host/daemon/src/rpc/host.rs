//! `Host.Info` and `rpc.discover`.

use jsonrpsee::core::{RpcResult, async_trait};
use taskhost_api::{HostApiServer, HostInfo, openrpc};

use super::errors::to_rpc;
use super::{Rpc, convert};

/// The version of `taskhost`.
const VERSION: &str = env!("CARGO_PKG_VERSION");

#[async_trait]
impl HostApiServer for Rpc {
    async fn info(&self) -> RpcResult<HostInfo> {
        let stats = self.host.stats().await.map_err(to_rpc)?;
        Ok(HostInfo {
            version: VERSION.to_owned(),
            wit: stats.engine.wit,
            wasmtime: stats.engine.wasmtime,
            started_at: self.about.started_at,
            listen: self.about.listen.clone(),
            workers: u32::try_from(stats.workers).unwrap_or(u32::MAX),
            tasks: stats.tasks,
            runs: convert::counts(&stats.runs),
            lateness_ms: convert::lateness(&stats.lateness),
            queue_depth: stats.queue_depth,
            running: stats.running,
            slow_lane: stats.engine.slow_lane,
            memory_bytes: resident_bytes(),
            guest_memory_bytes: stats.engine.guest_memory_bytes,
            memory_budget_bytes: stats.engine.memory_budget_bytes,
            waiting_for_memory: stats.engine.waiting_for_memory,
            limits_hit: convert::limits_hit(&stats.engine.limits_hit),
            kept_instances: stats.engine.kept_instances,
            plugins_compiled: stats.engine.plugins_compiled,
            plugins_loaded: stats.engine.plugins_loaded,
            pagemap: stats.engine.pagemap,
            pool_slots: stats.engine.pool_slots,
            lost_log_lines: stats.lost_log_lines,
            lost_records: stats.lost_records,
            faults: stats.faults,
        })
    }

    async fn discover(&self) -> RpcResult<serde_json::Value> {
        Ok(openrpc::document(VERSION))
    }
}

/// The resident memory of this process; 0 where there is no `/proc`.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    resident_pages(&statm).unwrap_or(0) * rustix::param::page_size() as u64
}

/// The second number of `statm`, as of proc_pid_statm(5).
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_the_second_number() {
        assert_eq!(resident_pages("2105 415 364 11 0 104 0\n"), Some(415));
        assert_eq!(resident_pages(""), None);
        assert!(resident_bytes() > 0);
    }
}
