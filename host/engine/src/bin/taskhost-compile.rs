//! Compiles one plugin, as `taskhost compile` does: the child that the tests' engines start.
//!
//! Arguments up to `--` are the tests' own: a file to which the process adds its id and what it was started for.

use std::fs::OpenOptions;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (own, order) = match args.iter().position(|arg| arg == "--") {
        Some(at) => (&args[..at], &args[at + 1..]),
        None => (&[][..], &args[..]),
    };
    if let ([file], [task, ..]) = (own, order) {
        let line = format!("{} {task}\n", std::process::id());
        let noted = OpenOptions::new().append(true).open(file).and_then(|mut file| file.write_all(line.as_bytes()));
        if let Err(error) = noted {
            eprintln!("failed to write to {file}: {error}");
            return ExitCode::FAILURE;
        }
    }
    taskhost_engine::compile_in_child(order.iter().cloned())
}
