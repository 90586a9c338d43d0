//! What is asked of the network: one request, and its answer.

use std::time::Duration;

pub(crate) use taskhost_plugin::http::Error as Fault;

use crate::header::Header;
use crate::target::Target;

/// Sends requests. Times are of one clock that only goes forward.
pub(crate) trait Exchange {
    type Body: Body;

    fn now(&self) -> Duration;

    /// Sends a request, and waits for the head of its answer. Head and body must have come at `deadline`.
    fn send(&mut self, request: &Request<'_>, deadline: Duration) -> Result<Answer<Self::Body>, Fault>;
}

/// The body of an answer, as it comes.
pub(crate) trait Body {
    /// The next piece, never empty; `None` when it was the last.
    fn next(&mut self) -> Result<Option<Vec<u8>>, Fault>;
}

pub(crate) struct Request<'r> {
    pub(crate) method: &'r str,
    pub(crate) target: &'r Target,
    pub(crate) headers: &'r [Header],
    pub(crate) body: Option<&'r [u8]>,
}

pub(crate) struct Answer<B> {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: B,
}

impl<B> Answer<B> {
    /// The value of the first header of this name, which is in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name))?;
        Some(std::str::from_utf8(value).ok()?.trim())
    }
}
