//! What WASI 0.3 reaches of the host, as far as it is not what 0.2 reaches too: folders, variables and HTTP are the same, by the
//! same checks.
//!
//! wasmtime's 0.3 has no hook where what a socket receives could be counted, so there are none: a plugin that needs sockets is built
//! for 0.2. Files and folders alone are opened, as [`files`](super::files) explains.

use wasmtime::StoreContextMut;
use wasmtime::component::{Accessor, Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem, WasiFilesystemView};
use wasmtime_wasi::p3::bindings::filesystem::types::{
    DescriptorFlags, DescriptorType, ErrorCode, HostDescriptorWithStore, OpenFlags, PathFlags,
};
use wasmtime_wasi::p3::bindings::sockets::types::{ErrorCode as SocketError, IpAddressFamily};
use wasmtime_wasi::p3::filesystem::FilesystemError;
use wasmtime_wasi::sockets::{TcpSocket, UdpSocket};

use crate::grant::denials::quoted;
use crate::state::State;

const NO_SOCKETS: &str = "denied: a socket of WASI 0.3; build the plugin for WASI 0.2, or use HTTP";

/// Puts our own functions before wasmtime's.
pub(crate) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let mut sockets = linker.instance("wasi:sockets/types@0.3.0")?;
    sockets.func_wrap("[static]tcp-socket.create", |store: StoreContextMut<'_, State>, (_,): (IpAddressFamily,)| {
        store.data().reach.tell(|| NO_SOCKETS.to_owned());
        Ok((Err::<Resource<TcpSocket>, _>(SocketError::AccessDenied),))
    })?;
    sockets.func_wrap("[static]udp-socket.create", |store: StoreContextMut<'_, State>, (_,): (IpAddressFamily,)| {
        store.data().reach.tell(|| NO_SOCKETS.to_owned());
        Ok((Err::<Resource<UdpSocket>, _>(SocketError::AccessDenied),))
    })?;
    type Open = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);
    linker.instance("wasi:filesystem/types@0.3.0")?.func_wrap_concurrent(
        "[method]descriptor.open-at",
        |store: &Accessor<State>, (dir, follow, path, open, flags): Open| {
            Box::pin(async move { Ok((open_at(store, dir, follow, path, open, flags).await?,)) })
        },
    )
}

/// Opens a file or a folder, and nothing else.
async fn open_at(
    store: &Accessor<State>,
    dir: Resource<Descriptor>,
    follow: PathFlags,
    path: String,
    open: OpenFlags,
    flags: DescriptorFlags,
) -> wasmtime::Result<Result<Resource<Descriptor>, ErrorCode>> {
    let files = store.with_getter::<WasiFilesystem>(WasiFilesystemView::filesystem);
    let again = Resource::new_borrow(dir.rep());
    let found = WasiFilesystem::stat_at(&files, again, follow, path.clone()).await;
    match code(found)? {
        Ok(found)
            if !matches!(
                found.type_,
                DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink
            ) =>
        {
            let line = || {
                format!(
                    "denied: opening {}, which is neither a file nor a folder; nothing else is opened",
                    quoted(&path)
                )
            };
            store.with(|mut store| store.get().reach.tell(line));
            return Ok(Err(ErrorCode::NotPermitted));
        }
        // What is not there may be made.
        Ok(_) | Err(ErrorCode::NoEntry) => {}
        // What can't be looked at is not opened, for it may be anything.
        Err(code) => return Ok(Err(code)),
    }
    code(WasiFilesystem::open_at(&files, dir, follow, path, open, flags).await)
}

/// An error is the guest's, or a trap.
fn code<T>(done: Result<T, FilesystemError>) -> wasmtime::Result<Result<T, ErrorCode>> {
    match done {
        Ok(done) => Ok(Ok(done)),
        Err(error) => error.downcast().map(Err),
    }
}
