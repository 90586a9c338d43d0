//! The plugins that the daemon brings along: ordinary ones, whose bytes are part of the program.

use bytes::Bytes;

/// Prints a line with each tick: what a task runs if nothing else is given.
const TICKER: &[u8] = include_bytes!("../../../plugins/ticker/ticker.wasm");

/// Every built-in plugin, by name.
pub(crate) fn plugins() -> Vec<(String, Bytes)> {
    vec![("ticker".to_owned(), Bytes::from_static(TICKER))]
}
