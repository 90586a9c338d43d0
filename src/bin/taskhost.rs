//! The host daemon. All of it is in `taskhost-daemon`.

fn main() -> std::process::ExitCode {
    taskhost_daemon::main_impl()
}
