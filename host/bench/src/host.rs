//! The daemon that is measured: a process with a directory and a socket of its own, and a client connected to it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use jsonrpsee::core::client::Client;
use rustix::process::{Pid, Signal, kill_process};
use taskhost_api::{HostApiClient, HostInfo};
use taskhost_cli::addr::HostAddr;
use taskhost_cli::client::connect;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

/// The line by which a host says that all tasks are registered.
const READY_LINE: &str = "ready";

/// How long a host may take until then.
const READY_TIMEOUT: Duration = Duration::from_secs(120);

/// How long a host may take to end when it was told to.
const END_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a host whose connection broke may take to turn out dead.
const DEATH_TIMEOUT: Duration = Duration::from_secs(1);

/// How much of what a host last wrote to stderr is kept.
const STDERR_TAIL_BYTES: usize = 4096;

/// A place for hosts: what they keep outlives each of them, and goes with the place.
pub(crate) struct Place {
    program: PathBuf,
    options: Vec<String>,
    dir: TempDir,
}

/// How a host is made to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// It drains.
    Terminate,
    /// It gets no chance to do anything.
    Kill,
}

/// A running host. Killed when dropped.
pub(crate) struct Host {
    child: Child,
    pid: Pid,
    client: Client,
    stderr: Tail,
    ready_after: Duration,
}

impl Place {
    /// A new, empty place within `parent` for hosts with these options.
    pub(crate) fn new(program: PathBuf, options: Vec<String>, parent: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("taskbench-").tempdir_in(parent);
        let dir = dir.with_context(|| format!("failed to make a directory in {}", parent.display()))?;
        Ok(Self { program, options, dir })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Starts a host here, and waits until it is ready and connected to.
    pub(crate) async fn start(&self) -> anyhow::Result<Host> {
        let socket = self.dir.path().join("taskhost.sock");
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--data-dir").arg(self.dir.path().join("data")).arg("--socket").arg(&socket);
        command.args(["--listen", "127.0.0.1:0"]).args(&self.options);
        // Nothing of the user's own settings is measured.
        command.env_clear().env("HOME", self.dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);

        let started = Instant::now();
        let mut child = command.spawn().with_context(|| format!("failed to start {}", self.program.display()))?;
        let stderr = Tail::of(child.stderr.take().context("stderr is piped")?);
        let stdout = child.stdout.take().context("stdout is piped")?;
        let ready = tokio::time::timeout(READY_TIMEOUT, wait_until_ready(stdout)).await;
        let ready_after = started.elapsed();
        match ready {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => bail!(last_words(child.wait().await?, stderr).await),
            Ok(Err(error)) => return Err(error).context("failed to read what the host says"),
            Err(_) => bail!("the host is not ready after {} s", READY_TIMEOUT.as_secs()),
        }
        let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).context("the host has ended")?;
        let client = connect(&HostAddr::Unix(socket)).await?;
        Ok(Host { child, pid, client, stderr, ready_after })
    }
}

impl Host {
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// How long it took from exec to `ready`.
    pub(crate) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// What the host says of itself.
    pub(crate) async fn info(&self) -> anyhow::Result<HostInfo> {
        self.client.info().await.context("failed to ask the host how it does")
    }

    /// Makes it end; answers how long that took.
    pub(crate) async fn end(mut self, how: End) -> anyhow::Result<Duration> {
        let signal = match how {
            End::Terminate => Signal::TERM,
            End::Kill => Signal::KILL,
        };
        let told = Instant::now();
        kill_process(self.pid, signal).context("failed to signal the host")?;
        let ended = tokio::time::timeout(END_TIMEOUT, self.child.wait()).await;
        let status = ended.with_context(|| format!("the host did not end within {} s", END_TIMEOUT.as_secs()))??;
        if matches!(how, End::Terminate) && !status.success() {
            bail!(last_words(status, self.stderr).await);
        }
        Ok(told.elapsed())
    }

    /// Ends the host after what was done with it, as [`survived`](Self::survived) it.
    pub(crate) async fn finish<T>(self, done: anyhow::Result<T>) -> anyhow::Result<T> {
        let (host, done) = self.survived(done).await?;
        host.end(End::Terminate).await?;
        Ok(done)
    }

    /// Hands the host back with what was done with it. If that failed because the host died, says so, and what it said last.
    pub(crate) async fn survived<T>(mut self, done: anyhow::Result<T>) -> anyhow::Result<(Self, T)> {
        let error = match done {
            Ok(done) => return Ok((self, done)),
            Err(error) => error,
        };
        match tokio::time::timeout(DEATH_TIMEOUT, self.child.wait()).await {
            Ok(status) => Err(anyhow!(last_words(status?, self.stderr).await).context(format!("{error:#}"))),
            Err(_) => Err(error),
        }
    }
}

/// Whether the host said that it is ready; everything else is read and dropped, then and later, so that it never waits
/// for somebody to read.
async fn wait_until_ready(stdout: impl AsyncRead + Send + Unpin + 'static) -> std::io::Result<bool> {
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await? {
        if line == READY_LINE {
            tokio::spawn(async move { tokio::io::copy(&mut lines.into_inner(), &mut tokio::io::sink()).await });
            return Ok(true);
        }
    }
    Ok(false)
}

async fn last_words(status: ExitStatus, stderr: Tail) -> String {
    match stderr.whole().await.trim_end() {
        "" => format!("the host ended with {status} and said nothing"),
        text => format!("the host ended with {status}; the last that it said:\n{text}"),
    }
}

/// The end of what a program writes.
struct Tail {
    kept: Arc<Kept>,
    reading: JoinHandle<()>,
}

impl Tail {
    /// Reads for as long as somebody writes.
    fn of(mut stream: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let kept = Arc::<Kept>::default();
        let keep = Arc::clone(&kept);
        let reading = tokio::spawn(async move {
            let mut piece = [0; STDERR_TAIL_BYTES];
            while let Ok(length @ 1..) = stream.read(&mut piece).await {
                keep.push(&piece[..length]);
            }
        });
        Self { kept, reading }
    }

    /// All of it, once the program has ended; what came until then if a child of its own still writes.
    async fn whole(self) -> String {
        tokio::time::timeout(DEATH_TIMEOUT, self.reading).await.ok();
        self.kept.text()
    }
}

/// The newest bytes of many.
#[derive(Default)]
struct Kept(Mutex<VecDeque<u8>>);

impl Kept {
    fn push(&self, piece: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(piece);
        let excess = kept.len().saturating_sub(STDERR_TAIL_BYTES);
        kept.drain(..excess);
    }

    fn text(&self) -> String {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(kept.make_contiguous()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_bounded_and_keeps_the_end() {
        let tail = Kept::default();
        tail.push(&[b'a'; STDERR_TAIL_BYTES]);
        tail.push(b"the end");
        let text = tail.text();
        assert_eq!(text.len(), STDERR_TAIL_BYTES);
        assert!(text.ends_with("athe end"));
    }

    #[tokio::test]
    async fn a_host_is_ready_only_when_it_says_so() {
        assert!(wait_until_ready(&b"listening on 127.0.0.1:1\nready\nmore\n"[..]).await.expect("bytes can be read"));
        assert!(!wait_until_ready(&b"listening on 127.0.0.1:1\nalready\n"[..]).await.expect("bytes can be read"));
    }

    #[tokio::test]
    async fn a_program_that_ends_before_it_is_ready_is_told_with_its_last_words() {
        let place = Place::new("/bin/cat".into(), Vec::new(), &std::env::temp_dir()).expect("a place");
        let Err(error) = place.start().await else { panic!("`cat` is no host") };
        let error = error.to_string();
        assert!(error.contains("exit status: 1") && error.contains("cat: "), "{error}");
    }
}
