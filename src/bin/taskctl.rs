use std::process::ExitCode;

fn main() -> ExitCode {
    taskhost_cli::main_impl()
}
