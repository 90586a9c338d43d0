//! A JSON-RPC client on a plain socket, of the standard library and a JSON parser only.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::{Value, json};

/// A connection that speaks JSON-RPC 2.0, or whatever is sent on it.
pub(crate) struct Stream {
    socket: TcpStream,
    reader: BufReader<TcpStream>,
    last_id: u64,
    /// Notifications that came before an answer that was waited for.
    events: VecDeque<Value>,
}

/// An error of the host.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) code: i64,
    /// The name of the code.
    pub(crate) name: String,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Refused {
    /// Of the `error` member of an answer.
    #[track_caller]
    pub(crate) fn of(error: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Self {
            code: error["code"].as_i64().unwrap_or_else(|| panic!("an error has a code: {error}")),
            name: text(&error["data"]["name"]).unwrap_or_else(|| panic!("an error has a name: {error}")),
            message: text(&error["message"]).unwrap_or_else(|| panic!("an error has a message: {error}")),
            hint: text(&error["data"]["hint"]),
        }
    }
}

impl Stream {
    pub(super) fn new(socket: TcpStream) -> Self {
        let reader = BufReader::new(socket.try_clone().expect("a socket can be cloned"));
        Self { socket, reader, last_id: 0, events: VecDeque::new() }
    }

    /// Calls a method and waits for its answer.
    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Result<Value, Refused> {
        self.try_call(method, params).expect("the connection holds")
    }

    /// The same where the connection may break.
    #[track_caller]
    pub(crate) fn try_call(&mut self, method: &str, params: Value) -> io::Result<Result<Value, Refused>> {
        self.last_id += 1;
        let id = self.last_id;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": [params] });
        writeln!(self.socket, "{request}")?;
        loop {
            let answer = self.try_value()?;
            if answer.get("method").is_some() {
                self.events.push_back(answer);
                continue;
            }
            assert_eq!(answer["id"], id, "{answer}");
            assert_eq!(answer["jsonrpc"], "2.0", "{answer}");
            return Ok(match answer.get("error") {
                Some(error) => Err(Refused::of(error)),
                None => Ok(answer["result"].clone()),
            });
        }
    }

    /// Calls a method that must be refused.
    #[track_caller]
    pub(crate) fn refused(&mut self, method: &str, params: Value) -> Refused {
        self.call(method, params).expect_err("the host refuses this")
    }

    /// Subscribes to events; from then on [`event`](Self::event) has them.
    #[track_caller]
    pub(crate) fn watch(&mut self, request: Value) -> Value {
        self.call("TaskUnit.Watch", request).expect("the host accepts the subscription")
    }

    /// The next event of a subscription.
    #[track_caller]
    pub(crate) fn event(&mut self) -> Value {
        let message = self.events.pop_front().unwrap_or_else(|| self.value());
        assert_eq!(message["method"], "TaskUnit.Watch", "{message}");
        message["params"]["result"].clone()
    }

    /// The next event of a kind.
    #[track_caller]
    pub(crate) fn event_of(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event();
            if event["kind"] == kind {
                return event;
            }
        }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).expect("the host reads");
    }

    /// Says that nothing more will be sent.
    #[track_caller]
    pub(crate) fn finish(&mut self) {
        self.socket.shutdown(Shutdown::Write).expect("the connection holds");
    }

    /// The next line as it came, with its newline; empty when the host has closed the connection.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        self.try_line().expect("the connection holds")
    }

    /// The same where the host may have closed the connection with something unread.
    #[track_caller]
    pub(crate) fn line_or_reset(&mut self) -> String {
        match self.try_line() {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => String::new(),
            line => line.expect("the connection holds or ends"),
        }
    }

    /// The next message.
    #[track_caller]
    pub(crate) fn value(&mut self) -> Value {
        self.try_value().expect("a message comes")
    }

    /// The error that answers no call, after which the host closes the connection.
    #[track_caller]
    pub(crate) fn last_word(&mut self) -> Refused {
        let answer = self.value();
        assert_eq!(answer["id"], Value::Null, "{answer}");
        assert_eq!(self.line(), "", "the host closes the connection");
        Refused::of(&answer["error"])
    }

    fn try_line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        Ok(line)
    }

    fn try_value(&mut self) -> io::Result<Value> {
        let line = self.try_line()?;
        if !line.ends_with('\n') {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}
