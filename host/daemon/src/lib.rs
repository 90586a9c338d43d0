//! The daemon: configuration, listeners, RPC handlers, shutdown; and the commands that need no daemon.
//!
//! What a request meets on its way: [`listen`] (who are you, what do you speak) → `stream` or [`http`] (messages) →
//! `normalise` (one shape for every dialect) → `rpc` (the handlers) → the core's supervisor. No rule about tasks lives
//! here, and nothing about wasm but the bytes of the built-in plugins.

pub mod access;
mod args;
mod builtin;
mod compiler;
pub mod config;
mod echo;
#[doc(hidden)]
pub mod fuzzing;
pub mod grant_rules;
pub mod http;
pub mod listen;
mod log;
mod memory;
mod normalise;
mod offline;
mod rpc;
mod secrets;
mod serve;
mod shutdown;
mod stream;
#[cfg(test)]
mod testing;
pub mod upload;

use std::process::ExitCode;

use clap::Parser;
use taskhost_core::ports::SystemClock;
use taskhost_core::supervisor::Supervisor;
use taskhost_engine::WasmEngine;

use crate::args::{Cli, Command};

/// The supervisor that is served.
pub(crate) type Host = Supervisor<WasmEngine, SystemClock>;

/// The program `taskhost`.
pub fn main_impl() -> ExitCode {
    let Cli { command, serve } = Cli::parse();
    let done = match command.unwrap_or(Command::Serve(serve)) {
        Command::Serve(args) => serve::serve(args),
        Command::Run(args) => offline::run::run(*args),
        Command::Inspect(args) => offline::inspect::inspect(&args),
        Command::Dev(args) => offline::dev::dev(&args),
        Command::New(args) => offline::new::new(&args),
        Command::Pack(args) => offline::pack::pack(&args),
        Command::DevHost { parent, dir, secrets_dir } => offline::dev::serve_in_child(parent, dir, secrets_dir),
        Command::DevBuild { parent, command } => offline::dev::build_in_child(parent, &command),
        Command::Compile { order } => Ok(taskhost_engine::compile_in_child(order)),
    };
    done.unwrap_or_else(|error| {
        eprintln!("taskhost: {}", chain(&*error));
        ExitCode::FAILURE
    })
}

/// An error with all its causes, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(fragment).collect::<Vec<_>>().join(": ")
}

/// An error as a part of a sentence: what the system says begins in lower case, and has no number.
fn fragment(error: &(dyn std::error::Error + 'static)) -> String {
    let text = error.to_string();
    if !error.is::<std::io::Error>() {
        return text;
    }
    let text = text.split(" (os error ").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// For `map_err`, of errors that are fragments: "listen on 127.0.0.1:3333" becomes "failed to listen on 127.0.0.1:3333".
fn failed_to(error: impl std::error::Error + 'static) -> anyhow::Error {
    anyhow::Error::msg(format!("failed to {}", chain(&error)))
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn what_the_system_says_is_a_part_of_the_sentence() {
        let error = std::fs::read("/nowhere/plugin.wasm").context("failed to read /nowhere/plugin.wasm");
        let message = chain(&*error.expect_err("there is no such file"));
        assert_eq!(message, "failed to read /nowhere/plugin.wasm: no such file or directory");
    }
}
