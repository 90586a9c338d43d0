//! Compiles plugins, in a child process with limits.
//!
//! Compiling is where a stranger's file costs most, and wasmtime promises nothing about how much: a plugin can be made that
//! takes minutes, gigabytes, or the compiler's whole stack. So the daemon does none of it. It starts its own executable once
//! more for each plugin ([`process`]), and the child, before it reads a byte, gives away what it does not need ([`child`]):
//! memory, processor time, files, priority. The worst that a plugin can do is that its child is killed; the daemon says of
//! which limit, and goes on.
//!
//! The door is there too: parsing text, validating, and making a component of a core module can blow up like compiling can,
//! and a stack that overflows ends a process, whatever it is made of. The daemon itself never reads more of a stranger's
//! plugin than its hash. A plugin that is sent is looked at before its turn to be compiled comes, in a child of its own with
//! smaller limits, so that one that is refused does not wait for others to be compiled.
//!
//! What the child is *not* is a second wall around a compiler that was taken over. What it answers with is machine code that
//! the daemon runs, so whoever could make the compiler write other code than the plugin's own would have the daemon, whichever
//! process that was in; and the child runs as the daemon's user. Against that there is what was there before: the compiler is
//! written in Rust without `unsafe` where it reads plugins, and an artefact is tagged with the daemon's key only when it came
//! through the pipe of a child that this daemon started, with exactly the length that it announced, from one that then ended
//! well. Nothing is taken from files or from processes that others started. The child never sees the key, nor is it told
//! where the data directory is.
//!
//! One plugin is compiled at a time, and beside it one small one: compiling is bound by the processor, so more at once would only all
//! end later and take the more memory, but a small plugin is done in a moment and must not wait for the half minute that one of
//! 15 MB takes, with a language's runtime in it.

mod child;
mod here;
mod process;

use std::ffi::OsString;
use std::path::Path;

use bytes::Bytes;
use rustix::process::getpid;
use taskhost_core::plugin::{PluginError, PluginFacts};
use tokio::sync::{Semaphore, SemaphorePermit};

pub use self::child::compile_in_child;
pub(crate) use self::here::Here;
use self::here::refusal;
use self::process::{Compiled, Order, Task};
use crate::admit::{admit, engine_for};
use crate::config::{CompilePlace, CompilerConfig};
use crate::error::EngineError;
use crate::pool::Kind;
use crate::threads::blocking;

/// How many plugins are compiled at once; and how many small ones beside them.
const MAX_COMPILES: usize = 1;

/// A plugin up to this size is small.
const SMALL_BYTES: u64 = 2 << 20;

/// How many plugins are looked at at once, beside those that are compiled.
const MAX_DOORS: usize = 1;

/// How many KiB of plugins may be held in memory by those who wait for their turn. The turn of a plugin that is stored comes
/// before it is read, so these are only plugins that are just being sent.
const MAX_QUEUED_KIB: u32 = 512 << 10;

const KIB_BYTES: usize = 1 << 10;

pub(crate) struct Compiler {
    config: CompilerConfig,
    /// Whether the engines that the artefacts are for have pools.
    pooled: bool,
    /// If the configuration has it so.
    here: Option<Here>,
    doors: Semaphore,
    turns: Semaphore,
    small_turns: Semaphore,
    queue: Semaphore,
}

impl Compiler {
    /// A compiler of artefacts for engines that have pools or have none.
    pub(crate) fn new(config: CompilerConfig, pooled: bool) -> Result<Self, EngineError> {
        let here = matches!(config.place, CompilePlace::Here).then(|| Here::new(pooled)).transpose()?;
        Ok(Self {
            config,
            pooled,
            here,
            doors: Semaphore::new(MAX_DOORS),
            turns: Semaphore::new(MAX_COMPILES),
            small_turns: Semaphore::new(MAX_COMPILES),
            queue: Semaphore::new(MAX_QUEUED_KIB as usize),
        })
    }

    /// Takes a place in memory for a plugin that may have to wait.
    pub(crate) fn queue(&self, wasm: &[u8]) -> Result<SemaphorePermit<'_>, PluginError> {
        let kib = u32::try_from(wasm.len().div_ceil(KIB_BYTES)).unwrap_or(u32::MAX);
        self.queue.try_acquire_many(kib).map_err(|_| {
            let mib = MAX_QUEUED_KIB / 1024;
            PluginError::Busy(format!("{mib} MiB of plugins wait to be compiled already"))
        })
    }

    /// Looks at a plugin as the door does.
    pub(crate) async fn look_at(&self, wasm: Bytes) -> Result<PluginFacts, PluginError> {
        let _turn = self.doors.acquire().await.expect("the semaphore is never closed");
        match &self.config.place {
            CompilePlace::Here => Ok(blocking(move || admit(&wasm)).await??.facts),
            CompilePlace::Child { program, args } => Ok(self.in_child(Task::LookAt, program, args, &wasm).await?.facts),
        }
    }

    /// Waits for the turn of a plugin of this size to be compiled; of one whose size is not known, for that of large ones.
    pub(crate) async fn turn(&self, size_bytes: Option<u64>) -> SemaphorePermit<'_> {
        let is_small = size_bytes.is_some_and(|bytes| bytes <= SMALL_BYTES);
        let turns = if is_small { &self.small_turns } else { &self.turns };
        turns.acquire().await.expect("the semaphore is never closed")
    }

    /// Compiles, in its turn, for engines of the kind that it answers with.
    pub(crate) async fn compile(
        &self,
        _turn: &SemaphorePermit<'_>,
        wasm: Bytes,
    ) -> Result<(Kind, Vec<u8>), PluginError> {
        match (&self.config.place, self.here.clone()) {
            (CompilePlace::Child { program, args }, _) => {
                let compiled = self.in_child(Task::Compile, program, args, &wasm).await?;
                Ok((engine_for(&compiled.facts), compiled.artefact))
            }
            (CompilePlace::Here, Some(here)) => {
                let compile = move || {
                    let admitted = admit(&wasm)?;
                    let code = here.compile(&admitted).map_err(|error| refusal(&error))?;
                    Ok((admitted.engine(), code))
                };
                blocking(compile).await?
            }
            (CompilePlace::Here, None) => unreachable!("it was made with the compiler"),
        }
    }

    async fn in_child(
        &self,
        task: Task,
        program: &Path,
        args: &[OsString],
        wasm: &[u8],
    ) -> Result<Compiled, PluginError> {
        let limits = match task {
            Task::LookAt => self.config.look_at,
            Task::Compile => self.config.compile,
        };
        let order = Order { task, limits, input_bytes: wasm.len() as u64, pooled: self.pooled, parent: getpid() };
        let answer = process::ask(program, args, &order, wasm).await;
        if let Err(error @ PluginError::Host(_)) = &answer {
            tracing::error!("{error}");
        }
        answer
    }
}
