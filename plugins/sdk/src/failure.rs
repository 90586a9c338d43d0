//! How a plugin says that it failed.

use std::error::Error;
use std::fmt::{self, Display};
use std::time::Duration;

use crate::bindings::taskhost::plugin::types;

/// That an attempt failed, why, and whether trying again is of use.
///
/// Any standard error becomes one with `?`, its sources included: `failed to read: connection reset`. For that it is
/// itself none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    message: String,
    permanent: bool,
    retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that may pass: the run is tried again, if its task has retries. At most 1 KiB of the message is kept.
    pub fn new(message: impl Display) -> Self {
        Self { message: message.to_string(), permanent: false, retry_after: None }
    }

    /// A failure that trying again can't mend.
    pub fn permanent(message: impl Display) -> Self {
        Self { permanent: true, ..Self::new(message) }
    }

    /// The same, but not to be tried again sooner than after this long, in whole milliseconds. It does not make a task
    /// retry that doesn't.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            message.push_str(": ");
            message.push_str(&error.to_string());
            source = error.source();
        }
        Self::new(message)
    }
}

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        let Failure { message, permanent, retry_after } = failure;
        let retry_after_ms = retry_after.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        Self { message, permanent, retry_after_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);

    impl Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("no count")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn an_error_brings_its_sources_along() {
        let error = "x".parse::<u8>().map_err(Outer).expect_err("x is no number");
        assert_eq!(Failure::from(error).to_string(), "no count: invalid digit found in string");
    }

    #[test]
    fn a_delay_reaches_the_contract_in_milliseconds() {
        let failure = types::Failure::from(Failure::permanent("gone").retry_after(Duration::from_micros(1500)));
        assert_eq!((failure.message.as_str(), failure.permanent, failure.retry_after_ms), ("gone", true, Some(1)));
        let failure = types::Failure::from(Failure::new("busy").retry_after(Duration::MAX));
        assert_eq!((failure.permanent, failure.retry_after_ms), (false, Some(u64::MAX)));
    }
}
