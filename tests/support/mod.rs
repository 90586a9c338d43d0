//! What every end-to-end test stands on: a hermetic [`TestEnv`], a [`Host`] in it, and clients that know nothing of the
//! crates of the host.

pub(crate) mod account;
mod ctl;
mod env;
mod host;
mod http;
mod process;
mod stream;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

pub(crate) use self::env::TestEnv;
pub(crate) use self::host::Host;
pub(crate) use self::process::{Followed, HEEDING_HANGUP, Ran, run_to_end, started_by};
pub(crate) use self::stream::{Refused, Stream};

/// How long anything may take before a test gives up on it. Nothing waits for this but a test that fails, so it is generous:
/// a loaded machine with two cores is slow.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// How often is looked where nothing tells.
const POLL: Duration = Duration::from_millis(20);

/// A plugin of `tests/guests`.
pub(crate) fn guest(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/guests").join(file)
}

/// The well-behaved plugin, which does what its first argument says.
pub(crate) fn probe() -> PathBuf {
    guest("probe/probe.wasm")
}

/// The built-in plugin, as a file.
pub(crate) fn ticker() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("plugins/ticker/ticker.wasm")
}

/// The bytes of a plugin of `tests/guests`.
pub(crate) fn guest_bytes(file: &str) -> Vec<u8> {
    std::fs::read(guest(file)).expect("the guest is committed")
}

/// In lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a pipe with a name.
pub(crate) fn make_fifo(path: &std::path::Path) {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0)
        .expect("a folder that can be written");
}

/// A point in time as the wire has it.
#[track_caller]
pub(crate) fn time(value: &serde_json::Value) -> jiff::Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no time as of RFC 3339: {value}"))
}

/// A time as the host's sentences have it: with milliseconds if it has any.
#[track_caller]
pub(crate) fn told(value: &serde_json::Value) -> String {
    let time = time(value);
    if time.subsec_nanosecond() < 1_000_000 { format!("{time:.0}") } else { format!("{time:.3}") }
}

/// Asks until there is an answer.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {} s: {what}", DEADLINE.as_secs());
        std::thread::sleep(POLL);
    }
}
