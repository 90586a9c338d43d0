//! What guests write to, without the rest of WASI: most runs of most plugins need nothing else of it.

use wasmtime::StoreContextMut;
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::p2::DynOutputStream;
use wasmtime_wasi_io::bindings::wasi::io::{error, poll, streams};

use crate::output::Capture;
use crate::state::State;

/// The table in which streams stand.
struct Streams;

impl HasData for Streams {
    type Data<'a> = &'a mut ResourceTable;
}

/// Puts our own functions before wasmtime's, which would have all of WASI made first.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    add_stream(linker, "wasi:cli/stdout@0.2.12", "get-stdout", |state| state.granted.output.stdout())?;
    add_stream(linker, "wasi:cli/stderr@0.2.12", "get-stderr", |state| state.granted.output.stderr())?;
    error::add_to_linker::<State, Streams>(linker, |state| &mut state.table)?;
    poll::add_to_linker::<State, Streams>(linker, |state| &mut state.table)?;
    streams::add_to_linker::<State, Streams>(linker, |state| &mut state.table)
}

fn add_stream(
    linker: &mut Linker<State>,
    interface: &str,
    function: &str,
    stream: impl Fn(&State) -> Capture + Send + Sync + 'static,
) -> wasmtime::Result<()> {
    linker.instance(interface)?.func_wrap(function, move |mut store: StoreContextMut<'_, State>, (): ()| {
        let state = store.data_mut();
        let stream: DynOutputStream = Box::new(stream(state));
        Ok((state.table.push(stream)?,))
    })
}
