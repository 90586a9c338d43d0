//! Admits, compiles, caches and runs plugins on wasmtime.
//!
//! A plugin comes in through one door ([`inspect()`] shows what it sees), is compiled once, in a child process, and loaded
//! once per worker for as long as it is used. Every attempt gets a fresh store and instance, so that nothing leaks from run to run, unless its task keeps
//! its instance.
//!
//! This crate knows nothing of schedules and keeps no tasks. How an attempt goes through it:
//! `runner` (lanes, deadline, stop) → `attempt` (store, instance, call) → `report` (what became of it).
//!
//! Its modules stand in layers, and each takes from those below it only:
//! 1. what is counted, bounded and said: `limits`, `budget`, `kept`, `problem`, `report`, `requests`, `answers`, `config`
//! 2. what the attempts of a task start from, and what they are granted: `setup`, `output`, `held`, `limiter`, `grant`
//! 3. the world of one attempt: `state`
//! 4. what guests call in it: `wit`, `linker`
//! 5. plugins: the door (`import`, `inspect`, `admit`), `compile`, `artefact`, `load`, `residents`, and all of it together: `plugins`
//! 6. what runs them: `job`, `attempt`, `guest`, `lane`, `runner`
//! 7. `engine`, which makes it all, and `floor`, which measures it

mod about;
mod admit;
mod answers;
mod artefact;
mod attempt;
mod bounds;
mod budget;
mod builtin;
mod compile;
mod config;
mod engine;
mod epoch;
mod error;
pub mod floor;
#[doc(hidden)]
pub mod fuzzing;
mod grant;
mod guest;
mod held;
mod import;
mod inspect;
mod job;
mod kept;
mod lane;
mod limiter;
mod limits;
mod linker;
mod load;
mod mask;
mod output;
mod pack;
mod plugins;
mod pool;
mod problem;
mod program;
mod report;
mod requests;
mod residents;
mod room;
mod runner;
mod secrets;
mod setup;
mod state;
mod target;
mod threads;
mod tls;
mod turn;
mod virtual_time;
mod wit;

pub use about::can_use;
pub use admit::MAX_PLUGIN_BYTES;
pub use answers::{Answer, AnswerError, Answers};
pub use compile::compile_in_child;
pub use config::{ChildLimits, CompilePlace, CompilerConfig, DEFAULT_COMPILE_LIMITS, DEFAULT_LOOK_AT_LIMITS};
pub use config::{DEFAULT_POOL_SLOTS, EngineConfig};
pub use engine::WasmEngine;
pub use error::EngineError;
pub use inspect::{Inspection, Memory, inspect, is_binary};
pub use job::Job;
pub use pack::pack;
pub use problem::Problem;
pub use requests::{Request, Requests};
pub use runner::{Run, WasmRunner};
pub use virtual_time::VirtualTime;
