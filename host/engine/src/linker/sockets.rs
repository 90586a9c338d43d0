//! Sockets and lookups of names, as far as hosts are granted: where a guest asks for them, our own functions stand before wasmtime's, and
//! what comes in is counted.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use taskhost_core::spec::Limit;
use wasmtime::component::{self, Resource};
use wasmtime::{Caller, StoreContextMut};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p1::types::Fd;
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as _;
use wasmtime_wasi::p2::bindings::sockets::ip_name_lookup::{Host as _, ResolveAddressStream};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress, IpAddressFamily, Network};
use wasmtime_wasi::p2::bindings::sockets::tcp::{HostTcpSocket as _, TcpSocket};
use wasmtime_wasi::p2::bindings::sockets::tcp_create_socket::Host as _;
use wasmtime_wasi::p2::bindings::sockets::udp::{
    HostIncomingDatagramStream as _, IncomingDatagram, IncomingDatagramStream, UdpSocket,
};
use wasmtime_wasi::p2::bindings::sockets::udp_create_socket::Host as _;
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, Pollable, SocketResult, StreamError, StreamResult,
};
use wasmtime_wasi::sockets::WasiSocketsView;

use crate::grant::denials::quoted;
use crate::grant::hosts::{address_in, denied_name, may_hear_of, may_look_up};
use crate::grant::net::{NO_NETWORK, Net};
use crate::grant::reach::{Reach, TooMuch};
use crate::linker::preview1::{NO_SOCKET, PREVIEW1, enter};
use crate::state::State;

/// Puts our own functions before wasmtime's where a guest asks for sockets, looks names up, or receives.
pub(crate) fn add_to_linker(linker: &mut component::Linker<State>) -> wasmtime::Result<()> {
    let mut tcp = linker.instance("wasi:sockets/tcp-create-socket@0.2.12")?;
    tcp.func_wrap("create-tcp-socket", |mut store: StoreContextMut<'_, State>, (family,): (IpAddressFamily,)| {
        let state = store.data_mut();
        tell_no_hosts(&state.reach);
        Ok((code(state.sockets().create_tcp_socket(family))?,))
    })?;
    let mut udp = linker.instance("wasi:sockets/udp-create-socket@0.2.12")?;
    udp.func_wrap_async(
        "create-udp-socket",
        |mut store: StoreContextMut<'_, State>, (family,): (IpAddressFamily,)| {
            Box::new(async move {
                let state = store.data_mut();
                tell_no_hosts(&state.reach);
                let created: SocketResult<Resource<UdpSocket>> = state.sockets().create_udp_socket(family).await;
                Ok((code(created)?,))
            })
        },
    )?;

    let mut lookup = linker.instance("wasi:sockets/ip-name-lookup@0.2.12")?;
    lookup.func_wrap_async(
        "resolve-addresses",
        |mut store: StoreContextMut<'_, State>, (network, name): (Resource<Network>, String)| {
            Box::new(async move { Ok((look_up(store.data_mut(), network, name).await?,)) })
        },
    )?;
    lookup.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store: StoreContextMut<'_, State>, (stream,): (Resource<ResolveAddressStream>,)| {
            let state = store.data_mut();
            // One that is no stream traps.
            state.table.get(&stream)?;
            let next = state.reach.granted_net().and_then(|net| net.next_answer(stream.rep()));
            Ok::<(Result<Option<IpAddress>, ErrorCode>,), _>((Ok(next.map(IpAddress::from)),))
        },
    )?;

    let mut tcp = linker.instance("wasi:sockets/tcp@0.2.12")?;
    tcp.func_wrap(
        "[method]tcp-socket.finish-connect",
        |mut store: StoreContextMut<'_, State>, (socket,): (Resource<TcpSocket>,)| {
            let state = store.data_mut();
            let connected = code(state.sockets().finish_connect(socket))?;
            if let (Ok((input, _)), Some(net)) = (&connected, state.reach.granted_net()) {
                let net = Arc::clone(net);
                let stream: &mut DynInputStream = state.table.get_mut(input)?;
                let inner = std::mem::replace(stream, Box::new(ClosedInputStream));
                *stream = Box::new(Counted { inner, net });
            }
            Ok::<(Result<(Resource<DynInputStream>, Resource<DynOutputStream>), ErrorCode>,), _>((connected,))
        },
    )?;
    let mut udp = linker.instance("wasi:sockets/udp@0.2.12")?;
    udp.func_wrap(
        "[method]incoming-datagram-stream.receive",
        |mut store: StoreContextMut<'_, State>, (stream, most): (Resource<IncomingDatagramStream>, u64)| {
            let state = store.data_mut();
            let received: Result<Vec<IncomingDatagram>, _> = code(state.sockets().receive(stream, most))?;
            let bytes = received.iter().flatten().map(|datagram| datagram.data.len()).sum();
            match state.reach.granted_net() {
                Some(net) if !net.receive(bytes) => Err(TooMuch(Limit::ResponseBytes).into()),
                _ => Ok((received,)),
            }
        },
    )?;
    Ok(())
}

/// Preview 1 has functions for sockets and none that makes one. wasmtime's own write to the host's log, as often as a guest
/// likes.
pub(crate) fn add_to_preview1_linker(linker: &mut wasmtime::Linker<State>) -> wasmtime::Result<()> {
    macro_rules! no_sockets {
        ($($name:literal($($other:ident),*);)*) => {$(
            linker.func_wrap_async(
                PREVIEW1,
                $name,
                |mut caller: Caller<'_, State>, (fd, $($other,)*): (i32, $(no_sockets!(@i32 $other),)*)| {
                    Box::new(async move {
                        // What they say beside the descriptor makes no difference.
                        $(let _: i32 = $other;)*
                        no_socket(&mut caller, fd).await
                    })
                },
            )?;
        )*};
        (@i32 $other:ident) => { i32 };
    }
    no_sockets! {
        "sock_accept"(flags, socket);
        "sock_recv"(pieces, count, flags, received, answered);
        "sock_send"(pieces, count, flags, sent);
        "sock_shutdown"(how);
    }
    Ok(())
}

/// Whatever a descriptor is, it is no socket; or it is none at all.
async fn no_socket(caller: &mut Caller<'_, State>, fd: i32) -> wasmtime::Result<i32> {
    let memory = caller.get_export("memory");
    let (state, mut memory) = enter(caller, memory.as_ref())?;
    match state.preview1().fd_fdstat_get(&mut memory, Fd::from(fd as u32)).await {
        Ok(_) => Ok(NO_SOCKET),
        Err(error) => Ok(error.downcast()? as i32),
    }
}

fn tell_no_hosts(reach: &Reach) {
    if reach.grants().hosts.is_empty() {
        reach.tell(|| "denied: a socket; allow hosts with --allow-host HOST:PORT".to_owned());
    }
}

/// What the guest gets of a failure, unless it traps.
fn code<T>(done: SocketResult<T>) -> wasmtime::Result<Result<T, ErrorCode>> {
    match done {
        Ok(done) => Ok(Ok(done)),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

/// Looks a name up while the guest waits, so that it has one lookup in hand at a time, and each is bounded as all are: wasmtime's
/// own would take a blocking thread for each, for as long as name servers that do not answer keep it.
async fn look_up(
    state: &mut State,
    network: Resource<Network>,
    name: String,
) -> wasmtime::Result<Result<Resource<ResolveAddressStream>, ErrorCode>> {
    let net = match state.reach.granted_net() {
        Some(net) if net.is_stood_in_for() => {
            net.denials.tell(|| format!("denied: looking up {}; {NO_NETWORK}", quoted(&name)));
            return Ok(Err(ErrorCode::AccessDenied));
        }
        Some(net) if may_look_up(net.hosts(), &name) => Arc::clone(net),
        _ => {
            state.reach.tell(|| denied_name(&name, None));
            return Ok(Err(ErrorCode::AccessDenied));
        }
    };
    if !net.look_up() {
        return Ok(Err(ErrorCode::AccessDenied));
    }
    let found = match address_in(&name) {
        Some(address) => vec![address],
        None => match net.resolve(&name).await {
            Ok(found) => found,
            Err(_) => return Ok(Err(ErrorCode::NameUnresolvable)),
        },
    };
    // Those that the guest may not connect to are as if they were not there.
    let (allowed, denied): (Vec<_>, Vec<_>) = found.into_iter().partition(|answer| may_hear_of(net.hosts(), *answer));
    if let ([], Some(denied)) = (&allowed[..], denied.first()) {
        state.reach.tell(|| {
            format!(
                "denied: {denied}, the address of {}, is not public; allow it with --allow-host {}",
                quoted(&name),
                with_port(*denied, "PORT")
            )
        });
    }
    // Only wasmtime makes its streams. The one answer that this has is never asked for.
    let stream = code(state.sockets().resolve_addresses(network, Ipv4Addr::UNSPECIFIED.to_string()))?;
    if let Ok(stream) = &stream {
        net.looked_up(stream.rep(), &name, allowed);
    }
    Ok(stream)
}

/// As a pattern has it: `1.2.3.4:PORT`, `[::1]:PORT`.
fn with_port(address: IpAddr, port: &str) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    }
}

/// What comes in over a connection, counted.
struct Counted {
    inner: DynInputStream,
    net: Arc<Net>,
}

#[async_trait]
impl InputStream for Counted {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes = self.inner.read(size)?;
        if self.net.receive(bytes.len()) {
            Ok(bytes)
        } else {
            Err(StreamError::Trap(TooMuch(Limit::ResponseBytes).into()))
        }
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}

#[async_trait]
impl Pollable for Counted {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}
