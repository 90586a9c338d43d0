//! Environment variables.

use taskhost_core::spec::TaskSpec;
use wasmtime::{Caller, StoreContextMut, component};
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::cli::WasiCliView;
use wasmtime_wasi::p1::wasi_snapshot_preview1 as preview1;
use wasmtime_wasi::p2::bindings::cli::environment::Host;

use crate::grant::preview1::enter;
use crate::linker::PREVIEW1;
use crate::state::State;

/// Gives an attempt the variables of its task, to preview 1 and WASI 0.2 alike.
pub(crate) fn give(wasi: &mut WasiCtxBuilder, spec: &TaskSpec) {
    for (name, value) in &spec.grants().env {
        wasi.env(name, value);
    }
}

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
