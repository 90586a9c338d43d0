//! What the host offers to guests, linked once per engine. WASI is always linked: what is not granted is empty or denied at
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

use std::sync::{Arc, OnceLock};

use wasmtime::{Engine, component};
use wasmtime_wasi::I32Exit;

use self::preview1::PREVIEW1;
use crate::pool::Kind;
use crate::room::Room;
use crate::state::State;
use crate::virtual_time::VirtualTime;
use crate::wit::v0_1_0;

/// An engine with everything that its guests may import. Its linkers are made when something is first linked: with the code that makes
/// them, they are a good part of the memory of a host without tasks.
pub(crate) struct Linked {
    pub(crate) engine: Engine,
    pub(crate) room: Arc<Room>,
    kind: Kind,
    /// With virtual time, guests that wait pass it over.
    time: Option<Arc<VirtualTime>>,
    components: OnceLock<component::Linker<State>>,
    modules: OnceLock<wasmtime::Linker<State>>,
}

impl Linked {
    /// Without WASI 0.3.
    pub(crate) fn new(engine: Engine, room: Arc<Room>, time: Option<&Arc<VirtualTime>>) -> Self {
        Self::of(Kind::Plain, engine, room, time)
    }

    /// With it, for an engine that has concurrency.
    pub(crate) fn concurrent(engine: Engine, room: Arc<Room>, time: Option<&Arc<VirtualTime>>) -> Self {
        Self::of(Kind::Concurrent, engine, room, time)
    }

    fn of(kind: Kind, engine: Engine, room: Arc<Room>, time: Option<&Arc<VirtualTime>>) -> Self {
        let (components, modules) = (OnceLock::new(), OnceLock::new());
        Self { engine, room, kind, time: time.cloned(), components, modules }
    }

    pub(crate) fn components(&self) -> &component::Linker<State> {
        self.components.get_or_init(|| self.link_components().expect("every name is linked once"))
    }

    pub(crate) fn modules(&self) -> &wasmtime::Linker<State> {
        self.modules.get_or_init(|| self.link_modules().expect("every name is linked once"))
    }

    fn link_components(&self) -> wasmtime::Result<component::Linker<State>> {
        let mut linker = component::Linker::new(&self.engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
        v0_1_0::add_to_linker(&mut linker)?;
        // What is granted is checked, and what is denied is told, before wasmtime's own functions are reached.
        linker.allow_shadowing(true);
        env::add_to_linker(&mut linker)?;
        files::add_to_linker(&mut linker)?;
        sockets::add_to_linker(&mut linker)?;
        stdio::add_to_linker(&mut linker)?;
        if let Some(time) = &self.time {
            virtual_time::add_to_linker(&mut linker, time)?;
        }
        linker.allow_shadowing(false);
        config::add_to_linker(&mut linker)?;
        key_value::add_to_linker(&mut linker)?;
        logging::add_to_linker(&mut linker)?;
        if self.kind == Kind::Concurrent {
            wasmtime_wasi::p3::add_to_linker(&mut linker)?;
            wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
            linker.allow_shadowing(true);
            wasi_0_3::add_to_linker(&mut linker)?;
            linker.allow_shadowing(false);
        }
        Ok(linker)
    }

    fn link_modules(&self) -> wasmtime::Result<wasmtime::Linker<State>> {
        let mut linker = wasmtime::Linker::new(&self.engine);
        wasmtime_wasi::p1::add_to_linker_async(&mut linker, State::preview1)?;
        // wasmtime's own makes a trap of exit codes from 126 up; a shell's programs use them.
        linker.allow_shadowing(true);
        linker.func_wrap(PREVIEW1, "proc_exit", |code: i32| -> wasmtime::Result<()> { Err(I32Exit(code).into()) })?;
        env::add_to_preview1_linker(&mut linker)?;
        files::add_to_preview1_linker(&mut linker)?;
        sockets::add_to_preview1_linker(&mut linker)?;
        if let Some(time) = &self.time {
            virtual_time::add_to_preview1_linker(&mut linker, time)?;
        }
        linker.allow_shadowing(false);
        Ok(linker)
    }
}
