//! A world of its own for one test: a temporary home, and an environment with nothing in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::host::Host;
use super::process::{Ran, run_to_end};

/// What the test's programs see of the machine. Gone, with all that is in it, when it is dropped.
pub(crate) struct TestEnv {
    dir: TempDir,
}

impl TestEnv {
    pub(crate) fn new() -> Self {
        // Short, since it is the beginning of a Unix socket's path, which has a bound of about 100 bytes.
        Self { dir: tempfile::Builder::new().prefix("th-").tempdir().expect("a temporary directory can be made") }
    }

    /// A path in this world.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file in this world; its path.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("the temporary directory can be written");
        path
    }

    /// Where hosts keep everything.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path("data")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("sock")
    }

    /// The real `taskhost`, in this world.
    pub(crate) fn taskhost<S: AsRef<str>>(&self, args: &[S]) -> Command {
        self.command(env!("CARGO_BIN_EXE_taskhost"), args)
    }

    /// The real `taskctl`, in this world.
    pub(crate) fn taskctl<S: AsRef<str>>(&self, args: &[S]) -> Command {
        self.command(env!("CARGO_BIN_EXE_taskctl"), args)
    }

    /// Runs `taskhost` to its end.
    pub(crate) fn run_taskhost<S: AsRef<str>>(&self, args: &[S]) -> Ran {
        run_to_end(&mut self.taskhost(args))
    }

    /// Runs `taskctl` to its end.
    pub(crate) fn run_taskctl<S: AsRef<str>>(&self, args: &[S]) -> Ran {
        run_to_end(&mut self.taskctl(args))
    }

    /// A `taskhost serve` on this world's data directory, with port 0 and a Unix socket; not started.
    pub(crate) fn serve(&self) -> Command {
        let mut serve = self.taskhost(&["serve", "--listen", "127.0.0.1:0", "--workers", "2"]);
        serve.arg("--data-dir").arg(self.data_dir()).arg("--socket").arg(self.socket());
        serve
    }

    /// A host on this world's data directory, ready.
    #[track_caller]
    pub(crate) fn host(&self) -> Host<'_> {
        Host::start(self, self.serve())
    }

    /// The same with further options.
    #[track_caller]
    pub(crate) fn host_with(&self, options: &[&str]) -> Host<'_> {
        let mut serve = self.serve();
        serve.args(options);
        Host::start(self, serve)
    }

    /// Runs a host that is expected to end by itself.
    pub(crate) fn run_host(&self, options: &[&str]) -> Ran {
        let mut serve = self.serve();
        serve.args(options);
        run_to_end(&mut serve)
    }

    fn command<S: AsRef<str>>(&self, program: &str, args: &[S]) -> Command {
        let mut command = Command::new(program);
        command.args(args.iter().map(AsRef::as_ref)).env_clear().current_dir(self.root());
        for (variable, dir) in [
            ("HOME", "home"),
            ("XDG_CONFIG_HOME", "config"),
            ("XDG_DATA_HOME", "share"),
            ("XDG_RUNTIME_DIR", "run"),
            ("TMPDIR", "tmp"),
        ] {
            let dir = self.path(dir);
            std::fs::create_dir_all(&dir).expect("the temporary directory can be written");
            command.env(variable, dir);
        }
        command
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }
}
