//! Reading arguments. They come from whoever wrote the task's definition, so a bad one is a failure that trying again can't mend.

use std::fmt::Display;
use std::time::Duration;

use lexopt::Parser;
use taskhost_plugin::Failure;

/// The most of an argument that a message repeats, in characters.
const MAX_TOLD_CHARS: usize = 60;

/// A parser of these arguments, which are without a program's name.
pub fn parser(arguments: Vec<String>) -> Parser {
    Parser::from_args(arguments)
}

/// That an argument is missing or wrong. `usage` is how to call the plugin, in one line.
pub fn refused(why: impl Display, usage: &str) -> Failure {
    Failure::permanent(format!("{why}; usage: {usage} (`--help` explains it)"))
}

/// The value of the option that the parser is at.
pub fn text(parser: &mut Parser) -> Result<String, String> {
    parser.value().map_err(|error| error.to_string())?.into_string().map_err(|_| "an argument is not UTF-8".to_owned())
}

/// A whole number in the value of `option`, which the parser is at.
pub fn number(parser: &mut Parser, option: &str) -> Result<u32, String> {
    let text = text(parser)?;
    text.parse().map_err(|_| format!("`{option}` takes a whole number, not `{}`", told(&text)))
}

/// A duration in the value of `option`, which the parser is at; more than zero.
pub fn duration(parser: &mut Parser, option: &str) -> Result<Duration, String> {
    let text = text(parser)?;
    match humantime::parse_duration(&text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("`{option}` takes a duration like `500ms`, `90s`, `1h30m` or `7d`, not `{}`", told(&text))),
    }
}

/// An argument as a message repeats it: one line, and not long.
pub fn told(text: &str) -> String {
    crate::words::printable(text, MAX_TOLD_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value<T>(argument: &str, read: impl FnOnce(&mut Parser, &str) -> T) -> T {
        let mut parser = parser(vec![format!("--x={argument}")]);
        parser.next().expect("an option").expect("one");
        read(&mut parser, "--x")
    }

    #[test]
    fn a_value_that_does_not_read_is_told_with_its_option() {
        assert_eq!(value("7", number), Ok(7));
        assert_eq!(value("-7", number), Err("`--x` takes a whole number, not `-7`".to_owned()));
        assert_eq!(value("1h30m", duration), Ok(Duration::from_secs(5400)));
        for bad in ["", "5", "0s", "-1s", "soon"] {
            let why = value(bad, duration).expect_err(bad);
            assert!(why.starts_with("`--x` takes a duration") && why.ends_with(&format!("not `{bad}`")), "{why}");
        }
    }

    #[test]
    fn a_refusal_is_permanent_and_says_how_to_call_the_plugin() {
        let usage = "plug [--x N]";
        assert_eq!(refused("no N", usage), Failure::permanent("no N; usage: plug [--x N] (`--help` explains it)"));
    }
}
