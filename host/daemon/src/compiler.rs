//! Plugins are compiled by a child of the host's.

use taskhost_engine::CompilerConfig;

/// What the host starts itself with to have a plugin compiled.
pub(crate) const COMPILE: &str = "compile";

/// How plugins are compiled: by this very program, also when an upgrade has put another one in its place since.
pub(crate) fn compiler() -> CompilerConfig {
    CompilerConfig::child("/proc/self/exe", [COMPILE])
}
