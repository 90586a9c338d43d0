//! Commands that need no daemon: they look at one plugin file, or run it.

pub(crate) mod inspect;
pub(crate) mod run;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use taskhost_api::MAX_PLUGIN_BYTES;

/// Reads a plugin's file, if it is no larger than a host accepts.
fn read_plugin(path: &Path) -> anyhow::Result<Bytes> {
    let mut wasm = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_PLUGIN_BYTES + 1).read_to_end(&mut wasm))
        .with_context(|| format!("failed to read {}", path.display()))?;
    anyhow::ensure!(
        wasm.len() as u64 <= MAX_PLUGIN_BYTES,
        "{} is larger than {MAX_PLUGIN_BYTES} bytes, the most that a host accepts",
        path.display()
    );
    Ok(wasm.into())
}
