//! Tries a plugin out: the built plugin in the real engine, handed ticks by a schedule in virtual time, with keys and values and
//! answers to HTTP requests as the test says, and a record of all that it did. Under plain `cargo test`:
//!
//! ```
//! use taskhost_testkit::{Answer, Trial};
//!
//! let record = Trial::of_file("check.wasm")?
//!     .cron("0 6 * * *")
//!     .starting_at("2027-01-01T00:00:00Z")
//!     .config("url", "https://example.org/")
//!     .allow_host("example.org:443")
//!     .answer(Answer::get("https://example.org/").body("hello"))
//!     .answer(Answer::get("https://example.org/").status(304))
//!     .kv([("checked", "0")])
//!     .run(365)?;
//! assert_eq!(record.expect_success().ticks.len(), 365);
//! assert_eq!(record.ticks[1].http[0].status, Some(304));
//! assert_eq!(record.value("checked").unwrap(), "365");
//! # Ok::<(), taskhost_testkit::TrialError>(())
//! ```
//!
//! `taskhost run` is the same with flags, so that its `--record` writes the document that [`Record`] is, and its `--fixture` reads
//! what [`Fixture`] is. What a plugin's function does off wasm is the SDK's to try, in its module `testing`: that goes by what stands
//! around a thread in the very copy of the SDK that the plugin has.
//!
//! The engine is wasmtime, which crawls if it is not optimised. Where this is a dependency for development, say in `Cargo.toml`:
//! `[profile.dev.package."*"]` with `opt-level = 2`.

mod cache;
mod data;
mod due;
mod engine;
mod fixture;
mod record;
mod recorder;
mod run;
mod session;
mod trial;

pub use jiff::Timestamp;
pub use taskhost_core::outcome::{Outcome, Reason};

pub use self::data::Data;
pub use self::engine::{engine, engine_config};
pub use self::fixture::{Answer, FIXTURE_FORMAT, Fixture, FixtureError};
pub use self::record::{
    BUCKET, Handed, Level, Line, Op, Operation, Plugin, RECORD_FORMAT, Record, RecordError, Request, Stream, Tick,
};
pub use self::session::Session;
pub use self::trial::{Trial, TrialError};
