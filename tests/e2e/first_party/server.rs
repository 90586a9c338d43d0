//! An HTTP server of a test, of the standard library: one answer for each connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::support::DEADLINE;

/// Listens on loopback until the test's program ends.
pub(super) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

#[derive(Clone, Debug)]
pub(super) struct Request {
    /// How many came before.
    pub(super) number: usize,
    /// Method and path.
    pub(super) line: String,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Request {
    /// The value of a header, by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

pub(super) struct Answer {
    head: String,
    body: String,
    /// Whether the connection is then left open, with something missing.
    stays_open: bool,
}

impl Answer {
    pub(super) fn new(status: u16, body: &str) -> Self {
        let length = if status == 204 { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        Self {
            head: format!("HTTP/1.1 {status} S\r\n{length}Connection: close\r\n"),
            body: body.to_owned(),
            stays_open: false,
        }
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    /// None.
    pub(super) fn never() -> Self {
        Self { head: String::new(), body: String::new(), stays_open: true }
    }

    /// One whose second half does not come before the connection is closed.
    pub(super) fn cut(status: u16, body: &str) -> Self {
        Self { stays_open: false, ..Self::half(status, body) }
    }

    /// One whose second half does not come.
    pub(super) fn half(status: u16, body: &str) -> Self {
        let head = format!("HTTP/1.1 {status} S\r\nContent-Length: {}\r\n", body.len() * 2);
        Self { head, body: body.to_owned(), stays_open: true }
    }
}

impl Server {
    /// A server that answers what `answer` says, for a path and the whole request.
    pub(super) fn start(answer: impl Fn(&str, &Request) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for connection in listener.incoming().map_while(Result::ok) {
                connection.set_read_timeout(Some(DEADLINE)).expect("the time is not zero");
                let number = seen.lock().expect("no panic").len();
                let Some(request) = read(&connection, number) else { continue };
                let path = request.line.split(' ').nth(1).unwrap_or_default();
                let answer = answer(path, &request);
                seen.lock().expect("no panic").push(request);
                let mut connection = connection;
                if !answer.head.is_empty() {
                    // A client that does not wait for all of it has gone.
                    write!(connection, "{}\r\n{}", answer.head, answer.body).ok();
                }
                if answer.stays_open {
                    open.push(connection);
                }
            }
        });
        Self { address, requests }
    }

    /// As a grant has it.
    pub(super) fn place(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Those that have come whole, in order.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic").clone()
    }
}

/// `None` if the client went away.
fn read(connection: &TcpStream, number: usize) -> Option<Request> {
    let mut reader = BufReader::new(connection);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&bytes| bytes > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let line_of_it = first.rsplit_once(' ').map_or(first.as_str(), |(line, _version)| line).to_owned();
    let mut headers = Vec::new();
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { number, line: line_of_it, headers, body: String::new() };
    let body_bytes = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; body_bytes];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).expect("the tests send UTF-8");
    Some(request)
}
