//! Which virtual shard, and so which worker, a task belongs to.

use xxhash_rust::xxh3::xxh3_64;

/// How many virtual shards there are. Stored nowhere yet, but hosts will agree on it: it never changes.
pub const SHARDS: usize = 1024;

/// The virtual shard of a task: XXH3-64 of the name's UTF-8 with seed 0, modulo 1024. Pinned by name, and by the vectors
/// below, since several hosts must agree on it.
pub fn shard_of(name: &str) -> usize {
    (xxh3_64(name.as_bytes()) % SHARDS as u64) as usize
}

/// The worker that a shard belongs to.
pub fn worker_of(shard: usize, workers: usize) -> usize {
    shard % workers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_of_a_name_never_changes() {
        let shards = ["", "a", "web-1", "定時タスク"].map(shard_of);
        assert_eq!(shards, [194, 543, 52, 458]);
    }

    #[test]
    fn tasks_spread_evenly_over_workers() {
        let mut tasks = [0_u32; 2];
        (0..10_000).for_each(|n| tasks[worker_of(shard_of(&format!("task-{n}")), 2)] += 1);
        assert!(tasks.iter().all(|tasks| (4_700..5_300).contains(tasks)), "{tasks:?}");
    }
}
