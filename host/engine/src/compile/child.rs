//! The child's side: gives away what it does not need, reads one plugin from stdin, and answers on stdout.
//!
//! It has no environment but the settings of its allocator, no files but its three pipes, and dies with the daemon. It sets its limits itself, as the first
//! thing that it does: what stands between `fork` and `exec` would have to be `unsafe`.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::RawFd;
use std::process::ExitCode;
use std::thread;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit};
use taskhost_core::outcome::cut;
use taskhost_core::plugin::PluginError;

use super::here;
use super::process::{Answer, Order, Task};
use crate::admit::{MAX_PLUGIN_BYTES, admit_here};
use crate::inspect::DOOR_STACK_BYTES;
use crate::pool::compiling;
use crate::threads::lower_priority;

/// The exit code of wrong usage, as clap has it.
const USAGE: u8 = 2;

/// As a panic ends a program of Rust that has no threads.
const PANICKED: u8 = 101;

/// The most threads that compile: each takes memory for a function of its own, and their sum is what is bounded.
const MAX_THREADS: usize = 8;

/// Its pipes, and what is opened for a moment to count the cores.
const MAX_OPEN_FILES: u64 = 16;

/// How much more address space than memory it may have: for the program itself, and for what the allocator reserves for each
/// thread and leaves untouched.
const UNTOUCHED_ADDRESS_BYTES: u64 = 4 << 30;

/// How much longer than its processor time the kernel lets it live if it does not end by the signal that it gets then.
const CPU_GRACE_SECONDS: u64 = 1;

/// The longest message of a refusal; names in it may be long.
const MAX_MESSAGE_BYTES: usize = 8 << 10;

/// What `taskhost compile` does: the program of [`CompilePlace::Child`](crate::CompilePlace) must call this, with the
/// arguments that follow those of the configuration, before it does anything else.
pub fn compile_in_child(args: impl IntoIterator<Item = String>) -> ExitCode {
    let Some(order) = Order::of_args(args) else {
        eprintln!("this is how a host compiles plugins; it is not for people");
        return ExitCode::from(USAGE);
    };
    let done = confine(&order).and_then(|()| serve(order));
    done.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

/// Gives away what it does not need.
fn confine(order: &Order) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Some(order.parent) {
        // It died before that.
        return Err(io::Error::other("the host is gone"));
    }
    close_inherited()?;
    // Where memory is short, rather this one than the host. Some sandboxes do not let it say so.
    fs::write("/proc/self/oom_score_adj", "1000").ok();
    lower_priority();
    lower(Resource::Core, 0, 0)?;
    lower(Resource::Fsize, 0, 0)?;
    lower(Resource::Nofile, MAX_OPEN_FILES, MAX_OPEN_FILES)?;
    let cpu_seconds = order.limits.cpu.as_secs().max(1);
    lower(Resource::Cpu, cpu_seconds, cpu_seconds + CPU_GRACE_SECONDS)?;
    // What it may write to and shares with nobody: all that an allocator gets. Address space alone would be no measure, since
    // allocators reserve more of it than they use, for each thread.
    let memory_bytes = order.limits.memory_bytes;
    lower(Resource::Data, memory_bytes, memory_bytes)?;
    let address_bytes = memory_bytes.saturating_add(UNTOUCHED_ADDRESS_BYTES);
    lower(Resource::As, address_bytes, address_bytes)
}

/// Closes what whoever started the host left open for it without knowing: the host's own files close by themselves.
fn close_inherited() -> io::Result<()> {
    const STDERR: RawFd = 2;
    let open = fs::read_dir("/proc/self/fd")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // Read to the end before any is closed: one of them is what they are read from, and closes with it.
    let open: Vec<RawFd> = open.filter(|fd| *fd > STDERR).collect();
    for fd in open {
        nix::unistd::close(fd).ok();
    }
    Ok(())
}

/// Sets a limit, unless there is a lower one.
fn lower(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let had = getrlimit(resource);
    let least = |limit: u64, had: Option<u64>| Some(had.map_or(limit, |had| had.min(limit)));
    let limit = Rlimit { current: least(current, had.current), maximum: least(maximum, had.maximum) };
    Ok(setrlimit(resource, limit)?)
}

fn serve(order: Order) -> io::Result<ExitCode> {
    let length = usize::try_from(order.input_bytes.min(MAX_PLUGIN_BYTES)).unwrap_or_default();
    let mut wasm = vec![0; length];
    io::stdin().read_exact(&mut wasm)?;
    // Reading types and such calls itself; the stack of the main thread is somebody else's to limit.
    let worker = thread::Builder::new().name("compile".to_owned()).stack_size(DOOR_STACK_BYTES);
    let Ok((answer, artefact)) = worker.spawn(move || carry_out(&order, wasm.into()))?.join() else {
        return Ok(ExitCode::from(PANICKED));
    };
    let json = serde_json::to_vec(&answer)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    let mut stdout = io::stdout().lock();
    stdout.write_all(&length.to_le_bytes())?;
    stdout.write_all(&json)?;
    stdout.write_all(&artefact)?;
    stdout.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn carry_out(order: &Order, wasm: Bytes) -> (Answer, Vec<u8>) {
    let no_artefact = |answer| (answer, Vec::new());
    let admitted = match admit_here(&wasm) {
        Ok(admitted) => admitted,
        Err(error) => return no_artefact(refused(error)),
    };
    // If the binary is another one.
    drop(wasm);
    if order.task == Task::LookAt {
        return no_artefact(Answer::Done { facts: admitted.facts, artefact_bytes: 0 });
    }
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = rayon::ThreadPoolBuilder::new().num_threads(cores.min(MAX_THREADS)).build_global();
    if let Err(error) = threads {
        return no_artefact(Answer::Failed(format!("failed to start its threads: {error}")));
    }
    let engine = match compiling(order.pooled, admitted.engine()) {
        Ok(engine) => engine,
        Err(error) => return no_artefact(Answer::Failed(format!("{error:#}"))),
    };
    match here::compile(&engine, &admitted) {
        Ok(artefact) => {
            let artefact_bytes = artefact.len() as u64;
            (Answer::Done { facts: admitted.facts, artefact_bytes }, artefact)
        }
        Err(error) if error.is::<wasmtime::OutOfMemory>() => no_artefact(Answer::OutOfMemory),
        Err(error) => no_artefact(refused(here::refusal(&error))),
    }
}

fn refused(error: PluginError) -> Answer {
    match error {
        PluginError::Invalid { message, hint } => {
            Answer::Refused { message: cut(&message, MAX_MESSAGE_BYTES).to_owned(), hint }
        }
        error => Answer::Failed(error.to_string()),
    }
}
