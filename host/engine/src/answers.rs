//! Answers to guests' requests in place of the network, for who tries a plugin out.
//!
//! What stands here is all the network there is: a request that has no answer fails, and no socket is connected. What a task is
//! granted is checked as ever, so that a grant that is missing shows.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};

use crate::target::Target;

/// An answer as a server gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The answers that there are. Those to the same method and URL are given in order, over all attempts, and the last one again and again.
#[derive(Debug, Default)]
pub struct Answers {
    /// Locked for moments, by the threads that run guests.
    given: Mutex<HashMap<Asked, Row>>,
}

/// What an answer is to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    method: Method,
    target: Target,
    /// With its query.
    path: String,
}

#[derive(Debug, Default)]
struct Row {
    answers: Vec<Answer>,
    given: usize,
}

/// Why there can't be such an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    #[error("a guest can't ask by CONNECT")]
    Method,
    #[error(
        "it is no URL that a guest can ask for: it has `http://` or `https://`, a host, a path, and neither `@` before the host nor `#`"
    )]
    Url,
    #[error("it is no status of an answer: those are from 200 to 599")]
    Status,
    #[error("an answer with this status or to HEAD has no body")]
    Body,
}

impl Answers {
    /// Adds one, after those that there are to the same method and URL.
    ///
    /// # Errors
    /// If no server could give it, or no guest ask for it.
    pub fn add(&self, method: Method, url: &Uri, answer: Answer) -> Result<(), AnswerError> {
        if method == Method::CONNECT {
            return Err(AnswerError::Method);
        }
        if !(200..600).contains(&answer.status.as_u16()) {
            return Err(AnswerError::Status);
        }
        let has_none =
            matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) || method == Method::HEAD;
        if has_none && !answer.body.is_empty() {
            return Err(AnswerError::Body);
        }
        let asked = Asked::of(&method, url).ok_or(AnswerError::Url)?;
        self.lock().entry(asked).or_default().answers.push(answer);
        Ok(())
    }

    /// The answer to a request, if one is given.
    pub(crate) fn next(&self, method: &Method, url: &Uri) -> Option<Answer> {
        let mut given = self.lock();
        let row = given.get_mut(&Asked::of(method, url)?)?;
        let at = row.given.min(row.answers.len().checked_sub(1)?);
        row.given += 1;
        row.answers.get(at).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Asked, Row>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    fn of(method: &Method, url: &Uri) -> Option<Self> {
        let target = Target::of_uri(url).filter(|_| matches!(url.scheme_str(), Some("http" | "https")))?;
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        // One that is empty but for its query is the root's.
        let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
        Some(Self { method: method.clone(), target: target.lower_case(), path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().expect(text)
    }

    fn status(status: u16) -> Answer {
        Answer { status: StatusCode::from_u16(status).expect("a status"), ..Answer::default() }
    }

    #[test]
    fn answers_to_the_same_request_come_in_order_and_the_last_one_again_and_again() {
        let answers = Answers::default();
        for code in [200, 304, 500] {
            answers.add(Method::GET, &uri("https://Example.org"), status(code)).expect("an answer");
        }
        answers.add(Method::GET, &uri("https://example.org/?a"), status(201)).expect("an answer");
        let next = |method, url: &str| answers.next(&method, &uri(url)).map(|answer| answer.status.as_u16());
        let urls = ["https://example.org/", "https://EXAMPLE.org:443/", "https://example.org", "https://example.org/"];
        assert_eq!(urls.map(|url| next(Method::GET, url)), [200, 304, 500, 500].map(Some));
        assert_eq!(next(Method::GET, "https://example.org?a"), Some(201));
        for other in
            ["http://example.org/", "https://example.org:8443/", "https://example.org/a", "https://example.com/"]
        {
            assert_eq!(next(Method::GET, other), None, "{other}");
        }
        assert_eq!(next(Method::POST, "https://example.org/"), None);
    }

    #[test]
    fn what_no_server_could_answer_and_no_guest_could_ask_for_is_refused() {
        let added = |method, url: &str, answer| Answers::default().add(method, &uri(url), answer);
        let with_body = |code| Answer { body: Bytes::from_static(b"x"), ..status(code) };
        assert_eq!(added(Method::CONNECT, "http://a/", status(200)), Err(AnswerError::Method));
        for url in ["/path", "ftp://a/", "http://user@a/", "http://a:x/"] {
            assert_eq!(added(Method::GET, url, status(200)), Err(AnswerError::Url), "{url}");
        }
        for code in [100, 199, 600] {
            assert_eq!(added(Method::GET, "http://a/", status(code)), Err(AnswerError::Status));
        }
        assert_eq!(added(Method::GET, "http://a/", with_body(304)), Err(AnswerError::Body));
        assert_eq!(added(Method::HEAD, "http://a/", with_body(200)), Err(AnswerError::Body));
        assert_eq!(added(Method::GET, "http://a/", with_body(404)), Ok(()));
    }
}
