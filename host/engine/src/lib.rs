//! Admits, compiles, caches and runs plugins on wasmtime.
//!
//! A plugin comes in through one door ([`inspect()`] shows what it sees), is compiled once, off the workers' threads, and
//! loaded once per worker. Every attempt gets a fresh store and instance: nothing leaks from run to run.
//!
//! This crate knows nothing of schedules and keeps no tasks. How an attempt goes through it:
//! `runner` (lanes, deadline, stop) → `attempt` (store, instance, call) → `report` (what became of it).

mod admit;
mod artefact;
mod attempt;
mod builtin;
mod compile;
mod config;
mod engine;
mod epoch;
mod error;
pub mod floor;
#[doc(hidden)]
pub mod fuzzing;
mod import;
mod inspect;
mod lane;
mod limits;
mod linker;
mod load;
mod output;
mod pool;
mod program;
mod report;
mod room;
mod runner;
mod state;
mod wit;

pub use admit::MAX_PLUGIN_BYTES;
pub use config::{DEFAULT_POOL_SLOTS, EngineConfig};
pub use engine::WasmEngine;
pub use error::EngineError;
pub use inspect::{Inspection, Problem, inspect};
pub use output::MAX_RUN_LOG_BYTES;
pub use runner::{Job, Run, WasmRunner};
