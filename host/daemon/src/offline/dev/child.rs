//! Processes of this very program, which never outlive the one that started them.

use std::io;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use tokio::process::Command;

/// This program, as the child that `name` says.
pub(super) fn this_program(name: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(name).arg(std::process::id().to_string()).kill_on_drop(true);
    command
}

/// In the child: has it sent a SIGTERM when its parent dies. The parent must have started it on its main thread.
pub(super) fn bind_to_parent(parent: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let parent = i32::try_from(parent).ok().and_then(Pid::from_raw);
    if parent.is_none() || getppid() != parent {
        // It died before that, or somebody else calls.
        return Err(io::Error::other("this is how `taskhost dev` starts itself; it is not for people"));
    }
    Ok(())
}
