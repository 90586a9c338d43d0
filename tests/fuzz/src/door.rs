//! The door for plugins, without the compiler behind it.

use bytes::Bytes;
use taskhost_core::plugin::{PluginError, PluginFacts, PluginKind};
use taskhost_engine::fuzzing::admit;
use taskhost_engine::{Inspection, Problem, inspect};

use super::check_message;

pub fn check(wasm: &[u8]) {
    let found = inspect(wasm);
    assert_eq!(found.size_bytes, wasm.len() as u64);
    for Problem { message, hint } in &found.problems {
        check_told(message);
        hint.iter().for_each(|hint| check_told(hint));
    }
    match admit(&Bytes::copy_from_slice(wasm)) {
        Ok((facts, binary)) => admitted(&found, &facts, &binary),
        Err(PluginError::Invalid { message, hint }) => {
            assert!(!found.problems.is_empty(), "refused, and nothing is wrong: {message}");
            check_told(&message);
            hint.iter().for_each(|hint| check_told(hint));
        }
        Err(error) => panic!("neither admitted nor invalid: {error:?}"),
    }
}

/// What is said of a plugin that comes in is what is found when it is looked at again.
fn admitted(found: &Inspection, facts: &PluginFacts, binary: &Bytes) {
    assert_eq!(found.problems, [], "admitted with a problem");
    let said = (facts.sha256, facts.size_bytes, Some(facts.kind), &facts.imports, &facts.exports);
    assert_eq!(said, (found.sha256, found.size_bytes, found.kind, &found.imports, &found.exports));
    assert!(facts.imports.is_sorted() && facts.exports.is_sorted(), "{facts:?}");
    let entry: fn(&str) -> bool = match facts.kind {
        PluginKind::Task => |export| export.starts_with("taskhost:plugin/guest@"),
        PluginKind::Command => |export| export.starts_with("wasi:cli/run@0.2."),
        PluginKind::Preview1 => |export| export == "_start",
    };
    assert!(facts.exports.iter().any(|export| entry(export)), "{facts:?}");
    // The binary that is compiled, which is not always what was sent.
    assert!(binary.starts_with(b"\0asm"));
    let again = inspect(binary);
    assert_eq!((again.kind, &again.imports, &again.exports), (found.kind, &found.imports, &found.exports));
    assert_eq!(again.problems, [], "what is compiled has a problem");
}

/// What is told of a text that does not parse has several lines.
fn check_told(text: &str) {
    text.split('\n').for_each(check_message);
    check_message(&text.replace('\n', " "));
}
