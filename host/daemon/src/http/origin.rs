//! Keeps web pages out. A browser runs on the user's own machine and as the user, so who connects says nothing about which
//! page asks: that say the `Host` and `Origin` headers, which a page can't forge.
//!
//! `Host` must name loopback, or a page could point its own name at 127.0.0.1 (DNS rebinding). `Origin` must be the host
//! itself, if there is one; only browsers send it, and jsonrpsee does not look at it.

use std::net::IpAddr;

use http::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use http::uri::Authority;

/// Why a request is not looked at any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Foreign {
    #[error("the `Host` header must name this machine: `localhost`, `127.0.0.1` or `[::1]`\n")]
    Host,
    #[error("requests of web pages are refused; this one came from {0}\n")]
    Origin(String),
}

/// Lets a request pass that no foreign web page can have made.
pub(super) fn check(headers: &HeaderMap) -> Result<(), Foreign> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next().and_then(authority), hosts.next()) {
        (Some(host), None) if is_loopback(&host) => host,
        _ => return Err(Foreign::Host),
    };
    match headers.get_all(ORIGIN).iter().find(|origin| !is_same(origin, &host)) {
        None => Ok(()),
        Some(origin) => Err(Foreign::Origin(String::from_utf8_lossy(origin.as_bytes()).into_owned())),
    }
}

fn authority(value: &HeaderValue) -> Option<Authority> {
    Authority::try_from(value.as_bytes()).ok()
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    // A user before an `@` has no place in this header.
    !authority.as_str().contains('@')
        && (host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback()))
}

/// Whether a page of this origin was served by the host itself.
fn is_same(origin: &HeaderValue, host: &Authority) -> bool {
    let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
    origin.and_then(|origin| origin.parse::<Authority>().ok()).is_some_and(|origin| origin == *host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(headers: &[(http::HeaderName, &str)]) -> Result<(), Foreign> {
        check(&headers.iter().map(|(name, value)| (name.clone(), value.parse().expect("a header"))).collect())
    }

    #[test]
    fn the_host_must_be_loopback() {
        for host in ["localhost", "LOCALHOST:3333", "127.0.0.1:3333", "127.1.2.3", "[::1]:3333", "[::ffff:127.0.0.1]"] {
            assert_eq!(checked(&[(HOST, host)]), Ok(()), "{host}");
        }
        for host in ["example.com", "localhost.example.com", "10.0.0.1:3333", "[::2]", "a@localhost", "", "0.0.0.0"] {
            assert_eq!(checked(&[(HOST, host)]), Err(Foreign::Host), "{host}");
        }
        assert_eq!(checked(&[]), Err(Foreign::Host));
        assert_eq!(checked(&[(HOST, "localhost"), (HOST, "localhost")]), Err(Foreign::Host));
    }

    #[test]
    fn the_origin_must_be_the_host_itself() {
        let with = |origin| checked(&[(HOST, "127.0.0.1:3333"), (ORIGIN, origin)]);
        assert_eq!(with("http://127.0.0.1:3333"), Ok(()));
        for origin in [
            "http://example.com",
            "null",
            "http://127.0.0.1:8080",
            "http://localhost:3333",
            "https://127.0.0.1:3333",
            "http://127.0.0.1:3333.example.com",
            "http://127.0.0.1:3333@example.com",
        ] {
            assert_eq!(with(origin), Err(Foreign::Origin(origin.to_owned())), "{origin}");
        }
    }
}
