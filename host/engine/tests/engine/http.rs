//! What guests reach by HTTP. The servers are the tests' own, on loopback.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use taskhost_core::outcome::Outcome;
use taskhost_core::ports::Engine;
use taskhost_core::spec::Limit;
use taskhost_engine::Requests;

use crate::host::{Host, Task, texts};

/// A server that says what was asked of it. What it has seen comes out of the receiver, a line for a request or an end.
struct Server {
    address: SocketAddr,
    seen: Mutex<Receiver<String>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sender, seen) = channel();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (mut connection, sender) = (connection.expect("a connection"), sender.clone());
                thread::spawn(move || {
                    let (head, path) = read_request(&mut connection);
                    // The test may be over, and the guest gone.
                    drop(sender.send(head.clone()));
                    if path == "/silence" {
                        drop(connection.read(&mut [0]));
                        drop(sender.send("closed".to_owned()));
                        return;
                    }
                    drop(connection.write_all(&answer(&head, &path)));
                });
            }
        });
        Self { address, seen: Mutex::new(seen) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn next_seen(&self) -> String {
        let seen = self.seen.lock().expect("no test panics here");
        seen.recv_timeout(Duration::from_secs(30)).expect("something comes")
    }
}

fn read_request(connection: &mut impl Read) -> (String, String) {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") && !bytes.ends_with(b"0\r\n\r\n") {
        let mut byte = [0];
        if connection.read(&mut byte).unwrap_or(0) == 0 {
            break;
        }
        bytes.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    (head, path)
}

fn answer(head: &str, path: &str) -> Vec<u8> {
    let body = match path {
        "/big" => vec![b'x'; 200_000],
        "/host" => head.lines().find(|line| line.starts_with("host:")).unwrap_or_default().as_bytes().to_vec(),
        path => path.as_bytes().to_vec(),
    };
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend(body);
    answer
}

async fn lines_of(task: Task) -> Vec<String> {
    let (report, lines) = Host::new().run(&task).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?} {lines:?}");
    texts(&lines)
}

#[tokio::test]
async fn a_request_goes_where_a_host_is_granted() {
    let server = Server::start();
    let port = server.address.port();
    let by_name = format!("http://localhost:{port}/host");
    let task = Task::reach(&["get", &by_name, "get", &server.url("/a?b")]).host(&format!("localhost:{port}"));
    // By a name and by the address that it names.
    assert_eq!(
        lines_of(task).await,
        [format!("stdout: get: 200 host: localhost:{port}"), "stdout: get: 200 /a?b".to_owned()]
    );
    let head = server.next_seen();
    assert!(head.starts_with("GET /host HTTP/1.1\r\n"), "{head}");
}

#[tokio::test]
async fn requests_are_noted_where_somebody_wants_to_know_those_that_are_denied_too() {
    let server = Server::start();
    let requests = Arc::<Requests>::default();
    let task = Task::reach(&["get", &server.url("/a?b"), "post", "http://example.com/", "a body"]);
    let (report, lines) = Host::with_requests(&requests).run(&task.host(&server.address.to_string())).await;
    assert_eq!(report.outcome, Outcome::Success, "{lines:?}");
    let (noted, lost) = requests.take();
    let noted: Vec<_> = noted.into_iter().map(|request| (request.method, request.url, request.answer)).collect();
    let denied = Some(Err("HTTP request denied".to_owned()));
    assert_eq!(
        noted,
        [
            ("GET".to_owned(), server.url("/a?b"), Some(Ok(200))),
            ("POST".to_owned(), "http://example.com/".to_owned(), denied)
        ]
    );
    assert_eq!(lost, 0);
}

#[tokio::test]
async fn a_request_with_a_body_is_sent() {
    let server = Server::start();
    let task = Task::reach(&["post", &server.url("/"), "a body"]).host(&server.address.to_string());
    let requests = Arc::<Requests>::default();
    let (_, lines) = Host::with_requests(&requests).run(&task).await;
    assert_eq!(texts(&lines), ["stdout: post: 200 /"]);
    let noted = requests.take().0.remove(0);
    assert_eq!((&noted.sent[..], noted.is_cut, noted.answer), (&b"a body"[..], false, Some(Ok(200))));
    let head = server.next_seen();
    assert!(head.starts_with("POST / HTTP/1.1\r\n"), "{head}");
}

#[tokio::test]
async fn a_request_goes_nowhere_else() {
    let server = Server::start();
    let (url, port) = (server.url("/"), server.address.port());
    let address = server.address;
    let denied = "stdout: get failed: ErrorCode::HttpRequestDenied";
    for pattern in [None, Some("*:*"), Some("localhost:1"), Some("example.com:80"), Some("10.0.0.0/8:*")] {
        let task = Task::reach(&["get", &url]);
        let lines = lines_of(pattern.map_or(task, |pattern| Task::reach(&["get", &url]).host(pattern))).await;
        let told = format!("host: denied: connecting to {address}; allow it with --allow-host {address}");
        assert_eq!(lines, [told, denied.to_owned()], "{pattern:?}");
    }
    let by_name = format!("http://localhost:{port}/");
    let lines = lines_of(Task::reach(&["get", &by_name, "get", &by_name]).host("example.com:80")).await;
    let told = format!("host: denied: connecting to localhost:{port}; allow it with --allow-host localhost:{port}");
    assert_eq!(lines, [told, denied.to_owned(), denied.to_owned()]);
    // Every name is granted, and this one leads to the host itself.
    let lines = lines_of(Task::reach(&["get", &by_name]).host("*:*")).await;
    assert!(lines[0].ends_with("; it is the address of localhost and not public"), "{lines:?}");
    assert_eq!(lines[1], "stdout: get failed: ErrorCode::DestinationIpProhibited");
    let hidden = format!("http://localhost:{port}@{address}/");
    let lines = lines_of(Task::reach(&["get", &hidden]).host(&format!("localhost:{port}"))).await;
    assert!(lines[0].starts_with("stdout: get failed"), "{lines:?}");
    assert!(server.seen.lock().expect("no test panics here").try_recv().is_err(), "a request came");
}

#[tokio::test]
async fn a_guest_that_spun_into_the_slow_lane_goes_on_with_requests() {
    let server = Server::start();
    let (one, two) = (server.url("/one"), server.url("/two"));
    let (host, grant) = (Host::new(), server.address.to_string());
    let task = Task::reach(&["get", &one, "spin-ms", "50", "get", &two, "tcp", &grant, "GET /three HTTP/1.0\r\n\r\n"]);
    let started = host.start(&task.host(&grant)).await;
    let moved = async {
        while host.engine.stats().slow_lane == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let (report, moved) = tokio::join!(started.run, tokio::time::timeout(Duration::from_secs(10), moved));
    assert_eq!(report.outcome, Outcome::Success);
    assert!(moved.is_ok(), "it stayed in the fast lane");
    let lines = texts(&started.log.tail(0, usize::MAX));
    assert_eq!(lines[..3], ["stdout: get: 200 /one", "stdout: spin-ms: done", "stdout: get: 200 /two"]);
    assert!(lines.last().is_some_and(|line| line.ends_with("/three")), "{lines:?}");
}

#[tokio::test]
async fn a_connection_is_closed_when_the_attempt_is_stopped() {
    let server = Server::start();
    let task = Task::reach(&["get", &server.url("/silence")]).host(&server.address.to_string()).timeout_ms(300);
    let (report, _) = Host::new().run(&task).await;
    assert_eq!(report.outcome, Outcome::TimedOut);
    assert!(server.next_seen().starts_with("GET /silence"));
    let server = Arc::new(server);
    let closed = tokio::task::spawn_blocking(move || server.next_seen());
    assert_eq!(closed.await.expect("it comes"), "closed");
}

#[tokio::test]
async fn requests_past_the_limit_are_refused_and_the_attempt_that_fails_of_it_says_so() {
    let server = Server::start();
    let host = Host::with_ceiling(Limit::Connections, 1);
    let url = server.url("/");
    let task = Task::reach(&["get", &url, "must-get", &url]).host(&server.address.to_string());
    let (report, lines) = host.run(&task).await;
    assert_eq!(texts(&lines), ["stdout: get: 200 /"]);
    assert_eq!((report.outcome, report.detail.as_deref()), (Outcome::LimitExceeded, Some("connections")));
}

#[tokio::test]
async fn an_answer_that_is_too_large_ends_the_attempt() {
    let server = Server::start();
    let grant = server.address.to_string();
    let task = Task::reach(&["get", &server.url("/big")]).host(&grant);
    assert_eq!(lines_of(task).await, ["stdout: get: 200 200000 bytes"]);
    // The guest would go on, and succeed.
    let host = Host::with_ceiling(Limit::ResponseBytes, 100_000);
    let (report, _) = host.run(&Task::reach(&["get", &server.url("/big"), "env"]).host(&grant)).await;
    assert_eq!((report.outcome, report.detail.as_deref()), (Outcome::LimitExceeded, Some("response_bytes")));
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_an_error_of_the_guests() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let lines = lines_of(Task::reach(&["get", &format!("http://{address}/")]).host(&address)).await;
    assert_eq!(lines, ["stdout: get failed: ErrorCode::ConnectionRefused"]);
}

const CERTIFICATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/tls/localhost.cert.pem");
const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/tls/localhost.key.pem");

/// Answers one request over TLS after another, as `localhost`.
fn tls_server() -> SocketAddr {
    let certificate = CertificateDer::from_pem_file(CERTIFICATE).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(KEY).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(vec![certificate], key);
    let config = Arc::new(config.expect("they fit"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for connection in listener.incoming() {
            let connection: TcpStream = connection.expect("a connection");
            let tls = rustls::ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut stream = rustls::StreamOwned::new(tls, connection);
            let (head, path) = read_request(&mut stream);
            drop(stream.write_all(&answer(&head, &path)));
            stream.conn.send_close_notify();
            drop(stream.flush());
        }
    });
    address
}

/// Runs one of the ignored tests below in a process of its own, with this file of certificates.
fn with_certificates(test: &str, file: &str) {
    let test = format!("http::{test}");
    let ended = Command::new(std::env::current_exe().expect("a program"))
        .args(["--exact", &test, "--ignored"])
        .env("SSL_CERT_FILE", file)
        .env_remove("SSL_CERT_DIR")
        .output()
        .expect("it runs");
    let output = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && output.contains("1 passed"), "{output}");
}

#[test]
fn https_is_checked_by_the_hosts_certificates() {
    with_certificates("https_with_the_certificate", CERTIFICATE);
    with_certificates("https_without_certificates", "/nowhere");
}

#[tokio::test]
#[ignore = "run by the test above with SSL_CERT_FILE"]
async fn https_with_the_certificate() {
    let address = tls_server();
    let (right, wrong) = (format!("https://localhost:{}/secure", address.port()), format!("https://{address}/"));
    // The certificate is of the name and not of its address.
    let task = Task::reach(&["get", &right, "get", &wrong]).host(&format!("localhost:{}", address.port()));
    assert_eq!(
        lines_of(task).await,
        ["stdout: get: 200 /secure", "stdout: get failed: ErrorCode::TlsCertificateError"]
    );
}

#[tokio::test]
#[ignore = "run by the test above with SSL_CERT_FILE"]
async fn https_without_certificates() {
    let lines = lines_of(Task::reach(&["get", "https://localhost:1/"]).host("localhost:1")).await;
    assert!(lines[0].contains("the host has no certificates to check TLS by"), "{lines:?}");
}
