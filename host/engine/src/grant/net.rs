//! Where a guest may connect to.
//!
//! Two rules, for sockets and HTTP alike. **A name** that is looked up or asked by HTTP must match a pattern, with its port. **An
//! address** that is connected to must be public, or be named by a pattern itself: what a name leads to is its owner's word,
//! and it may well lead to the host's own network. A socket knows no names: it may connect to a public address if a pattern
//! names that, if every host is granted, or if the address was the answer to a lookup of the attempt's own, of a name that
//! is granted with that port. The address that was checked is the one that is connected to.
//!
//! Nothing listens: a socket is bound only to no address in particular and no port in particular, as connecting does.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use taskhost_core::spec::{HostMatch, HostPattern, Limit};
use wasmtime::component::{self, Resource};
use wasmtime::{Caller, StoreContextMut};
use wasmtime_wasi::WasiCtxBuilder;
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
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsView};

use crate::grant::preview1::{NO_SOCKET, enter};
use crate::grant::public::is_public;
use crate::grant::reach::{Denials, Reach, TooMuch, quoted};
use crate::linker::PREVIEW1;
use crate::setup::Setup;
use crate::state::State;

/// The most answers to lookups that an attempt may connect to; older ones are forgotten.
const MAX_ANSWERS: usize = 1_000;
/// The most lookups whose answers an attempt has not taken; older ones have no more answers.
const MAX_LOOKUPS_IN_HAND: usize = 100;
/// The most answers of one lookup.
const MAX_ANSWERS_OF_A_LOOKUP: usize = 32;

/// Why no socket is connected where requests have answers that were given before.
const NO_NETWORK: &str = "nothing goes to the network where answers stand for it, and they are to HTTP requests only";

/// The network of one attempt.
pub(crate) struct Net {
    pub(crate) setup: Arc<Setup>,
    pub(crate) denials: Denials,
    connections: AtomicU64,
    lookups: AtomicU64,
    received_bytes: AtomicU64,
    out_of_connections: AtomicBool,
    out_of_bytes: AtomicBool,
    /// Locked for the length of a look at it, by the thread that runs the guest.
    names: Mutex<Names>,
}

/// What an attempt has looked up.
#[derive(Default)]
struct Names {
    /// The answers that the guest has not taken, by the handles of their streams; the last one is next.
    in_hand: Vec<(u32, Vec<IpAddr>)>,
    /// What may be connected to, for the sake of the name that it was looked up by.
    answers: Vec<(IpAddr, Arc<str>)>,
}

impl Net {
    pub(crate) fn new(setup: Arc<Setup>, denials: Denials) -> Self {
        Self {
            setup,
            denials,
            connections: AtomicU64::new(0),
            lookups: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            out_of_connections: AtomicBool::new(false),
            out_of_bytes: AtomicBool::new(false),
            names: Mutex::default(),
        }
    }

    pub(crate) fn hosts(&self) -> &[HostPattern] {
        &self.setup.spec.grants().hosts
    }

    /// The next attempt of a kept instance begins: what it may have is counted anew, and what it looked up is as good as before.
    pub(crate) fn begin_again(&self) {
        for counter in [&self.connections, &self.lookups, &self.received_bytes] {
            counter.store(0, Ordering::Relaxed);
        }
        for flag in [&self.out_of_connections, &self.out_of_bytes] {
            flag.store(false, Ordering::Relaxed);
        }
        self.denials.begin_again();
    }

    /// Counts a connection, unless there were enough.
    pub(crate) fn connect(&self) -> bool {
        self.count(&self.connections)
    }

    fn count(&self, made: &AtomicU64) -> bool {
        let most = self.setup.bounds.of(Limit::Connections);
        let allowed = made.fetch_add(1, Ordering::Relaxed) < most;
        if !allowed {
            self.out_of_connections.store(true, Ordering::Relaxed);
        }
        allowed
    }

    /// Counts what came in. False when it is too much: then the attempt must end.
    pub(crate) fn receive(&self, bytes: usize) -> bool {
        let before = self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let allowed = before.saturating_add(bytes as u64) <= self.most_bytes();
        if !allowed {
            self.out_of_bytes.store(true, Ordering::Relaxed);
        }
        allowed
    }

    pub(crate) fn most_bytes(&self) -> u64 {
        self.setup.bounds.of(Limit::ResponseBytes)
    }

    pub(crate) fn limit_hit(&self) -> Option<Limit> {
        if self.out_of_bytes.load(Ordering::Relaxed) {
            Some(Limit::ResponseBytes)
        } else if self.out_of_connections.load(Ordering::Relaxed) {
            Some(Limit::Connections)
        } else {
            None
        }
    }

    /// Whether a socket may be used so.
    fn allows(&self, address: SocketAddr, usage: SocketAddrUse) -> bool {
        let any = |address: SocketAddr| address.ip().is_unspecified() && address.port() == 0;
        match usage {
            // A datagram socket is bound before it is used, and once: that is its connection.
            SocketAddrUse::UdpBind if any(address) => self.connect(),
            SocketAddrUse::TcpBind if any(address) => true,
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind | SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept => {
                self.denials
                    .tell(|| format!("denied: listening at {address}; plugins connect, and nothing connects to them"));
                false
            }
            SocketAddrUse::TcpConnect => self.allows_socket(address) && self.connect(),
            SocketAddrUse::UdpSend => self.allows_socket(address),
            SocketAddrUse::UdpReceive => self.may_connect(address),
        }
    }

    fn allows_socket(&self, address: SocketAddr) -> bool {
        let allowed = self.may_connect(address);
        if !allowed {
            self.denials.tell(|| match self.is_stood_in_for() {
                true => format!("denied: connecting to {address}; {NO_NETWORK}"),
                false => self.denied_address(address),
            });
        }
        allowed
    }

    /// Whether nothing leads there, whatever is granted.
    pub(crate) fn is_hosts_own(&self, address: SocketAddr) -> bool {
        self.setup.services.is_own_address(address.ip().to_canonical(), address.port())
    }

    /// The first denial's line for an address.
    pub(crate) fn denied_address(&self, address: SocketAddr) -> String {
        if self.is_hosts_own(address) {
            return format!("denied: connecting to {address}, where the host itself listens; no grant allows that");
        }
        denied_address(address)
    }

    /// Whether given answers are all the network there is.
    fn is_stood_in_for(&self) -> bool {
        self.setup.services.answers.is_some()
    }

    fn may_connect(&self, address: SocketAddr) -> bool {
        let (ip, port) = (address.ip().to_canonical(), address.port());
        if self.is_hosts_own(address) || self.is_stood_in_for() {
            return false;
        }
        if may_connect_to_address(self.hosts(), ip, port) {
            return true;
        }
        let names = self.names();
        let mut named = names.answers.iter().filter(|(answer, _)| *answer == ip);
        named.any(|(_, name)| may_ask(self.hosts(), name, port) && may_reach(self.hosts(), ip, port))
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks a name up that may be, as the machine's own programs do.
    pub(crate) async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let name = name.to_owned();
        let found = self.setup.blocking(move || {
            let found = (name.as_str(), 0).to_socket_addrs()?;
            Ok(found.take(MAX_ANSWERS_OF_A_LOOKUP).map(|address| address.ip().to_canonical()).collect())
        });
        found.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Takes note of the answers to a lookup, which come out of this stream.
    fn looked_up(&self, stream: u32, name: &str, mut answers: Vec<IpAddr>) {
        let mut names = self.names();
        let name: Arc<str> = name.into();
        names.answers.extend(answers.iter().map(|answer| (*answer, Arc::clone(&name))));
        let too_many = names.answers.len().saturating_sub(MAX_ANSWERS);
        names.answers.drain(..too_many);
        // Handles are used again.
        names.in_hand.retain(|(handle, _)| *handle != stream);
        if names.in_hand.len() == MAX_LOOKUPS_IN_HAND {
            names.in_hand.remove(0);
        }
        answers.reverse();
        names.in_hand.push((stream, answers));
    }

    fn next_answer(&self, stream: u32) -> Option<IpAddr> {
        self.names().in_hand.iter_mut().find(|(handle, _)| *handle == stream).and_then(|(_, answers)| answers.pop())
    }
}

/// Whether a host of this name, as a guest wrote it, may be asked at this port.
pub(crate) fn may_ask(hosts: &[HostPattern], name: &str, port: u16) -> bool {
    hosts.iter().any(|host| host.matches_name(name, port))
}

/// Whether an address that stands for a host that may be asked may be connected to.
pub(crate) fn may_reach(hosts: &[HostPattern], address: IpAddr, port: u16) -> bool {
    is_public(address) || hosts.iter().any(|host| host.names_address(address, port))
}

/// Whether an address may be connected to that no name stands for.
pub(crate) fn may_connect_to_address(hosts: &[HostPattern], address: IpAddr, port: u16) -> bool {
    let any = |host: &HostPattern| host.host == HostMatch::Any && host.port.is_none_or(|granted| granted == port);
    hosts.iter().any(|host| host.names_address(address, port)) || (is_public(address) && hosts.iter().any(any))
}

/// Whether a name may be looked up: whether there is a port that it may be asked at.
fn may_look_up(hosts: &[HostPattern], name: &str) -> bool {
    if let Some(address) = address_in(name) {
        return hosts.iter().any(|host| may_connect_to_address(std::slice::from_ref(host), address, a_port(host)));
    }
    hosts.iter().any(|host| host.matches_name(name, a_port(host)))
}

/// Whether an address may be connected to at any port.
fn may_hear_of(hosts: &[HostPattern], address: IpAddr) -> bool {
    is_public(address) || hosts.iter().any(|host| host.names_address(address, a_port(host)))
}

/// A port of this pattern.
fn a_port(host: &HostPattern) -> u16 {
    host.port.unwrap_or(1)
}

/// The first denial's line for an address, which a pattern would name.
pub(crate) fn denied_address(address: SocketAddr) -> String {
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    format!("denied: connecting to {address}; allow it with --allow-host {address}")
}

/// The same for a name.
pub(crate) fn denied_name(name: &str, port: Option<u16>) -> String {
    let port_text = port.map_or_else(|| "PORT".to_owned(), |port| port.to_string());
    let doing = if port.is_some() { "connecting to" } else { "looking up" };
    let name_and_port = |name| if port.is_some() { format!("{name}:{port_text}") } else { name };
    let name = name.strip_suffix('.').unwrap_or(name);
    // Only a name that could be granted is shown as it is.
    match format!("{name}:1").parse().map(|pattern: HostPattern| pattern.host) {
        Ok(HostMatch::Name(_)) => {
            format!("denied: {doing} {}; allow it with --allow-host {name}:{port_text}", name_and_port(name.to_owned()))
        }
        _ => format!("denied: {doing} {}; allow hosts with --allow-host HOST:PORT", name_and_port(quoted(name))),
    }
}

/// Opens sockets and lookups to an attempt whose task has hosts granted. Without this, all of them are refused.
pub(crate) fn give(wasi: &mut WasiCtxBuilder, reach: &Reach) {
    let granted = reach.granted_net();
    wasi.allow_tcp(granted.is_some()).allow_udp(granted.is_some()).allow_ip_name_lookup(granted.is_some());
    if let Some(net) = granted {
        let net = Arc::clone(net);
        wasi.socket_addr_check(move |address, usage| {
            let allowed = net.allows(address, usage);
            Box::pin(async move { allowed })
        });
    }
}

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
    if !net.count(&net.lookups) {
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

/// The address that a guest wrote in place of a name.
fn address_in(name: &str) -> Option<IpAddr> {
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).parse().ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(patterns: &[&str]) -> Vec<HostPattern> {
        patterns.iter().map(|pattern| pattern.parse().expect(pattern)).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn a_name_must_match_with_its_port_and_its_address_be_public() {
        let granted = hosts(&["api.example.com:443", "*.example.org:*"]);
        assert!(may_ask(&granted, "API.example.com", 443) && may_ask(&granted, "api.example.com.", 443));
        assert!(!may_ask(&granted, "api.example.com", 80) && !may_ask(&granted, "example.com", 443));
        assert!(may_ask(&granted, "a.example.org", 8080) && !may_ask(&granted, "example.org", 8080));
        assert!(may_reach(&granted, ip("1.1.1.1"), 443));
        for address in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"] {
            assert!(!may_reach(&granted, ip(address), 443), "{address}");
        }
    }

    #[test]
    fn an_address_that_is_not_public_must_be_named_with_its_port() {
        let granted = hosts(&["intranet.example.com:80", "10.1.0.0/16:80", "[fd00::/8]:443"]);
        assert!(may_reach(&granted, ip("10.1.2.3"), 80) && may_connect_to_address(&granted, ip("10.1.2.3"), 80));
        assert!(may_reach(&granted, ip("::ffff:10.1.2.3"), 80));
        assert!(!may_reach(&granted, ip("10.1.2.3"), 81) && !may_reach(&granted, ip("10.2.0.0"), 80));
        assert!(
            may_connect_to_address(&granted, ip("fd00::1"), 443)
                && !may_connect_to_address(&granted, ip("fd00::1"), 80)
        );
    }

    #[test]
    fn localhost_names_the_loopback_addresses() {
        let granted = hosts(&["localhost:8080"]);
        assert!(may_ask(&granted, "localhost", 8080) && may_reach(&granted, ip("127.0.0.1"), 8080));
        assert!(may_connect_to_address(&granted, ip("::1"), 8080) && !may_connect_to_address(&granted, ip("::1"), 80));
        assert!(!may_reach(&granted, ip("10.0.0.1"), 8080));
    }

    #[test]
    fn every_host_is_every_name_and_every_public_address() {
        let granted = hosts(&["*:443"]);
        assert!(may_ask(&granted, "anything", 443) && may_connect_to_address(&granted, ip("1.1.1.1"), 443));
        assert!(!may_connect_to_address(&granted, ip("1.1.1.1"), 80));
        assert!(!may_connect_to_address(&granted, ip("127.0.0.1"), 443) && !may_reach(&granted, ip("127.0.0.1"), 443));
    }

    #[test]
    fn a_public_address_is_no_socket_for_a_name_that_was_not_looked_up() {
        let granted = hosts(&["api.example.com:443"]);
        assert!(!may_connect_to_address(&granted, ip("1.1.1.1"), 443));
    }

    #[test]
    fn a_lookup_wants_a_name_that_may_be_asked_at_some_port() {
        let granted = hosts(&["api.example.com:443", "10.0.0.0/8:80"]);
        assert!(may_look_up(&granted, "api.example.com") && !may_look_up(&granted, "www.example.com"));
        assert!(may_look_up(&granted, "10.0.0.1") && !may_look_up(&granted, "127.0.0.1"));
        assert!(may_look_up(&hosts(&["[::1]:*"]), "[::1]") && may_look_up(&hosts(&["[::1]:*"]), "::1"));
    }

    #[test]
    fn a_denial_names_the_flag_and_shows_no_guests_text_as_it_is() {
        let address = "[::ffff:10.0.0.5]:80".parse().expect("an address");
        assert_eq!(
            denied_address(address),
            "denied: connecting to 10.0.0.5:80; allow it with --allow-host 10.0.0.5:80"
        );
        assert_eq!(
            denied_name("api.example.com", Some(443)),
            "denied: connecting to api.example.com:443; allow it with --allow-host api.example.com:443"
        );
        assert_eq!(
            denied_name("api.example.com", None),
            "denied: looking up api.example.com; allow it with --allow-host api.example.com:PORT"
        );
        let odd = denied_name(&format!("\u{1b}[31m{}", "a".repeat(10_000)), None);
        assert!(odd.starts_with("denied: looking up `\\u{1b}[31maaa") && odd.len() < 400, "{odd}");
        // It would be a grant of everything.
        let all = denied_name("*", Some(80));
        assert!(!all.contains("--allow-host *"), "{all}");
    }
}
