//! A host with more plugins than it loads when it starts.

use serde_json::json;

use crate::support::{Host, TestEnv, ticker};

/// More than are loaded at the start, by a few.
const PLUGINS: usize = 36;

/// A ticker that differs from all others in a number.
fn numbered(number: usize) -> Vec<u8> {
    let mut wasm = std::fs::read(ticker()).expect("it is there");
    let data = number.to_le_bytes();
    let section = wasm_encoder::CustomSection { name: "number".into(), data: data.as_slice().into() };
    wasm_encoder::Section::append_to(&section, &mut wasm);
    wasm
}

fn figure(host: &Host<'_>, name: &str) -> u64 {
    host.call("Host.Info", json!({}))[name].as_u64().expect("a number")
}

#[test]
fn each_of_many_plugins_is_compiled_once_and_loaded_when_it_is_needed() {
    let env = TestEnv::new();
    let host = env.host();
    let files: Vec<_> = (0..PLUGINS)
        .map(|number| env.write(&format!("{number}.wasm"), numbered(number)).to_str().expect("UTF-8").to_owned())
        .collect();
    for (number, file) in files.iter().enumerate() {
        // By two tasks each, which may be of two workers.
        for twin in ["a", "b"] {
            host.ok(&["add", &format!("{twin}{number}"), "--wasm", file, "--every", "10y"]);
        }
    }
    assert_eq!(figure(&host, "plugins_compiled"), PLUGINS as u64);
    host.stop();

    let host = env.host();
    assert!(figure(&host, "plugins_loaded") < PLUGINS as u64);
    for number in 0..PLUGINS {
        host.ok(&["run", &format!("a{number}")]);
    }
    assert!(figure(&host, "plugins_loaded") >= PLUGINS as u64);
    assert_eq!(figure(&host, "plugins_compiled"), 0);
}
