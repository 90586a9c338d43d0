//! Headers with secrets in them, and keeping these out of what is said.

use taskhost_plugin::Failure;

use crate::header::{Header, is_header_value};

/// What stands in place of a secret.
const MASK: &str = "[secret]";

/// A header whose value has names of secrets in it: `Authorization: Bearer {api-token}`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SecretHeader {
    pub(crate) name: String,
    pub(crate) value: Vec<Part>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    /// The name of a secret or a setting.
    Secret(String),
}

/// Reads a value with names in braces; `{{` and `}}` are braces themselves.
pub(crate) fn parse(value: &str) -> Result<Vec<Part>, &'static str> {
    const UNEVEN: &str = "has a brace without another; write `{{` and `}}` for braces themselves";
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut chars = value.chars().peekable();
    while let Some(letter) = chars.next() {
        match letter {
            '{' | '}' if chars.next_if_eq(&letter).is_some() => text.push(letter),
            '{' => {
                let mut name = String::new();
                loop {
                    match chars.next().ok_or(UNEVEN)? {
                        '}' => break,
                        '{' => return Err(UNEVEN),
                        letter => name.push(letter),
                    }
                }
                if name.is_empty() {
                    return Err("has `{}`, without the name of a secret");
                }
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::Secret(name));
            }
            '}' => return Err(UNEVEN),
            _ => text.push(letter),
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    if !parts.iter().any(|part| matches!(part, Part::Secret(_))) {
        return Err("has no secret, like `{api-token}`; use `--header`");
    }
    Ok(parts)
}

/// The headers with their secrets, and the secrets to be masked. Never shown, so not `Debug`.
#[derive(Default)]
pub(crate) struct Secrets {
    pub(crate) headers: Vec<Header>,
    /// Not empty, each; the longest first, so that no rest of one is left where it begins with another.
    values: Vec<String>,
}

impl Secrets {
    /// Looks up what the headers name.
    pub(crate) fn resolve(
        headers: &[SecretHeader],
        get: impl Fn(&str) -> Result<Option<String>, String>,
    ) -> Result<Self, Failure> {
        let mut secrets = Self::default();
        for SecretHeader { name: header, value: parts } in headers {
            let mut value = String::new();
            for part in parts {
                match part {
                    Part::Text(text) => value.push_str(text),
                    Part::Secret(name) => {
                        let secret = match get(name) {
                            Ok(Some(secret)) => secret,
                            Ok(None) => {
                                let why = format!("the task has no secret `{name}`; grant it with `--secret {name}`");
                                return Err(Failure::permanent(why));
                            }
                            Err(why) => return Err(Failure::new(format!("failed to read the secret `{name}`: {why}"))),
                        };
                        if secret.is_empty() || !is_header_value(&secret) {
                            let why = format!(
                                "the secret `{name}` is empty, or has a line break or other control character in it"
                            );
                            return Err(Failure::permanent(why));
                        }
                        value.push_str(&secret);
                        if !secrets.values.contains(&secret) {
                            secrets.values.push(secret);
                        }
                    }
                }
            }
            secrets.headers.push(Header { name: header.clone(), value });
        }
        secrets.values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Ok(secrets)
    }

    /// How much longer than what is shown a text must be kept, so that a secret at its end is known for one.
    pub(crate) fn longest_bytes(&self) -> usize {
        self.values.first().map_or(0, String::len)
    }

    /// The first so many bytes as a text, with each secret masked.
    pub(crate) fn mask(&self, bytes: &[u8], max_bytes: usize) -> String {
        let mut masked = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() && bytes.len() - rest.len() < max_bytes {
            if let Some(secret) = self.values.iter().find(|secret| rest.starts_with(secret.as_bytes())) {
                masked.extend_from_slice(MASK.as_bytes());
                rest = &rest[secret.len()..];
            } else {
                masked.push(rest[0]);
                rest = &rest[1..];
            }
        }
        String::from_utf8_lossy(&masked).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(value: &str) -> SecretHeader {
        SecretHeader { name: "X".to_owned(), value: parse(value).expect(value) }
    }

    fn get(name: &str) -> Result<Option<String>, String> {
        match name {
            "a" => Ok(Some("s3".to_owned())),
            "b" => Ok(Some("s3cret".to_owned())),
            "lines" => Ok(Some("a\r\nX-Evil: 1".to_owned())),
            "broken" => Err("no disk".to_owned()),
            _ => Ok(None),
        }
    }

    fn secrets(values: &[&str]) -> Secrets {
        Secrets::resolve(&values.iter().map(|value| header(value)).collect::<Vec<_>>(), get).expect("they are there")
    }

    #[test]
    fn names_in_braces_become_secrets() {
        let secrets = secrets(&["Bearer {b}", "{a}:{b} {{a}}"]);
        let values: Vec<_> = secrets.headers.iter().map(|header| header.value.as_str()).collect();
        assert_eq!(values, ["Bearer s3cret", "s3:s3cret {a}"]);
    }

    #[test]
    fn a_value_whose_braces_do_not_fit_or_that_has_no_secret_is_refused() {
        for (value, why) in [
            ("{a", "has a brace"),
            ("a}", "has a brace"),
            ("{a{b}}", "has a brace"),
            ("{}", "has `{}`"),
            ("plain", "has no secret"),
            ("{{a}}", "has no secret"),
            ("", "has no secret"),
        ] {
            let refused = parse(value).expect_err(value);
            assert!(refused.starts_with(why), "{value}: {refused}");
        }
    }

    #[test]
    fn a_secret_that_is_missing_or_no_header_is_told_by_its_name_only() {
        for (value, failure) in [
            ("{c}", Failure::permanent("the task has no secret `c`; grant it with `--secret c`")),
            ("{broken}", Failure::new("failed to read the secret `broken`: no disk")),
            (
                "{lines}",
                Failure::permanent("the secret `lines` is empty, or has a line break or other control character in it"),
            ),
        ] {
            assert_eq!(Secrets::resolve(&[header(value)], get).err(), Some(failure));
        }
    }

    #[test]
    fn secrets_are_masked_even_where_a_text_is_cut() {
        let secrets = secrets(&["{a}{b}"]);
        assert_eq!(secrets.mask(b"x s3cret y s3 z", 100), "x [secret] y [secret] z");
        assert_eq!(secrets.mask(b"x s3cret y", 4), "x [secret]", "it begins before the cut");
        assert_eq!(secrets.mask(b"x s3cret y", 2), "x ");
        assert_eq!(secrets.mask(b"s3 s3 y", 4), "[secret] [secret]", "bytes are counted as they came");
        assert_eq!(secrets.longest_bytes(), 6);
        assert_eq!(Secrets::default().mask(b"\xff s3", 3), "\u{fffd} s");
    }
}
