//! Tasks, their schedules, and what becomes of their due times.
//!
//! This crate decides *when* and *what*; it knows no wasm, no wire, no SQL, no environment. Those are handed in through
//! [`ports`]. The rules are in [`mod@unit`], a state machine without I/O; `worker` drives many of them on one thread;
//! [`supervisor`] is the door for everybody else.

mod claims;
pub mod events;
pub mod key_value;
pub mod label;
pub mod lateness;
pub mod log;
pub mod manifest;
pub mod name;
mod number;
pub mod outcome;
pub mod patch;
pub mod plugin;
pub mod ports;
pub mod prefetch;
mod recorder;
pub mod schedule;
pub mod shard;
pub mod spec;
pub mod supervisor;
pub mod system_clock;
#[cfg(test)]
mod testing;
pub mod time;
pub mod told;
pub mod unit;
pub mod weak_map;
mod worker;

#[doc(hidden)]
pub use worker::benching;
