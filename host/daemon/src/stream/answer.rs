//! How answers are written, in the dialect of their requests.

use jsonrpsee::types::{ErrorObject, ErrorObjectOwned};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use taskhost_api::ErrorData;

use super::message::Dialect;
use crate::normalise;

/// What a call came to.
pub(crate) type Outcome = Result<Box<RawValue>, ErrorObjectOwned>;

/// The outcome in an answer that jsonrpsee wrote. Its id is a stand-in: jsonrpsee's ids are whole numbers and strings, and
/// a client's must come back as they were sent.
pub(crate) fn outcome_of(answer: &str) -> Outcome {
    #[derive(Deserialize)]
    struct Members<'a> {
        #[serde(borrow)]
        result: Option<&'a RawValue>,
        #[serde(borrow)]
        error: Option<ErrorObject<'a>>,
    }
    let members: Members<'_> = serde_json::from_str(answer).map_err(|_| normalise::error(&internal()))?;
    match members.error {
        Some(error) => Err(normalise::error(&error)),
        None => Ok(members.result.unwrap_or(RawValue::NULL).to_owned()),
    }
}

/// One answer, without a newline.
pub(super) fn write(dialect: Dialect, id: &RawValue, outcome: &Outcome) -> Box<RawValue> {
    #[derive(Serialize)]
    struct V1<'a> {
        id: &'a RawValue,
        result: Option<&'a RawValue>,
        error: Option<String>,
    }
    #[derive(Serialize)]
    struct V2<'a> {
        jsonrpc: &'static str,
        id: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a ErrorObjectOwned>,
    }
    let (result, error) = match outcome {
        Ok(result) => (Some(&**result), None),
        Err(error) => (None, Some(error)),
    };
    let written = match dialect {
        Dialect::V1 => to_raw_value(&V1 { id, result, error: error.map(as_text) }),
        Dialect::V2 => to_raw_value(&V2 { jsonrpc: "2.0", id, result, error }),
    };
    written.expect("strings and JSON are always written as JSON")
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
