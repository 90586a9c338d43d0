//! Does what the task's arguments say, one step after the other, with everything that the host has beside WASI: settings and
//! secrets, keys and values of both drafts, and the log with levels.
//!
//! Steps stand apart by `;`. An argument `@NAME` stands for the setting or secret of that name, `#N` for a text of N bytes. Each
//! step prints what it came to; none but `fail`, `must` and `panic` makes the run fail.

mod bindings {
    wit_bindgen::generate!({
        path: [
            "../../../plugins/sdk/wit/deps/io.wit",
            "../../../plugins/sdk/wit/deps/cli.wit",
            "../../../wit/deps/config-0.2.0-rc.1",
            "../../../wit/deps/keyvalue-0.2.0-draft",
            "../../../wit/deps/keyvalue-0.2.0-draft2",
            "../../../wit/deps/logging-0.1.0-draft",
            "wit",
        ],
        world: "taskhost:keeper/keeper",
        generate_all,
    });
}

mod draft;
mod draft2;

use taskhost_plugin::{Failure, Tick, println};

use bindings::wasi::cli::stdout::get_stdout;
use bindings::wasi::config::store as config;
use bindings::wasi::logging::logging::{self, Level};

taskhost_plugin::plugin!(run);

fn run(_tick: Tick) -> Result<Option<String>, Failure> {
    let arguments = taskhost_plugin::args();
    for step in arguments.split(|argument| argument == ";") {
        let mut words = Vec::new();
        for word in step {
            words.push(replaced(word)?);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Some(summary) = take(&words)? {
            return Ok(Some(summary));
        }
    }
    Ok(None)
}

fn replaced(word: &str) -> Result<String, Failure> {
    if let Some(name) = word.strip_prefix('@') {
        return match config::get(name) {
            Ok(Some(value)) => Ok(value),
            other => Err(Failure::permanent(format!("{name}: {other:?}"))),
        };
    }
    match word.strip_prefix('#').map(str::parse) {
        Some(Ok(bytes)) => Ok("x".repeat(bytes)),
        _ => Ok(word.to_owned()),
    }
}

/// Takes one step; what it returns is the end of the run.
fn take(words: &[&str]) -> Result<Option<String>, Failure> {
    match words {
        ["config", name] => match config::get(name) {
            Ok(value) => println!("config {name}: {value:?}"),
            Err(error) => println!("config {name}: {error:?}"),
        },
        ["config-all"] => match config::get_all() {
            Ok(mut all) => {
                all.sort();
                println!("config-all: {all:?}");
            }
            Err(error) => println!("config-all: {error:?}"),
        },
        ["print", text] => println!("{text}"),
        // A byte at a time, and the newline last.
        ["print-pieces", text] => {
            let stdout = get_stdout();
            for byte in text.bytes().chain([b'\n']) {
                stdout.blocking_write_and_flush(&[byte]).map_err(|error| Failure::permanent(format!("{error:?}")))?;
            }
        }
        // So many bytes before the text, and then more than a line can have.
        ["print-cut", before, text] => println!("{before}{text}{}", "y".repeat(10_000)),
        ["print-error", text] => taskhost_plugin::eprintln!("{text}"),
        ["log", level, context, message] => logging::log(level_of(level)?, context, message),
        ["summary", text] => return Ok(Some((*text).to_owned())),
        ["fail", text] => return Err(Failure::permanent(*text)),
        ["panic", text] => panic!("{text}"),
        ["must", rest @ ..] => {
            let came_to = key_value(rest)?;
            println!("{}: {came_to}", rest[0]);
            if came_to.starts_with("error") {
                return Err(Failure::permanent(came_to));
            }
        }
        _ => println!("{}: {}", words.first().unwrap_or(&""), key_value(words)?),
    }
    Ok(None)
}

fn key_value(words: &[&str]) -> Result<String, Failure> {
    match words {
        ["draft2", rest @ ..] => draft2::take(rest),
        rest => draft::take(rest),
    }
}

fn level_of(text: &str) -> Result<Level, Failure> {
    Ok(match text {
        "trace" => Level::Trace,
        "debug" => Level::Debug,
        "info" => Level::Info,
        "warn" => Level::Warn,
        "error" => Level::Error,
        "critical" => Level::Critical,
        _ => return Err(Failure::permanent(format!("no level: {text}"))),
    })
}

/// Bytes as text.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn number<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Failure> {
    text.parse().map_err(Failure::permanent)
}

/// `KEY=VALUE` each.
fn pairs(texts: &[&str]) -> Vec<(String, Vec<u8>)> {
    let pairs = texts.iter().map(|text| text.split_once('=').unwrap_or((text, "")));
    pairs.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).collect()
}
