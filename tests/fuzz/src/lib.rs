//! What must hold of everything that reads the bytes of strangers, whatever the bytes.
//!
//! Each module has one `check`, which panics if it does not hold. The fuzz targets call it with what the fuzzer makes up, and
//! `cargo test` with the files of `corpus/` and `regressions/` (`tests/e2e/corpora.rs`).

pub mod door;
pub mod schedule;
pub mod spec;
pub mod stream;

/// Whether a text can be printed as it is: nothing in it moves a cursor or deceives who reads.
fn is_printable(text: &str) -> bool {
    let deceives =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    !text.contains(|c: char| c.is_control() || deceives(c))
}

/// Checks what is told of an error.
fn check_message(text: &str) {
    /// Far more than any message needs, far less than what can be sent.
    const MAX_MESSAGE_BYTES: usize = 4096;
    assert!(text.len() <= MAX_MESSAGE_BYTES, "a message of {} bytes: {:?}", text.len(), text.get(..200));
    assert!(is_printable(text), "not safe to print: {text:?}");
}
