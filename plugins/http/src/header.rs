//! Headers of a request, as they are written.

use taskhost_plugin_common::arguments::told;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Name and value of a header. The value is not told: it may be one that should have been a secret.
pub(crate) fn parse_header<'h>(header: &'h str, option: &str) -> Result<(&'h str, &'h str), String> {
    let (name, value) = header.split_once(':').ok_or_else(|| format!("`{option}` takes `NAME: VALUE`"))?;
    let (name, value) = (name.trim(), value.trim());
    if !is_token(name) {
        return Err(format!("`{}` is no name of a header", told(name)));
    }
    if !is_header_value(value) {
        return Err(format!(
            "the value of the header `{}` has a line break or other control character in it",
            told(name)
        ));
    }
    Ok((name, value))
}

/// Whether this is a token as of RFC 9110: what methods and names of headers are.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

pub(crate) fn is_header_value(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || !byte.is_ascii_control())
}
