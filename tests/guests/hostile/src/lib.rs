//! Attacks its host in the way that the task's first argument says: with what a component can do and a module of WAT can't easily.
//! What it is denied it tells in its summary, so that a test can say what was denied and how.

mod drafts;
mod files;
mod network;

use taskhost_plugin::{Failure, Tick, println};
use wasip2::clocks::monotonic_clock::{subscribe_duration, subscribe_instant};
use wasip2::io::poll::poll;
use wasip2::random::{insecure, random};

/// More resources than any host gives.
const HANDLES: usize = 1_000_000;

/// Large enough that a host which copies it feels it, and small enough for the guest's own memory.
const GIANT_BYTES: usize = 48 << 20;

/// How long nobody waits, in nanoseconds.
const FOR_EVER: u64 = u64::MAX;

taskhost_plugin::plugin!(run);

fn run(_tick: Tick) -> Result<Option<String>, Failure> {
    let arguments = taskhost_plugin::args();
    let Some((verb, rest)) = arguments.split_first() else {
        return Err(Failure::permanent("no verb"));
    };
    let argument =
        |at: usize| rest.get(at).map(String::as_str).ok_or_else(|| Failure::permanent("an argument is missing"));
    match verb.as_str() {
        "handles" => drop((0..HANDLES).map(|_| subscribe_duration(FOR_EVER)).collect::<Vec<_>>()),
        "random" => drop(random::get_random_bytes(u64::MAX)),
        "random-insecure" => drop(insecure::get_insecure_random_bytes(u64::MAX)),
        "random-often" => (0..HANDLES).for_each(|_| drop(random::get_random_bytes(65_536))),
        "sleep" => subscribe_instant(FOR_EVER).block(),
        "poll" => drop(poll(&[&subscribe_duration(FOR_EVER), &subscribe_instant(FOR_EVER)])),
        "poll-nothing" => drop(poll(&[])),
        "poll-many" => {
            let never = subscribe_duration(FOR_EVER);
            drop(poll(&vec![&never; HANDLES]));
        }
        "poll-often" => loop {
            subscribe_duration(0).block();
        },
        "read-stdin" => return Ok(Some(files::read_stdin())),
        "write-giant" => return Ok(Some(files::write_giant(GIANT_BYTES))),
        "write-unasked" => return Ok(Some(files::write_unasked())),
        "splice" => return Ok(Some(files::splice())),
        "terminal-codes" => println!("\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[31mred\0\u{9b}31m \u{202e}txt.exe\r\u{8}"),
        "not-utf8" => files::write_bytes(b"\xff\xfe\x80\xc0\xaf end\n"),
        "giant-summary" => return Ok(Some("s".repeat(GIANT_BYTES))),
        "giant-failure" => return Err(Failure::new("f".repeat(GIANT_BYTES))),
        "giant-panic" => panic!("{}", "p".repeat(GIANT_BYTES)),
        "environment" => return Ok(Some(format!("{:?}", wasip2::cli::environment::get_environment()))),
        "exit" => wasip2::cli::exit::exit(Ok(())),
        "paths" => return files::paths(argument(0)?),
        "open" => return files::open(argument(0)?),
        "change" => return files::change(argument(0)?),
        "descriptors" => return files::descriptors(argument(0)?),
        "http" => return network::http(argument(0)?, argument(1)?),
        "http-many" => return network::http_many(argument(0)?, argument(1)?),
        "fields" => return network::fields(),
        "resolve" => return network::resolve(argument(0)?),
        "connect" => return network::connect(argument(0)?),
        "connect-many" => return network::connect_many(argument(0)?),
        "listen" => return network::listen(),
        "datagram" => return network::datagram(argument(0)?),
        "keys" => return drafts::keys(),
        "values" => return drafts::values(),
        "giant-value" => return drafts::giant_value(GIANT_BYTES),
        "giant-key" => return drafts::giant_key(GIANT_BYTES),
        "buckets" => return drafts::buckets(),
        "store" => return drafts::remember(argument(0)?),
        "log-for-ever" => drafts::log_for_ever(),
        "log-giant" => drafts::log_giant(GIANT_BYTES),
        "config" => return drafts::config(),
        _ => return Err(Failure::permanent(format!("unknown verb {verb}"))),
    }
    Ok(None)
}
