//! The task's settings and secrets: what it was granted with `--config KEY=VALUE` and `--secret NAME`.

use std::fmt::{self, Display};
use std::str::FromStr;

use crate::sys;

/// Why there is no setting to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The task has no setting and no secret of this name.
    Missing(String),
    /// It is not of the form that the plugin wants: its name, and what is wrong. Its value is not repeated, since it may be a secret.
    Invalid(String, String),
    /// The host can't read it: a secret, say, that is gone.
    Unreadable(String),
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => {
                write!(f, "the task has no setting `{name}`: give it with --config {name}=VALUE, or --secret {name}")
            }
            Self::Invalid(name, why) => write!(f, "the setting `{name}` is not valid: {why}"),
            Self::Unreadable(why) => write!(f, "a setting can't be read: {why}"),
        }
    }
}

impl std::error::Error for Error {}

/// The setting or secret of this name; `None` if the task has none.
///
/// # Errors
/// If the host can't read it.
pub fn get(name: &str) -> Result<Option<String>, Error> {
    sys::config_get(name).map_err(Error::Unreadable)
}

/// The setting or secret of this name, read as what the plugin wants; `None` if the task has none.
///
/// # Errors
/// If the host can't read it, or it is not of this form.
pub fn parse<T: FromStr<Err: Display>>(name: &str) -> Result<Option<T>, Error> {
    let parsed = get(name)?.map(|value| value.parse());
    parsed.transpose().map_err(|error: T::Err| Error::Invalid(name.to_owned(), error.to_string()))
}

/// The same of one that the plugin can't do without.
///
/// # Errors
/// If the task has none, too.
pub fn require<T: FromStr<Err: Display>>(name: &str) -> Result<T, Error> {
    parse(name)?.ok_or_else(|| Error::Missing(name.to_owned()))
}

/// All settings and secrets of the task, by name.
///
/// # Errors
/// If the host can't read one of them.
pub fn all() -> Result<Vec<(String, String)>, Error> {
    sys::config_all().map_err(Error::Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Host;

    #[test]
    fn a_setting_is_read_as_what_the_plugin_wants_and_an_error_names_it_and_not_its_value() {
        let host = Host::new().config("limit", "90").config("key", "s3cret");
        host.within(|| {
            assert_eq!(require::<u32>("limit"), Ok(90));
            assert_eq!(parse::<u32>("no"), Ok(None));
            let missing = require::<u32>("no").expect_err("there is none").to_string();
            assert_eq!(missing, "the task has no setting `no`: give it with --config no=VALUE, or --secret no");
            let invalid = parse::<u32>("key").expect_err("no number").to_string();
            assert_eq!(invalid, "the setting `key` is not valid: invalid digit found in string");
            assert_eq!(all().expect("reads").len(), 2);
        });
    }
}
