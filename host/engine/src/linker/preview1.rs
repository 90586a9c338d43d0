//! How our own functions of preview 1 stand before wasmtime's.

use wasmtime::{AsContextMut, Caller, Extern};
use wasmtime_wasi::p1::types::Errno;
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1;
use wiggle::GuestMemory;

use crate::state::State;

/// The module name of its functions.
pub(crate) const PREVIEW1: &str = "wasi_snapshot_preview1";

/// What preview 1 calls what is not permitted.
pub(crate) const NOT_PERMITTED: i32 = Errno::Perm as i32;
/// What preview 1 calls something that is no socket.
pub(crate) const NO_SOCKET: i32 = Errno::Notsock as i32;

/// The guest's memory and the rest of the store, as wasmtime's own functions of preview 1 get them.
pub(crate) fn enter<'a>(
    caller: &'a mut Caller<'_, State>,
    memory: Option<&'a Extern>,
) -> wasmtime::Result<(&'a mut State, GuestMemory<'a>)> {
    let fuel = caller.as_context_mut().hostcall_fuel();
    let (state, memory) = match memory {
        Some(Extern::Memory(memory)) => {
            let (bytes, state) = memory.data_and_store_mut(caller);
            (state, GuestMemory::Unshared(bytes))
        }
        Some(Extern::SharedMemory(memory)) => (caller.data_mut(), GuestMemory::Shared(memory.data())),
        _ => return Err(wasmtime::Error::msg("missing required memory export")),
    };
    state.preview1().set_hostcall_fuel(fuel);
    Ok((state, memory))
}
