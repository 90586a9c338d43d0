//! What a plugin finds: keys and values that are there at the start, and answers to its requests in place of the network.
//!
//! As JSON it is what `taskhost run --fixture` takes; `docs/testing.md` tells what stands in it. Neither grants anything.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use taskhost_core::key_value::{KeyValueChange, KeyValueError};
use taskhost_core::told::told;
use taskhost_engine::{AnswerError, Answers};

use crate::data::Data;
use crate::record::BUCKET;

/// The version of the file's form.
pub const FIXTURE_FORMAT: u64 = 1;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// How much of what stands in the file a message repeats, in characters.
const MAX_TOLD_CHARS: usize = 100;

/// What a plugin finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fixture {
    /// By bucket, of which there is one, and key.
    pub kv: BTreeMap<String, BTreeMap<String, Data>>,
    /// What stands for the network, which `None` leaves as it is. Answers to the same method and URL are given in order, the last one
    /// again and again; a request that has none fails.
    pub http: Option<Vec<Answer>>,
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an answer")]
pub struct Answer {
    #[serde(default = "get")]
    pub method: String,
    pub url: String,
    #[serde(default = "ok")]
    pub status: u16,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub body: Data,
}

fn get() -> String {
    Method::GET.to_string()
}

fn ok() -> u16 {
    StatusCode::OK.as_u16()
}

impl Answer {
    /// To a `GET` of this URL: 200, with nothing in it unless something is said.
    pub fn get(url: &str) -> Self {
        Self::to("GET", url)
    }

    /// To a `POST`.
    pub fn post(url: &str) -> Self {
        Self::to("POST", url)
    }

    /// To a request of this method, which is in capitals.
    pub fn to(method: &str, url: &str) -> Self {
        let (method, url) = (method.to_owned(), url.to_owned());
        Self { method, url, status: ok(), headers: BTreeMap::new(), body: Data::default() }
    }

    #[must_use]
    pub fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    #[must_use]
    pub fn body(self, body: impl Into<Data>) -> Self {
        Self { body: body.into(), ..self }
    }
}

/// Why there is no such fixture. What it repeats of a file is safe to print.
#[derive(Debug, thiserror::Error)]
pub enum FixtureError {
    #[error("failed to read {}", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is larger than {MAX_FILE_BYTES} bytes", .0.display())]
    TooLarge(PathBuf),
    /// Of this file.
    #[error("{}: {error}", .path.display())]
    In { path: PathBuf, error: Box<FixtureError> },
    #[error("{}", told(.0.to_string(), 4 * MAX_TOLD_CHARS))]
    Json(serde_json::Error),
    #[error("`format` is {0}, and only {FIXTURE_FORMAT} is known here")]
    Format(u64),
    #[error("`kv.{0}`: a task has one bucket, `{BUCKET}`")]
    Bucket(String),
    #[error("`kv.{BUCKET}.{key}`: {error}")]
    Value { key: String, error: KeyValueError },
    #[error("`http[{at}].{member}` is `{given}`: {why}")]
    Answer { at: usize, member: &'static str, given: String, why: String },
}

/// The form of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a fixture")]
struct FixtureFile {
    #[serde(rename = "format")]
    _format: u64,
    #[serde(default)]
    kv: BTreeMap<String, BTreeMap<String, Data>>,
    http: Option<Vec<Answer>>,
}

/// What is read of one of any form.
#[derive(Deserialize)]
#[serde(expecting = "a fixture")]
struct AnyFile {
    format: u64,
}

impl Fixture {
    /// Reads one from a file.
    ///
    /// # Errors
    /// If it can't be read, or is none: with the file, and the place in it.
    pub fn of_file(path: impl AsRef<Path>) -> Result<Self, FixtureError> {
        let path = path.as_ref();
        let mut json = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut json))
            .map_err(|source| FixtureError::Read { path: path.to_owned(), source })?;
        if json.len() as u64 > MAX_FILE_BYTES {
            return Err(FixtureError::TooLarge(path.to_owned()));
        }
        Self::parse(&json).map_err(|error| FixtureError::In { path: path.to_owned(), error: Box::new(error) })
    }

    /// Reads one from JSON.
    ///
    /// # Errors
    /// If it is none, with the place.
    pub fn parse(json: &[u8]) -> Result<Self, FixtureError> {
        let AnyFile { format } = serde_json::from_slice(json).map_err(FixtureError::Json)?;
        if format != FIXTURE_FORMAT {
            return Err(FixtureError::Format(format));
        }
        let FixtureFile { kv, http, .. } = serde_json::from_slice(json).map_err(FixtureError::Json)?;
        let fixture = Self { kv, http };
        fixture.changes()?;
        fixture.answers()?;
        Ok(fixture)
    }

    /// What puts the keys and values in their places, if a store takes them.
    pub(crate) fn changes(&self) -> Result<Vec<KeyValueChange>, FixtureError> {
        let mut changes = Vec::new();
        for (bucket, values) in &self.kv {
            if bucket != BUCKET {
                return Err(FixtureError::Bucket(told(bucket, MAX_TOLD_CHARS)));
            }
            for (key, value) in values {
                let change = KeyValueChange::Write { set: vec![(key.clone(), value.0.clone())], delete: Vec::new() };
                change.check().map_err(|error| FixtureError::Value { key: told(key, MAX_TOLD_CHARS), error })?;
                changes.push(change);
            }
        }
        Ok(changes)
    }

    /// What stands for the network.
    pub(crate) fn answers(&self) -> Result<Option<Answers>, FixtureError> {
        let Some(http) = &self.http else { return Ok(None) };
        let answers = Answers::default();
        for (at, answer) in http.iter().enumerate() {
            answer.add_to(&answers).map_err(|Wrong { member, given, why }| FixtureError::Answer {
                at,
                member,
                given: told(given, MAX_TOLD_CHARS),
                why,
            })?;
        }
        Ok(Some(answers))
    }
}

/// What of an answer is wrong.
struct Wrong {
    member: &'static str,
    given: String,
    why: String,
}

impl Answer {
    fn add_to(&self, answers: &Answers) -> Result<(), Wrong> {
        let Self { method, url, status, headers, body } = self;
        let wrong = |member, given: &dyn ToString, why: &dyn ToString| Wrong {
            member,
            given: given.to_string(),
            why: why.to_string(),
        };
        let no_method = || wrong("method", method, &"it is no method, which is in capitals like `GET`");
        let asked = Method::from_bytes(method.as_bytes()).map_err(|_| no_method())?;
        if method.bytes().any(|letter| letter.is_ascii_lowercase()) {
            return Err(no_method());
        }
        let no_url = || wrong("url", url, &AnswerError::Url);
        // What follows it is never sent, and the parser drops it.
        let uri = if url.contains('#') { None } else { url.parse().ok() }.ok_or_else(no_url)?;
        let code = StatusCode::from_u16(*status).map_err(|_| wrong("status", status, &AnswerError::Status))?;
        let mut fields = HeaderMap::new();
        for (name, value) in headers {
            let field: HeaderName = name.parse().map_err(|_| wrong("headers", name, &"it is no name of a header"))?;
            let text = HeaderValue::from_bytes(value.as_bytes());
            fields.insert(field, text.map_err(|_| wrong("headers", name, &"its value has what no header can have"))?);
        }
        let answer = taskhost_engine::Answer { status: code, headers: fields, body: body.0.clone() };
        answers.add(asked, &uri, answer).map_err(|error| match error {
            AnswerError::Method => wrong("method", method, &error),
            AnswerError::Url => no_url(),
            AnswerError::Status => wrong("status", status, &error),
            AnswerError::Body => wrong("body", &body.to_text(), &error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixture_has_what_stands_in_it_and_what_is_left_out_is_usual() {
        let fixture = Fixture::parse(
            br#"{"format": 1, "kv": {"default": {"a": "1", "b": {"base64": "/wA="}}},
                "http": [{"url": "https://example.org/"},
                    {"method": "POST", "url": "http://a:1/x?y", "status": 304, "headers": {"etag": "\"1\""}}]}"#,
        );
        let post = Answer::post("http://a:1/x?y").status(304).header("etag", "\"1\"");
        let values = BTreeMap::from([("a".to_owned(), "1".into()), ("b".to_owned(), Data::from(vec![0xff, 0]))]);
        let kv = BTreeMap::from([(BUCKET.to_owned(), values)]);
        let expected = Fixture { kv, http: Some(vec![Answer::get("https://example.org/"), post]) };
        assert_eq!(fixture.expect("a fixture"), expected);
        assert_eq!(Fixture::parse(br#"{"format": 1}"#).expect("a fixture"), Fixture::default());
    }

    #[test]
    fn what_is_no_fixture_is_told_with_its_place() {
        let mut told = String::new();
        for json in [
            "",
            "[]",
            "{}",
            r#"{"format": 2, "values": {}}"#,
            r#"{"format": 1, "values": {}}"#,
            r#"{"format": 1, "kv": {"default": {"a": 1}}}"#,
            r#"{"format": 1, "kv": {"mine": {"a": "1"}}}"#,
            r#"{"format": 1, "kv": {"default": {"": "1"}}}"#,
            r#"{"format": 1, "kv": {"default": {"a": {"base64": "?"}}}}"#,
            r#"{"format": 1, "http": {}}"#,
            r#"{"format": 1, "http": [{}]}"#,
            "{\"format\": 1, \"http\": [\n  {\"url\": \"http://a/\"},\n  {\"url\": \"http://a/\", \"stauts\": 200}]}",
            r#"{"format": 1, "http": [{"url": "http://a/", "method": "get"}]}"#,
            r#"{"format": 1, "http": [{"url": "http://a/", "method": "G T"}]}"#,
            r#"{"format": 1, "http": [{"url": "http://a/", "method": "CONNECT"}]}"#,
            r#"{"format": 1, "http": [{"url": "example.org"}]}"#,
            r#"{"format": 1, "http": [{"url": "http://a/"}, {"url": "http://a/#top"}]}"#,
            r#"{"format": 1, "http": [{"url": "ftp://a/\u001b[2J"}]}"#,
            r#"{"format": 1, "http": [{"url": "http://a/", "status": 99}]}"#,
            r#"{"format": 1, "http": [{"url": "http://a/", "status": 101}]}"#,
            r#"{"format": 1, "http": [{"url": "http://a/", "status": 70000}]}"#,
            r#"{"format": 1, "http": [{"url": "http://a/", "status": 304, "body": "x"}]}"#,
            r#"{"format": 1, "http": [{"url": "http://a/", "headers": {"a b": "x"}}]}"#,
            r#"{"format": 1, "http": [{"url": "http://a/", "headers": {"a": "x\n"}}]}"#,
        ] {
            let refused = Fixture::parse(json.as_bytes()).expect_err(json).to_string();
            assert!(!refused.contains('\u{1b}'), "{refused:?}");
            told.push_str(&format!("{json}\n    {refused}\n"));
        }
        insta::assert_snapshot!("no-fixture", told);
    }
}
