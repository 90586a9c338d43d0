//! A running `taskhost`.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::env::TestEnv;
use super::http::{self, HttpAnswer};
use super::process::{Lines, Process};
use super::stream::Stream;
use super::{DEADLINE, eventually};

/// A host that is ready. Killed when dropped; when that is because its test fails, what it logged is shown.
pub(crate) struct Host<'e> {
    pub(super) env: &'e TestEnv,
    process: Process,
    lines: Lines,
    tcp: SocketAddr,
    log: PathBuf,
}

impl<'e> Host<'e> {
    /// Starts a host, and waits until it says that it is ready.
    #[track_caller]
    pub(crate) fn start(env: &'e TestEnv, serve: Command) -> Self {
        let log = File::options().create(true).append(true).open(env.path("taskhost.log"));
        Self::start_logging_to(env, serve, log.expect("the temporary directory can be written"))
    }

    /// The same, with stderr elsewhere.
    #[track_caller]
    pub(crate) fn start_logging_to(env: &'e TestEnv, mut serve: Command, stderr: impl Into<Stdio>) -> Self {
        let log = env.path("taskhost.log");
        let mut process = Process::spawn(serve.stdout(Stdio::piped()).stderr(stderr));
        let lines = process.stdout();
        let mut tcp = None;
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("the host did not get ready:\n{}", read_log(&log)));
            if line == "ready" {
                break;
            }
            if let Some(address) = line.strip_prefix("listening on ") {
                tcp = tcp.or(address.parse().ok());
            }
        }
        Self { env, process, lines, tcp: tcp.expect("the host listens on TCP"), log }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(crate) fn tcp(&self) -> SocketAddr {
        self.tcp
    }

    /// The next line that it prints.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        self.lines.next().expect("the host goes on")
    }

    /// A connection that nothing was said on.
    #[track_caller]
    pub(crate) fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(self.tcp).expect("the host listens");
        socket.set_read_timeout(Some(DEADLINE)).expect("the time is not zero");
        socket.set_write_timeout(Some(DEADLINE)).expect("the time is not zero");
        socket.set_nodelay(true).expect("it is a TCP socket");
        socket
    }

    /// A connection that speaks JSON-RPC.
    #[track_caller]
    pub(crate) fn stream(&self) -> Stream {
        Stream::new(self.connect())
    }

    /// JSON-RPC on a connection whose other end is used too.
    #[track_caller]
    pub(crate) fn stream_on(&self, socket: &TcpStream) -> Stream {
        Stream::new(socket.try_clone().expect("a socket can be cloned"))
    }

    /// One call, which must succeed.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, params: Value) -> Value {
        self.stream().call(method, params).expect("the call succeeds")
    }

    /// A task, as `TaskUnit.Get` tells of it.
    #[track_caller]
    pub(crate) fn task(&self, name: &str) -> Value {
        self.call("TaskUnit.Get", json!({ "name": name }))
    }

    /// How often a task's due times ended so.
    #[track_caller]
    pub(crate) fn count(&self, name: &str, outcome: &str) -> u64 {
        self.task(name)["counts"][outcome].as_u64().unwrap_or_default()
    }

    /// Waits until a task has succeeded so often.
    #[track_caller]
    pub(crate) fn wait_successes(&self, name: &str, times: u64) {
        eventually(&format!("{name} succeeds {times} times"), || (self.count(name, "success") >= times).then_some(()));
    }

    /// One HTTP request on a connection of its own.
    #[track_caller]
    pub(crate) fn http(&self, verb: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> HttpAnswer {
        http::request(self.connect(), verb, path, headers, body)
    }

    /// The most memory that it ever had, in bytes.
    pub(crate) fn peak_memory_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    /// The memory that it has, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    fn status_bytes(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the host runs");
        let bytes = status.lines().find_map(|line| line.strip_prefix(field)).expect("Linux tells it");
        bytes.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") * 1024
    }

    /// How many files it has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("the host runs").count()
    }

    /// Gives it a plugin; its sha256.
    #[track_caller]
    pub(crate) fn put_plugin(&self, wasm: &[u8]) -> String {
        let sha256 = super::sha256(wasm);
        let answer = self.http("PUT", &format!("/plugins/{sha256}"), &[], wasm);
        assert!((200..300).contains(&answer.status), "{}: {}", answer.status, answer.body);
        sha256
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits until it ends.
    #[track_caller]
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.process.wait()
    }

    /// Stops it with SIGTERM, which must succeed.
    #[track_caller]
    pub(crate) fn stop(self) {
        self.signal(Signal::TERM);
        let log = self.log.clone();
        let status = self.wait();
        assert!(status.success(), "{status}:\n{}", read_log(&log));
    }

    /// Kills it as `kill -9` does.
    #[track_caller]
    pub(crate) fn kill(self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// The same; what it printed before that nobody has read.
    #[track_caller]
    pub(crate) fn kill_and_read(mut self) -> Vec<String> {
        self.signal(Signal::KILL);
        self.process.wait();
        self.lines.rest()
    }

    /// The same with SIGTERM.
    #[track_caller]
    pub(crate) fn stop_and_read(mut self) -> Vec<String> {
        self.signal(Signal::TERM);
        let status = self.process.wait();
        assert!(status.success(), "{status}:\n{}", read_log(&self.log));
        self.lines.rest()
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        !self.process.has_ended()
    }
}

impl Drop for Host<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the host's log\n{}---", read_log(&self.log));
        }
    }
}

fn read_log(log: &PathBuf) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}
