//! What became of an attempt, in the core's words.

use std::fmt::{self, Write};
use std::time::Duration;

use taskhost_core::outcome::{MAX_DETAIL_BYTES, Outcome, RunReport, cut};
use taskhost_core::spec::Limit;
use taskhost_core::time::format_duration;
use wasmtime::{FrameInfo, PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_environ::demangle_function_name;
use wasmtime_wasi::I32Exit;

use crate::limits::MAX_TOLD_FRAMES;
use crate::mask::Mask;
use crate::virtual_time::OutOfTime;

/// What the guest said when it came back.
#[derive(Debug)]
pub(crate) enum Returned {
    Summary(Option<String>),
    Failure { message: String, permanent: bool, retry_after: Option<Duration> },
    Exit(i32),
}

impl Returned {
    /// Hides secrets in what it says.
    pub(crate) fn mask(&mut self, mask: &Mask) {
        match self {
            Self::Summary(Some(text)) | Self::Failure { message: text, .. } => *text = mask.text(text, false),
            Self::Summary(None) | Self::Exit(_) => {}
        }
    }

    /// Cuts what it says to so many bytes. Answers whether it was more.
    pub(crate) fn cut(&mut self, most_bytes: usize) -> bool {
        let text = match self {
            Self::Summary(Some(text)) | Self::Failure { message: text, .. } => text,
            Self::Summary(None) | Self::Exit(_) => return false,
        };
        let kept = cut(text, most_bytes).len();
        let is_more = kept < text.len();
        text.truncate(kept);
        is_more
    }
}

/// Why it did not come back.
#[derive(Debug)]
pub(crate) enum Broken {
    /// No instance was made: mostly the host's failure, unless a guest's own start trapped.
    Instance(wasmtime::Error),
    /// The call broke off: the guest's failure, be it a trap, an exit or an answer that is none.
    Call(wasmtime::Error),
}

impl Broken {
    pub(crate) fn error(&self) -> &wasmtime::Error {
        match self {
            Self::Instance(error) | Self::Call(error) => error,
        }
    }
}

/// Why the epoch stopped a guest: somebody stopped the run.
#[derive(Debug, thiserror::Error)]
#[error("the run was stopped")]
pub(crate) struct Stopped;

/// What a guest was denied: the outcome of an attempt that fails for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Limit(Limit),
    /// The host had no memory left, and says so in these words.
    Budget(String),
}

impl Refusal {
    fn reword(&self, report: RunReport) -> RunReport {
        match self {
            Self::Limit(limit) => RunReport { outcome: Outcome::LimitExceeded, ..report }.with_detail(limit.as_str()),
            Self::Budget(used_up) => RunReport::of(Outcome::HostError).with_detail(used_up),
        }
    }
}

/// How an attempt ended by itself.
pub(crate) struct Ended {
    pub(crate) returned: Result<Returned, Broken>,
    /// What the guest was denied, whatever it made of that.
    pub(crate) denied: Option<Refusal>,
}

/// Words the end of an attempt. A guest that was denied something and then failed, failed for that.
pub(crate) fn report(ended: Ended) -> RunReport {
    let report = match ended.returned {
        Ok(Returned::Summary(summary)) => {
            return RunReport { result: summary.map(Into::into), ..RunReport::of(Outcome::Success) };
        }
        Ok(Returned::Failure { message, permanent, retry_after }) => {
            RunReport { permanent, retry_after, ..RunReport::of(Outcome::Error).with_detail(&message) }
        }
        Ok(Returned::Exit(code)) => exited(code),
        Err(broken) => failed(&broken),
    };
    match ended.denied {
        Some(refusal) if matches!(report.outcome, Outcome::Error | Outcome::Trapped | Outcome::HostError) => {
            refusal.reword(report)
        }
        _ => report,
    }
}

/// Why an attempt timed out.
pub(crate) fn ran_longer_than(timeout: Duration) -> String {
    format!("ran longer than {}", format_duration(timeout))
}

fn exited(code: i32) -> RunReport {
    let report = match code {
        0 => RunReport::of(Outcome::Success),
        _ => RunReport::of(Outcome::Error).with_detail(&format!("exit code {code}")),
    };
    RunReport { exit_code: Some(code), ..report }
}

fn failed(broken: &Broken) -> RunReport {
    let error = broken.error();
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return exited(*code);
    }
    if error.is::<Stopped>() {
        return RunReport::of(Outcome::Cancelled);
    }
    if error.is::<OutOfTime>() {
        return RunReport::of(Outcome::TimedOut);
    }
    if let Some(full) = error.downcast_ref::<PoolConcurrencyLimitError>() {
        return RunReport::of(Outcome::HostError).with_detail(&format!("the host has no room left: {full}"));
    }
    let in_guest = matches!(broken, Broken::Call(_)) || error.is::<WasmBacktrace>() || error.is::<Trap>();
    if in_guest {
        RunReport::of(Outcome::Trapped).with_detail(&trap_detail(error))
    } else {
        RunReport::of(Outcome::HostError).with_detail(&format!("{error:#}"))
    }
}

/// The trap and the innermost frames: `wasm trap: integer divide by zero, in inner < outer < run`. Of a panic of Rust's, those from
/// where it began.
fn trap_detail(error: &wasmtime::Error) -> String {
    let mut detail = Detail(String::new());
    match write_trap(&mut detail, error) {
        // It fails when the detail is full: that much is kept.
        Ok(()) | Err(fmt::Error) => detail.0,
    }
}

fn write_trap(detail: &mut Detail, error: &wasmtime::Error) -> fmt::Result {
    match error.downcast_ref::<Trap>() {
        Some(trap) => write!(detail, "{trap}")?,
        None => write!(detail, "{}", error.root_cause())?,
    }
    let frames = error.downcast_ref().map(WasmBacktrace::frames).unwrap_or_default();
    let names: Vec<String> = frames.iter().map(name_of).collect();
    for (at, name) in from_where_it_began(&names).iter().take(MAX_TOLD_FRAMES).enumerate() {
        detail.write_str(if at == 0 { ", in " } else { " < " })?;
        detail.write_str(name)?;
    }
    Ok(())
}

/// The name of a frame's function, as far as it could be kept.
fn name_of(frame: &FrameInfo) -> String {
    let mut name = Detail(String::new());
    let written = match frame.func_name() {
        // What is not mangled, like a function of WAT or C, would be taken for a type of C++: `i` for `int`.
        Some(mangled) if mangled.starts_with("_Z") || mangled.starts_with("_R") => {
            demangle_function_name(&mut name, mangled)
        }
        Some(plain) => name.write_str(plain),
        None => write!(name, "function {}", frame.func_index()),
    };
    match written {
        Ok(()) | Err(fmt::Error) => without_hashes(&name.0),
    }
}

/// The hash of a crate's version in a mangled name of Rust's, in digits, at least.
const MIN_HASH_DIGITS: usize = 12;

/// A name without the hashes of its crates: `core[4d105328dfd0a45]::panicking::panic` is `core::panicking::panic`.
fn without_hashes(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut rest = name;
    while let Some((before, after)) = rest.split_once('[') {
        plain.push_str(before);
        match after.split_once(']') {
            Some((hash, behind)) if hash.len() >= MIN_HASH_DIGITS && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
                rest = behind;
            }
            _ => {
                plain.push('[');
                rest = after;
            }
        }
    }
    plain + rest
}

/// The functions through which a panic of Rust's ends in a trap: all that one reads of it otherwise, as they are so many.
const PANICKING: [&str; 9] = [
    "__rustc::",
    "abort",
    "core::option::",
    "core::panicking::",
    "core::result::unwrap_failed",
    "rust_panic",
    "std::panicking::",
    "std::process::abort",
    "std::sys::",
];

/// The frames without those of a panic that has begun. All of them where there are no others.
fn from_where_it_began(names: &[String]) -> &[String] {
    let is_panicking = |name: &String| PANICKING.iter().any(|prefix| name.starts_with(prefix));
    match names.iter().position(|name| !is_panicking(name)) {
        // A trap of `std::sys` itself is none of a panic.
        Some(began) if names[..began].iter().any(|name| name.contains("panic")) => &names[began..],
        _ => names,
    }
}

/// A text that takes no more than is kept: a guest's mangled names may unfold into anything.
struct Detail(String);

impl Write for Detail {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = MAX_DETAIL_BYTES - self.0.len();
        self.0.push_str(cut(text, room));
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Config, Engine, Instance, InstanceAllocationStrategy, Module, PoolingAllocationConfig, Store};

    use super::*;

    #[test]
    fn a_pool_that_is_full_is_never_the_guests_fault() {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(0).total_memories(1).total_tables(1).total_stacks(1).total_gc_heaps(1);
        let mut config = Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).expect("an engine");
        let module = Module::new(&engine, "(module)").expect("a module");
        let full = Instance::new(Store::new(&engine, ()), &module, &[]).expect_err("there is no instance");
        let report = report(Ended { returned: Err(Broken::Call(full)), denied: None });
        assert_eq!(report.outcome, Outcome::HostError);
        let detail = "the host has no room left: maximum concurrent limit of 0 for core instances reached";
        assert_eq!(report.detail.as_deref(), Some(detail));
    }

    #[test]
    fn names_of_functions_have_no_hashes() {
        for (name, told) in [
            ("core[4d105328dfd0a45]::panicking::panic", "core::panicking::panic"),
            (
                "f::<std[f0225afff4931265]::a::{closure#0}, [u8; 16], [deadbeef]>",
                "f::<std::a::{closure#0}, [u8; 16], [deadbeef]>",
            ),
            ("a[", "a["),
            ("run", "run"),
        ] {
            assert_eq!(without_hashes(name), told);
        }
    }

    #[test]
    fn the_frames_of_a_panic_are_told_from_where_it_began() {
        let told = |names: &str| {
            let names: Vec<String> = names.split(" < ").map(str::to_owned).collect();
            from_where_it_began(&names).join(" < ")
        };
        let machinery = "abort < std::sys::pal::wasi::abort_internal < std::process::abort < __rustc::__rust_abort < \
                         __rustc::rust_panic < std::panicking::panic_with_hook < core::panicking::panic_fmt < \
                         core::option::unwrap_failed";
        assert_eq!(told(&format!("{machinery} < probe::inner < probe::run")), "probe::inner < probe::run");
        assert_eq!(told(machinery), machinery);
        for other in ["std::sys::read < probe::run", "abort < check < run", "function 7 < run", "run"] {
            assert_eq!(told(other), other);
        }
    }

    #[test]
    fn a_detail_takes_no_more_than_is_kept() {
        let mut detail = Detail(String::new());
        assert!(write!(detail, "{:>900}", "é").is_ok());
        assert!(write!(detail, "{:>900}", "é").is_err());
        assert_eq!(detail.0.len(), MAX_DETAIL_BYTES);
    }
}
