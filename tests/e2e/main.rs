//! The real programs, end to end: `taskhost` and `taskctl` as they are shipped, each test with a host of its own.
//!
//! Rules are tested in the crates; here it is shown that the parts are wired together, and what is promised to users: what
//! survives a crash, what bad input is answered with, what a hostile plugin can't do. See `tests/README.md`.

#[path = "../support/mod.rs"]
mod support;

// Plugins as large as real ones, which the engine's tests have too.
#[path = "../../host/engine/tests/engine/big.rs"]
mod big;

mod accounting;
mod bad_plugins;
mod bad_requests;
mod bad_specs;
mod bulk;
mod commands;
mod compile;
mod corpora;
mod crash;
mod damage;
mod dev;
mod first_party;
mod full_disk;
mod go_dialect;
mod grants;
mod hostile;
mod http;
mod key_value;
mod lifecycle;
mod manifest;
mod many_plugins;
mod missed;
mod offline;
mod offline_ticks;
mod outage;
mod overlap;
mod pause;
mod permission;
mod retry;
mod sandbox;
mod schedules;
mod stream;
mod upload;
mod week;
mod why;
