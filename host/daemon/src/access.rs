//! Who may use the host: root, the daemon's own user, and whom the configuration names.
//!
//! The peer of a Unix socket is told by the kernel (`SO_PEERCRED`). The peer of a loopback TCP connection is the owner of
//! the socket at its other end, looked up once when the connection is accepted; a proxy shows the proxy's user. Whoever
//! can't be told is not let in.

mod groups;
mod proc_net;
mod sock_diag;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use jsonrpsee::types::ErrorObjectOwned;
use rustix::io::Errno;
use taskhost_api::ErrorCode;

/// The user at the other end of a connection. Handlers find it in the extensions of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    pub uid: u32,
}

/// Who may connect beside root and the daemon's own user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessPolicy {
    /// The users of `access.users`.
    pub uids: Vec<u32>,
    /// The groups of `access.groups`; who is in them is what `/etc/passwd` and `/etc/group` say at the time of asking.
    pub gids: Vec<u32>,
}

impl AccessPolicy {
    /// Whether anybody beside root and the daemon's own user may connect.
    pub fn names_others(&self) -> bool {
        !self.uids.is_empty() || !self.gids.is_empty()
    }

    /// Lets the caller in, or says who was refused and which setting would change that.
    pub fn check(&self, caller: Caller) -> Result<(), Refusal> {
        let Caller { uid } = caller;
        let own = rustix::process::geteuid().as_raw();
        if uid == 0 || uid == own || self.uids.contains(&uid) {
            return Ok(());
        }
        // Read only when it matters, so that a user who was just added to a group need not wait for a restart.
        if !self.gids.is_empty() && groups::of(uid).iter().any(|gid| self.gids.contains(gid)) {
            return Ok(());
        }
        Err(Refusal { uid })
    }
}

/// Why a caller is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("uid {uid} may not use this host")]
pub struct Refusal {
    pub uid: u32,
}

impl From<Refusal> for ErrorObjectOwned {
    fn from(refusal: Refusal) -> Self {
        let hint = format!(
            "add {} to `access.users`, or one of its groups to `access.groups`, in the host's configuration",
            refusal.uid
        );
        ErrorCode::NotPermitted.to_error(refusal.to_string(), Some(hint))
    }
}

/// The peer of a Unix socket, as it was when it connected.
pub(crate) fn unix_peer(socket: impl AsFd) -> io::Result<Caller> {
    let credentials = rustix::net::sockopt::socket_peercred(socket)?;
    Ok(Caller { uid: credentials.uid.as_raw() })
}

/// The owner of the socket at the other end of `socket`; `None` if nobody holds it any more.
pub(crate) fn tcp_peer(socket: impl AsFd) -> io::Result<Option<Caller>> {
    let Some(ends) = Ends::of(&socket)? else { return Ok(None) };
    let owner = owner_of(ends)?;
    // A connection that was reset frees its ports, and the socket that was found may be somebody else's with the same
    // ones. Ours is never connected again: if it still is, it was all the time, and the other one is at its end.
    if Ends::of(&socket)?.is_none() {
        return Ok(None);
    }
    Ok(owner.and_then(Owner::caller))
}

fn owner_of(ends: Ends) -> io::Result<Option<Owner>> {
    let answer = sock_diag::owner_of(ends);
    if is_final(&answer, &SOCK_DIAG_WORKS) {
        return answer;
    }
    // Always there, and slow where there are many sockets.
    proc_net::owner_of(ends)
}

/// Whether sock_diag has ever found a socket.
static SOCK_DIAG_WORKS: AtomicBool = AtomicBool::new(false);

/// Whether an answer of sock_diag need not be asked for again in `/proc`.
///
/// A kernel without the modules for it answers as if there were no such socket. But one that has found a socket has them,
/// and then a client that is gone is gone: or else whoever connects and leaves could make every look-up a slow one.
fn is_final(answer: &io::Result<Option<Owner>>, works: &AtomicBool) -> bool {
    match answer {
        Ok(Some(_)) => {
            works.store(true, Ordering::Relaxed);
            true
        }
        Ok(None) => works.load(Ordering::Relaxed),
        Err(error) => {
            tracing::debug!(%error, "no sock_diag; reading /proc/net/tcp");
            false
        }
    }
}

/// A TCP connection within this machine, both ends without IPv4-mapped addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    theirs: SocketAddr,
    ours: SocketAddr,
}

impl Ends {
    /// Those of a socket; `None` if it is connected no more.
    fn of(socket: impl AsFd) -> io::Result<Option<Self>> {
        let theirs = match rustix::net::getpeername(&socket) {
            Ok(Some(address)) => address,
            Ok(None) | Err(Errno::NOTCONN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let ours = rustix::net::getsockname(&socket)?;
        Ok(Some(Self { theirs: canonical(theirs.try_into()?), ours: canonical(ours.try_into()?) }))
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// What the kernel says about a TCP socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    state: u8,
    uid: u32,
    inode: u32,
}

/// Numbers of `enum` in the kernel's `tcp_states.h`.
const TCP_ESTABLISHED: u8 = 1;
const TCP_FIN_WAIT1: u8 = 4;
const TCP_FIN_WAIT2: u8 = 5;

impl Owner {
    /// The user, if a process holds the socket: one that nobody holds has inode 0, and would show uid 0.
    ///
    /// Beside an established socket that is one which has said all that it has to say (`nc -N`, a script that shuts its
    /// sending side down) and waits for the answers.
    fn caller(self) -> Option<Caller> {
        let connected = matches!(self.state, TCP_ESTABLISHED | TCP_FIN_WAIT1 | TCP_FIN_WAIT2);
        (connected && self.inode != 0).then_some(Caller { uid: self.uid })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use rustix::net::{AddressFamily, SocketType, bind, connect, socket, sockopt};

    use super::*;

    fn own() -> Caller {
        Caller { uid: rustix::process::geteuid().as_raw() }
    }

    fn connected(address: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(address).expect("loopback can be bound");
        let client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let (server, _) = listener.accept().expect("a client is waiting");
        (client, server)
    }

    fn ends(server: &TcpStream) -> Ends {
        Ends::of(server).expect("it has addresses").expect("it is connected")
    }

    #[test]
    fn both_sources_name_the_owner_of_a_tcp_client() {
        let (_client, server) = connected("127.0.0.1:0");
        let by_netlink = sock_diag::owner_of(ends(&server)).expect("netlink answers");
        let by_proc = proc_net::owner_of(ends(&server)).expect("/proc is mounted");
        assert_eq!(by_netlink.and_then(Owner::caller), Some(own()));
        assert_eq!(by_proc, by_netlink);
    }

    #[test]
    fn the_owner_is_named_over_ipv6_too() {
        if TcpListener::bind("[::1]:0").is_err() {
            return; // a machine without IPv6
        }
        let (_client, server) = connected("[::1]:0");
        let by_netlink = sock_diag::owner_of(ends(&server)).expect("netlink answers");
        assert_eq!(by_netlink.and_then(Owner::caller), Some(own()));
        assert_eq!(proc_net::owner_of(ends(&server)).expect("/proc is mounted"), by_netlink);
    }

    #[test]
    fn a_client_that_shut_its_sending_side_down_is_still_known() {
        let (client, server) = connected("127.0.0.1:0");
        client.shutdown(std::net::Shutdown::Write).expect("it is connected");
        assert_eq!(tcp_peer(&server).expect("the kernel answers"), Some(own()));
    }

    #[test]
    fn a_client_that_is_gone_is_nobody() {
        let (client, server) = connected("127.0.0.1:0");
        drop(client);
        assert_eq!(tcp_peer(&server).expect("the kernel answers"), None);
    }

    #[test]
    fn a_client_that_was_reset_is_not_the_next_one_with_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
        let host = listener.local_addr().expect("it is bound");
        // From an address that nobody else uses: another test's client would take the port when it is free.
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let address = SocketAddr::from(([127, 1, high, low], 0));
        let first = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket can be made");
        bind(&first, &address).expect("all of 127.0.0.0/8 is this machine");
        connect(&first, &host).expect("it listens");
        let first = TcpStream::from(first);
        let port = first.local_addr().expect("it is connected");
        let (server, _) = listener.accept().expect("a client is waiting");
        let before = ends(&server);
        // Closed without lingering, it resets the connection and frees its port.
        sockopt::set_socket_linger(&first, Some(Duration::ZERO)).expect("a socket can be told so");
        drop(first);
        let second = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket can be made");
        bind(&second, &port).expect("the port is free");
        connect(&second, &host).expect("it listens");
        let owner = owner_of(before).expect("the kernel answers");
        assert_eq!(owner.and_then(Owner::caller), Some(own()), "somebody has these ends");
        assert_eq!(tcp_peer(&server).expect("the kernel answers"), None, "but not of this connection");
    }

    #[test]
    fn nothing_is_a_final_answer_of_sock_diag_once_it_has_found_something() {
        let works = AtomicBool::new(false);
        let found = Owner { state: TCP_ESTABLISHED, uid: 7, inode: 1 };
        assert!(!is_final(&Ok(None), &works), "the kernel may be without it");
        assert!(is_final(&Ok(Some(found)), &works));
        assert!(is_final(&Ok(None), &works));
        assert!(!is_final(&Err(Errno::TIMEDOUT.into()), &works));
    }

    #[test]
    fn the_peer_of_a_unix_socket_is_known() {
        let (_client, server) = UnixStream::pair().expect("a pair can be made");
        assert_eq!(unix_peer(&server).expect("the kernel answers"), own());
    }

    #[test]
    fn only_root_the_own_user_and_named_users_are_let_in() {
        let stranger = Caller { uid: 4_000_000_001 };
        let mut policy = AccessPolicy::default();
        assert_eq!(policy.check(Caller { uid: 0 }), Ok(()));
        assert_eq!(policy.check(own()), Ok(()));
        let refusal = policy.check(stranger).expect_err("nobody named it");
        let error = ErrorObjectOwned::from(refusal);
        assert_eq!(error.code(), 1403);
        assert!(error.message().contains("4000000001"), "{error:?}");
        assert!(error.data().is_some_and(|data| data.get().contains("access.users")), "{error:?}");
        policy.uids.push(stranger.uid);
        assert_eq!(policy.check(stranger), Ok(()));
    }
}
