//! Where a request goes, as its URL has it.

use std::net::IpAddr;

use http::uri::Scheme;
use http::{Method, Request, Uri};
use wasmtime_wasi_http::Error;

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// A name, or an address without brackets.
    pub(crate) host: String,
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

impl Target {
    pub(crate) fn of<T>(request: &Request<T>) -> Result<Self, Error> {
        // A tunnel to anywhere.
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        Self::of_uri(request.uri()).ok_or(Error::HttpRequestUriInvalid)
    }

    pub(crate) fn of_uri(uri: &Uri) -> Option<Self> {
        // Names and passwords before an `@` have no place in a request.
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        let port = match authority.port() {
            Some(port) => port.as_str().parse().ok()?,
            // What follows a colon and is no port.
            None if authority.as_str() != authority.host() => return None,
            None if tls => 443,
            None => 80,
        };
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Some(Self { host: bare.to_owned(), address: bare.parse().ok(), port, tls })
            .filter(|target| !target.host.is_empty())
    }

    /// The same, with its host as all ways of writing it have it.
    pub(crate) fn lower_case(mut self) -> Self {
        self.host.make_ascii_lowercase();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str) -> Option<(String, u16, bool)> {
        let uri: Uri = uri.parse().expect(uri);
        Target::of_uri(&uri).map(|target| (target.host, target.port, target.tls))
    }

    #[test]
    fn a_request_goes_to_its_host_and_port_or_the_schemes() {
        assert_eq!(target("https://example.com/a"), Some(("example.com".to_owned(), 443, true)));
        assert_eq!(target("http://example.com"), Some(("example.com".to_owned(), 80, false)));
        assert_eq!(target("http://[::1]:8080/"), Some(("::1".to_owned(), 8080, false)));
        assert_eq!(target("http://1.2.3.4:1/"), Some(("1.2.3.4".to_owned(), 1, false)));
    }

    #[test]
    fn a_request_that_hides_where_it_goes_is_refused() {
        for uri in ["http://granted@evil.example/", "http://a:b@c:80/", "/path"] {
            assert_eq!(target(uri), None, "{uri}");
        }
    }

    #[test]
    fn a_tunnel_is_refused() {
        let request = Request::builder().method(Method::CONNECT).uri("http://a/").body(()).expect("a request");
        assert!(matches!(Target::of(&request), Err(Error::HttpRequestMethodInvalid)));
    }
}
