//! What the host offers to guests, built once per engine. WASI is always linked: what is not granted is empty or denied at
//! the call, because every toolchain imports much that its programs never use.

use std::sync::Arc;

use wasmtime::{Engine, component};
use wasmtime_wasi::I32Exit;

use crate::grant;
use crate::room::Room;
use crate::state::State;
use crate::virtual_time::{self, VirtualTime};
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
    /// With virtual time, guests that wait pass it over.
    pub(crate) fn new(engine: Engine, room: Arc<Room>, time: Option<&Arc<VirtualTime>>) -> wasmtime::Result<Self> {
        let mut components = component::Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut components)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut components)?;
        v0_1_0::add_to_linker(&mut components)?;
        // What is granted is checked, and what is denied is told, before wasmtime's own functions are reached.
        components.allow_shadowing(true);
        grant::env::add_to_linker(&mut components)?;
        grant::files::add_to_linker(&mut components)?;
        grant::net::add_to_linker(&mut components)?;
        grant::stdio::add_to_linker(&mut components)?;
        if let Some(time) = time {
            virtual_time::add_to_linker(&mut components, time)?;
        }
        components.allow_shadowing(false);
        grant::config::add_to_linker(&mut components)?;
        grant::key_value::add_to_linker(&mut components)?;
        grant::logging::add_to_linker(&mut components)?;

        let mut modules = wasmtime::Linker::new(&engine);
        wasmtime_wasi::p1::add_to_linker_async(&mut modules, State::preview1)?;
        // wasmtime's own makes a trap of exit codes from 126 up; a shell's programs use them.
        modules.allow_shadowing(true);
        modules.func_wrap(PREVIEW1, "proc_exit", |code: i32| -> wasmtime::Result<()> { Err(I32Exit(code).into()) })?;
        grant::env::add_to_preview1_linker(&mut modules)?;
        grant::files::add_to_preview1_linker(&mut modules)?;
        grant::net::add_to_preview1_linker(&mut modules)?;
        if let Some(time) = time {
            virtual_time::add_to_preview1_linker(&mut modules, time)?;
        }
        modules.allow_shadowing(false);
        Ok(Self { engine, components, modules, room })
    }

    /// The same with WASI 0.3, for an engine that has concurrency.
    pub(crate) fn concurrent(
        engine: Engine,
        room: Arc<Room>,
        time: Option<&Arc<VirtualTime>>,
    ) -> wasmtime::Result<Self> {
        let mut linked = Self::new(engine, room, time)?;
        wasmtime_wasi::p3::add_to_linker(&mut linked.components)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linked.components)?;
        linked.components.allow_shadowing(true);
        grant::wasi_0_3::add_to_linker(&mut linked.components)?;
        linked.components.allow_shadowing(false);
        Ok(linked)
    }
}
