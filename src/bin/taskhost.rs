//! The host daemon. All of it is in `taskhost-daemon`.

/// A run makes and drops some hundred small blocks, and its lines are freed by another thread than made them: with the system's
/// allocator, that is a sixth of a worker's time (BENCHMARKS.md). Without huge pages, of which a small host would fill ten with next to
/// nothing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    taskhost_daemon::main_impl()
}
