//! The plugin contract, a file for each version of it. Each converts to the core's types at its edge.

#[cfg(test)]
mod tests;
pub(crate) mod v0_1_0;

/// The versions that are served.
pub(crate) const SERVED: &[&str] = &["taskhost:plugin@0.1.0"];
