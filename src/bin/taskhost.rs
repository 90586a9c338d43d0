//! The host daemon. All of it is in `taskhost-daemon`.

/// A run makes and drops some hundred small blocks, and its lines are freed by another thread than made them: with the system's
/// allocator, that is a sixth of a worker's time. This one hands out again what was freed last, which is in the caches still
/// (BENCHMARKS.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// One arena for each core, where jemalloc makes four: most of the host's threads do little, and each would get an arena of its own, of
/// 84 KiB. jemalloc looks for its settings under this name; `_RJEM_MALLOC_CONF` in the environment goes before them.
#[expect(unsafe_code, reason = "jemalloc finds its settings by the name of a symbol")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_CONF: &[u8; 16] = b"narenas_ratio:1\0";

fn main() -> std::process::ExitCode {
    taskhost_daemon::main_impl()
}
