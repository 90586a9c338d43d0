//! What the host offers to guests, built once per engine. WASI is always linked: what is not granted is empty or denied at
//! the call, because every toolchain imports much that its programs never use. Our own functions are here too, one file for each kind.

pub(crate) mod config;
mod env;
mod files;
pub(crate) mod key_value;
pub(crate) mod logging;
pub(crate) mod preview1;
mod sockets;
mod stdio;
mod virtual_time;
mod wasi_0_3;

use std::sync::Arc;

use wasmtime::{Engine, component};
use wasmtime_wasi::I32Exit;

use self::preview1::PREVIEW1;
use crate::room::Room;
use crate::state::State;
use crate::virtual_time::VirtualTime;
use crate::wit::v0_1_0;

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
        env::add_to_linker(&mut components)?;
        files::add_to_linker(&mut components)?;
        sockets::add_to_linker(&mut components)?;
        stdio::add_to_linker(&mut components)?;
        if let Some(time) = time {
            virtual_time::add_to_linker(&mut components, time)?;
        }
        components.allow_shadowing(false);
        config::add_to_linker(&mut components)?;
        key_value::add_to_linker(&mut components)?;
        logging::add_to_linker(&mut components)?;

        let mut modules = wasmtime::Linker::new(&engine);
        wasmtime_wasi::p1::add_to_linker_async(&mut modules, State::preview1)?;
        // wasmtime's own makes a trap of exit codes from 126 up; a shell's programs use them.
        modules.allow_shadowing(true);
        modules.func_wrap(PREVIEW1, "proc_exit", |code: i32| -> wasmtime::Result<()> { Err(I32Exit(code).into()) })?;
        env::add_to_preview1_linker(&mut modules)?;
        files::add_to_preview1_linker(&mut modules)?;
        sockets::add_to_preview1_linker(&mut modules)?;
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
        wasi_0_3::add_to_linker(&mut linked.components)?;
        linked.components.allow_shadowing(false);
        Ok(linked)
    }
}
