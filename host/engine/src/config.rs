//! What the engine is made with. Reading it from files and flags is the daemon's matter.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use taskhost_core::key_value::KeyValue;
use taskhost_core::ports::{PluginSource, SecretSource};
use taskhost_core::spec::Ceilings;

use crate::answers::Answers;
use crate::requests::Requests;
use crate::virtual_time::VirtualTime;

/// How many instances one worker can make from its pool at once by default, as far as the address space allows it.
pub const DEFAULT_POOL_SLOTS: u32 = 1000;

/// What looking at a plugin may take, before it is compiled.
///
/// Measured: a component of Python of 18 MB takes 400 ms of processor time and less than 96 MiB; the worst text of 8 MiB that
/// we could think of, 1.5 s and less than 1 GiB.
pub const DEFAULT_LOOK_AT_LIMITS: ChildLimits =
    ChildLimits { memory_bytes: 1 << 30, cpu: Duration::from_secs(30), wall: Duration::from_secs(120) };

/// What compiling may take, with looking at it once more.
///
/// Measured: a component of Python of 18 MB takes 14 s of processor time on a fast machine, and less than 512 MiB; a module of
/// 12 MB in 40,000 functions that a test makes up, 75 s and less than 512 MiB. Slow cores take several times as long. By the
/// clock it may be much longer, since compiling has low priority: 60 s where others kept both cores busy.
pub const DEFAULT_COMPILE_LIMITS: ChildLimits =
    ChildLimits { memory_bytes: 2 << 30, cpu: Duration::from_secs(300), wall: Duration::from_secs(900) };

/// How plugins are compiled.
#[derive(Clone, Debug)]
pub struct CompilerConfig {
    pub place: CompilePlace,
    /// What looking at one may take, if that is in a child process.
    pub look_at: ChildLimits,
    /// What compiling one may take, with looking at it, if that is in a child process.
    pub compile: ChildLimits,
}

/// Where plugins are compiled.
#[derive(Clone, Debug)]
pub enum CompilePlace {
    /// In a child process with limits: this program, with these arguments, must call [`compile_in_child`](crate::compile_in_child).
    Child { program: PathBuf, args: Vec<OsString> },
    /// In this process, where nothing but the door's bounds limits what it takes: for plugins that are trusted.
    Here,
}

/// What a child process may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildLimits {
    /// Memory of its own that can be written to.
    pub memory_bytes: u64,
    /// Processor time, of all its threads together; whole seconds, at least one.
    pub cpu: Duration,
    /// Time by the clock, from its start to its end.
    pub wall: Duration,
}

impl CompilerConfig {
    /// In child processes of this program, with the default limits.
    pub fn child(program: impl Into<PathBuf>, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self::at(CompilePlace::Child { program: program.into(), args: args.into_iter().map(Into::into).collect() })
    }

    /// In this process.
    pub fn here() -> Self {
        Self::at(CompilePlace::Here)
    }

    fn at(place: CompilePlace) -> Self {
        Self { place, look_at: DEFAULT_LOOK_AT_LIMITS, compile: DEFAULT_COMPILE_LIMITS }
    }
}

/// What an engine is made with.
#[derive(Clone)]
pub struct EngineConfig {
    /// How many workers run attempts; each gets an engine of its own.
    pub workers: usize,
    /// The most slots of one worker's pool; there are fewer where the address space is limited.
    pub pool_slots: u32,
    /// Where compiled plugins are kept over restarts; in memory only if `None`. Made if it is not there, readable for
    /// nobody else: what is in it is run as machine code.
    pub cache_dir: Option<PathBuf>,
    pub compiler: CompilerConfig,
    /// How many plugins are loaded at once, on all engines together; as many as the system has room for if `None`. The others wait on
    /// disk until a run needs them.
    pub most_loaded: Option<usize>,
    /// The plugins that the host brings along, by name.
    pub builtins: Vec<(String, Bytes)>,
    /// Where the others come from.
    pub source: Arc<dyn PluginSource>,
    /// The keys and values of tasks.
    pub key_values: Arc<dyn KeyValue>,
    /// Where secrets come from.
    pub secrets: Arc<dyn SecretSource>,
    /// The linear memory and tables that all guests together may have.
    pub memory_budget_bytes: u64,
    /// Whether plugins of WASI 0.3 are run. wasmtime's part of it is not finished: what is found wrong in it is mended in the next
    /// release only.
    pub wasi_0_3: bool,
    /// The most that tasks may have of each limit, whatever their definitions say.
    pub ceilings: Ceilings,
    /// The host's own folders: none is granted that holds one of them or stands in one.
    pub own_dirs: Vec<PathBuf>,
    /// Where the host itself listens: no grant leads there, for who connects from this machine may command the host.
    pub own_addresses: Vec<SocketAddr>,
    /// Time that is not waited for, where plugins are tried out; a host has none.
    pub virtual_time: Option<Arc<VirtualTime>>,
    /// Where guests' requests are noted, where plugins are tried out; a host notes none.
    pub requests: Option<Arc<Requests>>,
    /// The answers to guests' requests where they stand for the network and plugins are tried out; a host has none, and asks the network.
    pub answers: Option<Arc<Answers>>,
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let builtins: Vec<_> = self.builtins.iter().map(|(name, _)| name).collect();
        f.debug_struct("EngineConfig")
            .field("workers", &self.workers)
            .field("pool_slots", &self.pool_slots)
            .field("cache_dir", &self.cache_dir)
            .field("compiler", &self.compiler)
            .field("most_loaded", &self.most_loaded)
            .field("builtins", &builtins)
            .field("memory_budget_bytes", &self.memory_budget_bytes)
            .field("wasi_0_3", &self.wasi_0_3)
            .field("ceilings", &self.ceilings)
            .field("own_dirs", &self.own_dirs)
            .field("own_addresses", &self.own_addresses)
            .field("virtual_time", &self.virtual_time)
            .finish_non_exhaustive()
    }
}
