//! Looks a TCP socket up in `/proc/net/tcp` and `/proc/net/tcp6`: every socket of the machine, a line each, so only for
//! kernels that do not answer over netlink.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Ends, Owner, canonical};

/// The owner of their end of a connection; `None` if there is no such socket.
pub(super) fn owner_of(ends: Ends) -> io::Result<Option<Owner>> {
    // An IPv4 connection may be held by an IPv6 socket, with IPv4-mapped addresses, so both tables are asked.
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let table = match File::open(table) {
            Ok(table) => BufReader::new(table),
            // A kernel without IPv6 has no second table.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in table.lines() {
            if let Some((found, owner)) = parse(&line?)
                && found == ends
            {
                return Ok(Some(owner));
            }
        }
    }
    Ok(None)
}

/// Reads `sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode …`.
fn parse(line: &str) -> Option<(Ends, Owner)> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let theirs = address(fields.next()?)?;
    let ours = address(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some((Ends { theirs, ours }, Owner { state, uid, inode }))
}

/// Reads `0100007F:0D05`: the address as 32-bit words in the machine's order, the port as a number.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = [0; 16];
    for (at, word) in bytes.chunks_exact_mut(4).enumerate().take(words.len() / 8) {
        let digits = words.get(8 * at..8 * (at + 1))?;
        word.copy_from_slice(&u32::from_str_radix(digits, 16).ok()?.to_ne_bytes());
    }
    let ip = match words.len() {
        8 => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        32 => IpAddr::V6(Ipv6Addr::from(bytes)),
        _ => return None,
    };
    Some(canonical(SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_of_the_table_is_read() {
        let line =
            "   1: 0100007F:9C40 0100007F:0D05 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 20";
        let ends = Ends {
            theirs: "127.0.0.1:40000".parse().expect("an address"),
            ours: "127.0.0.1:3333".parse().expect("an address"),
        };
        assert_eq!(parse(line), Some((ends, Owner { state: 1, uid: 1000, inode: 4711 })));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_mapped_address_is_the_ipv4_one() {
        assert_eq!(address("0000000000000000FFFF00000100007F:0D05"), "127.0.0.1:3333".parse().ok());
    }

    #[test]
    fn the_heading_of_the_table_is_no_socket() {
        assert_eq!(
            parse("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"),
            None
        );
    }
}
