//! Where a host listens, as people write it: `HOST[:PORT]` or `unix:PATH`.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

use taskhost_api::DEFAULT_PORT;

/// Marks the path of a Unix socket.
const UNIX_PREFIX: &str = "unix:";

/// The address of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostAddr {
    /// A name or number, and a port.
    Tcp { host: String, port: u16 },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// Where a host is looked for when none is named, in this order:
///
/// 1. the Unix socket `$XDG_RUNTIME_DIR/taskhost.sock`, if it is there;
/// 2. TCP on 127.0.0.1:3333.
pub(crate) fn default_hosts() -> Vec<HostAddr> {
    let socket = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("taskhost.sock"));
    let socket = socket.filter(|path| path.is_absolute() && path.exists()).map(HostAddr::Unix);
    let tcp = HostAddr::Tcp { host: "127.0.0.1".to_owned(), port: DEFAULT_PORT };
    socket.into_iter().chain([tcp]).collect()
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddrError {
    #[error("an address is HOST[:PORT] or unix:PATH")]
    Empty,
    #[error("an address has no {scheme}://; write {address}")]
    Scheme { scheme: String, address: String },
    #[error("a socket's path is written unix:{0}")]
    BarePath(String),
    #[error("`{0}` is no port; ports are 1 to 65535")]
    Port(String),
    #[error("an IPv6 address with a port is written [{0}]:PORT")]
    Brackets(String),
}

impl FromStr for HostAddr {
    type Err = AddrError;

    fn from_str(text: &str) -> Result<Self, AddrError> {
        if let Some(path) = text.strip_prefix(UNIX_PREFIX) {
            return if path.is_empty() { Err(AddrError::Empty) } else { Ok(Self::Unix(path.into())) };
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let address = rest.split('/').next().filter(|address| !address.is_empty()).unwrap_or("HOST[:PORT]");
            return Err(AddrError::Scheme { scheme: scheme.to_owned(), address: address.to_owned() });
        }
        if text.contains('/') {
            return Err(AddrError::BarePath(text.to_owned()));
        }
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(|| AddrError::Port(port.to_owned()))?)),
            None if text.parse::<Ipv6Addr>().is_ok() => (text, None),
            None => match text.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() {
            return Err(AddrError::Empty);
        }
        if host.contains(':') && host.parse::<Ipv6Addr>().is_err() {
            return Err(AddrError::Brackets(host.to_owned()));
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(port) => match port.parse() {
                Ok(0) | Err(_) => return Err(AddrError::Port(port.to_owned())),
                Ok(port) => port,
            },
        };
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{UNIX_PREFIX}{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_are_written() {
        for (text, written) in [
            ("127.0.0.1:4000", "127.0.0.1:4000"),
            ("localhost", "localhost:3333"),
            ("::1", "[::1]:3333"),
            ("[::1]", "[::1]:3333"),
            ("[::1]:4000", "[::1]:4000"),
            ("unix:/run/taskhost.sock", "unix:/run/taskhost.sock"),
        ] {
            assert_eq!(text.parse::<HostAddr>().map(|addr| addr.to_string()), Ok(written.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_way_to_write_it() {
        for (text, error) in [
            ("", AddrError::Empty),
            ("unix:", AddrError::Empty),
            (":3333", AddrError::Empty),
            ("/run/taskhost.sock", AddrError::BarePath("/run/taskhost.sock".into())),
            (
                "http://127.0.0.1:3333/rpc",
                AddrError::Scheme { scheme: "http".into(), address: "127.0.0.1:3333".into() },
            ),
            ("tcp://", AddrError::Scheme { scheme: "tcp".into(), address: "HOST[:PORT]".into() }),
            ("localhost:0", AddrError::Port("0".into())),
            ("localhost:65536", AddrError::Port("65536".into())),
            ("localhost:http", AddrError::Port("http".into())),
            ("[::1]4000", AddrError::Port("4000".into())),
            ("a:b:3333", AddrError::Brackets("a:b".into())),
        ] {
            assert_eq!(text.parse::<HostAddr>(), Err(error), "{text}");
        }
    }
}
