//! What the host offers to guests, built once per engine. WASI is always linked: what is not granted is empty or denied at
//! the call, because every toolchain imports much that its programs never use.

use std::sync::Arc;

use wasmtime::{Engine, component};
use wasmtime_wasi::I32Exit;

use crate::grant::{config, key_value, logging};
use crate::room::Room;
use crate::state::State;
use crate::wit::v0_1_0;

/// The module name of preview 1's functions.
pub(crate) const PREVIEW1: &str = "wasi_snapshot_preview1";

/// An engine with everything that its guests may import.
pub(crate) struct Linked {
    pub(crate) engine: Engine,
    pub(crate) components: component::Linker<State>,
    pub(crate) modules: wasmtime::Linker<State>,
    pub(crate) room: Arc<Room>,
}

impl Linked {
    pub(crate) fn new(engine: Engine, room: Arc<Room>) -> wasmtime::Result<Self> {
        let mut components = component::Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut components)?;
        v0_1_0::add_to_linker(&mut components)?;
        config::add_to_linker(&mut components)?;
        key_value::add_to_linker(&mut components)?;
        logging::add_to_linker(&mut components)?;

        let mut modules = wasmtime::Linker::new(&engine);
        wasmtime_wasi::p1::add_to_linker_async(&mut modules, |state: &mut State| &mut state.wasi)?;
        // wasmtime's own makes a trap of exit codes from 126 up; a shell's programs use them.
        modules.allow_shadowing(true);
        modules.func_wrap(PREVIEW1, "proc_exit", |code: i32| -> wasmtime::Result<()> { Err(I32Exit(code).into()) })?;
        modules.allow_shadowing(false);
        Ok(Self { engine, components, modules, room })
    }
}
