//! The daemon's side: starts a child, feeds it, takes its answer, and says what became of it if there is none.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use taskhost_core::outcome::cut;
use taskhost_core::plugin::{PluginError, PluginFacts};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::config::ChildLimits;

/// What a child is called in lists of processes.
const CHILD_NAME: &str = "taskhost";

/// The most bytes of an answer without the artefact; the names of imports and exports are most of it, and each byte of them
/// may have become six.
const MAX_ANSWER_BYTES: u32 = 4 << 20;

/// The largest artefact that is taken. Machine code is some four times as large as wasm.
const MAX_ARTEFACT_BYTES: u64 = 512 << 20;

/// How much of what a child says on stderr is kept: it says something only when it dies.
const MAX_LAST_WORDS_BYTES: u64 = 4 << 10;

/// What Rust's runtime says when memory is refused, and when a stack has no end.
const OUT_OF_MEMORY: &str = "memory allocation of ";
const OUT_OF_STACK: &str = "has overflowed its stack";

/// The exit code of a program of Rust that panicked.
const PANICKED: i32 = 101;

/// What a child is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Say what the door finds.
    LookAt,
    /// That, and compile.
    Compile,
}

/// What a child is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) task: Task,
    pub(super) limits: ChildLimits,
    pub(super) input_bytes: u64,
    pub(super) pooled: bool,
    pub(super) parent: Pid,
}

impl Order {
    /// As arguments, so that a child knows its limits before it reads anything.
    fn to_args(&self) -> [String; 6] {
        let task = match self.task {
            Task::LookAt => "look-at",
            Task::Compile => "compile",
        };
        let pool = if self.pooled { "pooled" } else { "unpooled" };
        [
            task.to_owned(),
            pool.to_owned(),
            self.limits.memory_bytes.to_string(),
            self.limits.cpu.as_secs().to_string(),
            self.input_bytes.to_string(),
            self.parent.as_raw_nonzero().to_string(),
        ]
    }

    pub(super) fn of_args(args: impl IntoIterator<Item = String>) -> Option<Self> {
        let args: [String; 6] = args.into_iter().collect::<Vec<_>>().try_into().ok()?;
        let [task, pool, memory_bytes, cpu, input_bytes, parent] = args;
        let task = match task.as_str() {
            "look-at" => Task::LookAt,
            "compile" => Task::Compile,
            _ => return None,
        };
        let limits = ChildLimits {
            memory_bytes: memory_bytes.parse().ok()?,
            cpu: Duration::from_secs(cpu.parse().ok()?),
            // The daemon watches the time.
            wall: Duration::MAX,
        };
        let (pooled, parent) = (pool == "pooled", Pid::from_raw(parent.parse().ok()?)?);
        Some(Self { task, limits, input_bytes: input_bytes.parse().ok()?, pooled, parent })
    }
}

/// What a child answers: the length of this as JSON, in four bytes, this, and the artefact.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Done { facts: PluginFacts, artefact_bytes: u64 },
    Refused { message: String, hint: Option<String> },
    OutOfMemory,
    Failed(String),
}

/// What came out of a plugin.
pub(super) struct Compiled {
    pub(super) facts: PluginFacts,
    /// Empty if it was only looked at.
    pub(super) artefact: Vec<u8>,
}

/// Has a child carry out an order. It is killed when this is dropped.
///
/// The thread that calls this must not end before: a child dies with the thread that started it.
pub(super) async fn ask(
    program: &Path,
    args: &[OsString],
    order: &Order,
    wasm: &[u8],
) -> Result<Compiled, PluginError> {
    let mut child = Command::new(program)
        .arg0(CHILD_NAME)
        .args(args)
        .args(order.to_args())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| not_started(program, &error))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
        unreachable!("all three are pipes, and nobody took them")
    };
    let feed = async move {
        // A child that does not read to the end has ended; how it did is what counts.
        stdin.write_all(wasm).await.ok();
    };
    let ended = timeout(order.limits.wall, async {
        tokio::join!(feed, read_answer(stdout), read_last_words(stderr), child.wait())
    });
    let (answer, last_words, status) = match ended.await {
        Ok(((), answer, last_words, status)) => (answer, last_words, status),
        Err(_) => {
            child.kill().await.map_err(|error| PluginError::Host(format!("failed to end the compiler: {error}")))?;
            let limit = format!("{} of time", seconds(order.limits.wall));
            return Err(exceeded(order.task, &limit, "the host may be busy: try again, or make the plugin smaller"));
        }
    };
    let status = status.map_err(|error| PluginError::Host(format!("failed to wait for the compiler: {error}")))?;
    if !status.success() {
        return Err(died(order, status, &last_words));
    }
    match answer {
        Ok((Answer::Done { facts, .. }, artefact)) => Ok(Compiled { facts, artefact }),
        Ok((Answer::Refused { message, hint }, _)) => Err(PluginError::Invalid { message, hint }),
        Ok((Answer::OutOfMemory, _)) => Err(out_of_memory(order)),
        Ok((Answer::Failed(message), _)) => Err(PluginError::Host(format!("the compiler failed: {message}"))),
        Err(error) => Err(PluginError::Host(format!("the compiler's answer is not to be understood: {error}"))),
    }
}

async fn read_answer(mut pipe: impl AsyncRead + Unpin) -> io::Result<(Answer, Vec<u8>)> {
    let too_large = |what: &str, bytes: u64| io::Error::other(format!("the {what} has {bytes} bytes"));
    let length = pipe.read_u32_le().await?;
    if length > MAX_ANSWER_BYTES {
        return Err(too_large("answer", length.into()));
    }
    let mut json = vec![0; length as usize];
    pipe.read_exact(&mut json).await?;
    let answer: Answer = serde_json::from_slice(&json)?;
    let announced = match &answer {
        Answer::Done { artefact_bytes, .. } => *artefact_bytes,
        _ => 0,
    };
    if announced > MAX_ARTEFACT_BYTES {
        return Err(too_large("artefact", announced));
    }
    let mut artefact = Vec::with_capacity(usize::try_from(announced).unwrap_or(0));
    // One more than there should be, to see that there is no more.
    pipe.take(announced + 1).read_to_end(&mut artefact).await?;
    if artefact.len() as u64 != announced {
        return Err(io::Error::other(format!("the artefact was announced with {announced} bytes, and has others")));
    }
    Ok((answer, artefact))
}

/// The last that a child said, and no more than that of it.
async fn read_last_words(mut pipe: impl AsyncRead + Unpin) -> String {
    let mut said = Vec::new();
    (&mut pipe).take(MAX_LAST_WORDS_BYTES).read_to_end(&mut said).await.ok();
    // What does not fit is read all the same: a full pipe would stop it.
    tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await.ok();
    String::from_utf8_lossy(&said).into_owned()
}

/// Why a child did not end well: which limit it was, or else who is to blame.
fn died(order: &Order, status: ExitStatus, last_words: &str) -> PluginError {
    let task = order.task;
    let crashed = |how: &str| PluginError::Crashed(how.to_owned());
    let signal = status.signal().and_then(Signal::from_named_raw);
    if signal == Some(Signal::XCPU) {
        let limit = format!("{} of processor time", seconds(order.limits.cpu));
        return exceeded(task, &limit, "build it with optimisation and without what it does not use, or split it");
    }
    if last_words.contains(OUT_OF_MEMORY) {
        return out_of_memory(order);
    }
    if last_words.contains(OUT_OF_STACK) {
        return crashed("what is nested in it is too deep for the stack");
    }
    let last_words = cut(last_words.trim(), 500);
    match (signal, status.code()) {
        (_, Some(PANICKED)) => crashed(last_words),
        (Some(Signal::SEGV | Signal::BUS | Signal::ABORT | Signal::ILL | Signal::FPE), _) => {
            crashed(&format!("{status}"))
        }
        (Some(_), _) => PluginError::Host(format!(
            "the compiler was killed from outside ({status}), perhaps by the system for want of memory; try again"
        )),
        _ => PluginError::Host(format!("the compiler did not end well ({status}): {last_words}")),
    }
}

fn out_of_memory(order: &Order) -> PluginError {
    let limit = format!("{} MiB of memory", order.limits.memory_bytes >> 20);
    exceeded(order.task, &limit, "build it with optimisation and without what it does not use, or split it")
}

fn exceeded(task: Task, limit: &str, hint: &str) -> PluginError {
    let doing = match task {
        Task::LookAt => "looking at it",
        Task::Compile => "compiling it",
    };
    PluginError::Invalid { message: format!("{doing} takes more than {limit}"), hint: Some(hint.to_owned()) }
}

fn not_started(program: &Path, error: &io::Error) -> PluginError {
    let gone = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
            "; if the host's program was moved or deleted, start the host again"
        }
        _ => "",
    };
    PluginError::Host(format!("failed to start the compiler, {}: {error}{gone}", program.display()))
}

fn seconds(limit: Duration) -> String {
    match limit.as_secs() {
        0 => format!("{} ms", limit.as_millis()),
        seconds => format!("{seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_reads_back_as_it_was_written() {
        let limits = ChildLimits { memory_bytes: 7, cpu: Duration::from_secs(8), wall: Duration::MAX };
        for (task, pooled) in [(Task::LookAt, true), (Task::Compile, false)] {
            let order = Order { task, limits, input_bytes: 9, pooled, parent: rustix::process::getpid() };
            assert_eq!(Order::of_args(order.to_args()), Some(order));
        }
        assert_eq!(Order::of_args(["compile".to_owned()]), None);
    }

    #[tokio::test]
    async fn an_answer_that_is_too_long_or_cut_off_is_none() {
        let facts = PluginFacts {
            sha256: taskhost_core::plugin::Sha256([0; 32]),
            kind: taskhost_core::plugin::PluginKind::Task,
            size_bytes: 1,
            imports: Vec::new(),
            exports: Vec::new(),
            about: None,
        };
        let answer = |artefact_bytes: u64, artefact: &[u8]| {
            let json = serde_json::to_vec(&Answer::Done { facts: facts.clone(), artefact_bytes }).expect("JSON");
            let length = u32::try_from(json.len()).expect("it is short");
            [&length.to_le_bytes(), &json[..], artefact].concat()
        };
        let whole = answer(3, b"abc");
        assert_eq!(read_answer(&whole[..]).await.expect("it is whole").1, b"abc");
        for cut in [0, 3, 4, 20, whole.len() - 1] {
            assert!(read_answer(&whole[..cut]).await.is_err(), "cut at {cut}");
        }
        for wrong in [answer(2, b"abc"), answer(MAX_ARTEFACT_BYTES + 1, b""), u32::MAX.to_le_bytes().to_vec()] {
            assert!(read_answer(&wrong[..]).await.is_err());
        }
    }
}
