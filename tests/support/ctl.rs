//! `taskctl` against a host.

use super::host::Host;
use super::process::{Followed, Ran, run_to_end};

impl Host<'_> {
    /// Runs `taskctl` to its end.
    #[track_caller]
    pub(crate) fn ctl<S: AsRef<str>>(&self, args: &[S]) -> Ran {
        run_to_end(&mut self.ctl_command(args))
    }

    /// Runs `taskctl`, which must succeed; what it printed.
    #[track_caller]
    pub(crate) fn ok<S: AsRef<str>>(&self, args: &[S]) -> String {
        self.ctl(args).ok().stdout
    }

    /// Runs `taskctl -o json`, which must succeed.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        self.ctl(&[&["-o", "json"], args].concat()).ok().json()
    }

    /// A `taskctl` that goes on.
    #[track_caller]
    pub(crate) fn follow(&self, args: &[&str]) -> Followed {
        Followed::spawn(&mut self.ctl_command(args))
    }

    fn ctl_command<S: AsRef<str>>(&self, args: &[S]) -> std::process::Command {
        let mut command = self.env.taskctl(args);
        command.env("TASKHOST_HOST", format!("unix:{}", self.env.socket().display()));
        command
    }
}
