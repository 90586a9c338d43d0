//! For `tests/fuzz`: the door without the compiler behind it. No interface for anybody else.

use bytes::Bytes;
use taskhost_core::plugin::{PluginError, PluginFacts};

/// Lets a plugin in, or says why not: what it is, and the binary that would be compiled.
pub fn admit(wasm: &Bytes) -> Result<(PluginFacts, Bytes), PluginError> {
    crate::admit::admit(wasm).map(|admitted| (admitted.facts, admitted.binary))
}
