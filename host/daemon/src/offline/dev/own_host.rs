//! A host for one session of `taskhost dev`: the real one, in a temporary folder, on a Unix socket in it, and for nobody else. It goes
//! by no configuration file, and is gone at the end with all that it kept.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use taskhost_cli::addr::HostAddr;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout};

use super::child::{bind_to_parent, this_program};
use super::trouble::Trouble;
use crate::config::{Config, Layer, Surroundings};
use crate::shutdown::Signals;
use crate::{fragment, serve};

/// What `taskhost dev` starts itself with for a host of its own.
pub(crate) const DEV_HOST: &str = "dev-host";

/// How long runs may go on when it is stopped.
const GRACE: &str = "1s";

/// What it logs where TASKHOST_LOG says nothing: of runs that fail is told already, and the rest is for operators.
const LOG: &str = "error";

/// Its socket, in its folder.
const SOCKET: &str = "sock";

/// What a host prints when it can be called.
const READY: &str = "ready";

/// A host that runs until it is stopped. Dropped, it is killed.
pub(super) struct OwnHost {
    child: Child,
    /// Open as long as the host runs, so that nothing it prints fails.
    _stdout: BufReader<ChildStdout>,
    // The last: what is in it is removed when the host has ended.
    dir: TempDir,
}

impl OwnHost {
    /// Starts one, and waits until it can be called.
    pub(super) async fn start(secrets_dir: Option<&Path>) -> Result<Self, Trouble> {
        let failed = |error| {
            Trouble::failed(format!("failed to start a host in a temporary folder: {}", fragment(&error)))
                .with_hint("TMPDIR says where the folder is made")
        };
        let dir = tempfile::Builder::new().prefix("taskhost-dev-").tempdir().map_err(failed)?;
        let mut command = this_program(DEV_HOST);
        command.arg(dir.path()).args(secrets_dir).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let mut stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let mut line = String::new();
        while line.trim_end() != READY {
            line.clear();
            if stdout.read_line(&mut line).await.map_err(failed)? == 0 {
                // It has said why.
                child.wait().await.map_err(failed)?;
                return Err(Trouble::failed("failed to start a host in a temporary folder".to_owned()).with_hint(
                    "TMPDIR says where the folder is made, which needs a short path, since a socket is in it",
                ));
            }
        }
        Ok(Self { child, _stdout: stdout, dir })
    }

    pub(super) fn addr(&self) -> HostAddr {
        HostAddr::Unix(self.dir.path().join(SOCKET))
    }

    /// Waits until it ends by itself, which it should not.
    pub(super) async fn ended(&mut self) -> Trouble {
        let status = self.child.wait().await.map(|status: ExitStatus| status.to_string());
        Trouble::failed(format!("the host of its own ended: {}", status.unwrap_or_else(|error| fragment(&error))))
    }

    /// Stops it as an operator does; at once after a second signal.
    pub(super) async fn stop(mut self, signals: &mut Signals) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)) {
            // It fails where it has ended.
            kill_process(pid, Signal::TERM).ok();
        }
        let end = async { drop(self.child.wait().await) };
        if signals.during(end).await.is_some() {
            self.child.kill().await.ok();
        }
    }
}

/// What `taskhost dev` starts: the host.
pub(crate) fn serve_in_child(parent: u32, dir: PathBuf, secrets_dir: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    bind_to_parent(parent)?;
    let ended = serve::serve_with(config(dir.clone(), secrets_dir)?);
    // The parent does so too. It may have died.
    std::fs::remove_dir_all(dir).ok();
    ended
}

fn config(dir: PathBuf, secrets_dir: Option<PathBuf>) -> anyhow::Result<Config> {
    let layer = Layer {
        socket: Some(dir.join(SOCKET)),
        data_dir: Some(dir),
        listen: Some(Vec::new()),
        grace: Some(GRACE.to_owned()),
        echo: Some(false),
        // An empty path is no folder at all.
        secrets_dir: Some(secrets_dir.unwrap_or_default()),
        // What `taskhost run` runs.
        wasi_0_3: Some(true),
        ..Layer::default()
    };
    let variable =
        |name: &str| (name == "TASKHOST_LOG").then(|| std::env::var_os(name).unwrap_or_else(|| OsString::from(LOG)));
    let surroundings = Surroundings { config_home: None, ..Surroundings::of_process() };
    Ok(Config::load(layer, None, variable, &surroundings)?)
}
