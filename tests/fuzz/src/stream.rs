//! The JSON stream, in both dialects: where messages end, what they mean, and how they are answered.
//!
//! The answers are compared with what the specifications say of each request, read here in another way than the host reads it.

use std::fmt;

use bytes::Bytes;
use jsonrpsee::RpcModule;
use jsonrpsee::server::Methods;
use jsonrpsee::types::ErrorObjectOwned;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use taskhost_api::{ErrorCode, ErrorData, MAX_BATCH_CALLS, MAX_MESSAGE_BYTES};
use taskhost_daemon::fuzzing::{Frames, answer, frames, serve_stream};
use tokio::io::AsyncReadExt;

use super::check_message;

/// How deep a message may be.
const MAX_NESTING: usize = 128;

/// A limit that is easily met.
const FEW_BYTES: usize = 48;

/// Inputs up to this length are cut at every place.
const MAX_LENGTH_CUT_EVERYWHERE: usize = 64;

pub fn check(input: &[u8]) {
    let whole = frames([input], MAX_MESSAGE_BYTES);
    cuts(input, &whole);
    limits(input, &whole);
    values(input, &whole);
    served(input, &whole);
}

/// The messages are the same wherever the stream is cut.
fn cuts(stream: &[u8], whole: &Frames) {
    assert_eq!(&frames(stream.chunks(1), MAX_MESSAGE_BYTES), whole, "byte by byte");
    let length = stream.len();
    let everywhere = 0..if length <= MAX_LENGTH_CUT_EVERYWHERE { length } else { 0 };
    for at in everywhere.chain([length / 3, length / 2, length.saturating_sub(1)]) {
        let (first, second) = stream.split_at(at);
        assert_eq!(&frames([first, second], MAX_MESSAGE_BYTES), whole, "cut at {at}");
    }
}

/// What a parser of JSON takes for values are the messages, as far as it goes, and none is larger or deeper than it may be.
fn values(stream: &[u8], found: &Frames) {
    for frame in &found.whole {
        assert!(frame.len() <= MAX_MESSAGE_BYTES && nesting(frame) <= MAX_NESTING, "{frame:?}");
    }
    let mut found = found.whole.iter();
    for value in serde_json::Deserializer::from_slice(stream).into_iter::<&RawValue>() {
        let Ok(value) = value else { return };
        let text = value.get().as_bytes();
        if !text.starts_with(b"{") && !text.starts_with(b"[") || nesting(text) > MAX_NESTING {
            assert_eq!(found.next(), None, "after garbage");
            return;
        }
        assert_eq!(found.next().map(|frame| &frame[..]), Some(text));
    }
}

/// How deep brackets stand in each other, outside of strings.
fn nesting(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut at) = (0_usize, 0, 0);
    while let Some(byte) = json.get(at) {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                at += 1;
                while json.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if json[at] == b'\\' { 2 } else { 1 };
                }
            }
            _ => {}
        }
        deepest = deepest.max(depth);
        at += 1;
    }
    deepest
}

/// Messages up to a limit are the same as without it, and one that is larger ends the stream, wherever it is cut.
fn limits(stream: &[u8], whole: &Frames) {
    let mut limited = frames([stream], FEW_BYTES);
    assert_eq!(frames(stream.chunks(1), FEW_BYTES), limited, "byte by byte");
    let fitting = whole.whole.iter().take_while(|frame| frame.len() <= FEW_BYTES).count();
    assert_eq!(limited.whole, whole.whole[..fitting]);
    if fitting < whole.whole.len() {
        assert!(limited.error.take().is_some_and(|error| error.contains("at most")), "too large, and not said so");
    }
}

thread_local! {
    static METHODS: Methods = methods();
    static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
}

/// What can be called. What a method gets is in its answer.
fn methods() -> Methods {
    let mut module = RpcModule::new(());
    let registered = (|| {
        module.register_method("echo", |params, _, _| params.one::<Box<RawValue>>())?;
        module.register_method("read", |params, _, _| params.one::<taskhost_api::GetRequest>().map(|_| true))?;
        module.register_method("fail", |_, _, _| {
            let hint = Some("`taskctl list` shows them".to_owned());
            Err::<(), _>(ErrorCode::TaskNotFound.to_error("no task `x`", hint))
        })?;
        module.register_async_method("slow", |_, _, _| async {
            tokio::task::yield_now().await;
            Ok::<_, ErrorObjectOwned>("slow")
        })?;
        Ok::<_, jsonrpsee::core::RegisterMethodError>(())
    })();
    registered.expect("every name is used once");
    module.into()
}

/// Every message is answered as it must be, and a connection sends those answers and nothing else, however its bytes come.
fn served(stream: &[u8], found: &Frames) {
    let mut expected = Vec::new();
    let mut readable = true;
    for frame in &found.whole {
        let answered = RUNTIME.with(|runtime| runtime.block_on(answer(METHODS.with(Clone::clone), frame)));
        readable = check_answer(frame, answered.as_deref());
        expected.extend(answered.map(|answered| answered.get().to_owned()));
        if !readable {
            break;
        }
    }
    expected.sort();
    // That the stream can't be read further, or ended too early, is told in words of the connection's own.
    let ends_badly = readable && (found.error.is_some() || found.is_within_message);
    for (first, second) in [(stream, &[][..]), stream.split_at(stream.len() / 2)] {
        let mut sent = Vec::new();
        let socket = tokio::io::join(first.chain(second), &mut sent);
        let served = RUNTIME.with(|runtime| runtime.block_on(serve_stream(socket, METHODS.with(Clone::clone))));
        served.expect("memory can be read and written");
        let answers = serde_json::Deserializer::from_slice(&sent).into_iter::<&RawValue>();
        let mut answers: Vec<&str> = answers.map(|answer| answer.expect("answers are JSON").get()).collect();
        if ends_badly {
            let own = answers.iter().position(|answer| !expected.iter().any(|expected| expected == answer));
            let own = answers.remove(own.expect("the connection says why it ends"));
            check_error(&Members::read(own).expect("an answer is an object"), Some("null"));
        }
        answers.sort_unstable();
        assert_eq!(answers, expected);
    }
}

/// Checks the answer to one message; whether what follows it on its connection can be read.
fn check_answer(frame: &Bytes, answer: Option<&RawValue>) -> bool {
    let parsed = str::from_utf8(frame).ok().and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
    let alone = |answer: Option<&RawValue>| {
        let members = Members::read(answer.expect("it is answered").get()).expect("an answer is an object");
        check_error(&members, Some("null"))
    };
    let Some(value) = parsed else {
        assert_eq!(alone(answer), Some(ErrorCode::ParseError.number()));
        return false;
    };
    let Ok(requests) = serde_json::from_str::<Vec<&RawValue>>(value.get()) else {
        Expected::of(value.get()).check(answer);
        return true;
    };
    if requests.is_empty() || requests.len() > MAX_BATCH_CALLS {
        let code = if requests.is_empty() { ErrorCode::InvalidRequest } else { ErrorCode::TooLarge };
        assert_eq!(alone(answer), Some(code.number()));
        return true;
    }
    let expected: Vec<_> = requests.iter().map(|request| Expected::of(request.get())).collect();
    let answered: Vec<_> = expected.iter().filter(|expected| !matches!(expected, Expected::Nothing)).collect();
    let Some(answer) = answer else {
        assert!(answered.is_empty(), "a batch of calls is answered");
        return true;
    };
    let answers: Vec<&RawValue> = serde_json::from_str(answer.get()).expect("a batch is answered with an array");
    assert_eq!(answers.len(), answered.len(), "each call is answered once: {}", answer.get());
    answered.into_iter().zip(answers).for_each(|(expected, answer)| expected.check(Some(answer)));
    true
}

/// How a request is to be answered.
enum Expected {
    /// It is a notification.
    Nothing,
    /// It is no request: an error with its id, if that can be known.
    Refused {
        id: Option<String>,
    },
    Called {
        is_v1: bool,
        id: String,
        outcome: Outcome,
    },
}

enum Outcome {
    /// This is sent back.
    Echo(String),
    Error(i32),
    /// Nothing is known of it.
    Any,
}

impl Expected {
    fn of(text: &str) -> Self {
        // It is JSON, but no object, or one that has a member whose name is no text.
        let Ok(members) = Members::read(text) else { return Self::Refused { id: None } };
        let known = ["jsonrpc", "id", "method", "params"].map(|name| members.all(name));
        if known.iter().any(|values| values.len() > 1) {
            return Self::Refused { id: None };
        }
        let [jsonrpc, id, method, params] = known.map(|values| values.first().copied());
        let is_v1 = match jsonrpc {
            None | Some("null") => true,
            Some("\"2.0\"") => false,
            Some(_) => return Self::Refused { id: None },
        };
        if !is_v1 && id.is_some_and(|id| id.starts_with(['{', '[', 't', 'f'])) {
            return Self::Refused { id: None };
        }
        let id = id.filter(|id| !(is_v1 && *id == "null")).map(str::to_owned);
        let Some(method) = method.and_then(|method| serde_json::from_str::<String>(method).ok()) else {
            return Self::Refused { id };
        };
        let Some(id) = id else { return Self::Nothing };
        let outcome = match (&method[..], parameter(params)) {
            ("echo", Some(parameter)) => Outcome::Echo(parameter),
            ("echo" | "read", None) => Outcome::Error(ErrorCode::InvalidParams.number()),
            ("fail", Some(_)) => Outcome::Error(ErrorCode::TaskNotFound.number()),
            ("slow", Some(_)) => Outcome::Echo("\"slow\"".to_owned()),
            ("read" | "fail" | "slow", _) => Outcome::Any,
            _ => Outcome::Error(ErrorCode::MethodNotFound.number()),
        };
        Self::Called { is_v1, id, outcome }
    }

    /// Checks an answer.
    fn check(&self, answer: Option<&RawValue>) {
        if let Self::Nothing = self {
            assert!(answer.is_none(), "a notification is not answered: {answer:?}");
            return;
        }
        let answer = answer.expect("it is answered").get();
        let members = Members::read(answer).expect("an answer is an object");
        match self {
            Self::Nothing => unreachable!("seen above"),
            Self::Refused { id } => {
                let code = check_error(&members, Some(id.as_deref().unwrap_or("null")));
                assert_eq!(code, Some(ErrorCode::InvalidRequest.number()), "{answer}");
            }
            Self::Called { is_v1: true, id, outcome } => {
                assert_eq!(members.names(), ["id", "result", "error"], "{answer}");
                assert_eq!(members.all("id"), [id], "{answer}");
                let [result, error] = ["result", "error"].map(|name| members.all(name)[0]);
                match outcome {
                    Outcome::Echo(value) => assert_eq!((result, error), (&value[..], "null"), "{answer}"),
                    Outcome::Error(_) => assert!(result == "null" && error != "null", "{answer}"),
                    Outcome::Any => assert!(result == "null" || error == "null", "{answer}"),
                }
                if error != "null" {
                    check_message(&serde_json::from_str::<String>(error).expect("an error of 1.0 is a string"));
                }
            }
            Self::Called { is_v1: false, id, outcome } => {
                if members.all("error").is_empty() {
                    assert_eq!(members.names(), ["jsonrpc", "id", "result"], "{answer}");
                    assert_eq!((members.all("jsonrpc")[0], members.all("id")[0]), ("\"2.0\"", &id[..]), "{answer}");
                    match outcome {
                        Outcome::Echo(value) => assert_eq!(members.all("result"), [value], "{answer}"),
                        Outcome::Error(_) => panic!("it should fail: {answer}"),
                        Outcome::Any => {}
                    }
                } else {
                    let code = check_error(&members, Some(id));
                    match outcome {
                        Outcome::Echo(_) => panic!("it should succeed: {answer}"),
                        Outcome::Error(expected) => assert_eq!(code, Some(*expected), "{answer}"),
                        Outcome::Any => {}
                    }
                }
            }
        }
    }
}

/// The one parameter of a method, if that is what was sent.
fn parameter(sent: Option<&str>) -> Option<String> {
    let nothing = || Some("{}".to_owned());
    let Some(sent) = sent.filter(|sent| *sent != "null") else { return nothing() };
    let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(sent) else { return Some(sent.to_owned()) };
    match &elements[..] {
        [] => nothing(),
        [one] if one.get() == "null" => nothing(),
        [one] => Some(one.get().to_owned()),
        _ => None,
    }
}

/// Checks an error of 2.0, and gives its number.
fn check_error(members: &Members<'_>, id: Option<&str>) -> Option<i32> {
    assert_eq!(members.names(), ["jsonrpc", "id", "error"]);
    assert_eq!((members.all("jsonrpc").first(), members.all("id").first().copied()), (Some(&"\"2.0\""), id));
    let error: ErrorObjectOwned = serde_json::from_str(members.all("error")[0]).expect("an error object");
    check_message(error.message());
    let data: ErrorData = serde_json::from_str(error.data().expect("it has data").get()).expect("with a name");
    assert_eq!(ErrorCode::from_number(error.code()).map(ErrorCode::name), Some(&data.name[..]));
    data.hint.iter().for_each(|hint| check_message(hint));
    Some(error.code())
}

/// The members of an object in their order, repeated ones too.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    fn read(json: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| &name[..]).collect()
    }

    fn all(&self, name: &str) -> Vec<&'a str> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| value.get()).collect()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }

        deserializer.deserialize_map(Pairs).map(Members)
    }
}
