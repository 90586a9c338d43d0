//! Bytes that are no requests, and clients that do not behave: answered where there is an answer, bounded always.

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::{Host, Refused, TestEnv, guest};

/// How much more memory a host may use for one bad client. Far less than what such a client sends.
const PATIENCE_BYTES: u64 = 64 << 20;

/// As much as is sent at once of what never ends.
const PIECE_BYTES: usize = 64 << 10;

/// Asserts that the host serves others as if nothing was.
#[track_caller]
fn serves_others(host: &Host<'_>) {
    host.call("TaskUnit.Add", json!("honest"));
    host.call("TaskUnit.Delete", json!("honest"));
}

#[test]
fn json_nested_100_000_deep_is_a_parse_error() {
    let env = TestEnv::new();
    let host = env.host();
    let mut stream = host.stream();
    stream.send("[".repeat(100_000));
    let refused = stream.last_word();
    assert_eq!(refused.name, "parse_error");
    assert!(refused.message.contains("at most 128 deep"), "{refused:?}");
    let mut stream = host.stream();
    let params = format!("{}{}", "[".repeat(100), "]".repeat(100));
    stream.send(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"TaskUnit.Add","params":{params}}}"#));
    assert_eq!(Refused::of(&stream.value()["error"]).name, "invalid_params");
    serves_others(&host);
}

#[test]
fn a_line_without_an_end_is_given_up_at_2_mib() {
    let env = TestEnv::new();
    let host = env.host();
    let before = host.peak_memory_bytes();
    let mut socket = host.connect();
    let mut stream = host.stream_on(&socket);
    let told = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut sent = 0;
            let mut piece = vec![b'x'; PIECE_BYTES];
            piece[..12].copy_from_slice(br#"{"method":"x"#);
            // Up to 1 GiB, as long as somebody takes it and nothing was said against it.
            while sent < 1 << 30 && !told.load(Ordering::Acquire) && socket.write_all(&piece).is_ok() {
                sent += piece.len();
                piece.fill(b'x');
            }
        });
        let refused = stream.last_word();
        told.store(true, Ordering::Release);
        assert_eq!(refused.name, "too_large");
        assert!(refused.hint.is_some_and(|hint| hint.contains("PUT /plugins/{sha256}")));
    });
    assert!(host.peak_memory_bytes() - before < PATIENCE_BYTES);
    serves_others(&host);
}

#[test]
fn a_batch_of_a_million_is_refused_whole() {
    let env = TestEnv::new();
    let host = env.host();
    let before = host.peak_memory_bytes();
    let mut stream = host.stream();
    stream.send(format!("[{}1]", "1,".repeat(999_999)));
    let refused = Refused::of(&stream.value()["error"]);
    assert_eq!(refused.name, "too_large");
    assert!(refused.message.contains("1000000") && refused.message.contains("at most 1000"), "{refused:?}");
    assert!(host.peak_memory_bytes() - before < PATIENCE_BYTES);
    assert!(stream.call("Host.Info", json!({})).is_ok(), "the connection goes on");
}

#[test]
fn half_a_request_is_told_so() {
    let env = TestEnv::new();
    let host = env.host();
    let mut stream = host.stream();
    stream.send(r#"{"jsonrpc":"2.0","id":1,"method":"TaskUnit.A"#);
    stream.finish();
    let refused = stream.last_word();
    assert_eq!(refused.name, "parse_error");
    assert!(refused.message.contains("ended within a message"), "{refused:?}");
}

#[test]
fn half_a_request_and_silence_keeps_nobody_waiting() {
    let env = TestEnv::new();
    let host = env.host();
    let silent: Vec<_> = (0..50)
        .map(|_| {
            let mut socket = host.connect();
            socket.write_all(br#"{"method":"#).expect("the host reads");
            socket
        })
        .collect();
    serves_others(&host);
    // And a host that stops does not wait for them.
    host.stop();
    drop(silent);
}

#[test]
fn what_is_no_json_is_a_parse_error_and_other_protocols_are_closed() {
    let env = TestEnv::new();
    let host = env.host();
    let mut stream = host.stream();
    stream.send("{]}");
    assert_eq!(Refused::of(&stream.value()["error"]).name, "parse_error");

    let mut mixed = host.stream();
    mixed.send("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"Host.Info\"}\nGET / HTTP/1.1\r\n");
    let mut names: Vec<_> = [mixed.value(), mixed.value()]
        .iter()
        .map(|answer| answer["error"]["data"]["name"].as_str().unwrap_or("answered").to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["answered", "parse_error"], "HTTP in the middle of a stream");
    assert_eq!(mixed.line(), "");

    let mut ssh = host.stream();
    ssh.send("SSH-2.0-OpenSSH_9.9\r\n");
    assert_eq!(ssh.line_or_reset(), "", "the connection is closed without a word");
    serves_others(&host);
}

#[test]
fn a_client_that_never_reads_is_not_read_from_either() {
    let env = TestEnv::new();
    let host = env.host();
    let before = host.peak_memory_bytes();
    let mut socket = host.connect();
    socket.set_write_timeout(Some(Duration::from_millis(500))).expect("the time is not zero");
    let calls = r#"{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}"#.repeat(1000);
    let mut sent_bytes = 0;
    let stalled = loop {
        match socket.write(calls.as_bytes()) {
            Ok(bytes) => sent_bytes += bytes,
            Err(error) => break error,
        }
        assert!(sent_bytes < PATIENCE_BYTES as usize, "the host reads on and on");
    };
    assert!(matches!(stalled.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{stalled}");
    assert!(host.peak_memory_bytes() - before < PATIENCE_BYTES);
    serves_others(&host);
}

#[test]
fn a_subscriber_that_never_reads_is_told_how_many_events_it_lost() {
    let env = TestEnv::new();
    let host = env.host();
    let before = host.peak_memory_bytes();
    let mut lazy = host.stream();
    lazy.watch(json!({ "kinds": ["log"] }));
    // More lines than any socket and any queue hold.
    let flood = guest("flood-lines.wat");
    host.ok(&["add", "flood", "--wasm", flood.to_str().expect("a path of UTF-8"), "--every", "10y", "--timeout", "1s"]);
    host.ctl(&["run", "flood"]).fails_with(8);
    serves_others(&host);
    assert!(host.peak_memory_bytes() - before < PATIENCE_BYTES);
    let mut last_seq = 0;
    let mut lost_lines = 0;
    loop {
        let event = lazy.event();
        if event["kind"] == "lagged" {
            let lost = event["lost"].as_u64().expect("a number");
            assert!(lost > 0, "{event}");
            lost_lines += lost;
            last_seq += lost;
            continue;
        }
        last_seq += 1;
        assert_eq!(event["line"]["seq"], last_seq, "what is lost is told to the line");
        if lost_lines > 0 {
            break;
        }
    }
}
