//! The engine as the core uses it: real plugins, real wasmtime, one worker on the test's own thread.

mod admit;
mod cache;
mod files;
mod floor;
mod guest;
mod host;
mod http;
mod kinds;
mod lanes;
mod network;
mod outcomes;
mod output;
