//! The host on the wire.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the host is and how it does.
#[derive(Clone, Debug, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct HostInfo {
    /// The version of `taskhost`.
    pub version: String,
    /// The plugin contracts that it serves, like `taskhost:plugin@0.1.0`.
    pub wit: Vec<String>,
    /// The version of wasmtime.
    pub wasmtime: String,
    pub started_at: Timestamp,
    /// Every address that it listens on, like `127.0.0.1:3333` and `unix:/run/…/taskhost.sock`.
    pub listen: Vec<String>,
    /// How many worker threads run tasks.
    pub workers: u32,
    /// How many tasks there are.
    pub tasks: u64,
    /// How many due times ended with each outcome since the host started.
    pub runs: BTreeMap<String, u64>,
    /// Guest entry minus due time.
    pub lateness_ms: LatenessMs,
    /// How many due times have passed and wait for a worker.
    pub queue_depth: u64,
    /// How many runs are going on, of them in the slow lane.
    pub running: u64,
    pub slow_lane: u64,
    /// Resident memory of the process.
    pub memory_bytes: u64,
    /// The memory that guests have, by the size of their linear memories and tables, and the most that all may have together.
    #[serde(default)]
    pub guest_memory_bytes: u64,
    #[serde(default)]
    pub memory_budget_bytes: u64,
    /// How many attempts wait until there is memory for them.
    #[serde(default)]
    pub waiting_for_memory: u64,
    /// How many attempts ran into each limit since the host started; limits that none ran into are absent.
    #[serde(default)]
    pub limits_hit: BTreeMap<String, u64>,
    /// How many instances are kept for the next runs of their tasks.
    #[serde(default)]
    pub kept_instances: u64,
    /// How many plugins were compiled since the host started, and how many are loaded now, each counted by every worker that has it.
    /// Those that no run has used for long wait on disk while there are too many.
    #[serde(default)]
    pub plugins_compiled: u64,
    #[serde(default)]
    pub plugins_loaded: u64,
    /// Whether the kernel's PAGEMAP_SCAN is used to reset instances.
    pub pagemap: bool,
    /// How many instances can be made from pools at once, over all workers.
    pub pool_slots: u64,
    /// Log lines that could not be kept since the host started, say on a full disk.
    pub lost_log_lines: u64,
    /// Due times whose records could not be kept since the host started.
    #[serde(default)]
    pub lost_records: u64,
    /// What is wrong with the host's own store, if anything is: damaged files that were set aside, a full disk.
    #[serde(default)]
    pub faults: Vec<String>,
}

/// The distribution of lateness over the last `window_s` seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, JsonSchema, Serialize, Deserialize)]
pub struct LatenessMs {
    pub window_s: u32,
    /// How many runs the figures are of.
    pub count: u64,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}
