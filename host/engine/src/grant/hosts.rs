//! The rules by which hosts are granted, of names and addresses.
//!
//! Two rules, for sockets and HTTP alike. **A name** that is looked up or asked by HTTP must match a pattern, with its port. **An
//! address** that is connected to must be public, or be named by a pattern itself: what a name leads to is its owner's word,
//! and it may well lead to the host's own network.

use std::net::{IpAddr, SocketAddr};

use taskhost_core::spec::{HostMatch, HostPattern};

use crate::grant::denials::quoted;
use crate::grant::public::is_public;

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
pub(crate) fn may_look_up(hosts: &[HostPattern], name: &str) -> bool {
    if let Some(address) = address_in(name) {
        return hosts.iter().any(|host| may_connect_to_address(std::slice::from_ref(host), address, a_port(host)));
    }
    hosts.iter().any(|host| host.matches_name(name, a_port(host)))
}

/// Whether an address may be connected to at any port.
pub(crate) fn may_hear_of(hosts: &[HostPattern], address: IpAddr) -> bool {
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

/// The address that a guest wrote in place of a name.
pub(crate) fn address_in(name: &str) -> Option<IpAddr> {
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).parse().ok()
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
