//! What the disk itself costs: the floor under everything that is durable when it is answered.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;

/// What one probe writes: about what one small commit of SQLite does, a few pages.
const PROBE_BYTES: usize = 16 << 10;

/// How much is written before overwriting is measured, and then gone through again and again.
const OVERWRITTEN_BYTES: u64 = 8 << 20;

/// One way of writing to a file of its own.
pub(crate) struct Probe {
    file: File,
    offset: u64,
    /// Where it starts over; never for one that appends.
    end: Option<u64>,
}

impl Probe {
    /// Writes where blocks were written before, as to a log that was grown once.
    pub(crate) fn overwriting(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("overwrite.probe");
        let grown = || {
            let file = File::create_new(&path)?;
            for offset in (0..OVERWRITTEN_BYTES).step_by(PROBE_BYTES) {
                file.write_all_at(&[1; PROBE_BYTES], offset)?;
            }
            file.sync_all()?;
            io::Result::Ok(file)
        };
        let file = grown().with_context(|| format!("failed to write {}", path.display()))?;
        Ok(Self { file, offset: 0, end: Some(OVERWRITTEN_BYTES) })
    }

    /// Writes where the file system must find blocks first.
    pub(crate) fn appending(dir: &Path) -> anyhow::Result<Self> {
        let path = dir.join("append.probe");
        let file = File::create_new(&path).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(Self { file, offset: 0, end: None })
    }

    /// How long one write with its `fdatasync` takes.
    pub(crate) fn write(&mut self) -> io::Result<Duration> {
        let started = Instant::now();
        self.file.write_all_at(&[2; PROBE_BYTES], self.offset)?;
        self.file.sync_data()?;
        let took = started.elapsed();
        self.offset += PROBE_BYTES as u64;
        if self.end.is_some_and(|end| self.offset >= end) {
            self.offset = 0;
        }
        Ok(took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_appending_makes_a_file_longer() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut overwriting = Probe::overwriting(dir.path()).expect("a probe");
        let mut appending = Probe::appending(dir.path()).expect("a probe");
        for _ in 0..=OVERWRITTEN_BYTES / PROBE_BYTES as u64 {
            overwriting.write().expect("room");
        }
        appending.write().expect("room");
        appending.write().expect("room");
        assert_eq!(overwriting.file.metadata().expect("a file").len(), OVERWRITTEN_BYTES);
        assert_eq!(appending.file.metadata().expect("a file").len(), 2 * PROBE_BYTES as u64);
    }
}
