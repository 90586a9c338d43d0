//! How much memory there is for guests: what the machine has, or less where a cgroup bounds this process.

use std::fs;
use std::path::{Component, Path, PathBuf};

const PROC_MEMINFO: &str = "/proc/meminfo";
const PROC_CGROUP: &str = "/proc/self/cgroup";
/// Where cgroups of version 2 are, on every distribution that has them.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Of the memory that there is, guests have three parts in four.
const GUESTS_PARTS: u64 = 3;
const PARTS: u64 = 4;

/// What guests have where nothing tells how much there is.
const FALLBACK_BYTES: u64 = 1 << 30;

/// The memory that guests may have, all together, where nobody has set it.
pub(crate) fn default_budget_bytes() -> u64 {
    let machine = fs::read_to_string(PROC_MEMINFO).ok().and_then(|text| machine_bytes(&text));
    let cgroup = fs::read_to_string(PROC_CGROUP).ok().and_then(|text| cgroup_bytes(Path::new(CGROUPS), &text));
    let bytes = machine.into_iter().chain(cgroup).min();
    bytes.map_or(FALLBACK_BYTES, |bytes| bytes / PARTS * GUESTS_PARTS)
}

/// The total of proc_meminfo(5), which is in KiB.
fn machine_bytes(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The least `memory.max` of the cgroup that the process is in and those around it. In a container its own cgroup may look like the
/// root: the file is there all the same.
fn cgroup_bytes(cgroups: &Path, own: &str) -> Option<u64> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // One outside what the process sees begins with `..`.
    let is_below = Path::new(own).components().all(|part| matches!(part, Component::Normal(_)));
    let dir: PathBuf = if is_below { cgroups.join(own) } else { cgroups.to_owned() };
    let within = dir.ancestors().take_while(|dir| dir.starts_with(cgroups));
    let bounds = within.filter_map(|dir| fs::read_to_string(dir.join("memory.max")).ok()?.trim().parse().ok());
    bounds.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_the_total() {
        assert_eq!(machine_bytes("MemTotal:       24689764 kB\nMemFree: 1 kB\n"), Some(24_689_764 << 10));
        assert_eq!(machine_bytes("MemFree: 1 kB\n"), None);
        assert!(default_budget_bytes() > 0);
    }

    #[test]
    fn the_tightest_cgroup_counts_and_one_without_a_bound_does_not() {
        let cgroups = tempfile::tempdir().expect("a directory");
        let inner = cgroups.path().join("system.slice/taskhost.service");
        fs::create_dir_all(&inner).expect("a directory");
        fs::write(inner.join("memory.max"), "max\n").expect("it is written");
        let own = "1:cpu:/else\n0::/system.slice/taskhost.service\n";
        assert_eq!(cgroup_bytes(cgroups.path(), own), None);
        fs::write(cgroups.path().join("system.slice/memory.max"), "1048576\n").expect("it is written");
        assert_eq!(cgroup_bytes(cgroups.path(), own), Some(1 << 20));
        assert_eq!(cgroup_bytes(cgroups.path(), "0::/../../else\n"), None);
        assert_eq!(cgroup_bytes(cgroups.path(), "1:memory:/x\n"), None, "version 1");
    }
}
