//! How the ticker is linked.

/// How much stack it has, where a linker gives 1 MiB: what a run may have touched is looked through when its memory is taken back, and
/// the smaller that is, the sooner it is done (BENCHMARKS.md).
const STACK_BYTES: u32 = 64 * 1024;

fn main() {
    println!("cargo::rustc-link-arg-cdylib=-zstack-size={STACK_BYTES}");
}
