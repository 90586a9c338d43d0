//! The plugins that the host brings along. They take the same way as all others; only their bytes are at hand.

use bytes::Bytes;
use taskhost_core::plugin::{PluginFacts, Sha256};

use crate::admit::admit;
use crate::error::EngineError;

pub(crate) struct Builtin {
    pub(crate) name: String,
    pub(crate) facts: PluginFacts,
    wasm: Bytes,
}

pub(crate) struct Builtins(Vec<Builtin>);

impl Builtins {
    /// Checks them at the door; they are compiled when a task first needs them.
    pub(crate) fn new(builtins: Vec<(String, Bytes)>) -> Result<Self, EngineError> {
        let admitted = builtins.into_iter().map(|(name, wasm)| match admit(&wasm) {
            Ok(admitted) => Ok(Builtin { name, facts: admitted.facts, wasm }),
            Err(source) => Err(EngineError::Builtin { name, source }),
        });
        Ok(Self(admitted.collect::<Result<_, _>>()?))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Builtin> {
        self.0.iter()
    }

    pub(crate) fn wasm(&self, sha256: Sha256) -> Option<Bytes> {
        self.iter().find(|builtin| builtin.facts.sha256 == sha256).map(|builtin| builtin.wasm.clone())
    }
}
