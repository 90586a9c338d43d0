//! The daemon: configuration, listeners, RPC handlers, shutdown; and the commands that need no daemon.
//!
//! What a request meets on its way: [`listen`] (who are you, what do you speak) → `stream` or [`http`] (messages) →
//! `normalise` (one shape for every dialect) → `rpc` (the handlers) → the core's supervisor. No rule about tasks lives
//! here, and nothing about wasm but the bytes of the built-in plugins.

pub mod access;
mod args;
mod builtin;
pub mod config;
mod echo;
pub mod http;
pub mod listen;
mod normalise;
mod offline;
mod rpc;
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
        Command::Run(args) => offline::run::run(args),
        Command::Inspect(args) => offline::inspect::inspect(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("taskhost: {}", chain(&*error));
        ExitCode::FAILURE
    })
}

/// An error with all its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// For `map_err`, of errors that are fragments: "listen on 127.0.0.1:3333" becomes "failed to listen on 127.0.0.1:3333".
fn failed_to(error: impl std::error::Error) -> anyhow::Error {
    anyhow::Error::msg(format!("failed to {}", chain(&error)))
}
