//! What the kernel says of a process and of the machine, as of proc_pid_stat(5), proc_stat(5) and their neighbours.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use rustix::process::Pid;

/// Where `utime` stands behind the name in a `stat`; `stime` follows.
const USER_TIME_FIELD: usize = 11;

/// The fields of the first line of `/proc/stat` that are time spent on something: `user` to `steal` without `idle` and
/// `iowait`. (`guest` times behind them are in `user` already.)
const BUSY_FIELDS: [usize; 6] = [0, 1, 2, 5, 6, 7];

/// What a process has used since it began, and the machine since it was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Used {
    /// In user mode and in the kernel, of all threads that ever were, to the clock tick (10 ms mostly).
    pub(crate) cpu: Duration,
    /// What all programs have, and what other machines took away from this one.
    pub(crate) machine_cpu: Duration,
    /// What was sent towards the disk.
    pub(crate) written_bytes: u64,
    /// By thread id.
    threads: HashMap<String, Thread>,
}

/// What a thread has done since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Thread {
    name: String,
    cpu: Duration,
    /// How often it went to sleep.
    sleeps: u64,
}

impl Used {
    pub(crate) fn of(pid: Pid) -> anyhow::Result<Self> {
        let dir = dir(pid);
        let cpu = cpu(&read(&dir.join("stat"))?).context("the kernel's `stat` of a process makes no sense")?;
        let machine_cpu = machine_cpu(&read(Path::new("/proc/stat"))?).context("the kernel's `stat` makes no sense")?;
        let written_bytes = field(&read(&dir.join("io"))?, "write_bytes:").context("the kernel tells no I/O")?;
        Ok(Self { cpu, machine_cpu, written_bytes, threads: threads(&dir)? })
    }

    /// How often threads went to sleep, and were woken, since `earlier`. What threads did that ended meanwhile is not known.
    pub(crate) fn wake_ups_since(&self, earlier: &Self) -> u64 {
        self.wake_ups_by_thread_since(earlier).values().sum()
    }

    /// The same by the name of the thread.
    pub(crate) fn wake_ups_by_thread_since(&self, earlier: &Self) -> BTreeMap<String, u64> {
        let mut wake_ups = BTreeMap::<_, u64>::new();
        for (id, now) in &self.threads {
            *wake_ups.entry(now.kind()).or_default() += now.sleeps.saturating_sub(earlier.thread(id).sleeps);
        }
        wake_ups
    }

    /// The processor time since `earlier` by the name of the thread.
    pub(crate) fn cpu_by_thread_since(&self, earlier: &Self) -> BTreeMap<String, Duration> {
        let mut cpu = BTreeMap::<_, Duration>::new();
        for (id, now) in &self.threads {
            *cpu.entry(now.kind()).or_default() += now.cpu.saturating_sub(earlier.thread(id).cpu);
        }
        cpu
    }

    fn thread(&self, id: &str) -> Thread {
        self.threads.get(id).cloned().unwrap_or_default()
    }
}

impl Thread {
    /// Its name, under which threads that differ in a number go together.
    fn kind(&self) -> String {
        self.name.trim_end_matches(|end: char| end.is_ascii_digit() || end == '-').to_owned()
    }
}

/// The resident memory of a process, exactly. Takes the kernel a moment in which the process can't map memory: not to be
/// asked within a window.
pub(crate) fn resident_bytes(pid: Pid) -> anyhow::Result<u64> {
    let rollup = read(&dir(pid).join("smaps_rollup"))?;
    let kib = field(&rollup, "Rss:").context("the kernel's `smaps_rollup` makes no sense")?;
    Ok(kib * 1024)
}

/// The most resident memory that a process ever had.
pub(crate) fn peak_resident_bytes(pid: Pid) -> anyhow::Result<u64> {
    let status = read(&dir(pid).join("status"))?;
    let kib = field(&status, "VmHWM:").context("the kernel's `status` makes no sense")?;
    Ok(kib * 1024)
}

/// How many mappings of memory a process has; the kernel allows each [`max_mappings`].
pub(crate) fn mappings(pid: Pid) -> anyhow::Result<usize> {
    Ok(read(&dir(pid).join("maps"))?.lines().count())
}

/// `vm.max_map_count`.
pub(crate) fn max_mappings() -> anyhow::Result<u64> {
    let text = read(Path::new("/proc/sys/vm/max_map_count"))?;
    text.trim().parse().context("the kernel's `max_map_count` is no number")
}

/// How many files, sockets and the like a process has open.
pub(crate) fn open_files(pid: Pid) -> anyhow::Result<usize> {
    let files = dir(pid).join("fd");
    Ok(fs::read_dir(&files).with_context(|| format!("failed to read {}", files.display()))?.count())
}

/// The first number behind `key`, which begins a line.
pub(crate) fn field(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

pub(crate) fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

fn dir(pid: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{}", pid.as_raw_pid()))
}

/// `utime` and `stime` of a process or thread. The name before them may contain anything, even parentheses.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(USER_TIME_FIELD);
    let user: u64 = fields.next()?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    Some(clock_ticks(user + kernel))
}

fn machine_cpu(stat: &str) -> Option<Duration> {
    let fields: Vec<u64> =
        stat.strip_prefix("cpu ")?.lines().next()?.split_ascii_whitespace().flat_map(str::parse).collect();
    let busy: Option<u64> = BUSY_FIELDS.iter().map(|at| fields.get(*at)).sum();
    busy.map(clock_ticks)
}

fn clock_ticks(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn threads(dir: &Path) -> anyhow::Result<HashMap<String, Thread>> {
    let tasks = dir.join("task");
    let mut threads = HashMap::new();
    for task in fs::read_dir(&tasks).with_context(|| format!("failed to read {}", tasks.display()))? {
        let task = task?;
        // A thread may end between being listed and being read.
        if let Some(thread) = thread(&task.path()) {
            threads.insert(task.file_name().to_string_lossy().into_owned(), thread);
        }
    }
    Ok(threads)
}

fn thread(dir: &Path) -> Option<Thread> {
    let read = |name| fs::read_to_string(dir.join(name)).ok();
    Some(Thread {
        name: read("comm")?.trim_end().to_owned(),
        cpu: cpu(&read("stat")?)?,
        sleeps: field(&read("status")?, "voluntary_ctxt_switches:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 20 0 1";
        assert_eq!(cpu(stat), Some(clock_ticks(300)));
        assert_eq!(cpu("7 (a"), None);
    }

    #[test]
    fn an_idle_machine_and_one_that_waits_for_its_disk_are_not_busy() {
        let stat = "cpu  1 2 4 1000 2000 8 16 32 1 1\ncpu0 5 5 5 5 5 5 5 5 5 5\n";
        assert_eq!(machine_cpu(stat), Some(clock_ticks(63)));
        assert_eq!(machine_cpu("cpu  1 2 4\n"), None);
    }

    #[test]
    fn a_field_begins_its_line() {
        let status = "nonvoluntary_ctxt_switches:\t5\nvoluntary_ctxt_switches:\t17\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(17));
        assert_eq!(field(status, "Rss:"), None);
    }

    #[test]
    fn a_process_sees_itself_work_sleep_and_take_memory() {
        let own = rustix::process::getpid();
        let before = Used::of(own).expect("/proc is mounted");
        std::thread::sleep(Duration::from_millis(1));
        let after = Used::of(own).expect("/proc is mounted");
        assert!(after.wake_ups_since(&before) >= 1);
        assert!(after.cpu >= before.cpu);
        assert!(resident_bytes(own).expect("/proc is mounted") > 0);
        assert!(mappings(own).expect("/proc is mounted") > 0);
        assert!(max_mappings().expect("/proc is mounted") > 0);
        assert!(open_files(own).expect("/proc is mounted") > 0);
    }

    #[test]
    fn a_thread_that_is_new_counts_whole() {
        let thread =
            |name: &str, seconds, sleeps| Thread { name: name.to_owned(), cpu: Duration::from_secs(seconds), sleeps };
        let used = |threads: &[(&str, Thread)]| Used {
            threads: threads.iter().map(|(id, thread)| ((*id).to_owned(), thread.clone())).collect(),
            ..Used::default()
        };
        let before = used(&[("1", thread("worker-0", 10, 10)), ("2", thread("worker-1", 90, 90))]);
        let after =
            used(&[("1", thread("worker-0", 15, 15)), ("3", thread("worker-10", 4, 4)), ("4", thread("epoch", 1, 0))]);
        assert_eq!(after.wake_ups_since(&before), 9);
        let wake_ups = after.wake_ups_by_thread_since(&before);
        assert_eq!(wake_ups, [("epoch".to_owned(), 0), ("worker".to_owned(), 9)].into());
        let cpu = after.cpu_by_thread_since(&before);
        assert_eq!(
            cpu,
            [("epoch".to_owned(), Duration::from_secs(1)), ("worker".to_owned(), Duration::from_secs(9))].into()
        );
    }
}
