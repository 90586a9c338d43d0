//! Write a taskhost plugin in Rust.
//!
//! A plugin is one function. The host calls it once for each attempt at a due time of the task, in a fresh sandbox, and
//! hands it a [`Tick`]; what it returns decides whether the run was a success.
//!
//! # A complete plugin
//!
//! `Cargo.toml`:
//!
//! ```toml
//! [package]
//! name = "greeter"
//! edition = "2024"
//!
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! taskhost-plugin = { path = "…/plugins/sdk" }
//! ```
//!
//! `src/lib.rs`:
//!
//! ```
//! use std::time::Duration;
//!
//! use taskhost_plugin::{Failure, Tick, println};
//!
//! taskhost_plugin::plugin!(run);
//!
//! fn run(tick: Tick) -> Result<String, Failure> {
//!     // What a plugin prints is the log of its task, line by line.
//!     println!("{} was due at {}", tick.task, tick.due_local);
//!
//!     // Any standard error can be passed on with `?`. A run that failed is tried again, if its task has retries...
//!     let arguments = taskhost_plugin::args();
//!     let count: u32 = match arguments.first() {
//!         // ...unless the plugin says that this is useless.
//!         Some(count) => count.parse().map_err(Failure::permanent)?,
//!         None => 1,
//!     };
//!     if count > 1000 {
//!         return Err(Failure::new("too many to greet at once").retry_after(Duration::from_secs(60)));
//!     }
//!
//!     // The text of a success is a summary, kept with the run: `taskctl runs` shows it.
//!     Ok(format!("greeted {count}"))
//! }
//! ```
//!
//! Build it, and give it to a host:
//!
//! ```text
//! cargo build --release --target wasm32-wasip2
//! taskctl add hello --wasm target/wasm32-wasip2/release/greeter.wasm --every 10s -- 3
//! ```
//!
//! # What it may return
//!
//! Nothing, a summary (a `String`, a `&'static str` or an `Option<String>`), or a `Result` of these; see [`Answer`]. A
//! panic traps: the run's outcome is then `trapped` and not `error`, and the next run begins in a fresh sandbox.
//!
//! # Time, and being stopped
//!
//! Every attempt has a deadline, after which the host stops it at once, and somebody may cancel it before. A plugin that
//! works long asks [`context`] about both now and then, and ends in its own way.
//!
//! # What a task may be granted
//!
//! [`config`] reads settings and secrets, [`kv`] keeps values from run to run, and `http` (a feature of this crate) asks other hosts;
//! each is there as far as the task was granted it. [`logging`] writes lines with a level, and so does the crate `log` with the feature
//! of that name.
//!
//! # Testing
//!
//! The function of a plugin is tested like any other: off wasm, `testing::Host` stands for the host, with the settings, the stored
//! values and the answers to requests that the test wants.
//!
//! # Targets
//!
//! `wasm32-wasip2` is the usual one, and the whole standard library works there as far as the host grants it.
//! `wasm32-unknown-unknown` linked with `wasm-component-ld` gives smaller plugins that import nothing they don't use, but
//! its standard library can't print, sleep or read arguments: [`println!`], [`eprintln!`], [`sleep`] and [`args`] of this
//! crate do, on both.
//!
//! # Memory
//!
//! With the default feature `arena`, the first allocations of a run come from memory that the instance begins with, since a
//! run that never grows its memory costs the host a fraction of one that does. Turn it off to bring an allocator of your own.

mod answer;
#[cfg(all(target_family = "wasm", feature = "arena"))]
#[expect(unsafe_code, reason = "an allocator hands out memory")]
mod arena;
#[doc(hidden)]
pub mod bindings;
pub mod config;
pub mod context;
mod failure;
#[cfg(feature = "http")]
pub mod http;
pub mod kv;
pub mod logging;
mod sys;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod tick;

pub use answer::{Answer, IntoFailure, Summary};
pub use failure::Failure;
pub use sys::{args, monotonic, sleep};
pub use tick::{Reason, Tick, Trigger};

/// Makes a function the plugin: `plugin!(run);`, once in a crate.
///
/// The function takes a [`Tick`] and returns anything that is an [`Answer`].
#[macro_export]
macro_rules! plugin {
    ($run:path) => {
        const _: () = {
            struct Exported;

            impl $crate::__private::Guest for Exported {
                fn run(
                    tick: $crate::__private::Tick,
                ) -> ::core::result::Result<
                    ::core::option::Option<$crate::__private::String>,
                    $crate::__private::Failure,
                > {
                    $crate::__private::run(tick, $run)
                }
            }

            $crate::__private::export!(Exported with_types_in $crate::bindings);
        };
    };
}

/// Prints a line to the task's log, as the standard library's macro of this name does.
///
/// What the host does not take is lost: a plugin does not fail for its log.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => { $crate::__private::print_line(::core::format_args!($($argument)*)) };
}

/// Prints a line to the task's log as a line of standard error.
///
/// What the host does not take is lost: a plugin does not fail for its log.
#[macro_export]
macro_rules! eprintln {
    ($($argument:tt)*) => { $crate::__private::print_error_line(::core::format_args!($($argument)*)) };
}

/// What the macros expand to. No part of the crate's word.
#[doc(hidden)]
pub mod __private {
    pub use std::string::String;

    pub use crate::bindings::export;
    pub use crate::bindings::exports::taskhost::plugin::guest::{Failure, Guest, Tick};
    pub use crate::sys::{print_error_line, print_line};

    /// Runs the author's function on a tick of the contract.
    pub fn run<A: crate::Answer>(tick: Tick, run: impl FnOnce(crate::Tick) -> A) -> Result<Option<String>, Failure> {
        crate::sys::report_panics();
        #[cfg(feature = "log")]
        crate::logging::install();
        run(tick.into()).into_answer().map_err(Into::into)
    }
}
