//! Others that make ticks, each by other means, beside the raw engine loop and the host: `host/bench/peers` has them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use tokio::process::Command;

use super::{Bench, EVERY, TASKS, ticks};
use crate::loaded::Load;
use crate::report::{Section, Unit};

/// Where they are, in the checkout that this program was built from.
const PEERS_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peers");

/// How long one may take beyond what is measured: to make its tasks, and to warm up.
const SLACK: Duration = Duration::from_secs(120);

const PEERS: [Peer; 4] = [
    Peer { folder: "extism", tool: Tool::Cargo },
    Peer { folder: "process", tool: Tool::Cargo },
    Peer { folder: "tokio-cron-scheduler", tool: Tool::Cargo },
    Peer { folder: "go-ticker", tool: Tool::Go },
];

struct Peer {
    folder: &'static str,
    tool: Tool,
}

/// What builds it.
#[derive(Clone, Copy, Debug)]
enum Tool {
    Cargo,
    Go,
}

/// What it says of itself: the README of the peers has the members.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Figures {
    ticks_per_second: f64,
    #[serde(default)]
    due_per_second: Option<f64>,
    cpu_per_tick_us: f64,
    #[serde(default)]
    bytes_per_task: Option<f64>,
    #[serde(default)]
    lateness_p50_ms: Option<f64>,
    #[serde(default)]
    lateness_p99_ms: Option<f64>,
}

pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Section> {
    // As often as theirs.
    let load = Load { every: EVERY, ..bench.load(TASKS, EVERY) };
    // All are built before anything is measured.
    let mut programs = Vec::new();
    for peer in &PEERS {
        eprintln!("taskbench: building {}", peer.folder);
        programs.push((peer, peer.build().await));
    }
    let (loaded, raw_loop) = ticks::measure(bench, load).await?;
    let host = Figures {
        ticks_per_second: loaded.window.per_second(loaded.window.ran()),
        due_per_second: Some(load.due_per_second()),
        cpu_per_tick_us: loaded.cpu_per_tick_us(),
        bytes_per_task: Some(loaded.bytes_per_task()),
        lateness_p50_ms: Some(loaded.guests_lateness_ms(0.5)),
        lateness_p99_ms: Some(loaded.guests_lateness_ms(0.99)),
    };

    let title = format!("others that make ticks; where tasks are due, {} of them, every second", load.tasks);
    let flags = format!("--tasks {} --seconds {}", load.tasks, bench.args.seconds);
    let mut section = Section::new(title, bench.command("peers", &flags));
    raw_loop.show(&mut section);
    host.show("taskhost", &host, &mut section);
    for (peer, program) in programs {
        let figures = match program {
            Ok(program) => run(&program, load.tasks, load.measured).await,
            Err(error) => Err(error),
        };
        match figures {
            Ok(figures) => figures.show(peer.folder, &host, &mut section),
            Err(error) => section.note(format!("{}: not measured: {error:#}", peer.folder)),
        }
    }
    Ok(section)
}

impl Peer {
    /// Builds it; answers where its program is.
    async fn build(&self) -> anyhow::Result<PathBuf> {
        let dir = Path::new(PEERS_DIR).join(self.folder);
        ensure!(dir.is_dir(), "there is no {}: run it in the checkout", dir.display());
        let target = Path::new(PEERS_DIR).join("target");
        let (mut command, program) = match self.tool {
            Tool::Cargo => {
                let mut command = Command::new("cargo");
                command.args(["build", "--quiet", "--release", "--locked", "--target-dir"]).arg(&target);
                (command, target.join("release").join(format!("peer-{}", self.folder)))
            }
            Tool::Go => {
                let program = target.join(self.folder);
                let mut command = Command::new("go");
                command.args(["build", "-o"]).arg(&program).arg(".");
                (command, program)
            }
        };
        let built = command.current_dir(&dir).stdin(Stdio::null()).kill_on_drop(true).output().await;
        let built = built.with_context(|| format!("there is no {}", self.tool.name()))?;
        ensure!(built.status.success(), "{} failed: {}", self.tool.name(), last_line(&built.stderr));
        Ok(program)
    }
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Cargo => "`cargo`",
            Self::Go => "`go`",
        }
    }
}

impl Figures {
    fn show(&self, name: &'static str, host: &Self, section: &mut Section) {
        if let Some(due) = self.due_per_second {
            section.figure(format!("{name}: due times"), due, Unit::PerSecond);
        }
        section.figure(format!("{name}: ticks"), self.ticks_per_second, Unit::PerSecond);
        section.figure(format!("{name}: CPU per tick"), self.cpu_per_tick_us, Unit::Us);
        if self != host {
            let over_host = self.cpu_per_tick_us / host.cpu_per_tick_us;
            section.figure(format!("{name}: over the host's"), over_host, Unit::Times);
        }
        if let Some(bytes) = self.bytes_per_task {
            section.figure(format!("{name}: memory per task"), bytes / 1024.0, Unit::KiB);
        }
        if let (Some(p50), Some(p99)) = (self.lateness_p50_ms, self.lateness_p99_ms) {
            section.figure(format!("{name}: lateness p50"), p50, Unit::Ms);
            section.figure(format!("{name}: lateness p99"), p99, Unit::Ms);
        }
    }
}

async fn run(program: &Path, tasks: u32, measured: Duration) -> anyhow::Result<Figures> {
    let mut command = Command::new(program);
    command.arg(tasks.to_string()).arg(measured.as_secs().to_string());
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match tokio::time::timeout(measured + SLACK, output).await {
        Ok(output) => output.with_context(|| format!("failed to start {}", program.display()))?,
        Err(_) => bail!("it has not come to an end after {} s", (measured + SLACK).as_secs()),
    };
    ensure!(output.status.success(), "it ended with {}: {}", output.status, last_line(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).with_context(|| format!("it said `{}`", text.trim_end()))
}

fn last_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.trim_end().lines().last().unwrap_or("it said nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_may_leave_out_what_it_does_not_have() {
        let text = r#"{"ticks_per_second": 5000.1, "cpu_per_tick_us": 199.9}"#;
        let figures: Figures = serde_json::from_str(text).expect("all that is needed");
        assert_eq!((figures.cpu_per_tick_us, figures.due_per_second), (199.9, None));
        let misspelt = r#"{"ticks_per_second": 5000.1, "cpu_per_tick_us": 199.9, "lateness_ms": 1}"#;
        assert!(serde_json::from_str::<Figures>(misspelt).is_err());
    }

    #[test]
    fn every_peer_has_its_folder() {
        for peer in &PEERS {
            assert!(Path::new(PEERS_DIR).join(peer.folder).is_dir(), "{}", peer.folder);
        }
    }

    #[tokio::test]
    async fn one_that_fails_is_told_with_its_last_words() {
        let error = run(Path::new("/bin/false"), 1, Duration::ZERO).await.expect_err("it fails");
        assert_eq!(error.to_string(), "it ended with exit status: 1: it said nothing");
        let error = run(Path::new("/bin/echo"), 1, Duration::ZERO).await.expect_err("that is no JSON object");
        assert_eq!(error.to_string(), "it said `1 0`");
    }
}
