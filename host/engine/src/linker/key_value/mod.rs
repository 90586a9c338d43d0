//! `wasi:keyvalue`: keys and values that a task keeps from run to run, in a store of its own.
//!
//! A file for each draft that is served, which converts at its edge; what they have in common is in `own_store`. The guest waits in a call
//! until the store has answered: a change is durable then. wasmtime-wasi-keyvalue is not used: its store is a map in memory, gone with
//! the attempt, and it has neither drafts side by side nor calls that wait.

mod draft;
mod draft2;
mod own_store;

use crate::state::State;

/// What of both drafts a component may import.
pub(crate) const IMPORTS: &[&str] = &[
    "wasi:keyvalue/atomics@0.2.0-draft",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/batch@0.2.0-draft",
    "wasi:keyvalue/batch@0.2.0-draft2",
    "wasi:keyvalue/store@0.2.0-draft",
    "wasi:keyvalue/store@0.2.0-draft2",
];

pub(crate) fn add_to_linker(linker: &mut wasmtime::component::Linker<State>) -> wasmtime::Result<()> {
    draft::add_to_linker(linker)?;
    draft2::add_to_linker(linker)
}
