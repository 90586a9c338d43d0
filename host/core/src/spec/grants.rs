//! What a task is granted: each capability by itself, and none by default.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::SpecError;
use super::policy::told;

/// The most variables, settings, folders, hosts and secrets of a task, each by itself.
pub const MAX_GRANTS_OF_A_KIND: usize = 256;
/// The most bytes of all variables together, and of all settings.
pub const MAX_GRANTED_TEXT_BYTES: usize = 64 * 1024;
/// The longest name of a variable, setting or secret, in bytes.
pub const MAX_GRANT_NAME_BYTES: usize = 255;
/// The longest path of a granted folder, in bytes; Linux's `PATH_MAX`.
pub const MAX_DIR_BYTES: usize = 4096;

/// What a task may do beside computing and reading clocks and random numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    /// Environment variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Folders of the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dirs: Vec<DirGrant>,
    /// Where it may connect to, by HTTP or by sockets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostPattern>,
    /// Settings that it reads through `wasi:config`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// Secrets of the host that it reads through `wasi:config`, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Whether it has a key-value store of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kv: bool,
}

/// A folder of the host as a guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirGrant {
    /// An absolute path on the host.
    pub host: String,
    /// The name that it has for the guest.
    pub guest: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// Where a guest may connect to: `HOST:PORT`. HOST is a name, `*.` and a name for all below it, an address, a net like
/// `10.0.0.0/8`, or `*` for every name; PORT a number or `*`. An IPv6 address stands in brackets: `[::1]:80`, `[fd00::/8]:443`.
///
/// Addresses that are not public (loopback, private, link-local with its metadata services, and so on) are reached only where an
/// address or a net names them, whatever name they came from. `localhost` names the loopback addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern {
    pub host: HostMatch,
    /// `None` for every port.
    pub port: Option<u16>,
}

/// Which hosts a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostMatch {
    /// Every name, and every public address.
    Any,
    /// This name, in lower case.
    Name(String),
    /// Every name that ends in a dot and this one, in lower case.
    Below(String),
    /// Every address with these first bits.
    Net { address: IpAddr, bits: u8 },
}

/// Grants as they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantsText {
    pub env: BTreeMap<String, String>,
    pub dirs: Vec<DirGrant>,
    pub hosts: Vec<String>,
    pub config: BTreeMap<String, String>,
    pub secrets: Vec<String>,
    pub kv: bool,
}

impl GrantsText {
    pub(super) fn check(self) -> Result<Grants, SpecError> {
        let Self { env, mut dirs, hosts, config, secrets, kv } = self;
        check_pairs("environment variable", &env)?;
        check_pairs("setting", &config)?;
        check_count("folders", dirs.len())?;
        for dir in &mut dirs {
            check_dir(dir)?;
        }
        check_differ("folder of the guest", dirs.iter().map(|dir| &dir.guest))?;
        check_count("hosts", hosts.len())?;
        let hosts = in_one_spelling(&hosts)?;
        check_count("secrets", secrets.len())?;
        for secret in &secrets {
            check_secret_name(secret)?;
            if config.contains_key(secret) {
                return Err(GrantError::SecretIsSetting(told(secret)).into());
            }
        }
        check_differ("secret", secrets.iter())?;
        Ok(Grants { env, dirs, hosts, config, secrets, kv })
    }
}

/// Hosts as they are told from now on, each once.
fn in_one_spelling(hosts: &[String]) -> Result<Vec<HostPattern>, SpecError> {
    let mut patterns = Vec::new();
    for host in hosts {
        let pattern = host.parse().map_err(SpecError::Grant)?;
        if !patterns.contains(&pattern) {
            patterns.push(pattern);
        }
    }
    Ok(patterns)
}

impl Grants {
    /// None at all.
    pub const fn none() -> Self {
        Self {
            env: BTreeMap::new(),
            dirs: Vec::new(),
            hosts: Vec::new(),
            config: BTreeMap::new(),
            secrets: Vec::new(),
            kv: false,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A grant that is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error("`{name}` is no name for {what}: {why}")]
    Name { what: &'static str, name: String, why: &'static str },
    #[error("the {what} `{name}` has a NUL character in its value")]
    NulInValue { what: &'static str, name: String },
    #[error("{count} {what} are too many; at most {MAX_GRANTS_OF_A_KIND} are allowed")]
    TooMany { what: &'static str, count: usize },
    #[error("each {what} is granted once, and `{name}` is there twice")]
    Twice { what: &'static str, name: String },
    #[error("the {what}s have {bytes} bytes together; at most {MAX_GRANTED_TEXT_BYTES} are allowed")]
    TooLong { what: &'static str, bytes: usize },
    #[error("`{0}` is no folder that can be granted: {1}")]
    Dir(String, &'static str),
    #[error(
        "`{0}` is no host that can be granted: {1}; write it like `api.example.com:443`, `*.example.com:*` or `10.0.0.0/8:80`"
    )]
    Host(String, &'static str),
    #[error("`{0}` is a secret and a setting; a guest reads both by their names, so it can be one of them only")]
    SecretIsSetting(String),
}

fn check_count(what: &'static str, count: usize) -> Result<(), GrantError> {
    if count > MAX_GRANTS_OF_A_KIND { Err(GrantError::TooMany { what, count }) } else { Ok(()) }
}

fn check_pairs(what: &'static str, pairs: &BTreeMap<String, String>) -> Result<(), GrantError> {
    check_count(if what == "setting" { "settings" } else { "environment variables" }, pairs.len())?;
    for (name, value) in pairs {
        check_grant_name(what, name)?;
        if value.contains('\0') {
            return Err(GrantError::NulInValue { what, name: told(name) });
        }
    }
    let bytes = pairs.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    if bytes > MAX_GRANTED_TEXT_BYTES { Err(GrantError::TooLong { what, bytes }) } else { Ok(()) }
}

/// Checks the name of an environment variable or a setting; `what` it is goes into the error.
pub fn check_grant_name(what: &'static str, name: &str) -> Result<(), GrantError> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_GRANT_NAME_BYTES {
        "it has more than 255 bytes"
    } else if name.contains('=') {
        "it has a `=`"
    } else if name.chars().any(char::is_control) {
        "it has a control character"
    } else {
        return Ok(());
    };
    Err(GrantError::Name { what, name: told(name), why })
}

/// Checks the name of a secret: one that can be a file's name and, in upper case, an environment variable's.
pub fn check_secret_name(name: &str) -> Result<(), GrantError> {
    let named = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    if name.len() <= MAX_GRANT_NAME_BYTES
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.chars().all(named)
    {
        return Ok(());
    }
    let why = "it must have letters, digits, `-`, `_` and `.` only, begin with a letter or digit, and have at most 255";
    Err(GrantError::Name { what: "secret", name: told(name), why })
}

/// Checks the name that a folder has for a guest, or its path on the host as far as that goes.
pub fn check_dir_name(path: &str) -> Result<(), GrantError> {
    let why = if path.is_empty() {
        "it is empty"
    } else if path.len() > MAX_DIR_BYTES {
        "it has more than 4096 bytes"
    } else if path.chars().any(char::is_control) {
        "it has a control character"
    } else {
        return Ok(());
    };
    Err(GrantError::Dir(told(path), why))
}

fn check_dir(dir: &mut DirGrant) -> Result<(), GrantError> {
    check_dir_name(&dir.host)?;
    check_dir_name(&dir.guest)?;
    if !dir.host.starts_with('/') {
        return Err(GrantError::Dir(told(&dir.host), "a path on the host must begin with `/`"));
    }
    if dir.host.split('/').any(|part| part == "..") {
        return Err(GrantError::Dir(told(&dir.host), "a path on the host has no `..`"));
    }
    // `/data/` and `/data` would be two folders of the guest.
    let trimmed = dir.guest.trim_end_matches('/').len().max(1);
    dir.guest.truncate(trimmed);
    Ok(())
}

fn check_differ<'a>(what: &'static str, names: impl Iterator<Item = &'a String>) -> Result<(), GrantError> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(GrantError::Twice { what, name: told(pair[0]) }),
        None => Ok(()),
    }
}

impl HostPattern {
    /// Whether it names this host, as a guest wrote it: a name, or an address without brackets.
    pub fn matches_name(&self, host: &str, port: u16) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        self.has_port(port)
            && match &self.host {
                HostMatch::Any => true,
                HostMatch::Name(name) => host == *name,
                HostMatch::Below(name) => is_below(&host, name),
                HostMatch::Net { .. } => false,
            }
    }

    /// Whether it names this address itself, so that it may be reached even where it is not public.
    pub fn names_address(&self, address: IpAddr, port: u16) -> bool {
        let address = address.to_canonical();
        self.has_port(port)
            && match &self.host {
                HostMatch::Any | HostMatch::Below(_) => false,
                HostMatch::Name(name) => name == LOCALHOST && address.is_loopback(),
                HostMatch::Net { address: net, bits } => first_bits(address, *bits) == first_bits(*net, *bits),
            }
    }

    /// Whether whoever may connect to this may connect to all that `other` is, too.
    pub fn covers(&self, other: &Self) -> bool {
        let host = match (&self.host, &other.host) {
            // Loopback addresses are reached by that name only where they are named themselves.
            (HostMatch::Any, HostMatch::Name(name)) => name != LOCALHOST,
            (HostMatch::Any, HostMatch::Any | HostMatch::Below(_)) => true,
            (HostMatch::Below(name), HostMatch::Name(other)) => is_below(other, name),
            (HostMatch::Below(name), HostMatch::Below(other)) => other == name || is_below(other, name),
            (HostMatch::Net { address: net, bits }, HostMatch::Net { address, bits: more }) => {
                bits <= more && first_bits(*address, *bits) == first_bits(*net, *bits)
            }
            (host, other) => host == other,
        };
        host && (self.port.is_none() || self.port == other.port)
    }

    fn has_port(&self, port: u16) -> bool {
        self.port.is_none_or(|granted| granted == port)
    }
}

/// Whether this name ends in a dot and the other.
fn is_below(name: &str, above: &str) -> bool {
    name.strip_suffix(above).is_some_and(|below| below.ends_with('.') && below.len() > 1)
}

/// The name that loopback addresses have everywhere (RFC 6761).
const LOCALHOST: &str = "localhost";

/// The first bits of an address, the others zero; of IPv4 and IPv6 addresses they always differ.
fn first_bits(address: IpAddr, bits: u8) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            (false, u128::from(address.to_bits() & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            (true, address.to_bits() & mask)
        }
    }
}

impl FromStr for HostPattern {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Self, GrantError> {
        let refused = |why| GrantError::Host(told(text), why);
        if text.contains("://") {
            return Err(refused("it has a scheme, and a grant is a host and a port"));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| refused("it has no port"))?;
        let port = match port {
            "*" => None,
            port => match port.parse() {
                Ok(0) | Err(_) => return Err(refused("its port must be from 1 to 65535, or `*`")),
                Ok(port) => Some(port),
            },
        };
        let host = match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
            Some(Some(address)) => net(address, true),
            Some(None) => Err("a bracket is not closed"),
            None if host == "*" => Ok(HostMatch::Any),
            None if host.contains(':') => Err("an IPv6 address stands in brackets"),
            None if host.starts_with(|first: char| first.is_ascii_digit())
                && !host.contains(|letter: char| letter.is_ascii_alphabetic()) =>
            {
                net(host, false)
            }
            None => name(host),
        };
        Ok(Self { host: host.map_err(refused)?, port })
    }
}

fn net(text: &str, v6: bool) -> Result<HostMatch, &'static str> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| "it is no address")?;
    if address.is_ipv6() != v6 {
        return Err("only an IPv6 address stands in brackets");
    }
    let address = address.to_canonical();
    let most = if address.is_ipv6() { 128 } else { 32 };
    let bits = match bits {
        None => most,
        Some(bits) => {
            bits.parse().ok().filter(|bits| *bits <= most).ok_or("a net has at most 32 bits, and of IPv6 128")?
        }
    };
    if first_bits(address, bits) != first_bits(address, most) {
        return Err("the address has bits past those that the net counts");
    }
    Ok(HostMatch::Net { address, bits })
}

fn name(text: &str) -> Result<HostMatch, &'static str> {
    let (below, name) = match text.strip_prefix("*.") {
        Some(name) => (true, name),
        None => (false, text),
    };
    let name = name.to_ascii_lowercase();
    let label = |label: &str| {
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(named) && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.contains('*') {
        return Err("a `*` stands for a whole host, or as `*.` before a name");
    }
    if name.len() > 253 || !name.split('.').all(label) {
        return Err("it is no host name; an international one stands in its ASCII form (`xn--…`)");
    }
    Ok(if below { HostMatch::Below(name) } else { HostMatch::Name(name) })
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            HostMatch::Any => f.write_str("*")?,
            HostMatch::Name(name) => f.write_str(name)?,
            HostMatch::Below(name) => write!(f, "*.{name}")?,
            HostMatch::Net { address: IpAddr::V4(address), bits: 32 } => write!(f, "{address}")?,
            HostMatch::Net { address: IpAddr::V4(address), bits } => write!(f, "{address}/{bits}")?,
            HostMatch::Net { address: IpAddr::V6(address), bits: 128 } => write!(f, "[{address}]")?,
            HostMatch::Net { address: IpAddr::V6(address), bits } => write!(f, "[{address}/{bits}]")?,
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => f.write_str(":*"),
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = GrantError;

    fn try_from(text: String) -> Result<Self, GrantError> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

/// A grant that the host can't give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GrantFault {
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_host_reads_back_as_it_was_written() {
        for text in [
            "api.example.com:443",
            "*.example.com:*",
            "*:443",
            "10.0.0.0/8:80",
            "127.0.0.1:8080",
            "[::1]:80",
            "[fd00::/8]:*",
            "localhost:1",
        ] {
            assert_eq!(pattern(text).to_string(), text);
        }
        assert_eq!(pattern("API.Example.com:443").to_string(), "api.example.com:443");
        assert_eq!(pattern("[::ffff:127.0.0.1]:80").to_string(), "127.0.0.1:80", "it is the IPv4 address");
    }

    #[test]
    fn a_host_that_is_given_in_two_spellings_is_one() {
        let hosts = ["EXAMPLE.com:443", "b:1", "example.com:443"].map(str::to_owned);
        let granted = GrantsText { hosts: hosts.into(), ..GrantsText::default() }.check().expect("grants");
        assert_eq!(granted.hosts, [pattern("example.com:443"), pattern("b:1")]);
    }

    #[test]
    fn what_is_no_host_is_refused_with_the_reason() {
        for (text, why) in [
            ("api.example.com", "it has no port"),
            ("https://api.example.com:443", "it has a scheme"),
            ("api.example.com:0", "its port must be"),
            ("api.example.com:https", "its port must be"),
            ("::1:80", "an IPv6 address stands in brackets"),
            ("[::1:80", "a bracket is not closed"),
            ("[127.0.0.1]:80", "only an IPv6 address stands in brackets"),
            ("10.0.0.1/8:80", "the address has bits past"),
            ("10.0.0.0/33:80", "a net has at most"),
            ("999.0.0.1:80", "it is no address"),
            ("a.*.com:80", "a `*` stands for"),
            ("-a.com:80", "it is no host name"),
            ("a..com:80", "it is no host name"),
            ("bücher.example:80", "it is no host name"),
            (":80", "it is no host name"),
        ] {
            let refused = text.parse::<HostPattern>().expect_err(text).to_string();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    #[test]
    fn names_match_as_hosts_are_named_and_addresses_only_where_an_address_is_granted() {
        assert!(pattern("api.example.com:443").matches_name("API.example.COM.", 443));
        assert!(!pattern("api.example.com:443").matches_name("api.example.com", 80));
        assert!(pattern("*.example.com:*").matches_name("a.b.example.com", 1));
        for other in ["example.com", ".example.com", "badexample.com", "example.com.evil.org"] {
            assert!(!pattern("*.example.com:*").matches_name(other, 1), "{other}");
        }
        let loopback: IpAddr = "127.0.0.1".parse().expect("an address");
        assert!(!pattern("*:*").names_address(loopback, 80));
        assert!(!pattern("example.com:*").names_address(loopback, 80));
        assert!(
            pattern("localhost:80").names_address(loopback, 80)
                && pattern("127.0.0.0/8:80").names_address(loopback, 80)
        );
        assert!(!pattern("127.0.0.0/8:80").names_address(loopback, 81));
        let mapped: IpAddr = "::ffff:10.1.2.3".parse().expect("an address");
        assert!(pattern("10.0.0.0/8:*").names_address(mapped, 1));
        assert!(!pattern("[::/0]:*").names_address(loopback, 1));
        assert!(pattern("0.0.0.0/0:*").names_address(loopback, 1));
    }

    #[test]
    fn a_pattern_covers_those_that_reach_no_further() {
        for (granted, wanted) in [
            ("*:*", "*.example.com:443"),
            ("*:443", "api.example.com:443"),
            ("*.example.com:443", "api.example.com:443"),
            ("*.example.com:*", "*.eu.example.com:443"),
            ("*.example.com:*", "*.example.com:*"),
            ("10.0.0.0/8:*", "10.1.0.0/16:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert!(pattern(granted).covers(&pattern(wanted)), "{granted} does for {wanted}");
        }
        for (granted, wanted) in [
            ("*:443", "*:*"),
            ("*:*", "10.0.0.1:80"),
            ("*:*", "localhost:80"),
            ("*.example.com:*", "example.com:80"),
            ("*.example.com:*", "badexample.com:80"),
            ("api.example.com:443", "*.example.com:443"),
            ("*.eu.example.com:*", "*.example.com:*"),
            ("10.1.0.0/16:80", "10.0.0.0/8:80"),
            ("[::/0]:*", "10.0.0.0/8:80"),
        ] {
            assert!(!pattern(granted).covers(&pattern(wanted)), "{granted} does not do for {wanted}");
        }
    }

    #[test]
    fn a_grant_out_of_bounds_is_refused_with_the_bound() {
        let refused = |grants: GrantsText| grants.check().expect_err("out of bounds").to_string();
        let pair = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let dir =
            |host: &str, guest: &str| DirGrant { host: host.to_owned(), guest: guest.to_owned(), read_only: false };
        assert!(refused(GrantsText { env: pair("A=B", ""), ..GrantsText::default() }).contains("it has a `=`"));
        assert!(refused(GrantsText { env: pair("A", "\0"), ..GrantsText::default() }).contains("NUL"));
        assert!(
            refused(GrantsText { config: pair("a", &"x".repeat(70_000)), ..GrantsText::default() }).contains("65536")
        );
        assert!(
            refused(GrantsText { dirs: vec![dir("data", "/data")], ..GrantsText::default() })
                .contains("begin with `/`")
        );
        assert!(refused(GrantsText { dirs: vec![dir("/a/../b", "/b")], ..GrantsText::default() }).contains("no `..`"));
        let twice = vec![dir("/a", "/data"), dir("/b", "/data/")];
        assert!(refused(GrantsText { dirs: twice, ..GrantsText::default() }).contains("twice"));
        assert!(
            refused(GrantsText { secrets: vec!["../key".to_owned()], ..GrantsText::default() })
                .contains("letters, digits")
        );
        let both = GrantsText { secrets: vec!["key".to_owned()], config: pair("key", "x"), ..GrantsText::default() };
        assert!(refused(both).contains("a secret and a setting"));
    }
}
