//! How answers are written, in the dialect of their requests.

use std::ops::Range;

use jsonrpsee::server::MethodResponse;
use jsonrpsee::types::{ErrorObject, ErrorObjectOwned};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use taskhost_api::ErrorData;

use super::message::Dialect;
use crate::normalise;

/// What a call came to.
pub(crate) type Outcome = Result<Success, ErrorObjectOwned>;

/// A result, where it stands in the answer that jsonrpsee wrote: large ones are copied once, into what is sent.
#[derive(Debug)]
pub(crate) struct Success {
    answer: Box<RawValue>,
    result: Range<usize>,
}

impl Success {
    /// The JSON of the result.
    pub(crate) fn result(&self) -> &str {
        &self.answer.get()[self.result.clone()]
    }
}

/// How jsonrpsee begins the answer to [`STAND_IN_ID`](super::dispatch) with a result, which goes on to the last brace.
const SUCCESS_START: &str = r#"{"jsonrpc":"2.0","id":0,"result":"#;

/// The outcome in an answer that jsonrpsee wrote. Its id is a stand-in: jsonrpsee's ids are whole numbers and strings, and
/// a client's must come back as they were sent.
pub(crate) fn outcome_of(response: MethodResponse) -> Outcome {
    let is_success = response.is_success();
    let answer = response.into_json();
    if is_success && answer.get().starts_with(SUCCESS_START) {
        let result = SUCCESS_START.len()..answer.get().len() - 1;
        return Ok(Success { answer, result });
    }
    // An error, or written in another order than it was when this was.
    parse(&answer).map(|answer| Success { result: 0..answer.get().len(), answer })
}

/// The result or the error in an answer, whoever wrote it.
pub(crate) fn parse(answer: &RawValue) -> Result<Box<RawValue>, ErrorObjectOwned> {
    #[derive(Deserialize)]
    struct Members<'a> {
        #[serde(borrow)]
        result: Option<&'a RawValue>,
        #[serde(borrow)]
        error: Option<ErrorObject<'a>>,
    }
    let members: Members<'_> = serde_json::from_str(answer.get()).map_err(|_| normalise::error(&internal()))?;
    match members.error {
        Some(error) => Err(normalise::error(&error)),
        None => Ok(members.result.unwrap_or(RawValue::NULL).to_owned()),
    }
}

/// One answer, without a newline.
pub(super) fn write(dialect: Dialect, id: &RawValue, outcome: &Outcome) -> String {
    let error = match outcome {
        Ok(success) => {
            let mut text = String::with_capacity(room(id, success.result()));
            write_result(&mut text, dialect, id, success.result());
            return text;
        }
        Err(error) => error,
    };
    let id = id.get();
    match dialect {
        Dialect::V1 => [r#"{"id":"#, id, r#","result":null,"error":"#, &json(&as_text(error)), "}"].concat(),
        Dialect::V2 => [r#"{"jsonrpc":"2.0","id":"#, id, r#","error":"#, &json(error), "}"].concat(),
    }
}

/// The same for a result, behind what is written already.
pub(super) fn write_result(text: &mut String, dialect: Dialect, id: &RawValue, result: &str) {
    let (before_id, after_result) = match dialect {
        Dialect::V1 => (r#"{"id":"#, r#","error":null}"#),
        Dialect::V2 => (r#"{"jsonrpc":"2.0","id":"#, "}"),
    };
    for piece in [before_id, id.get(), r#","result":"#, result, after_result] {
        text.push_str(piece);
    }
}

/// How many bytes an answer has at most.
pub(super) fn room(id: &RawValue, result: &str) -> usize {
    const AROUND: usize = r#"{"jsonrpc":"2.0","id":,"result":}"#.len();
    AROUND + id.get().len() + result.len()
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and JSON are always written as JSON")
}

/// An error in the one string that 1.0 has for it.
fn as_text(error: &ErrorObjectOwned) -> String {
    let hint = error.data().and_then(|data| serde_json::from_str::<ErrorData>(data.get()).ok()?.hint);
    match hint {
        Some(hint) => format!("{} ({hint})", error.message()),
        None => error.message().to_owned(),
    }
}

fn internal() -> ErrorObjectOwned {
    jsonrpsee::types::ErrorCode::InternalError.into()
}

#[cfg(test)]
mod tests {
    use jsonrpsee::ResponsePayload;
    use jsonrpsee::types::Id;

    use super::*;

    #[test]
    fn a_result_is_found_where_jsonrpsee_puts_it() {
        let response = MethodResponse::response(Id::Number(0), ResponsePayload::success("a}"), 1000);
        assert!(response.as_ref().starts_with(SUCCESS_START), "{response}: each answer is parsed, which costs");
        assert_eq!(outcome_of(response).expect("a success").result(), r#""a}""#);
    }

    #[test]
    fn a_result_is_found_wherever_it_stands() {
        let answer = RawValue::from_string(r#"{"id":0,"result":[1],"jsonrpc":"2.0"}"#.to_owned()).expect("JSON");
        assert_eq!(parse(&answer).expect("a success").get(), "[1]");
    }
}
