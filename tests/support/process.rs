//! Programs as children that are never left behind, and what they print.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::{DEADLINE, eventually};

/// A child that is killed, by its pid, when it is dropped.
pub(super) struct Process {
    child: Child,
}

impl Process {
    #[track_caller]
    pub(super) fn spawn(command: &mut Command) -> Self {
        Self::spawn_reading(command, Stdio::null())
    }

    /// A child that reads from there.
    #[track_caller]
    fn spawn_reading(command: &mut Command, stdin: Stdio) -> Self {
        Self { child: command.stdin(stdin).spawn().expect("the program can be started") }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the child has not been waited for");
    }

    #[track_caller]
    pub(super) fn wait(&mut self) -> ExitStatus {
        eventually("the program ends", || self.child.try_wait().expect("it is a child of this process"))
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is a child of this process").is_some()
    }

    pub(super) fn stdout(&mut self) -> Lines {
        Lines::of(self.child.stdout.take().expect("stdout is a pipe that nobody took"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where the child is gone already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Lines as a program prints them.
pub(super) struct Lines(Receiver<String>);

impl Lines {
    fn of(source: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    // The pipe is read on, so that the program is never stopped by it.
                }
            }
        });
        Self(receiver)
    }

    /// The next line; `None` when there are no more.
    #[track_caller]
    pub(super) fn next(&self) -> Option<String> {
        match self.0.recv_timeout(DEADLINE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no line within {} s", DEADLINE.as_secs()),
        }
    }

    /// All lines up to the end.
    #[track_caller]
    pub(super) fn rest(&self) -> Vec<String> {
        std::iter::from_fn(|| self.next()).collect()
    }
}

/// The same program, started by another that becomes it: `nohup`, or `env` with options.
pub(crate) fn started_by(starter: &[&str], program: &Command) -> Command {
    let mut started = Command::new(starter[0]);
    started.args(&starter[1..]).arg(program.get_program()).args(program.get_args());
    started.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(dir) = program.get_current_dir() {
        started.current_dir(dir);
    }
    started
}

/// A starter of what heeds that its terminal closes: the tests themselves may be run by one that has that ignored.
pub(crate) const HEEDING_HANGUP: [&str; 2] = ["env", "--default-signal=HUP"];

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Asserts that it succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.fails_with(0)
    }

    /// Asserts how it ended.
    #[track_caller]
    pub(crate) fn fails_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Asserts that it said something about each of these on stderr.
    #[track_caller]
    pub(crate) fn says(self, fragments: &[&str]) -> Self {
        for fragment in fragments {
            assert!(self.stderr.contains(fragment), "no `{fragment}` in {self:#?}");
        }
        self
    }

    /// What it printed, as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:#?}"))
    }
}

/// Runs a program to its end.
#[track_caller]
pub(crate) fn run_to_end(command: &mut Command) -> Ran {
    run_reading(command, Stdio::null())
}

/// Runs a program to its end, with its standard input from there.
#[track_caller]
pub(super) fn run_reading(command: &mut Command, stdin: Stdio) -> Ran {
    let mut process = Process::spawn_reading(command.stdout(Stdio::piped()).stderr(Stdio::piped()), stdin);
    let stdout = read_all(process.child.stdout.take().expect("stdout is a pipe"));
    let stderr = read_all(process.child.stderr.take().expect("stderr is a pipe"));
    let status = process.wait();
    let text = |reader: JoinHandle<String>| reader.join().expect("reading does not panic");
    Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

fn read_all(mut source: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes).expect("a pipe can be read");
        String::from_utf8(bytes).expect("our programs print UTF-8")
    })
}

/// A program that goes on, like `taskctl logs -f`, and whose lines are read as they come.
pub(crate) struct Followed {
    process: Process,
    lines: Lines,
}

impl Followed {
    #[track_caller]
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut process = Process::spawn(command.stdout(Stdio::piped()).stderr(Stdio::null()));
        let lines = process.stdout();
        Self { process, lines }
    }

    /// The same, with what it says on stderr among what it prints, in the order in which it does.
    #[track_caller]
    pub(crate) fn spawn_with_stderr(command: &mut Command) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        let also = writer.try_clone().expect("a pipe can be shared");
        let process = Process::spawn(command.stdout(writer).stderr(also));
        // Ours are to be gone, so that the lines have an end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self { process, lines: Lines::of(reader) }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// All further lines, up to its end, and its exit code.
    #[track_caller]
    pub(crate) fn rest(mut self) -> (Vec<String>, Option<i32>) {
        let lines = self.lines.rest();
        (lines, self.process.wait().code())
    }

    /// The next line.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.lines.next().expect("the program goes on")
    }

    /// The first line from here on that has this in it.
    #[track_caller]
    pub(crate) fn line_with(&self, fragment: &str) -> String {
        // A task that ticks prints lines for ever.
        let deadline = Instant::now() + DEADLINE;
        loop {
            let line = self.line();
            if line.contains(fragment) {
                return line;
            }
            assert!(Instant::now() < deadline, "no `{fragment}` within {} s, but {line}", DEADLINE.as_secs());
        }
    }

    /// Tells it to end, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        self.process.signal(Signal::INT);
    }

    /// Waits until it ends by itself; its exit code.
    #[track_caller]
    pub(crate) fn end(mut self) -> Option<i32> {
        self.process.wait().code()
    }
}
