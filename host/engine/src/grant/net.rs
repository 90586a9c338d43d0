//! The network of one attempt: where it may connect to by the [rules](super::hosts), and how much it takes of it.
//!
//! A socket knows no names: it may connect to a public address if a pattern names that, if every host is granted, or if the address was
//! the answer to a lookup of the attempt's own, of a name that is granted with that port. The address that was checked is the one that
//! is connected to.
//!
//! Nothing listens: a socket is bound only to no address in particular and no port in particular, as connecting does.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use taskhost_core::spec::{HostPattern, Limit};
use wasmtime_wasi::sockets::SocketAddrUse;

use crate::grant::denials::Denials;
use crate::grant::hosts::{denied_address, may_ask, may_connect_to_address, may_reach};
use crate::setup::Setup;

/// The most answers to lookups that an attempt may connect to; older ones are forgotten.
const MAX_ANSWERS: usize = 1_000;
/// The most lookups whose answers an attempt has not taken; older ones have no more answers.
const MAX_LOOKUPS_IN_HAND: usize = 100;
/// The most answers of one lookup.
const MAX_ANSWERS_OF_A_LOOKUP: usize = 32;

/// Why no socket is connected where requests have answers that were given before.
pub(crate) const NO_NETWORK: &str =
    "nothing goes to the network where answers stand for it, and they are to HTTP requests only";

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

    /// Counts a lookup, unless there were enough.
    pub(crate) fn look_up(&self) -> bool {
        self.count(&self.lookups)
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
    pub(crate) fn allows(&self, address: SocketAddr, usage: SocketAddrUse) -> bool {
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
    pub(crate) fn is_stood_in_for(&self) -> bool {
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
    pub(crate) fn looked_up(&self, stream: u32, name: &str, mut answers: Vec<IpAddr>) {
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

    /// The next answer to a lookup, out of its stream.
    pub(crate) fn next_answer(&self, stream: u32) -> Option<IpAddr> {
        self.names().in_hand.iter_mut().find(|(handle, _)| *handle == stream).and_then(|(_, answers)| answers.pop())
    }
}
