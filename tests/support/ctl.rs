//! `taskctl` against a host.

use std::fs::File;
use std::path::Path;

use serde_json::Value;

use super::host::Host;
use super::process::{Followed, Ran, run_reading, run_to_end};
use super::{eventually, probe};

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

    /// Runs `taskctl` to its end, with a file as its standard input.
    #[track_caller]
    pub(crate) fn ctl_reading(&self, args: &[&str], stdin: &Path) -> Ran {
        let stdin = File::open(stdin).expect("the test has written it");
        run_reading(&mut self.ctl_command(args), stdin.into())
    }

    /// Adds a task of the probe: `flags` before what the probe is told.
    #[track_caller]
    pub(crate) fn add_probe(&self, name: &str, flags: &[&str], told: &[&str]) {
        self.add_plugin(name, &probe(), flags, told);
    }

    /// Adds a task of a plugin in a file.
    #[track_caller]
    pub(crate) fn add_plugin(&self, name: &str, wasm: &Path, flags: &[&str], args: &[&str]) {
        let wasm = wasm.to_str().expect("the checkout has a path of UTF-8");
        self.ok(&[&["add", name, "--wasm", wasm], flags, &["--"], args].concat());
    }

    /// The runs of a task, newest first.
    #[track_caller]
    pub(crate) fn runs(&self, name: &str) -> Vec<Value> {
        let runs = self.call("TaskUnit.Runs", serde_json::json!({ "name": name, "limit": 1000 }));
        runs["runs"].as_array().expect("runs").clone()
    }

    /// Waits for a run of a task.
    #[track_caller]
    pub(crate) fn wait_run(&self, name: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{name} has a run: {what}"), || self.runs(name).into_iter().find(&is_it))
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
