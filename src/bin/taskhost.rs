//! The host daemon. All of it is in `taskhost-daemon`.

/// A run makes and drops some hundred small blocks, and its lines are freed by another thread than made them: with the system's
/// allocator, that is a sixth of a worker's time. This one hands out again what was freed last, which is in the caches still
/// (BENCHMARKS.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    taskhost_daemon::main_impl()
}
