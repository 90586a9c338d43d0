//! A URL, taken apart into what a request needs.

use std::fmt::{self, Display};

use fluent_uri::{Uri, UriRef};

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) is_https: bool,
    /// In lower case; an IPv6 address in brackets.
    host: String,
    port: u16,
    pub(crate) path_and_query: String,
}

impl Target {
    /// Reads a URL. Its fragment is left out, since no server sees it.
    pub(crate) fn parse(url: &str) -> Result<Self, &'static str> {
        let uri =
            Uri::parse(url).map_err(|_| "is no URL; other letters than those of RFC 3986 are written like `%20`")?;
        let is_https = match uri.scheme().as_str() {
            scheme if scheme.eq_ignore_ascii_case("https") => true,
            scheme if scheme.eq_ignore_ascii_case("http") => false,
            _ => return Err("begins neither with `https://` nor with `http://`"),
        };
        let authority = uri.authority().ok_or("has no host")?;
        if authority.has_userinfo() {
            return Err("has a user in it, which everybody can read; use `--secret-header 'Authorization: …'`");
        }
        if authority.host().is_empty() {
            return Err("has no host");
        }
        let port = authority.port_to_u16().map_err(|_| "has no port from 1 to 65535")?;
        let port = port.unwrap_or(if is_https { 443 } else { 80 });
        if port == 0 {
            return Err("has no port from 1 to 65535");
        }
        let mut path_and_query = match uri.path().as_str() {
            "" => "/".to_owned(),
            path => path.to_owned(),
        };
        if let Some(query) = uri.query() {
            path_and_query.push('?');
            path_and_query.push_str(query.as_str());
        }
        Ok(Self { is_https, host: authority.host().to_ascii_lowercase(), port, path_and_query })
    }

    /// Where a `Location` of this target's answer leads.
    pub(crate) fn join(&self, location: &str) -> Result<Self, &'static str> {
        const NO_URL: &str = "is no URL";
        let base = Uri::parse(self.url()).map_err(|_| NO_URL)?;
        let location = UriRef::parse(location).map_err(|_| NO_URL)?;
        Self::parse(location.resolve_against(&base).map_err(|_| NO_URL)?.as_str())
    }

    /// The URL, without a fragment.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}{}", self.scheme(), self.authority(), self.path_and_query)
    }

    fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }

    /// Host and port, the latter only if it is not the usual one.
    pub(crate) fn authority(&self) -> String {
        let usual = if self.is_https { 443 } else { 80 };
        if self.port == usual { self.host.clone() } else { self.host_and_port() }
    }

    /// Host and port, as `taskctl add --allow-host` takes them.
    pub(crate) fn host_and_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whether both are served by the same server, as browsers see it.
    pub(crate) fn is_same_origin(&self, other: &Self) -> bool {
        (self.is_https, &self.host, self.port) == (other.is_https, &other.host, other.port)
    }
}

/// Without the query, in which there may be what not everybody should read.
impl Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        write!(f, "{}://{}{path}", self.scheme(), self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::parse(url).expect(url)
    }

    #[test]
    fn a_url_is_taken_apart() {
        let url = target("HTTPS://Example.org/a/b?c=d#e");
        assert_eq!((url.is_https, url.path_and_query.as_str()), (true, "/a/b?c=d"));
        assert_eq!((url.authority().as_str(), url.host_and_port().as_str()), ("example.org", "example.org:443"));
        assert_eq!(url.to_string(), "https://example.org/a/b");
        assert_eq!(target("http://[::1]:8080").authority(), "[::1]:8080");
        assert_eq!(target("http://a:80?x").path_and_query, "/?x");
        assert_eq!(target("http://a:443/").authority(), "a:443");
    }

    #[test]
    fn what_can_not_be_asked_for_is_refused() {
        for (url, why) in [
            ("example.org/health", "is no URL"),
            ("ftp://example.org/", "begins neither"),
            ("https:///health", "has no host"),
            ("https:health", "has no host"),
            ("https://me:word@example.org/", "has a user in it"),
            ("https://example.org:0/", "has no port"),
            ("https://example.org:65536/", "has no port"),
            ("https://example.org/a b", "is no URL"),
            ("https://exämple.org/", "is no URL"),
            ("", "is no URL"),
        ] {
            let refused = Target::parse(url).expect_err(url);
            assert!(refused.starts_with(why), "{url}: {refused}");
        }
    }

    #[test]
    fn a_location_is_taken_from_where_it_was_given() {
        let from = target("https://example.org/a/b?c=d");
        for (location, to) in [
            ("e", "https://example.org/a/e"),
            ("/", "https://example.org/"),
            ("../../x/../y", "https://example.org/y"),
            ("//other.org/x", "https://other.org/x"),
            ("http://example.org:8080", "http://example.org:8080/"),
        ] {
            assert_eq!(from.join(location).map(|to| to.to_string()), Ok(to.to_owned()), "{location}");
        }
        assert_eq!(from.join("?x=y").map(|to| to.path_and_query), Ok("/a/b?x=y".to_owned()));
        assert!(
            from.join("file:///etc/passwd").is_err()
                && from.join("https://a:b@c/").is_err()
                && from.join("a b").is_err()
        );
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = target("https://example.org/a");
        assert!(origin.is_same_origin(&target("https://EXAMPLE.org:443/b")));
        for other in ["http://example.org/a", "https://example.org:444/a", "https://www.example.org/a"] {
            assert!(!origin.is_same_origin(&target(other)), "{other}");
        }
    }
}
