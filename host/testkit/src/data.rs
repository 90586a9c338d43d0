//! Bytes that mostly are a text: values of keys, and bodies.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

/// The only member of bytes that are no text.
const BASE64: &str = "base64";

/// Bytes. In JSON a text where they are one, and `{"base64": "…"}` else.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Data(pub Bytes);

impl Data {
    /// The text that it is, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// What it is as a text; bytes that are no UTF-8 are U+FFFD.
    pub fn to_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_str() {
            Some(text) => text.fmt(f),
            None => self.0.fmt(f),
        }
    }
}

impl PartialEq<str> for Data {
    fn eq(&self, text: &str) -> bool {
        self.0 == text.as_bytes()
    }
}

impl PartialEq<&str> for Data {
    fn eq(&self, text: &&str) -> bool {
        *self == **text
    }
}

impl From<&str> for Data {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<String> for Data {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&[u8]> for Data {
    fn from(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }
}

impl From<Vec<u8>> for Data {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.as_str() {
            Some(text) => serializer.serialize_str(text),
            None => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(BASE64, &STANDARD.encode(&self.0))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Data;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, r#"a text, or {{"{BASE64}": "…"}}"#)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Data, E> {
                Ok(text.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data, A::Error> {
                let Some(name) = map.next_key::<String>()? else { return Err(de::Error::missing_field(BASE64)) };
                if name != BASE64 {
                    return Err(de::Error::unknown_field(&name, &[BASE64]));
                }
                let text: String = map.next_value()?;
                if let Some(more) = map.next_key::<String>()? {
                    return Err(de::Error::unknown_field(&more, &[BASE64]));
                }
                STANDARD
                    .decode(&text)
                    .map(Data::from)
                    .map_err(|error| de::Error::custom(format_args!("no base64: {error}")))
            }
        }

        deserializer.deserialize_any(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_base64_and_read_back() {
        for (bytes, json) in [("é\"".as_bytes(), r#""é\"""#), (&[0xff, 0], r#"{"base64":"/wA="}"#)] {
            let data = Data::from(bytes);
            assert_eq!(serde_json::to_string(&data).expect("JSON"), json);
            assert_eq!(serde_json::from_str::<Data>(json).expect("data"), data);
        }
        for (json, wrong) in [
            ("1", "expected a text"),
            ("{}", "missing field `base64`"),
            (r#"{"base64": "/wA=", "x": 1}"#, "unknown field `x`"),
            (r#"{"text": ""}"#, "unknown field `text`"),
            (r#"{"base64": "/wA"}"#, "no base64"),
        ] {
            let refused = serde_json::from_str::<Data>(json).expect_err(json).to_string();
            assert!(refused.contains(wrong), "{json}: {refused}");
        }
    }
}
