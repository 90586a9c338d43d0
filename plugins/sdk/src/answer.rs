//! What the function of a plugin may return.

use std::error::Error;

use crate::Failure;

/// What the function of a plugin returns: `()`, a [`Summary`], or a `Result` of one with an error that is
/// [`IntoFailure`].
pub trait Answer {
    /// The answer in the terms of the contract.
    fn into_answer(self) -> Result<Option<String>, Failure>;
}

/// What a success may have to tell: nothing, or a text that is kept with the run, at most 4 KiB of it.
pub trait Summary {
    /// The text.
    fn into_summary(self) -> Option<String>;
}

/// An error that a plugin's function may return: a [`Failure`], a plain text, or `Box<dyn Error>`. Other errors become
/// a `Failure` by `?`.
pub trait IntoFailure {
    /// The failure.
    fn into_failure(self) -> Failure;
}

impl Summary for () {
    fn into_summary(self) -> Option<String> {
        None
    }
}

impl Summary for String {
    fn into_summary(self) -> Option<String> {
        Some(self)
    }
}

impl Summary for &'static str {
    fn into_summary(self) -> Option<String> {
        Some(self.to_owned())
    }
}

impl Summary for Option<String> {
    fn into_summary(self) -> Option<String> {
        self
    }
}

impl IntoFailure for Failure {
    fn into_failure(self) -> Failure {
        self
    }
}

impl IntoFailure for String {
    fn into_failure(self) -> Failure {
        Failure::new(self)
    }
}

impl IntoFailure for &'static str {
    fn into_failure(self) -> Failure {
        Failure::new(self)
    }
}

impl IntoFailure for Box<dyn Error> {
    fn into_failure(self) -> Failure {
        Failure::from(&*self)
    }
}

impl<S: Summary> Answer for S {
    fn into_answer(self) -> Result<Option<String>, Failure> {
        Ok(self.into_summary())
    }
}

impl<S: Summary, E: IntoFailure> Answer for Result<S, E> {
    fn into_answer(self) -> Result<Option<String>, Failure> {
        self.map(S::into_summary).map_err(E::into_failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_function_may_return_is_an_answer() {
        assert_eq!(().into_answer(), Ok(None));
        assert_eq!("done".into_answer(), Ok(Some("done".to_owned())));
        assert_eq!(Ok::<_, Failure>(Some("3 files".to_owned())).into_answer(), Ok(Some("3 files".to_owned())));
        assert_eq!(Err::<(), _>("no disk").into_answer(), Err(Failure::new("no disk")));
        let error: Box<dyn Error> = "no net".into();
        assert_eq!(Err::<String, _>(error).into_answer(), Err(Failure::new("no net")));
    }
}
