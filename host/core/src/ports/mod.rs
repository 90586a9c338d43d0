//! The traits through which the core reaches the world. Each has two implementations: the real one, and the one
//! that tests and the simulator hand in.

pub mod clock;
pub mod engine;
mod future;
pub mod grants;
pub mod store;

pub use self::clock::{Alarm, Clock};
pub use self::engine::{AtHand, Attempt, Engine, EngineStats, PluginSource, RunControl, Runner, resolve};
pub use self::future::BoxFuture;
pub use self::grants::{GrantGate, NoGate, NoSecrets, SecretSource};
pub use self::store::{
    Actor, Backlog, Change, ChangeKind, Definition, HistoryBatch, HostRun, JournalEntry, Loaded, LoadedTask, OpenRun,
    Pause, Progress, Revision, RevisionKind, RunsQuery, Start, Store, StoreError, StoredPlugin, UnitState,
};
pub use crate::spec::GrantFault;
pub use crate::system_clock::SystemClock;
