//! One shape for what comes in and what goes out, whatever the transport.
//!
//! In: every method takes one parameter. It may be sent bare (`"x"`, `{…}`), as the only element of an array, or not at
//! all, which means `{}`: methods whose members are all optional are called without. Handlers always see `[parameter]`.
//!
//! Out: every error is one of the table in `taskhost-api`, with its name and a hint in `data`. jsonrpsee's own errors are
//! translated here, and nowhere else.
//!
//! A member that stands twice in a request or in a parameter is refused: by serde as a `duplicate field`, and among labels,
//! whose keys are free, by the types of `taskhost-api`.

use std::borrow::Cow;
use std::fmt;

use jsonrpsee::types::{ErrorObject, ErrorObjectOwned, error as jsonrpsee_error};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use taskhost_api::{ErrorCode, ErrorData};
use taskhost_core::told::told;

/// The parameters as handlers take them: an array of exactly one element.
pub(crate) fn parameters(sent: Option<&RawValue>) -> Result<Cow<'_, str>, ErrorObjectOwned> {
    const NONE: Cow<'static, str> = Cow::Borrowed("[{}]");
    let Some(sent) = sent else { return Ok(NONE) };
    match sent.get().as_bytes().first() {
        Some(b'[') => {
            let elements = Elements::parse(sent.get(), 1).map_err(|error| invalid_parameter(&error))?;
            match (elements.count, elements.first.first()) {
                (0, _) => Ok(NONE),
                (1, Some(element)) if element.get() == "null" => Ok(NONE),
                (1, _) => Ok(Cow::Borrowed(sent.get())),
                (count, _) => {
                    let message = format!("invalid params: a method takes one parameter, and {count} were sent");
                    let hint = "send one string, or one object with all members".to_owned();
                    Err(ErrorCode::InvalidParams.to_error(message, Some(hint)))
                }
            }
        }
        Some(b'n') => Ok(NONE),
        _ => Ok(Cow::Owned(format!("[{}]", sent.get()))),
    }
}

/// The error as it is sent: one of the table, with a name.
pub(crate) fn error(error: &ErrorObject<'_>) -> ErrorObjectOwned {
    if error.data().is_some_and(|data| serde_json::from_str::<ErrorData>(data.get()).is_ok()) {
        return error.clone().into_owned();
    }
    let detail = error.data().and_then(|data| serde_json::from_str::<String>(data.get()).ok());
    let with_detail = |message: &str| match &detail {
        Some(detail) => format!("{message}: {}", told(detail, MAX_DETAIL_CHARS)),
        None => message.to_owned(),
    };
    match error.code() {
        jsonrpsee_error::INVALID_PARAMS_CODE => {
            ErrorCode::InvalidParams.to_error(with_detail("invalid params"), discover_hint())
        }
        jsonrpsee_error::OVERSIZED_RESPONSE_CODE | jsonrpsee_error::TOO_BIG_BATCH_RESPONSE_CODE => {
            let hint = "ask for less at once, with `limit`".to_owned();
            ErrorCode::TooLarge.to_error("the answer is larger than the host sends", Some(hint))
        }
        jsonrpsee_error::TOO_MANY_SUBSCRIPTIONS_CODE => {
            ErrorCode::Busy.to_error("too many subscriptions on this connection", None)
        }
        number => {
            let code = ErrorCode::from_number(number).unwrap_or(ErrorCode::Internal);
            code.to_error(with_detail(error.message()), None)
        }
    }
}

/// No method has this name.
pub(crate) fn unknown_method(name: &str) -> ErrorObjectOwned {
    let name = told(name, MAX_ECHOED_CHARS);
    ErrorCode::MethodNotFound.to_error(format!("no method `{name}`"), discover_hint())
}

/// How much of a method's wrong name is repeated.
const MAX_ECHOED_CHARS: usize = 80;

/// How much is repeated of what serde says, which quotes what was sent. The names of all members of a task fit in.
pub(crate) const MAX_DETAIL_CHARS: usize = 1000;

fn discover_hint() -> Option<String> {
    Some("`rpc.discover` describes every method".to_owned())
}

fn invalid_parameter(error: &serde_json::Error) -> ErrorObjectOwned {
    ErrorCode::InvalidParams.to_error(format!("invalid params: {}", told(error, MAX_DETAIL_CHARS)), discover_hint())
}

/// The first elements of a JSON array, and how many it has. The others are looked over and not kept: an array of a
/// million costs no memory.
pub(crate) struct Elements<'a> {
    pub(crate) first: Vec<&'a RawValue>,
    pub(crate) count: usize,
}

impl<'a> Elements<'a> {
    /// Reads an array, keeping at most `keep` elements.
    pub(crate) fn parse(json: &'a str, keep: usize) -> serde_json::Result<Self> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let elements = Keep(keep).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(elements)
    }
}

struct Keep(usize);

impl<'de> DeserializeSeed<'de> for Keep {
    type Value = Elements<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Keep {
    type Value = Elements<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut elements = Elements { first: Vec::new(), count: 0 };
        while elements.count < self.0 {
            let Some(element) = array.next_element()? else { return Ok(elements) };
            elements.first.push(element);
            elements.count += 1;
        }
        while array.next_element::<IgnoredAny>()?.is_some() {
            elements.count += 1;
        }
        Ok(elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(sent: &str) -> Result<String, ErrorObjectOwned> {
        let raw: &RawValue = serde_json::from_str(sent).expect("the test's JSON is valid");
        parameters(Some(raw)).map(Cow::into_owned)
    }

    #[test]
    fn a_bare_parameter_becomes_the_only_element() {
        assert_eq!(normalised(r#""x""#).as_deref(), Ok(r#"["x"]"#));
        assert_eq!(normalised(r#"{"name": "x"}"#).as_deref(), Ok(r#"[{"name": "x"}]"#));
        assert_eq!(normalised("7").as_deref(), Ok("[7]"));
        assert_eq!(normalised(r#"["x"]"#).as_deref(), Ok(r#"["x"]"#));
    }

    #[test]
    fn no_parameter_is_an_empty_object() {
        assert_eq!(parameters(None).as_deref(), Ok("[{}]"));
        for sent in ["null", "[]", "[ ]", "[null]"] {
            assert_eq!(normalised(sent).as_deref(), Ok("[{}]"), "{sent}");
        }
    }

    #[test]
    fn more_than_one_parameter_is_refused() {
        let error = normalised(r#"["a", "b", "c"]"#).expect_err("three parameters");
        assert_eq!(error.code(), -32602);
        assert!(error.message().contains("3 were sent"), "{error:?}");
    }

    #[test]
    fn only_the_wanted_elements_are_kept() {
        let array = format!("[{}1]", "1,".repeat(999_999));
        let elements = Elements::parse(&array, 10).expect("an array");
        assert_eq!((elements.first.len(), elements.count), (10, 1_000_000));
    }

    #[test]
    fn what_an_error_repeats_of_a_request_is_short_and_safe_to_print() {
        let hostile = "\u{1b}[2J".repeat(100_000);
        let theirs = ErrorObject::owned(-32602, "Invalid params", Some(format!("unknown field `{hostile}`")));
        for error in [error(&theirs), unknown_method(&hostile)] {
            assert!(error.message().len() < 10_000 && !error.message().contains('\u{1b}'), "{error:?}");
        }
    }

    #[test]
    fn jsonrpsees_errors_get_a_name() {
        let theirs = ErrorObject::owned(-32602, "Invalid params", Some("missing field `name`"));
        let ours = error(&theirs);
        assert_eq!(ours.message(), "invalid params: missing field `name`");
        assert!(ours.data().is_some_and(|data| data.get().contains("invalid_params")));
        let theirs = ErrorObject::owned(-32008, "Response is too big", None::<()>);
        assert_eq!(error(&theirs).code(), 1413);
        let ours = ErrorCode::TaskExists.to_error("a task `a` exists", None);
        assert_eq!(error(&ours), ours);
    }
}
