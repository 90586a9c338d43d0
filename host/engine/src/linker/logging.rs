//! `wasi:logging/logging`: lines with a level. Every task has it; what it says counts against the same limits as what it prints.

use taskhost_core::log::Level;

use crate::state::State;

use self::bindings::wasi::logging::logging;

/// What of it a component may import.
pub(crate) const IMPORTS: &[&str] = &["wasi:logging/logging@0.1.0-draft"];

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/deps/logging-0.1.0-draft",
        world: "imports",
    });
}

pub(crate) fn add_to_linker(linker: &mut wasmtime::component::Linker<State>) -> wasmtime::Result<()> {
    logging::add_to_linker::<State, wasmtime::component::HasSelf<State>>(linker, |state| state)
}

impl logging::Host for State {
    fn log(&mut self, level: logging::Level, context: String, message: String) {
        let level = match level {
            logging::Level::Trace => Level::Trace,
            logging::Level::Debug => Level::Debug,
            logging::Level::Info => Level::Info,
            logging::Level::Warn => Level::Warn,
            logging::Level::Error => Level::Error,
            logging::Level::Critical => Level::Critical,
        };
        self.granted.output.log(level, &context, &message);
    }
}
