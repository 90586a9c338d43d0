//! The engine as the core uses it: real plugins, real wasmtime, one worker on the test's own thread.

mod admit;
mod big;
mod bounds;
mod budget;
mod cache;
mod compile;
mod contract;
mod files;
mod floor;
mod grants;
mod guest;
mod host;
mod http;
mod keep;
mod kinds;
mod lanes;
mod limits;
mod manifest;
mod many;
mod network;
mod outcomes;
mod output;
mod virtual_time;
