//! As much of an HTTP client as is needed, so that nothing stands between the test and the bytes.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpStream;

use serde_json::Value;

/// The answer to a request.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl HttpAnswer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {self:#?}"))
    }
}

/// Sends one request and reads its answer.
#[track_caller]
pub(super) fn request(
    mut socket: TcpStream,
    verb: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> HttpAnswer {
    let host = socket.peer_addr().expect("it is connected");
    let mut head = format!("{verb} {path} HTTP/1.1\r\n");
    for (name, value) in with_defaults(host.to_string(), body, headers) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    socket.write_all(head.as_bytes()).expect("the host reads");
    if let Err(error) = socket.write_all(body) {
        // A host that refuses by the head alone may close before the body has come; its answer is there all the same.
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    }
    read_answer(BufReader::new(socket))
}

/// The headers, with those that every client sends.
fn with_defaults(host: String, body: &[u8], headers: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    for (name, value) in [("Host", host), ("Content-Length", body.len().to_string())] {
        if !all.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)) {
            all.push((name.to_owned(), value));
        }
    }
    all
}

#[track_caller]
fn read_answer(mut answer: impl BufRead) -> HttpAnswer {
    let mut line = || {
        let mut line = String::new();
        answer.read_line(&mut line).expect("the host answers");
        line.trim_end().to_owned()
    };
    let status = line();
    let status =
        status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no HTTP: {status:?}"));
    let mut body_bytes = 0;
    loop {
        let header = line().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(length) = header.strip_prefix("content-length:") {
            body_bytes = length.trim().parse().expect("a length is a number");
        }
    }
    let mut body = vec![0; body_bytes];
    answer.read_exact(&mut body).expect("the body comes whole");
    HttpAnswer { status, body: String::from_utf8(body).expect("our answers are UTF-8") }
}
