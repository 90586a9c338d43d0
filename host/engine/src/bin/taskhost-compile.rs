//! Compiles one plugin, as `taskhost compile` does: the child that the tests' engines start. What comes before `--` is the
//! tests' own, to tell their children apart.

use std::process::ExitCode;

fn main() -> ExitCode {
    taskhost_engine::compile_in_child(std::env::args().skip_while(|arg| arg != "--").skip(1))
}
