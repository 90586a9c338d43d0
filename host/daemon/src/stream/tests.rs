use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use serde_json::{Value, json};
use taskhost_api::MAX_BATCH_CALLS;
use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream, ReadBuf, ReadHalf, WriteHalf, duplex, split};
use tokio::task::JoinHandle;

use super::dispatch::MAX_SUBSCRIPTIONS;
use super::session::{MAX_MESSAGES_IN_FLIGHT, SUBSCRIPTION_END_TIMEOUT};
use super::toy::{CALLER, Toy};
use super::*;

/// How many bytes the pipe to a client holds.
const PIPE_BYTES: usize = 64 * 1024;

/// A socket that counts how often it is written to.
struct Counted {
    socket: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// A client at the other end of a connection that is being served.
struct Client {
    reader: BufReader<ReadHalf<DuplexStream>>,
    writer: WriteHalf<DuplexStream>,
    toy: Arc<Toy>,
    writes: Arc<AtomicUsize>,
    stop: CancellationToken,
    served: JoinHandle<io::Result<()>>,
}

impl Client {
    fn connect() -> Self {
        let (toy, served) = Toy::served();
        let (ours, theirs) = duplex(PIPE_BYTES);
        let (reader, writer) = split(ours);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let writes = Arc::<AtomicUsize>::default();
        let socket = Counted { socket: theirs, writes: Arc::clone(&writes) };
        let served = tokio::spawn(async move { serve(socket, served, 1, CALLER, &stopped).await });
        Self { reader: BufReader::new(reader), writer, toy, writes, stop, served }
    }

    async fn send(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).await.expect("the host reads");
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).await.expect("the connection is whole");
        (read > 0).then(|| line.trim_end().to_owned())
    }

    async fn next(&mut self) -> Value {
        serde_json::from_str(&self.line().await.expect("an answer comes")).expect("answers are JSON")
    }

    async fn ask(&mut self, text: &str) -> Value {
        self.send(text).await;
        self.next().await
    }

    /// The error that came before the host closed the connection.
    async fn last_error(&mut self) -> Value {
        let answer = self.next().await;
        assert_eq!(answer["id"], Value::Null, "{answer}");
        assert_eq!(self.line().await, None, "the connection is closed");
        answer["error"].clone()
    }
}

#[tokio::test]
async fn a_2_0_call_is_answered_in_2_0() {
    let mut client = Client::connect();
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"echo","params":["x"]}"#).await;
    assert_eq!(client.line().await.as_deref(), Some(r#"{"jsonrpc":"2.0","id":1,"result":"x"}"#));
    let answer = client.ask(r#"{"jsonrpc":"2.0","id":2,"method":"fail"}"#).await;
    let data = json!({"name": "task_not_found", "hint": "`taskctl list` shows them"});
    assert_eq!(answer["error"], json!({"code": 1404, "message": "no task `x`", "data": data}));
}

#[tokio::test]
async fn a_call_of_gos_net_rpc_is_answered_as_go_does() {
    let mut client = Client::connect();
    client.send("{\"method\":\"echo\",\"params\":[\"x\"],\"id\":0}\n").await;
    assert_eq!(client.line().await.as_deref(), Some(r#"{"id":0,"result":"x","error":null}"#));
    client.send("{\"method\":\"fail\",\"params\":[\"x\"],\"id\":1}\n").await;
    let error = r#"{"id":1,"result":null,"error":"no task `x` (`taskctl list` shows them)"}"#;
    assert_eq!(client.line().await.as_deref(), Some(error));
}

fn get(id: impl std::fmt::Display, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"TaskUnit.Get","params":{params}}}"#)
}

#[tokio::test]
async fn tasks_that_are_asked_for_together_are_got_together_and_answered_each_with_its_own_id() {
    let mut client = Client::connect();
    let gets = [
        get(1, r#""a""#),
        get("\"two\"", r#"{"name":"b"}"#),
        r#"{"method":"TaskUnit.Get","params":["c"],"id":3}"#.to_owned(),
        get(4, r#"[{"name":"none"}]"#),
        get(5, r#""e""#),
    ];
    client.send(&gets.concat()).await;
    for answer in [
        r#"{"jsonrpc":"2.0","id":1,"result":"a"}"#,
        r#"{"jsonrpc":"2.0","id":"two","result":"b"}"#,
        r#"{"id":3,"result":"c","error":null}"#,
        r#"{"jsonrpc":"2.0","id":4,"error":{"code":1404,"message":"no task `none`","data":{"name":"task_not_found"}}}"#,
        r#"{"jsonrpc":"2.0","id":5,"result":"e"}"#,
    ] {
        assert_eq!(client.line().await.as_deref(), Some(answer));
    }
    assert_eq!(client.toy.begun(), [json!(["a", "b", "c", "none", "e"])]);
}

#[tokio::test]
async fn a_task_that_is_known_later_holds_up_no_other() {
    let mut client = Client::connect();
    client.send(&[get(1, r#""slow""#), get(2, r#""quick""#)].concat()).await;
    assert_eq!(client.next().await["id"], 2);
    client.toy.go_on.add_permits(1);
    assert_eq!(client.next().await["id"], 1);
}

#[tokio::test]
async fn tasks_are_asked_for_in_their_turn_among_other_calls() {
    let mut client = Client::connect();
    let note = |text: &str| format!(r#"{{"jsonrpc":"2.0","id":0,"method":"note","params":[{text:?}]}}"#);
    let calls = [get(1, r#""a""#), get(2, r#""b""#), note("then"), get(3, r#""c""#), note("last"), get(4, r#""d""#)];
    client.send(&calls.concat()).await;
    for _ in &calls {
        client.next().await;
    }
    let begun = [json!(["a", "b"]), json!("then"), json!(["c"]), json!("last"), json!(["d"])];
    assert_eq!(client.toy.begun(), begun);
}

#[tokio::test]
async fn a_call_to_get_a_task_that_does_not_read_well_is_its_methods() {
    let mut client = Client::connect();
    let answer = client.ask(&get(1, r#"{"nome":"a"}"#)).await;
    assert_eq!(answer["error"]["data"]["name"], "invalid_params", "{answer}");
    let answer = client.ask(&get(2, r#"["a","b"]"#)).await;
    assert_eq!(answer["error"]["message"], "invalid params: a method takes one parameter, and 2 were sent");
    // One in a batch has no company either, and one without an id no answer.
    let answer = client.ask(&format!("[{}]", get(3, r#""a""#))).await;
    assert_eq!(answer[0]["result"], "a got alone");
    client.send(r#"{"jsonrpc":"2.0","method":"TaskUnit.Get","params":"a"}"#).await;
    assert_eq!(client.ask(&get(4, r#""b""#)).await["id"], 4);
    assert_eq!(client.toy.begun(), [json!(["b"])]);
}

#[tokio::test]
async fn tasks_that_are_asked_for_together_count_each_to_what_may_be_going_on() {
    let mut client = Client::connect();
    let gets: String = (0..2 * MAX_MESSAGES_IN_FLIGHT).map(|id| get(id, r#""slow""#)).collect();
    client.send(&gets).await;
    for round in 0..2 {
        client.toy.go_on.add_permits(1);
        for id in 0..MAX_MESSAGES_IN_FLIGHT {
            assert_eq!(client.next().await["id"], round * MAX_MESSAGES_IN_FLIGHT + id);
        }
        let most = client.toy.begun().iter().map(|names| names.as_array().map_or(0, Vec::len)).max();
        assert!(most <= Some(MAX_MESSAGES_IN_FLIGHT), "{most:?}");
    }
}

#[tokio::test]
async fn an_id_comes_back_as_it_was_sent() {
    let mut client = Client::connect();
    for id in ["-1", "1.50", "\"a\\u0062\"", "null", "123456789012345678901234567890"] {
        client.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"who"}}"#)).await;
        assert_eq!(client.line().await, Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":7}}"#)));
    }
}

#[tokio::test]
async fn notifications_are_carried_out_and_not_answered() {
    let mut client = Client::connect();
    client.send(r#"{"jsonrpc":"2.0","method":"note","params":["a"]}"#).await;
    client.send(r#"{"id":null,"method":"note","params":["b"]}"#).await;
    client.send(r#"{"jsonrpc":"2.0","method":"no such"}"#).await;
    client.send(r#"[{"jsonrpc":"2.0","method":"note","params":"c"}]"#).await;
    assert_eq!(client.ask(r#"{"jsonrpc":"2.0","id":9,"method":"who"}"#).await["id"], 9);
    assert_eq!(client.toy.begun(), ["a", "b", "c"]);
}

#[tokio::test]
async fn two_hundred_pipelined_calls_are_all_answered() {
    let mut client = Client::connect();
    let calls: String = (0..200).map(|id| format!("{{\"method\":\"note\",\"params\":[{id}],\"id\":{id}}}\n")).collect();
    client.send(&calls).await;
    let mut ids = Vec::new();
    for _ in 0..200 {
        let answer = client.next().await;
        assert_eq!(answer["result"], answer["id"]);
        ids.push(answer["id"].as_u64().expect("a number was sent"));
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..200).collect::<Vec<_>>());
    // Begun in the order in which they were sent, whatever the order of the answers.
    assert_eq!(client.toy.begun(), (0..200).map(Value::from).collect::<Vec<_>>());
}

#[tokio::test]
async fn answers_that_are_ready_are_written_together() {
    let mut client = Client::connect();
    let calls: String = (0..MAX_MESSAGES_IN_FLIGHT)
        .map(|id| format!("{{\"method\":\"note\",\"params\":[{id}],\"id\":{id}}}"))
        .collect();
    client.send(&calls).await;
    for _ in 0..MAX_MESSAGES_IN_FLIGHT {
        client.next().await;
    }
    let writes = client.writes.load(Ordering::Relaxed);
    assert!(writes < MAX_MESSAGES_IN_FLIGHT / 8, "{writes}");
}

#[tokio::test]
async fn events_without_end_hold_no_call_up() {
    let mut client = Client::connect();
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"to":1000000000}}"#).await;
    client.next().await;
    client.send(r#"{"jsonrpc":"2.0","id":2,"method":"who"}"#).await;
    while client.next().await["id"] != 2 {}
}

#[tokio::test]
async fn a_slow_call_holds_no_other_up() {
    let mut client = Client::connect();
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"wait","params":["a"]}"#).await;
    assert_eq!(client.ask(r#"{"jsonrpc":"2.0","id":2,"method":"who"}"#).await["id"], 2);
    client.toy.go_on.add_permits(1);
    assert_eq!(client.next().await["id"], 1);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_calls_of_one_connection_go_on_at_once() {
    let mut client = Client::connect();
    let calls = 2 * MAX_MESSAGES_IN_FLIGHT;
    for id in 0..calls {
        client.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"wait","params":{id}}}"#)).await;
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(client.toy.begun().len(), MAX_MESSAGES_IN_FLIGHT);
    // The client waits for the host and not the other way round: no timeout of its own runs meanwhile.
    tokio::time::sleep(10 * MESSAGE_TIMEOUT).await;
    client.toy.go_on.add_permits(calls);
    for _ in 0..calls {
        assert!(client.next().await["result"].is_u64());
    }
}

#[tokio::test]
async fn a_batch_is_answered_as_one() {
    let mut client = Client::connect();
    let answers = client
        .ask(r#"[{"jsonrpc":"2.0","id":1,"method":"echo","params":"a"},{"jsonrpc":"2.0","method":"note"},7,{"jsonrpc":"2.0","id":"x","method":"no such"}]"#)
        .await;
    assert_eq!(answers[0], json!({"jsonrpc": "2.0", "id": 1, "result": "a"}));
    assert_eq!((&answers[1]["id"], &answers[1]["error"]["code"]), (&Value::Null, &json!(-32600)));
    assert_eq!((&answers[2]["id"], &answers[2]["error"]["code"]), (&json!("x"), &json!(-32601)));
    assert_eq!(answers.as_array().map(Vec::len), Some(3));

    let empty = client.ask("[]").await;
    assert_eq!((&empty["id"], &empty["error"]["code"]), (&Value::Null, &json!(-32600)));
}

#[tokio::test]
async fn a_batch_of_a_million_is_refused_and_the_connection_lives() {
    let mut client = Client::connect();
    let answer = client.ask(&format!("[{}1]", "1,".repeat(999_999))).await;
    assert_eq!(answer["error"]["code"], 1413);
    assert!(answer["error"]["message"].as_str().is_some_and(|message| message.contains("1000000")), "{answer}");
    let largest = vec![r#"{"jsonrpc":"2.0","id":1,"method":"who"}"#; MAX_BATCH_CALLS].join(",");
    let answers = client.ask(&format!("[{largest}]")).await;
    assert_eq!(answers.as_array().map(Vec::len), Some(MAX_BATCH_CALLS));
}

#[tokio::test]
async fn what_is_no_request_is_told_so() {
    let mut client = Client::connect();
    for (text, id) in [
        (r#"{"jsonrpc":"2.0","method":1,"id":5}"#, json!(5)),
        (r#"{"jsonrpc":"2.0","id":5}"#, json!(5)),
        (r#"{"jsonrpc":"3.0","method":"who","id":5}"#, Value::Null),
        (r#"{"jsonrpc":"2.0","method":"who","id":{}}"#, Value::Null),
        (r#"{"jsonrpc":"2.0","method":"who","id":5,"id":6}"#, Value::Null),
        (r#"{"jsonrpc":"2.0","method":"who","id":5,"\ud800":6}"#, Value::Null),
        (r#"[["2.0",1,"who",[]]]"#, Value::Null),
        ("{}", Value::Null),
    ] {
        let answer = client.ask(text).await;
        let answer = if text.starts_with('[') { &answer[0] } else { &answer };
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&id, &json!(-32600)), "{text}: {answer}");
        assert_eq!(answer["error"]["data"]["name"], "invalid_request");
    }
}

#[tokio::test]
async fn a_member_that_stands_twice_is_refused() {
    let mut client = Client::connect();
    let answer = client.ask(r#"{"jsonrpc":"2.0","id":1,"method":"count_to","params":{"to":1,"to":2}}"#).await;
    assert_eq!(answer["error"]["code"], -32602);
    assert!(answer["error"]["message"].as_str().is_some_and(|text| text.contains("duplicate field `to`")), "{answer}");
    let answer = client.ask(r#"{"jsonrpc":"2.0","id":1,"method":"who","method":"fail"}"#).await;
    assert!(answer["error"]["message"].as_str().is_some_and(|text| text.contains("duplicate field")), "{answer}");
}

#[tokio::test]
async fn parameters_may_be_bare_or_absent() {
    let mut client = Client::connect();
    let answer = client.ask(r#"{"jsonrpc":"2.0","id":1,"method":"count_to","params":{"to":3}}"#).await;
    assert_eq!(answer["result"], 3);
    assert_eq!(client.ask(r#"{"jsonrpc":"2.0","id":1,"method":"count_to"}"#).await["result"], 0);
    assert_eq!(client.ask(r#"{"jsonrpc":"2.0","id":1,"method":"echo","params":"x"}"#).await["result"], "x");
}

#[tokio::test]
async fn json_that_is_too_deep_is_refused() {
    let mut client = Client::connect();
    client.send(&"[".repeat(100_000)).await;
    let error = client.last_error().await;
    assert_eq!(error["code"], -32700);
    assert!(error["message"].as_str().is_some_and(|text| text.contains("128 deep")), "{error}");
}

#[tokio::test]
async fn parameters_as_deep_as_the_framer_lets_through_are_no_danger() {
    let mut client = Client::connect();
    let depth = frame::MAX_NESTING - 1;
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let answer = client.ask(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"echo","params":{deep}}}"#)).await;
    assert_eq!(answer["id"], 1);
}

#[tokio::test]
async fn after_garbage_the_connection_is_closed() {
    for garbage in ["nonsense", r#"{"jsonrpc":}"#, "{]", "[1,,2]", "{\"a\":\"\u{1}\"}", r#"{"id":1,"id":2,}"#] {
        let mut client = Client::connect();
        client.send(r#"{"jsonrpc":"2.0","id":1,"method":"who"}"#).await;
        assert_eq!(client.next().await["result"], 7);
        client.send(garbage).await;
        assert_eq!(client.last_error().await["code"], -32700, "{garbage}");
    }
}

#[tokio::test]
async fn what_came_in_one_piece_with_garbage_is_not_carried_out() {
    let mut client = Client::connect();
    client.send(r#"{"a": ] {"jsonrpc":"2.0","method":"note","params":["inside"]}}"#).await;
    assert_eq!(client.last_error().await["code"], -32700);
    assert_eq!(client.toy.begun(), [""; 0]);
}

#[tokio::test]
async fn bytes_that_are_no_utf_8_are_garbage() {
    let mut client = Client::connect();
    client.writer.write_all(b"{\"method\":\"\xff\"}").await.expect("the host reads");
    assert_eq!(client.last_error().await["code"], -32700);
}

#[tokio::test]
async fn a_line_of_a_gigabyte_is_refused_after_the_first_two_mebibytes() {
    let Client { reader, mut writer, served, .. } = Client::connect();
    let mut reader = reader;
    let sending = tokio::spawn(async move {
        writer.write_all(b"{\"method\":\"").await?;
        for _ in 0..1_000_000 {
            writer.write_all(&[b'x'; 1000]).await?;
        }
        Ok::<_, io::Error>(())
    });
    let mut line = String::new();
    reader.read_line(&mut line).await.expect("the answer comes while the client still sends");
    assert!(line.contains("too_large") && line.contains("PUT /plugins"), "{line}");
    assert!(!sending.is_finished());
    sending.abort();
    drop(reader);
    served.await.expect("no panic").expect("it ended well");
}

#[tokio::test(start_paused = true)]
async fn half_a_request_and_silence_is_given_up() {
    let mut client = Client::connect();
    client.send(r#"{"jsonrpc":"2.0","#).await;
    let before = Instant::now();
    let error = client.last_error().await;
    assert_eq!(error["message"], "parse error: a message did not end within 30 s");
    assert_eq!(before.elapsed().as_secs(), MESSAGE_TIMEOUT.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_request_that_drips_is_given_up_too() {
    let mut client = Client::connect();
    let dripping = async {
        while client.writer.write_all(b"[").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(MESSAGE_TIMEOUT + LINGER_TIMEOUT + Duration::from_secs(2), dripping).await.expect("it is closed in time");
}

#[tokio::test(start_paused = true)]
async fn silence_between_requests_is_fine_for_ever() {
    let mut client = Client::connect();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
        client.send(" \n{\"jsonrpc\":\"2.0\",").await;
        tokio::time::sleep(MESSAGE_TIMEOUT / 2).await;
        assert_eq!(client.ask("\"id\":1,\"method\":\"who\"}\n").await["result"], 7);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_not_read_from() {
    let Client { reader: _reader, mut writer, toy, served, .. } = Client::connect();
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"note","params":"x"}{"jsonrpc":"2.0","id":2,"method":"big","params":50000}"#;
    let mut sent = 0;
    while timeout(Duration::from_secs(1), writer.write_all(call.as_bytes())).await.is_ok() {
        sent += 1;
    }
    // Everything that could pile up is full; what was begun is what fits there, and nothing like what was sent.
    let begun = toy.begun().len();
    assert!(sent > 0 && begun * 50_000 < MAX_WAITING_BYTES + PIPE_BYTES + 2 * 50_000, "{begun} of {sent}");
    assert!(!served.is_finished());
    served.abort();
}

#[tokio::test]
async fn a_subscription_sends_its_events_after_its_answer() {
    let mut client = Client::connect();
    let answer = client.ask(r#"{"jsonrpc":"2.0","id":-5,"method":"subscribe","params":{"to":3}}"#).await;
    assert_eq!(answer["id"], -5);
    let subscription = answer["result"].clone();
    for number in 0..3 {
        let event = client.next().await;
        let params = json!({"subscription": subscription, "result": number});
        assert_eq!(event, json!({"jsonrpc": "2.0", "method": "counted", "params": params}));
    }
    let unsubscribe = format!(r#"{{"jsonrpc":"2.0","id":6,"method":"unsubscribe","params":[{subscription}]}}"#);
    assert_eq!(client.ask(&unsubscribe).await["result"], true);
    client.toy.ended.acquire().await.expect("it is never closed").forget();
    assert_eq!(client.ask(&unsubscribe).await["result"], false);
}

#[tokio::test]
async fn a_subscription_that_is_rejected_is_one_error() {
    let mut client = Client::connect();
    let answer = client.ask(r#"{"jsonrpc":"2.0","id":5,"method":"subscribe","params":"x"}"#).await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(5), &json!(-32602)), "{answer}");
    assert_eq!(client.ask(r#"{"jsonrpc":"2.0","id":6,"method":"who"}"#).await["id"], 6);
}

#[tokio::test]
async fn a_subscription_ends_with_its_connection() {
    let mut client = Client::connect();
    client.ask(r#"{"jsonrpc":"2.0","id":1,"method":"subscribe"}"#).await;
    let Client { reader, writer, toy, served, .. } = client;
    drop((reader, writer));
    toy.ended.acquire().await.expect("it is never closed").forget();
    served.await.expect("no panic").expect("it ended well");
}

#[tokio::test]
async fn subscriptions_are_bounded_and_stand_alone() {
    let mut client = Client::connect();
    let subscribe = r#"{"jsonrpc":"2.0","id":1,"method":"subscribe"}"#;
    let answers = client.ask(&format!("[{subscribe}]")).await;
    assert_eq!(answers[0]["error"]["code"], -32600);
    for _ in 0..MAX_SUBSCRIPTIONS {
        assert!(client.ask(subscribe).await["result"].is_u64());
    }
    assert_eq!(client.ask(subscribe).await["error"]["code"], 1429);
}

#[tokio::test]
async fn a_client_that_has_said_all_gets_its_answers() {
    let mut client = Client::connect();
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"wait","params":1}"#).await;
    client.writer.shutdown().await.expect("it is open");
    client.toy.go_on.add_permits(1);
    assert_eq!(client.next().await["result"], 1);
    assert_eq!(client.line().await, None);
}

#[tokio::test]
async fn a_host_that_stops_finishes_what_is_going_on() {
    let mut client = Client::connect();
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"wait","params":1}"#).await;
    client.send(r#"{"jsonrpc":"2.0","id":2,"method":"who"}"#).await;
    assert_eq!(client.next().await["id"], 2);
    client.stop.cancel();
    tokio::task::yield_now().await;
    client.toy.go_on.add_permits(1);
    assert_eq!(client.next().await["result"], 1);
    assert_eq!(client.line().await, None);
    client.served.await.expect("no panic").expect("it ended well");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_does_not_end_does_not_keep_the_host() {
    let mut client = Client::connect();
    client.ask(r#"{"jsonrpc":"2.0","id":1,"method":"subscribe"}"#).await;
    client.stop.cancel();
    timeout(2 * SUBSCRIPTION_END_TIMEOUT, client.served).await.expect("in time").expect("no panic").expect("well");
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_on_when_subscriptions_are_not_waited_for_any_more() {
    let mut client = Client::connect();
    client.ask(r#"{"jsonrpc":"2.0","id":1,"method":"subscribe"}"#).await;
    client.send(r#"{"jsonrpc":"2.0","id":2,"method":"wait","params":"slow"}"#).await;
    while client.toy.begun().is_empty() {
        tokio::task::yield_now().await;
    }
    client.stop.cancel();
    tokio::time::sleep(3 * SUBSCRIPTION_END_TIMEOUT).await;
    client.toy.go_on.add_permits(1);
    assert_eq!(client.next().await["result"], "slow");
    assert_eq!(client.line().await, None, "the subscription is over too");
    client.served.await.expect("no panic").expect("it ended well");
}

#[tokio::test]
async fn who_may_not_connect_is_told_in_its_dialect() {
    let refusal = Refusal { uid: 1234 };
    for (sent, start) in [
        (r#"{"method":"who","params":[],"id":3}"#, r#"{"id":3,"result":null,"error":"uid 1234 may not"#),
        (r#"{"jsonrpc":"2.0","method":"who","id":3}"#, r#"{"jsonrpc":"2.0","id":3,"error":{"code":1403,"#),
        ("[]", r#"{"jsonrpc":"2.0","id":null,"error":{"code":1403,"#),
        ("[nonsense", r#"{"jsonrpc":"2.0","id":null,"error":{"code":1403,"#),
    ] {
        let (mut ours, theirs) = duplex(PIPE_BYTES);
        let refused = tokio::spawn(refuse(theirs, refusal));
        ours.write_all(sent.as_bytes()).await.expect("the host reads");
        if sent.starts_with("[n") {
            ours.write_all("]".as_bytes()).await.expect("the host reads");
        }
        let mut answer = String::new();
        ours.read_to_string(&mut answer).await.expect("the connection is whole");
        assert!(answer.starts_with(start) && answer.contains("access.users"), "{answer}");
        drop(ours);
        refused.await.expect("no panic").expect("it ended well");
    }
}

#[tokio::test(start_paused = true)]
async fn every_request_has_its_own_time() {
    let mut client = Client::connect();
    let pause = MESSAGE_TIMEOUT * 2 / 3;
    client.send(r#"{"jsonrpc":"2.0","id":1,"#).await;
    tokio::time::sleep(pause).await;
    client.send(r#""method":"who"}{"jsonrpc":"2.0","id":2,"#).await;
    assert_eq!(client.next().await["result"], 7);
    tokio::time::sleep(pause).await;
    assert_eq!(client.ask(r#""method":"who"}"#).await["result"], 7);
}
