//! HTTP requests, to what the task was granted with `--allow-host HOST:PORT`. With the feature `http`.
//!
//! ```no_run
//! use taskhost_plugin::{Failure, Tick, http};
//!
//! fn run(_: Tick) -> Result<String, Failure> {
//!     let mut response = http::get("https://example.com/health").send()?;
//!     let text = response.body.text(64 * 1024)?;
//!     match response.status {
//!         200 => Ok(text),
//!         status => Err(Failure::new(format!("got {status}: {text}"))),
//!     }
//! }
//! ```
//!
//! Redirects are not followed: where they lead may be another host. While a request waits, the run may be cancelled, which ends it.

use std::fmt::{self, Display};
use std::time::Duration;

use fluent_uri::Uri;

/// How long a request may take, with all of its answer, unless it says something else; and never longer than the attempt.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// In upper case: `GET`, `POST` and so on.
    pub method: String,
    /// From `http://` or `https://` on.
    pub url: String,
    /// In order; a name may be there several times.
    pub headers: Vec<(String, Vec<u8>)>,
    /// What is sent after the headers.
    pub body: Option<Vec<u8>>,
    /// How long it may take until all of the answer is there.
    pub timeout: Duration,
}

/// A request for what is at a URL.
pub fn get(url: impl Into<String>) -> Request {
    Request::new("GET", url)
}

/// A request that hands a body over.
pub fn post(url: impl Into<String>, body: impl Into<Vec<u8>>) -> Request {
    Request::new("POST", url).body(body)
}

impl Request {
    /// A request with any method.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        Self { method: method.into(), url: url.into(), headers: Vec::new(), body: None, timeout: TIMEOUT }
    }

    /// The same with a header more.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The same with a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The same with another bound on its time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends it, and waits for the head of its answer, whatever its status.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn send(&self) -> Result<Response, Error> {
        let target = Target::of(&self.url)?;
        let timeout = self.timeout.min(crate::context::remaining().unwrap_or(Duration::MAX));
        crate::sys::http_send(self, &target, timeout)
    }
}

/// What came back.
#[derive(Debug)]
#[non_exhaustive]
pub struct Response {
    /// 200 and so on.
    pub status: u16,
    /// In order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// What follows them, as it comes.
    pub body: Body,
}

impl Response {
    /// An answer for a test's [`Host`](crate::testing::Host).
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: Body(Source::Bytes(Some(body.into()))) }
    }

    /// The same with a header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.as_bytes().to_owned()));
        self
    }
}

/// The body of an answer.
#[derive(Debug)]
pub struct Body(pub(crate) Source);

/// Where its bytes are.
#[derive(Debug)]
pub(crate) enum Source {
    Bytes(Option<Vec<u8>>),
    #[cfg(target_family = "wasm")]
    Wasi(crate::sys::HttpBody),
}

impl Body {
    /// The next piece, never empty; `None` when it was the last.
    ///
    /// # Errors
    /// If not all of it comes, or not in time.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, Error> {
        match &mut self.0 {
            Source::Bytes(bytes) => Ok(bytes.take().filter(|bytes| !bytes.is_empty())),
            #[cfg(target_family = "wasm")]
            Source::Wasi(body) => body.next_piece(),
        }
    }

    /// All that is left of it, at most `max_bytes`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if there is more, and as of [`next_piece`](Self::next_piece).
    pub fn bytes(&mut self, max_bytes: usize) -> Result<Vec<u8>, Error> {
        let mut all = Vec::new();
        while let Some(piece) = self.next_piece()? {
            if all.len() + piece.len() > max_bytes {
                return Err(Error::TooLarge);
            }
            all.extend(piece);
        }
        Ok(all)
    }

    /// The same as text; what is no UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    /// As of [`bytes`](Self::bytes).
    pub fn text(&mut self, max_bytes: usize) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.bytes(max_bytes)?).into_owned())
    }
}

/// Why there is no answer, or no whole one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// What is wrong with the URL.
    Url(String),
    /// The task was not granted the host.
    Denied,
    /// The host's name leads to an address that the task was not granted.
    DeniedAddress,
    /// The name has no address; why, if the name server says so.
    Unresolved(Option<String>),
    /// Nobody listens there.
    ConnectionRefused,
    /// No way leads there.
    Unreachable,
    /// No connection in time.
    ConnectTimeout,
    /// No answer in time, or no whole one.
    Timeout,
    /// The connection was closed before the answer was whole.
    Closed,
    /// The two sides do not come to trust each other.
    Tls(String),
    /// The answer is larger than the host, or the plugin, takes.
    TooLarge,
    /// The host lets nobody set this header.
    Header(String),
    /// Not more connections at once.
    TooManyConnections,
    /// The run was cancelled while it waited.
    Cancelled,
    /// Anything else, in the host's words.
    Other(String),
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(why) => write!(f, "the URL {why}"),
            Self::Denied => {
                f.write_str("the task may not connect there; its log says which --allow-host would allow it")
            }
            Self::DeniedAddress => f.write_str(
                "the name leads to an address that the task may not connect to; its log says what would allow it",
            ),
            Self::Unresolved(None) => f.write_str("the name has no address"),
            Self::Unresolved(Some(why)) => write!(f, "the name has no address: {why}"),
            Self::ConnectionRefused => f.write_str("the connection was refused"),
            Self::Unreachable => f.write_str("the host can't be reached"),
            Self::ConnectTimeout => f.write_str("there was no connection in time"),
            Self::Timeout => f.write_str("there was no whole answer in time"),
            Self::Closed => f.write_str("the connection was closed before the answer was whole"),
            Self::Tls(why) => write!(f, "no TLS: {why}"),
            Self::TooLarge => f.write_str("the answer is larger than is taken"),
            Self::Header(name) => write!(f, "the host lets nobody set the header `{name}`"),
            Self::TooManyConnections => f.write_str("too many connections at once"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}

/// A URL as a request needs it.
#[cfg_attr(
    all(not(target_family = "wasm"), not(test)),
    expect(dead_code, reason = "off wasm, the test's host gets the URL")
)]
pub(crate) struct Target {
    pub(crate) is_https: bool,
    pub(crate) authority: String,
    pub(crate) path_and_query: String,
}

impl Target {
    fn of(url: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::Url(why.to_owned());
        let uri = Uri::parse(url)
            .map_err(|_| wrong("is none; other letters than those of RFC 3986 are written like `%20`"))?;
        let is_https = match uri.scheme().as_str() {
            scheme if scheme.eq_ignore_ascii_case("https") => true,
            scheme if scheme.eq_ignore_ascii_case("http") => false,
            _ => return Err(wrong("begins neither with `https://` nor with `http://`")),
        };
        let authority = uri.authority().filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or_else(|| wrong("has no host"))?;
        if authority.has_userinfo() {
            return Err(wrong("has a user in it, which everybody can read; use a header `Authorization`"));
        }
        let path = uri.path().as_str();
        let mut path_and_query = if path.is_empty() { "/" } else { path }.to_owned();
        if let Some(query) = uri.query() {
            path_and_query.push('?');
            path_and_query.push_str(query.as_str());
        }
        Ok(Self { is_https, authority: authority.as_str().to_owned(), path_and_query })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;

    #[test]
    fn a_test_answers_requests_and_sees_what_was_sent() {
        let host = Host::new().http(|request| match (request.method.as_str(), request.url.as_str()) {
            ("POST", "http://localhost:8080/in") => {
                Ok(Response::new(201, request.body.clone().unwrap_or_default()).header("x-seen", "yes"))
            }
            _ => Err(Error::Denied),
        });
        host.within(|| {
            let mut answer = post("http://localhost:8080/in", "hello").send().expect("an answer");
            assert_eq!((answer.status, answer.headers.len()), (201, 1));
            assert_eq!(answer.body.text(5).as_deref(), Ok("hello"));
            let mut answer = post("http://localhost:8080/in", "hello").send().expect("an answer");
            assert_eq!(answer.body.text(4), Err(Error::TooLarge));
            assert_eq!(get("http://localhost:8080/in").send().expect_err("refused"), Error::Denied);
        });
    }

    #[test]
    fn a_url_that_is_none_is_told_before_anything_is_sent() {
        for (url, told) in [
            ("example.com", "is none"),
            ("ftp://example.com/", "begins neither"),
            ("http:///path", "has no host"),
            ("http://user:pw@example.com/", "has a user in it"),
            ("http://example.com/a b", "is none"),
        ] {
            let error = get(url).send().expect_err("refused").to_string();
            assert!(error.starts_with("the URL") && error.contains(told), "{url}: {error}");
        }
        let target = Target::of("HTTPS://Example.com:8443?q=1#part").expect("a URL");
        assert_eq!((target.is_https, target.authority.as_str()), (true, "Example.com:8443"));
        assert_eq!(target.path_and_query, "/?q=1");
    }
}
