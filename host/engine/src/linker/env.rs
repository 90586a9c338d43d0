//! Environment variables.

use wasmtime::{Caller, StoreContextMut, component};
use wasmtime_wasi::cli::WasiCliView;
use wasmtime_wasi::p1::wasi_snapshot_preview1 as preview1;
use wasmtime_wasi::p2::bindings::cli::environment::Host;

use crate::linker::preview1::{PREVIEW1, enter};
use crate::state::State;

/// Takes note of who asks for variables.
pub(crate) fn add_to_linker(linker: &mut component::Linker<State>) -> wasmtime::Result<()> {
    let mut environment = linker.instance("wasi:cli/environment@0.2.12")?;
    environment.func_wrap("get-environment", |mut store: StoreContextMut<'_, State>, (): ()| {
        let state = store.data_mut();
        state.reach.asks_for_env();
        Ok((Host::get_environment(&mut state.cli())?,))
    })
}

/// The same for preview 1.
pub(crate) fn add_to_preview1_linker(linker: &mut wasmtime::Linker<State>) -> wasmtime::Result<()> {
    linker.func_wrap(PREVIEW1, "environ_sizes_get", |mut caller: Caller<'_, State>, count: i32, bytes: i32| {
        caller.data_mut().reach.asks_for_env();
        let memory = caller.get_export("memory");
        let (state, mut memory) = enter(&mut caller, memory.as_ref())?;
        preview1::environ_sizes_get(state.preview1(), &mut memory, count, bytes)
    })?;
    Ok(())
}
