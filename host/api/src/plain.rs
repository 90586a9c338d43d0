//! Parameters that may be sent as an object or as plain text: the name of a task.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

/// Reads a parameter that is a plain name or an object.
pub(crate) fn name_or_object<'de, D, T, O>(
    deserializer: D,
    from_name: fn(String) -> T,
    from_object: fn(O) -> T,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    O: Deserialize<'de>,
{
    struct NameOrObject<T, O>(fn(String) -> T, fn(O) -> T);

    impl<'de, T, O: Deserialize<'de>> Visitor<'de> for NameOrObject<T, O> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a task's name or an object")
        }

        fn visit_str<E: de::Error>(self, name: &str) -> Result<T, E> {
            Ok((self.0)(name.to_owned()))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            O::deserialize(de::value::MapAccessDeserializer::new(map)).map(self.1)
        }
    }

    deserializer.deserialize_any(NameOrObject(from_name, from_object))
}

/// Declares the object half of a parameter that may also be a plain name, and its `Deserialize`.
macro_rules! also_plain_name {
    ($request:ident { $($(#[$attribute:meta])* $member:ident: $type:ty),* $(,)? }) => {
        impl<'de> serde::Deserialize<'de> for $request {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(serde::Deserialize)]
                #[serde(deny_unknown_fields)]
                struct Object {
                    name: String,
                    $($(#[$attribute])* #[serde(default)] $member: $type,)*
                }
                $crate::plain::name_or_object(
                    deserializer,
                    |name| Self { name, $($member: Default::default(),)* },
                    |object: Object| Self { name: object.name, $($member: object.$member,)* },
                )
            }
        }
    };
}
pub(crate) use also_plain_name;

#[cfg(test)]
mod tests {
    use crate::{ChangesRequest, PauseRequest, ResumeRequest, RunRequest, RunsRequest, WhyRequest};

    #[test]
    fn a_plain_name_is_a_request_without_more() {
        fn read<T: for<'de> serde::Deserialize<'de>>(json: &str) -> T {
            serde_json::from_str(json).expect(json)
        }
        let name = || "a".to_owned();
        assert_eq!(read::<PauseRequest>(r#""a""#), PauseRequest { name: name(), ..PauseRequest::default() });
        assert_eq!(read::<ResumeRequest>(r#""a""#), ResumeRequest { name: name() });
        assert_eq!(read::<ResumeRequest>(r#"{"name": "a"}"#), ResumeRequest { name: name() });
        assert_eq!(read::<RunRequest>(r#""a""#), RunRequest { name: name(), ..RunRequest::default() });
        assert_eq!(read::<RunsRequest>(r#""a""#), RunsRequest { name: name(), ..RunsRequest::default() });
        assert_eq!(read::<ChangesRequest>(r#""a""#), ChangesRequest { name: name(), limit: None });
        assert_eq!(read::<WhyRequest>(r#""a""#), WhyRequest { name: name(), at: None });
        let outcomes = read::<RunsRequest>(r#"{"name": "a", "outcomes": ["error", "missed"]}"#).outcomes;
        assert_eq!(outcomes, Some(vec!["error".to_owned(), "missed".to_owned()]));
        let refused = serde_json::from_str::<PauseRequest>(r#"{"name": "a", "nte": "x"}"#).expect_err("unknown");
        assert!(refused.to_string().starts_with("unknown field `nte`"), "{refused}");
    }
}
