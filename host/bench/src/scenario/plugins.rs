//! Many distinct plugins, one task each: compiled once each, and never more mappings of memory than the kernel allows.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use taskhost_api::{AddRequest, PluginRef};
use taskhost_core::time::format_duration;

use super::Bench;
use crate::host::{End, Host};
use crate::load;
use crate::procfs::{mappings, max_mappings, open_files, resident_bytes};
use crate::raw_loop::TICKER;
use crate::report::{Section, Unit, ms};

/// How often each task is due: often enough that all run in a window, so seldom that hardly any two run at a time.
const EVERY: Duration = Duration::from_secs(10);

/// How often the host's process is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Where the host keeps compiled plugins, within its data, and how their names end.
const CACHE_DIR: &str = "data/cache";
const ARTEFACT_EXTENSION: &str = "cwasm";

/// The name of the section that makes each plugin another.
const SECTION_NAME: &[u8] = b"number";

/// What was seen of the process, and of its cache.
#[derive(Default)]
struct Seen {
    most_mappings: usize,
    most_open_files: usize,
    most_resident_bytes: u64,
    /// By name and time of writing: one that is compiled again is another.
    artefacts: HashSet<(OsString, SystemTime)>,
}

pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Section> {
    let plugins = bench.args.plugins;
    let place = bench.place()?;
    let cache = place.path().join(CACHE_DIR);
    let host = place.start().await?;
    let empty_bytes = resident_bytes(host.pid())?;
    let adding_and_ticking = async {
        let started = Instant::now();
        load::add_all(host.client(), (0..plugins).map(task)).await?;
        let adding = started.elapsed();
        load::wait_until_ticking(&host, plugins, EVERY).await?;
        tokio::time::sleep(bench.args.measured()).await;
        Ok(adding)
    };
    let seen = Seen::while_doing(&host, &cache, adding_and_ticking).await;
    let (host, (before, adding)) = host.survived(seen).await?;
    let resident = resident_bytes(host.pid())?;
    host.end(End::Terminate).await?;

    let host = place.start().await?;
    let ready = host.ready_after();
    let ticking = load::wait_until_ticking(&host, plugins, EVERY);
    let again = Seen::while_doing(&host, &cache, ticking).await;
    let (after, ()) = host.finish(again).await?;

    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let flags = format!("--plugins {plugins} --seconds {}", bench.args.seconds);
    let title = format!("{plugins} distinct plugins, a task of each every {}", format_duration(EVERY));
    let mut section = Section::new(title, bench.command("plugins", &flags));
    section.goal("compiled", before.artefacts.len() as f64, Unit::Count, f64::from(plugins));
    section.figure("sending, compiling and adding", adding.as_secs_f64(), Unit::S);
    // The kernel refuses what would be more, so reaching it is a miss too.
    section.goal("mappings of memory, at most", before.most_mappings as f64, Unit::Count, (max_mappings()? - 1) as f64);
    section.figure("open files, at most", before.most_open_files as f64, Unit::Count);
    section.figure("memory without tasks", mib(empty_bytes), Unit::MiB);
    section.figure("memory at most", mib(before.most_resident_bytes), Unit::MiB);
    section.figure("memory with all ticking", mib(resident), Unit::MiB);
    let per_plugin = resident.saturating_sub(empty_bytes) as f64 / 1024.0 / f64::from(plugins);
    section.figure("memory per plugin and its task", per_plugin, Unit::KiB);
    section.figure("ready after a restart", ms(ready), Unit::Ms);
    let compiled_again = after.artefacts.difference(&before.artefacts).count();
    section.goal("compiled after a restart", compiled_again as f64, Unit::Count, 0.0);
    section.figure("mappings after a restart, at most", after.most_mappings as f64, Unit::Count);
    section.figure("memory after a restart, at most", mib(after.most_resident_bytes), Unit::MiB);
    Ok(section)
}

impl Seen {
    /// Does `work`, and looks at the host meanwhile.
    async fn while_doing<T>(
        host: &Host,
        cache: &Path,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<(Self, T)> {
        let mut seen = Self::default();
        let looking = async {
            loop {
                seen.look(host, cache)?;
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        let done = tokio::select! {
            done = work => done?,
            looked = looking => {
                let looked: anyhow::Result<()> = looked;
                return Err(looked.expect_err("it looks for ever"));
            }
        };
        seen.look(host, cache)?;
        Ok((seen, done))
    }

    fn look(&mut self, host: &Host, cache: &Path) -> anyhow::Result<()> {
        self.most_mappings = self.most_mappings.max(mappings(host.pid())?);
        self.most_open_files = self.most_open_files.max(open_files(host.pid())?);
        self.most_resident_bytes = self.most_resident_bytes.max(resident_bytes(host.pid())?);
        self.artefacts.extend(artefacts(cache).context("failed to look at compiled plugins")?);
        Ok(())
    }
}

fn artefacts(cache: &Path) -> std::io::Result<Vec<(OsString, SystemTime)>> {
    let mut artefacts = Vec::new();
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        if PathBuf::from(entry.file_name()).extension().is_some_and(|extension| extension == ARTEFACT_EXTENSION) {
            artefacts.push((entry.file_name(), entry.metadata()?.modified()?));
        }
    }
    Ok(artefacts)
}

fn task(number: u32) -> AddRequest {
    AddRequest {
        plugin: PluginRef::Wasm(BASE64_STANDARD.encode(numbered(TICKER, number))),
        ..load::spread(&format!("plugin-{number}"), number, EVERY)
    }
}

/// The same program in other bytes: with a custom section at its end, which nobody reads.
fn numbered(wasm: &[u8], number: u32) -> Vec<u8> {
    let mut section = vec![SECTION_NAME.len() as u8];
    section.extend(SECTION_NAME);
    section.extend(number.to_le_bytes());
    // Id and length; both lengths are below 128, where LEB128 is the byte itself.
    [wasm, &[0, section.len() as u8], &section].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_plugin_is_the_same_to_the_engine_and_another_to_the_store() {
        let (one, two) = (numbered(TICKER, 1), numbered(TICKER, 200));
        assert_ne!(one, two);
        assert!(one.starts_with(TICKER));
        taskhost_engine::floor::measure(&two.into(), 1, Duration::ZERO, Default::default(), None)
            .expect("it is a plugin");
    }
}
