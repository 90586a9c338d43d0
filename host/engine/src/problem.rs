//! What is wrong with a plugin, in words for who made it.

use taskhost_core::told::told;

/// How much a message repeats of what a parser says, which quotes the plugin.
pub(crate) const MAX_DETAIL_CHARS: usize = 1000;

/// One thing that is wrong with a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What was found, and what was expected.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What a reader of binaries refuses.
pub(crate) fn invalid(error: &wasmparser::BinaryReaderError) -> Problem {
    let is_cut_off = error.message().contains("unexpected end");
    let error = told(error, MAX_DETAIL_CHARS);
    if is_cut_off {
        let message = format!("the wasm file is cut off: {error}");
        return Problem { message, hint: Some("send the whole file again".to_owned()) };
    }
    Problem { message: format!("the wasm file is not valid: {error}"), hint: None }
}
