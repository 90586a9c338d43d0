//! The engine as the core uses it: real plugins, real wasmtime, one worker on the test's own thread.

mod admit;
mod cache;
mod floor;
mod grants;
mod guest;
mod host;
mod kinds;
mod lanes;
mod outcomes;
mod output;
