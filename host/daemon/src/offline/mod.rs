//! Commands that need no daemon: they look at one plugin file, run it, or make what one begins with. (`dev` brings one along, or is a
//! client of one.)

pub(crate) mod dev;
mod grant_args;
pub(crate) mod inspect;
pub(crate) mod new;
pub(crate) mod pack;
pub(crate) mod run;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use taskhost_api::MAX_PLUGIN_BYTES;
use taskhost_engine::{CompilerConfig, EngineConfig, EngineError, WasmEngine};

use crate::echo::printable;
use crate::secrets::Secrets;

/// Wrong usage, as clap has it.
const USAGE: u8 = 2;

/// Arguments that do not go together, or make no sense.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Misuse {
    message: String,
    hint: &'static str,
}

impl Misuse {
    fn new(message: impl Into<String>, hint: &'static str) -> Self {
        Self { message: message.into(), hint }
    }

    fn tell(&self) -> ExitCode {
        let Self { message, hint } = self;
        eprintln!("taskhost: {}\nhint: {hint}", printable(message));
        ExitCode::from(USAGE)
    }
}

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

/// An engine for one plugin, in a process that is nobody's host.
fn engine_for(wasm: Bytes, compiler: CompilerConfig, secrets_dir: Option<PathBuf>) -> Result<WasmEngine, EngineError> {
    let secrets = Arc::new(Secrets::of_process(secrets_dir));
    taskhost_testkit::engine(EngineConfig { secrets, ..taskhost_testkit::engine_config(wasm, compiler) })
}
