//! The one door: what comes through is a component or a preview-1 command that this host can run, and everything else is
//! refused with what was found and what was expected.
//!
//! Accepted are a component of our world, a command of WASI 0.2 or 0.3, a core module with a component-type section (made a component
//! here), a preview-1 command, and the text form of each.

use std::sync::Arc;

use bytes::Bytes;
use taskhost_core::plugin::{PluginError, PluginFacts, PluginKind};

use crate::import::is_wasi_0_3;
use crate::inspect::{Inspection, examine, with_deep_stack};
use crate::pool::Kind;
use crate::problem::Problem;

/// The largest plugin that is accepted, in bytes.
pub const MAX_PLUGIN_BYTES: u64 = 64 << 20;

/// A plugin that may be compiled.
pub(crate) struct Admitted {
    pub(crate) facts: PluginFacts,
    pub(crate) form: Form,
    /// The binary to compile; not always the bytes that were sent.
    pub(crate) binary: Bytes,
}

impl Admitted {
    /// The kind of engine that runs it.
    pub(crate) fn engine(&self) -> Kind {
        engine_for(&self.facts)
    }
}

/// The kind of engine that a plugin needs.
pub(crate) fn engine_for(facts: &PluginFacts) -> Kind {
    match is_wasi_0_3(facts.imports.iter().chain(&facts.exports)) {
        true => Kind::Concurrent,
        false => Kind::Plain,
    }
}

/// What kind of binary it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Component,
    Module,
}

/// Lets a plugin in, or says why not.
pub(crate) fn admit(wasm: &Bytes) -> Result<Admitted, PluginError> {
    with_deep_stack(|| admit_here(wasm))
}

/// The same on this thread's stack, which must be as deep as [`DOOR_STACK_BYTES`](crate::inspect::DOOR_STACK_BYTES).
pub(crate) fn admit_here(wasm: &Bytes) -> Result<Admitted, PluginError> {
    check_size(wasm)?;
    let (inspection, binary) = examine(wasm);
    let Inspection { sha256, size_bytes, kind, imports, exports, memories: _, about, problems } = inspection;
    let (Some(kind), Some(binary), []) = (kind, binary, &problems[..]) else {
        return Err(refusal(problems));
    };
    let form = match kind {
        PluginKind::Task | PluginKind::Command => Form::Component,
        PluginKind::Preview1 => Form::Module,
    };
    let about = Some(Arc::new(about));
    Ok(Admitted { facts: PluginFacts { sha256, kind, size_bytes, imports, exports, about }, form, binary })
}

/// Refuses what is larger than [`MAX_PLUGIN_BYTES`].
pub(crate) fn check_size(wasm: &[u8]) -> Result<(), PluginError> {
    let size_bytes = wasm.len() as u64;
    if size_bytes <= MAX_PLUGIN_BYTES {
        Ok(())
    } else {
        Err(PluginError::TooLarge { size_bytes, limit_bytes: MAX_PLUGIN_BYTES })
    }
}

/// All problems in one message; the hint is the first one's.
fn refusal(problems: Vec<Problem>) -> PluginError {
    let hint = problems.iter().find_map(|problem| problem.hint.clone());
    let messages: Vec<_> = problems.into_iter().map(|problem| problem.message).collect();
    PluginError::Invalid { message: messages.join("; "), hint }
}
