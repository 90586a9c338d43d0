//! Asks the kernel who owns a TCP socket, over netlink: one question, one answer, whatever the number of sockets.
//!
//! The messages are those of `sock_diag(7)`, written and read by hand: two fixed layouts are less than a crate for them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with, sockopt};

use super::{Ends, Owner, canonical};

/// The kernel answers within the call that asks; this is for a kernel that does not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

const NLMSG_ERROR: u16 = 2;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const IPPROTO_TCP: u8 = 6;
const ALL_STATES: u32 = u32::MAX;
const NO_COOKIE: [u8; 8] = [0xff; 8];

/// `struct nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// `struct inet_diag_req_v2`.
const REQUEST_BYTES: usize = 56;
/// `struct inet_diag_msg`, up to the attributes that may follow.
const ANSWER_BYTES: usize = 72;

/// The owner of their end of a connection; `None` if there is no such socket.
pub(super) fn owner_of(ends: Ends) -> io::Result<Option<Owner>> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(SOCK_DIAG))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER_TIMEOUT))?;
    sendto(&socket, &question(ends), SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut buffer = [0; 1024];
    let (length, _) = recv(&socket, &mut buffer, RecvFlags::empty())?;
    answer(&buffer[..length], ends)
}

fn question(ends: Ends) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER_BYTES + REQUEST_BYTES);
    message.extend(((HEADER_BYTES + REQUEST_BYTES) as u32).to_ne_bytes());
    message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    message.extend(NLM_F_REQUEST.to_ne_bytes());
    message.extend([0; 8]); // sequence and port: there is one question

    let family = if ends.theirs.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    message.extend([family.as_raw() as u8, IPPROTO_TCP, 0, 0]);
    message.extend(ALL_STATES.to_ne_bytes());
    message.extend(ends.theirs.port().to_be_bytes());
    message.extend(ends.ours.port().to_be_bytes());
    message.extend(address_field(ends.theirs.ip()));
    message.extend(address_field(ends.ours.ip()));
    message.extend([0; 4]); // any interface
    message.extend(NO_COOKIE);
    message
}

fn answer(message: &[u8], ends: Ends) -> io::Result<Option<Owner>> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "an answer of sock_diag that is none");
    let kind = u16::from_ne_bytes(field(message, 4).ok_or_else(bad)?);
    let body = message.get(HEADER_BYTES..).ok_or_else(bad)?;
    match kind {
        NLMSG_ERROR => {
            let error = Errno::from_raw_os_error(-i32::from_ne_bytes(field(body, 0).ok_or_else(bad)?));
            if error == Errno::NOENT { Ok(None) } else { Err(error.into()) }
        }
        SOCK_DIAG_BY_FAMILY if body.len() >= ANSWER_BYTES => {
            let family = u16::from(body[0]);
            let port = |at| field(body, at).map(u16::from_be_bytes).ok_or_else(bad);
            let address = |at| {
                let bytes = field(body, at).ok_or_else(bad)?;
                Ok::<_, io::Error>(if family == AddressFamily::INET.as_raw() {
                    IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
                } else {
                    IpAddr::V6(Ipv6Addr::from(bytes))
                })
            };
            let number = |at| field(body, at).map(u32::from_ne_bytes).ok_or_else(bad);
            let found = Ends {
                theirs: canonical(SocketAddr::new(address(8)?, port(4)?)),
                ours: canonical(SocketAddr::new(address(24)?, port(6)?)),
            };
            // Where no connection has these ends, the kernel answers with a socket that listens on the port, if one does.
            if found != ends {
                return Ok(None);
            }
            Ok(Some(Owner { state: body[1], uid: number(64)?, inode: number(68)? }))
        }
        _ => Err(bad()),
    }
}

/// An address as `struct inet_diag_sockid` has it: 16 bytes in network order, of which IPv4 uses the first four.
fn address_field(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V6(address) => address.octets(),
        IpAddr::V4(address) => {
            let mut field = [0; 16];
            field[..4].copy_from_slice(&address.octets());
            field
        }
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}
