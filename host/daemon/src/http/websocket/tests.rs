use std::sync::Arc;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{JoinHandle, yield_now};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::*;
use crate::http::Service;
use crate::http::tests::Sink;
use crate::stream::toy::{CALLER, Toy};

/// How many bytes the pipe to a client holds.
const PIPE_BYTES: usize = 64 * 1024;

/// A client at the other end of a connection that is being served.
struct Client {
    socket: WebSocketStream<DuplexStream>,
    toy: Arc<Toy>,
    stop: CancellationToken,
    served: JoinHandle<io::Result<()>>,
}

impl Client {
    async fn connect() -> Self {
        let (toy, methods) = Toy::methods();
        let (ours, theirs) = duplex(PIPE_BYTES);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let service = Service::new(methods.into(), Sink::default());
        let served = tokio::spawn(async move { service.serve(theirs, 1, CALLER, &stopped).await });
        let request = "ws://localhost:3333/".into_client_request().expect("it is a URL");
        let (socket, _) = tokio_tungstenite::client_async(request, ours).await.expect("the host upgrades");
        Self { socket, toy, stop, served }
    }

    /// One that has sent one call more than may go on, each of which waits for a permit.
    async fn with_one_call_too_many() -> Self {
        let mut client = Self::connect().await;
        for number in 0..65 {
            client.send(wait(number)).await;
        }
        client.begun(64).await;
        client
    }

    async fn send(&mut self, text: impl Into<String>) {
        self.socket.send(Message::text(text.into())).await.expect("the host reads");
    }

    /// What comes next, but pings.
    async fn message(&mut self) -> Message {
        loop {
            match self.socket.next().await.expect("a message comes").expect("it is one") {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    async fn next(&mut self) -> String {
        match self.message().await {
            Message::Text(text) => text.to_string(),
            other => panic!("no answer: {other:?}"),
        }
    }

    async fn ask(&mut self, text: &str) -> String {
        self.send(text).await;
        self.next().await
    }

    async fn error(&mut self, text: &str) -> Value {
        let answer: Value = serde_json::from_str(&self.ask(text).await).expect("answers are JSON");
        answer["error"].clone()
    }

    async fn close_code(&mut self) -> CloseCode {
        match self.message().await {
            Message::Close(Some(CloseFrame { code, .. })) => code,
            other => panic!("it is not closed: {other:?}"),
        }
    }

    async fn begun(&self, calls: usize) {
        while self.toy.begun().len() < calls {
            yield_now().await;
        }
    }
}

fn wait(number: usize) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{number},"method":"wait","params":[{number}]}}"#)
}

#[tokio::test]
async fn an_id_comes_back_as_it_was_sent() {
    let mut client = Client::connect().await;
    for id in ["-1", "1.5", "1e3", r#""x""#, "null", "12345678901234567890123"] {
        let answer = client.ask(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"who"}}"#)).await;
        assert_eq!(answer, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":7}}"#));
    }
    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"who"}"#;
    client.send(twice).await;
    assert_eq!(client.ask(twice).await, client.next().await);
}

#[tokio::test]
async fn both_dialects_and_batches_are_spoken() {
    let mut client = Client::connect().await;
    let answer = client.ask(r#"{"method":"echo","params":["x"],"id":1}"#).await;
    assert_eq!(answer, r#"{"id":1,"result":"x","error":null}"#);
    let answer = client.ask(r#"[{"jsonrpc":"2.0","id":1,"method":"who"},{"jsonrpc":"2.0","method":"who"}]"#).await;
    assert_eq!(answer, r#"[{"jsonrpc":"2.0","id":1,"result":7}]"#);
    client.socket.send(Message::binary(r#"{"id":1,"method":"who"}"#)).await.expect("the host reads");
    assert_eq!(client.next().await, r#"{"id":1,"result":7,"error":null}"#);
}

#[tokio::test]
async fn what_is_no_request_is_an_error_of_the_table_and_the_connection_goes_on() {
    let mut client = Client::connect().await;
    for (message, code, name) in [
        (r#"{"jsonrpc":"2.0","id":{},"method":"who"}"#, -32600, "invalid_request"),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, -32600, "invalid_request"),
        ("[]", -32600, "invalid_request"),
        ("nonsense", -32700, "parse_error"),
        ("", -32700, "parse_error"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"who"} {}"#, -32700, "parse_error"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"count_to","params":["x"]}"#, -32602, "invalid_params"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"nothing"}"#, -32601, "method_not_found"),
    ] {
        let error = client.error(message).await;
        assert_eq!((&error["code"], &error["data"]["name"]), (&json!(code), &json!(name)), "{message}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(
        client.error(&format!(r#"{{"id":1,"jsonrpc":"2.0","method":"echo","params":{deep}}}"#)).await["code"],
        -32602
    );
}

#[tokio::test]
async fn more_calls_than_may_go_on_wait_until_others_are_answered() {
    let mut client = Client::with_one_call_too_many().await;
    for _ in 0..100 {
        yield_now().await;
    }
    assert_eq!(client.toy.begun().len(), 64);
    client.toy.go_on.add_permits(1);
    client.next().await;
    client.begun(65).await;
}

#[tokio::test]
async fn a_ping_is_answered_while_as_many_calls_go_on_as_may() {
    let mut client = Client::with_one_call_too_many().await;
    client.socket.send(Message::Ping(Bytes::from_static(b"there?"))).await.expect("the host reads");
    let answer = client.socket.next().await.expect("an answer comes").expect("it is one");
    assert_eq!(answer, Message::Pong(Bytes::from_static(b"there?")));
    client.toy.go_on.add_permits(65);
    for _ in 0..65 {
        client.next().await;
    }
}

#[tokio::test]
async fn an_answer_that_goes_out_in_pieces_comes_whole_and_others_behind_it() {
    let mut client = Client::connect().await;
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"big","params":[1000000]}"#).await;
    client.send(r#"{"jsonrpc":"2.0","id":2,"method":"who"}"#).await;
    let big: Value = serde_json::from_str(&client.next().await).expect("answers are JSON");
    assert_eq!(big["result"].as_str().map(str::len), Some(1_000_000));
    assert_eq!(client.next().await, r#"{"jsonrpc":"2.0","id":2,"result":7}"#);
}

#[tokio::test]
async fn who_breaks_the_protocol_is_told_though_a_call_goes_on() {
    let mut client = Client::connect().await;
    client.send(wait(1)).await;
    client.begun(1).await;
    client.socket.get_mut().write_all(&[0x81, 1, b'x']).await.expect("the host reads");
    assert_eq!(client.close_code().await, CloseCode::Protocol);
    client.toy.go_on.add_permits(1);
    client.socket.get_mut().shutdown().await.expect("the host is there");
    client.served.await.expect("no panic").expect("it ended in peace");
}

#[tokio::test]
async fn nothing_more_is_done_for_a_client_that_does_not_read() {
    let mut client = Client::connect().await;
    for number in 0..64 {
        client.send(format!(r#"{{"jsonrpc":"2.0","id":{number},"method":"big","params":[100000]}}"#)).await;
    }
    for number in 0..8 {
        client.send(format!(r#"{{"jsonrpc":"2.0","id":{number},"method":"note","params":[{number}]}}"#)).await;
    }
    for _ in 0..1000 {
        yield_now().await;
    }
    assert_eq!(client.toy.begun(), [] as [Value; 0]);
    for _ in 0..72 {
        client.next().await;
    }
    assert_eq!(client.toy.begun().len(), 8);
}

#[tokio::test]
async fn a_subscription_sends_its_answer_and_then_its_events() {
    let mut client = Client::connect().await;
    let answer = client.ask(r#"{"jsonrpc":"2.0","id":-1,"method":"subscribe","params":{"to":1}}"#).await;
    let answer: Value = serde_json::from_str(&answer).expect("answers are JSON");
    let event: Value = serde_json::from_str(&client.next().await).expect("events are JSON");
    assert_eq!((&answer["id"], &event["params"]["result"]), (&json!(-1), &json!(0)));
    assert_eq!(event["params"]["subscription"], answer["result"]);
    client.socket.close(None).await.expect("the host reads");
    client.toy.ended.acquire().await.expect("it is never closed").forget();
    client.served.await.expect("no panic").expect("it ended in peace");
}

#[tokio::test]
async fn a_message_that_is_too_large_is_told_and_the_connection_closed() {
    let mut client = Client::connect().await;
    let (mut sender, receiver) = client.socket.split();
    client.socket = {
        let sending = tokio::spawn(async move {
            // The host reads no more than its head.
            drop(sender.send(Message::text("x".repeat(MAX_MESSAGE_BYTES + 1))).await);
            sender
        });
        let mut receiver = receiver;
        let told = receiver.next().await.expect("a message comes").expect("it is one");
        let told: Value = serde_json::from_str(told.to_text().expect("it is text")).expect("answers are JSON");
        assert_eq!(told["error"]["data"]["name"], "too_large");
        let closed = receiver.next().await.expect("a message comes").expect("it is one");
        assert!(matches!(closed, Message::Close(Some(CloseFrame { code: CloseCode::Size, .. }))), "{closed:?}");
        sending.await.expect("no panic").reunite(receiver).expect("they are of one socket")
    };
    client.served.await.expect("no panic").expect("it ended in peace");
}

#[tokio::test]
async fn who_breaks_the_protocol_is_told_which_rule() {
    for (bytes, code) in
        [(&[0x81, 1, b'x'][..], CloseCode::Protocol), (&[0x81, 0x81, 0, 0, 0, 0, 0xff], CloseCode::Invalid)]
    {
        let mut client = Client::connect().await;
        client.socket.get_mut().write_all(bytes).await.expect("the host reads");
        assert_eq!(client.close_code().await, code);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping_is_given_up_and_one_that_does_is_not() {
    let client = Client::connect().await;
    let before = Instant::now();
    let mut silent = client.socket.into_inner();
    let gone = tokio::spawn(async move { silent.read_to_end(&mut Vec::new()).await });
    let ended = client.served.await.expect("no panic").expect_err("it is given up");
    assert_eq!((ended.kind(), before.elapsed()), (io::ErrorKind::TimedOut, SILENCE_TIMEOUT));
    gone.await.expect("no panic").expect("it is closed");

    let mut client = Client::connect().await;
    // Who reads answers pings.
    timeout(10 * SILENCE_TIMEOUT, client.message()).await.expect_err("nothing is said");
    assert!(client.ask(r#"{"id":1,"method":"who"}"#).await.contains('7'));
}

#[tokio::test]
async fn a_host_that_stops_answers_what_is_going_on_and_says_that_it_stops() {
    let mut client = Client::connect().await;
    client.send(wait(1)).await;
    client.begun(1).await;
    client.stop.cancel();
    yield_now().await;
    client.toy.go_on.add_permits(1);
    assert!(client.next().await.ends_with(r#""result":1}"#));
    assert_eq!(client.close_code().await, CloseCode::Away);
    while let Some(Ok(_)) = client.socket.next().await {}
    client.served.await.expect("no panic").expect("it ended in peace");
}

#[tokio::test]
async fn what_is_no_upgrade_is_told_why() {
    let (mut ours, theirs) = duplex(PIPE_BYTES);
    let (_, methods) = Toy::methods();
    let service = Service::new(methods.into(), Sink::default());
    tokio::spawn(async move { service.serve(theirs, 1, CALLER, &CancellationToken::new()).await });
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\r\n";
    ours.write_all(request.as_bytes()).await.expect("the host reads");
    let mut answer = String::new();
    ours.read_to_string(&mut answer).await.expect("the connection is whole");
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("Sec-WebSocket-Version"), "{answer}");
}
