//! What became of an attempt, in the core's words.

use std::fmt::{self, Write};
use std::time::Duration;

use taskhost_core::outcome::{MAX_DETAIL_BYTES, Outcome, RunReport, cut};
use taskhost_core::spec::Limit;
use taskhost_core::time::format_duration;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_environ::demangle_function_name;
use wasmtime_wasi::I32Exit;

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

/// The trap and the innermost frames: `wasm trap: integer divide by zero, in inner < outer < run`.
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
    for (at, frame) in frames.iter().enumerate() {
        detail.write_str(if at == 0 { ", in " } else { " < " })?;
        match frame.func_name() {
            // What is not mangled, like a function of WAT or C, would be taken for a type of C++: `i` for `int`.
            Some(name) if name.starts_with("_Z") || name.starts_with("_R") => demangle_function_name(detail, name)?,
            Some(name) => detail.write_str(name)?,
            None => write!(detail, "function {}", frame.func_index())?,
        }
    }
    Ok(())
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
    fn a_detail_takes_no_more_than_is_kept() {
        let mut detail = Detail(String::new());
        assert!(write!(detail, "{:>900}", "é").is_ok());
        assert!(write!(detail, "{:>900}", "é").is_err());
        assert_eq!(detail.0.len(), MAX_DETAIL_BYTES);
    }
}
