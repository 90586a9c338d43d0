//! One build. It runs in a process group of its own, below a process of ours that ends the group when `taskhost dev` dies: what a
//! command starts is more than one process, and none of them is to be left.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_current_process_group, kill_process_group};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::child::{bind_to_parent, this_program};
use crate::fragment;

/// What `taskhost dev` starts itself with for a build.
pub(crate) const DEV_BUILD: &str = "dev-build";

/// How a shell tells that a signal ended a program: this, and the signal's number.
const SIGNALLED: i32 = 128;

/// What a shell answers with where the program may not be executed, and where there is none.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// Why there is no new plugin.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    #[error("the build failed with exit code {0}")]
    Failed(i32),
    #[error("the build was ended by signal {0}")]
    Signalled(i32),
    #[error("failed to start the build: {}", fragment(.0))]
    Start(io::Error),
}

impl BuildError {
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Failed(NOT_EXECUTABLE) => Some("let it be executed: `chmod +x build.sh`"),
            Self::Failed(NOT_FOUND) => {
                Some("a program that the build calls is not there: install it, or put it into the PATH")
            }
            _ => None,
        }
    }
}

/// Runs a command in a folder by `sh`. What it prints goes to stderr. Dropped, it is ended at once.
pub(super) async fn build(command: &str, dir: &Path) -> Result<(), BuildError> {
    let mut building = Building::start(command, dir).map_err(BuildError::Start)?;
    let status = building.child.wait().await.map_err(BuildError::Start)?;
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (_, Some(signal)) => Err(BuildError::Signalled(signal)),
        (Some(code), _) if code > SIGNALLED => Err(BuildError::Signalled(code - SIGNALLED)),
        (code, _) => Err(BuildError::Failed(code.unwrap_or_default())),
    }
}

struct Building {
    child: Child,
}

impl Building {
    fn start(command: &str, dir: &Path) -> io::Result<Self> {
        let child = this_program(DEV_BUILD)
            .arg("--")
            .arg(command)
            .current_dir(dir)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(io::stderr())
            .spawn()?;
        Ok(Self { child })
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // No id is left when it was waited for; what it has left in the background is there by intent.
        let group = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(group) = group {
            // It fails where all of them have ended.
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

/// Finds this very program too, where the PATH has none: a build that packs needs one.
fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command);
    let here = std::env::current_exe().ok().and_then(|program| Some(program.parent()?.to_owned()));
    if let (Some(path), Some(here)) = (std::env::var_os("PATH"), here)
        && let Ok(path) = std::env::join_paths(std::env::split_paths(&path).chain([here]))
    {
        shell.env("PATH", path);
    }
    shell
}

/// What `taskhost dev` starts for each build.
pub(crate) fn build_in_child(parent: u32, command: &str) -> anyhow::Result<std::process::ExitCode> {
    bind_to_parent(parent)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status: io::Result<ExitStatus> = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut command = shell(command);
        let mut child = command.spawn()?;
        tokio::select! {
            status = child.wait() => status,
            _ = terminate.recv() => {
                kill_current_process_group(Signal::KILL)?;
                child.wait().await
            }
        }
    });
    let status = status.map_err(|error| anyhow::anyhow!("failed to run `sh`: {}", fragment(&error)))?;
    let code = status.code().or_else(|| Some(SIGNALLED + status.signal()?)).unwrap_or(1);
    Ok(std::process::ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}
