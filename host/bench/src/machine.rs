//! What figures were measured on: without it they mean nothing.

use std::fmt;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::procfs::{field, read};

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    /// How many processors this process may use.
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
}

impl Machine {
    pub(crate) fn this() -> anyhow::Result<Self> {
        let memory_kib = field(&read(Path::new("/proc/meminfo"))?, "MemTotal:").context("no memory is told")?;
        let uname = rustix::system::uname();
        Ok(Self {
            processor: processor(&read(Path::new("/proc/cpuinfo"))?),
            cores: std::thread::available_parallelism()?.get(),
            memory_bytes: memory_kib * 1024,
            kernel: format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = self.memory_bytes as f64 / f64::from(1 << 30);
        write!(f, "{}, {} cores, {gib:.1} GiB, {}", self.processor, self.cores, self.kernel)
    }
}

/// The processor's name where the kernel tells one, else the architecture: not every one has a `model name`.
fn processor(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim().to_owned());
    name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_without_a_name_goes_by_its_architecture() {
        assert_eq!(processor("processor\t: 0\nmodel name\t: Fast 9000\n"), "Fast 9000");
        assert_eq!(processor("processor\t: 0\nBogoMIPS\t: 50.00\n"), std::env::consts::ARCH);
    }

    #[test]
    fn this_machine_can_be_told() {
        let machine = Machine::this().expect("/proc is mounted");
        assert!(machine.cores > 0 && machine.memory_bytes > 0, "{machine}");
    }
}
