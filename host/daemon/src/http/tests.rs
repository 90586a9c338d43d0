use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use serde_json::Value;
use taskhost_api::{MAX_PLUGIN_BYTES, PluginInfo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::*;
use crate::stream::toy::{CALLER, Toy};

/// Takes plugins, and refuses them when they have come whole, as if they were none.
#[derive(Clone, Default)]
pub(crate) struct Sink {
    plugins: Arc<Mutex<Vec<Begun>>>,
}

/// Of a plugin that was begun: its name, its size as declared, and how many bytes came.
type Begun = (String, Option<u64>, u64);

impl Sink {
    fn plugins(&self) -> Vec<Begun> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Uploads for Sink {
    async fn put(
        &self,
        sha256: &str,
        declared_bytes: Option<u64>,
        pieces: impl Stream<Item = Result<Bytes, ErrorObjectOwned>> + Send,
        _caller: Caller,
    ) -> Result<PluginInfo, ErrorObjectOwned> {
        let at = {
            let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
            plugins.push((sha256.to_owned(), declared_bytes, 0));
            plugins.len() - 1
        };
        let mut pieces = pin!(pieces);
        while let Some(piece) = pieces.next().await {
            self.plugins.lock().unwrap_or_else(PoisonError::into_inner)[at].2 += piece?.len() as u64;
        }
        Err(ErrorCode::PluginInvalid.to_error("it came whole", Some("a hint".to_owned())))
    }
}

/// A connection on which HTTP is served.
fn connect() -> (DuplexStream, Sink) {
    let (_, methods) = Toy::methods();
    let sink = Sink::default();
    let service = Service::new(methods.into(), sink.clone());
    let (ours, theirs) = duplex(64 * 1024);
    tokio::spawn(async move { service.serve(theirs, 1, CALLER, &CancellationToken::new()).await });
    (ours, sink)
}

/// Everything that is answered to one request, which asks for the connection to be closed.
async fn answer(socket: &mut DuplexStream, head: &str, body: &str) -> String {
    let length = body.len();
    let headers = format!("Host: localhost:3333\r\nConnection: close\r\nContent-Length: {length}");
    let request = format!("{head}\r\n{headers}\r\n\r\n{body}");
    socket.write_all(request.as_bytes()).await.expect("the host reads");
    rest(socket).await
}

async fn rest(socket: &mut DuplexStream) -> String {
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("the connection is whole");
    answer
}

async fn ask(head: &str, body: &str) -> String {
    let (mut socket, _) = connect();
    answer(&mut socket, head, body).await
}

fn body_of(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    serde_json::from_str(body).expect("the body is JSON")
}

const JSON: &str = "POST / HTTP/1.1\r\nContent-Type: application/json";

#[tokio::test]
async fn a_call_is_answered_as_over_the_stream() {
    let answer = ask(JSON, r#"{"jsonrpc":"2.0","id":-1,"method":"who"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with(r#"{"jsonrpc":"2.0","id":-1,"result":7}"#), "{answer}");
    let answer = ask(JSON, r#"{"method":"echo","params":["x"],"id":1}"#).await;
    assert!(answer.ends_with(r#"{"id":1,"result":"x","error":null}"#), "{answer}");
    let answer = ask(JSON, r#"[{"jsonrpc":"2.0","method":"who"}]"#).await;
    assert!(answer.starts_with("HTTP/1.1 204 No Content\r\n"), "{answer}");
    let answer = ask(JSON, "nonsense").await;
    assert_eq!(body_of(&answer)["error"]["code"], -32700);
}

#[tokio::test]
async fn json_that_is_too_deep_is_an_error_like_any_other() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let answer = ask(JSON, &format!(r#" {{"jsonrpc":"2.0","id":1,"method":"echo","params":{deep}}}"#)).await;
    assert_eq!(body_of(&answer)["error"]["code"], -32602, "{answer}");
    let answer = ask(JSON, &format!(" {deep}")).await;
    assert_eq!(body_of(&answer)[0]["error"]["code"], -32600, "{answer}");
}

#[tokio::test]
async fn a_subscription_needs_a_connection_that_stays() {
    let answer = ask(JSON, r#"{"jsonrpc":"2.0","id":1,"method":"subscribe"}"#).await;
    assert_eq!(body_of(&answer)["error"]["data"]["hint"], "use a WebSocket, or the JSON stream");
}

#[tokio::test]
async fn what_a_form_can_send_is_no_call() {
    let answer = ask("POST / HTTP/1.1\r\nContent-Type: text/plain", r#"{"id":1,"method":"who"}"#).await;
    assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
}

#[tokio::test]
async fn the_host_says_that_it_is_alive_and_what_there_is() {
    let answer = ask("GET /healthz HTTP/1.1", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(body_of(&answer)["status"], "ok");
    let answer = ask("GET /nothing HTTP/1.1", "").await;
    assert!(answer.starts_with("HTTP/1.1 404 ") && answer.contains("PUT  /plugins/{sha256}"), "{answer}");
    let answer = ask("DELETE /healthz HTTP/1.1", "").await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD\r\n"), "{answer}");
}

#[tokio::test]
async fn a_web_page_is_refused_before_its_websocket_is() {
    let upgrade = "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13";
    for headers in
        ["Host: localhost:3333\r\nOrigin: https://example.com", "Host: evil.example\r\nOrigin: http://evil.example"]
    {
        let (mut socket, _) = connect();
        let request = format!("GET / HTTP/1.1\r\n{headers}\r\nConnection: Upgrade, close\r\n{upgrade}\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("the host reads");
        let mut start = vec![0; 64];
        socket.read_exact(&mut start).await.expect("an answer comes");
        assert!(start.starts_with(b"HTTP/1.1 403 "), "{}", String::from_utf8_lossy(&start));
    }
    let (mut socket, _) = connect();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: localhost:3333\r\nOrigin: http://localhost:3333\r\nConnection: Upgrade\r\n{upgrade}\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.expect("the host reads");
    let mut start = vec![0; 64];
    socket.read_exact(&mut start).await.expect("an answer comes");
    assert!(start.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&start));
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_before_it_is_sent() {
    let head = format!("{JSON}\r\nContent-Length: {}", MAX_MESSAGE_BYTES + 1);
    let (mut socket, _) = connect();
    socket.write_all(format!("{head}\r\nHost: localhost\r\n\r\n").as_bytes()).await.expect("the host reads");
    let mut start = vec![0; 16];
    socket.read_exact(&mut start).await.expect("an answer comes though no body does");
    assert!(start.starts_with(b"HTTP/1.1 413 "));
}

#[tokio::test]
async fn a_message_of_unknown_length_is_cut_at_the_limit() {
    let (mut socket, _) = connect();
    let head = format!("{JSON}\r\nTransfer-Encoding: chunked\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let (mut reader, mut writer) = tokio::io::split(&mut socket);
    let sending = async {
        writer.write_all(head.as_bytes()).await?;
        for _ in 0..100 {
            writer.write_all(format!("10000\r\n{}\r\n", "x".repeat(0x10000)).as_bytes()).await?;
        }
        pending::<io::Result<()>>().await
    };
    let mut start = vec![0; 16];
    tokio::select! {
        read = reader.read_exact(&mut start) => { read.expect("an answer comes"); }
        sent = sending => assert!(sent.is_err(), "the answer comes first"),
    }
    assert!(start.starts_with(b"HTTP/1.1 413 "));
}

#[tokio::test]
async fn a_plugin_is_handed_on_as_it_comes() {
    let (mut socket, sink) = connect();
    let answer = answer(&mut socket, "PUT /plugins/abc HTTP/1.1", "the bytes").await;
    assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
    let error =
        serde_json::json!({"code": 1423, "name": "plugin_invalid", "message": "it came whole", "hint": "a hint"});
    assert_eq!(body_of(&answer)["error"], error);
    assert_eq!(sink.plugins(), [("abc".to_owned(), Some(9), 9)]);
}

#[tokio::test]
async fn a_plugin_that_is_too_large_is_refused_before_it_is_sent() {
    let (mut socket, sink) = connect();
    let length = MAX_PLUGIN_BYTES + 1024 * 1024;
    let head = format!(
        "PUT /plugins/abc HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.expect("the host reads");
    let mut start = vec![0; 16];
    socket.read_exact(&mut start).await.expect("an answer comes though no body does");
    assert!(start.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&start));
    assert_eq!(sink.plugins(), []);
}

#[tokio::test]
async fn a_plugin_of_unknown_length_is_cut_at_the_limit() {
    let (mut socket, sink) = connect();
    let (mut reader, mut writer) = tokio::io::split(&mut socket);
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
    let sending = async {
        let head = "PUT /plugins/abc HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        writer.write_all(head.as_bytes()).await?;
        for _ in 0..=MAX_PLUGIN_BYTES / 0x10_0000 {
            writer.write_all(chunk.as_bytes()).await?;
        }
        pending::<io::Result<()>>().await
    };
    let mut start = vec![0; 16];
    tokio::select! {
        read = reader.read_exact(&mut start) => { read.expect("an answer comes"); }
        sent = sending => assert!(sent.is_err(), "the answer comes first"),
    }
    assert!(start.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&start));
    assert!(sink.plugins()[0].2 <= MAX_PLUGIN_BYTES);
}

#[tokio::test(start_paused = true)]
async fn half_a_request_and_silence_is_given_up() {
    for start in [
        "POST / HT".to_owned(),
        format!("{JSON}\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{"),
        "PUT /plugins/abc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nasm".to_owned(),
    ] {
        let (mut socket, _) = connect();
        let before = Instant::now();
        socket.write_all(start.as_bytes()).await.expect("the host reads");
        rest(&mut socket).await;
        let took = before.elapsed();
        assert!(took >= MESSAGE_TIMEOUT && took < MESSAGE_TIMEOUT + Duration::from_secs(5), "{start}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_drips_is_given_up_too() {
    let (socket, _) = connect();
    let (mut reader, mut writer) = tokio::io::split(socket);
    let head = "PUT /plugins/abc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n";
    let before = Instant::now();
    let dripping = async {
        writer.write_all(head.as_bytes()).await.expect("the host reads");
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(plugins::PIECE_TIMEOUT / 2).await;
        }
    };
    let mut start = vec![0; 16];
    tokio::select! {
        read = reader.read_exact(&mut start) => { read.expect("an answer comes"); }
        () = dripping => panic!("the answer comes first"),
    }
    assert!(start.starts_with(b"HTTP/1.1 400 "), "{}", String::from_utf8_lossy(&start));
    assert_eq!(before.elapsed().as_secs(), plugins::PUT_TIMEOUT.as_secs());
}

#[tokio::test]
async fn who_may_not_connect_is_told_with_403() {
    let (mut ours, theirs) = duplex(64 * 1024);
    tokio::spawn(refuse(theirs, Refusal { uid: 1234 }));
    let answer = answer(&mut ours, "GET /healthz HTTP/1.1", "").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let error = &body_of(&answer)["error"];
    assert_eq!((&error["code"], &error["message"]), (&1403.into(), &"uid 1234 may not use this host".into()));
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("access.users")), "{error}");
}
