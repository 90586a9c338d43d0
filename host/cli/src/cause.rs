//! Causes as people read them.

use std::fmt;
use std::io;

/// An I/O error as a fragment of a sentence: lower case, without the system's number.
#[derive(Debug, thiserror::Error)]
pub struct IoCause(pub io::Error);

impl fmt::Display for IoCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let text = text.split(" (os error ").next().unwrap_or(&text);
        let mut letters = text.chars();
        match letters.next() {
            Some(first) => write!(f, "{}{}", first.to_lowercase(), letters.as_str()),
            None => f.write_str("unknown cause"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_reads_as_a_fragment() {
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(IoCause(refused).to_string(), "connection refused");
        assert_eq!(IoCause(io::Error::other("no answer in 10 s")).to_string(), "no answer in 10 s");
    }
}
