//! What the engine is made with. Reading it from files and flags is the daemon's matter.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use taskhost_core::ports::PluginSource;

/// How many instances one worker can make from its pool at once by default, as far as the address space allows it.
pub const DEFAULT_POOL_SLOTS: u32 = 1000;

/// What looking at a plugin may take, before it is compiled. Parsing 8 MiB of text takes 700 MB; everything else takes less,
/// and a component of 15 MB some 300 ms.
pub const DEFAULT_LOOK_AT_LIMITS: ChildLimits =
    ChildLimits { memory_bytes: 1 << 30, cpu: Duration::from_secs(30), wall: Duration::from_secs(120) };

/// What compiling may take. A component of Python or JavaScript of 12 to 18 MB takes a minute on two slow cores, which is two of
/// processor time, and 1 to 2 GB; the time that it takes by the clock is longer where others keep the cores busy, since
/// compiling has low priority.
pub const DEFAULT_COMPILE_LIMITS: ChildLimits =
    ChildLimits { memory_bytes: 3 << 30, cpu: Duration::from_secs(300), wall: Duration::from_secs(900) };

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
    /// The plugins that the host brings along, by name.
    pub builtins: Vec<(String, Bytes)>,
    /// Where the others come from.
    pub source: Arc<dyn PluginSource>,
}

impl fmt::Debug for EngineConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let builtins: Vec<_> = self.builtins.iter().map(|(name, _)| name).collect();
        f.debug_struct("EngineConfig")
            .field("workers", &self.workers)
            .field("pool_slots", &self.pool_slots)
            .field("cache_dir", &self.cache_dir)
            .field("compiler", &self.compiler)
            .field("builtins", &builtins)
            .finish_non_exhaustive()
    }
}
