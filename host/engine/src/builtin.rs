//! The plugins that the host brings along. They take the same way as all others; only their bytes are at hand.

use std::sync::OnceLock;

use bytes::Bytes;
use taskhost_core::plugin::{PluginFacts, Sha256};

use crate::admit::admit;
use crate::inspect::sha256_of;

pub(crate) struct Builtins {
    all: Vec<Builtin>,
    facts: OnceLock<Vec<(String, PluginFacts)>>,
}

struct Builtin {
    name: String,
    sha256: Sha256,
    wasm: Bytes,
}

impl Builtins {
    /// They are looked at when somebody asks, and compiled when a task first needs them.
    pub(crate) fn new(builtins: Vec<(String, Bytes)>) -> Self {
        let builtin = |(name, wasm): (String, Bytes)| Builtin { name, sha256: sha256_of(&wasm), wasm };
        Self { all: builtins.into_iter().map(builtin).collect(), facts: OnceLock::new() }
    }

    pub(crate) fn sha256(&self, name: &str) -> Option<Sha256> {
        self.all.iter().find(|builtin| builtin.name == name).map(|builtin| builtin.sha256)
    }

    pub(crate) fn wasm(&self, sha256: Sha256) -> Option<Bytes> {
        self.all.iter().find(|builtin| builtin.sha256 == sha256).map(|builtin| builtin.wasm.clone())
    }

    /// By name, what the door finds in them. One that it refuses is not among them, which the host's log tells.
    pub(crate) fn facts(&self) -> &[(String, PluginFacts)] {
        self.facts.get_or_init(|| self.all.iter().filter_map(Builtin::look_at).collect())
    }
}

impl Builtin {
    fn look_at(&self) -> Option<(String, PluginFacts)> {
        match admit(&self.wasm) {
            Ok(admitted) => Some((self.name.clone(), admitted.facts)),
            Err(refused) => {
                tracing::error!("the built-in plugin `{}` can't be run: {refused}", self.name);
                None
            }
        }
    }
}
