//! `taskhost run`: a plugin with no host around it, for those who write one.
//!
//! The same engine, limits and contract as in a host; no store, no schedule: every tick is due when the one before has ended.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use taskhost_api::{Dir, DirText, Pair};
use taskhost_core::events::{Event, EventBus, EventKind, EventStream, Next};
use taskhost_core::log::{LogLine, Stream, TaskLog};
use taskhost_core::name::TaskName;
use taskhost_core::outcome::{Outcome, Reason, RunId, RunKey, RunReport, TaskId};
use taskhost_core::plugin::{PluginError, PluginRef};
use taskhost_core::ports::{Attempt, Clock, Engine, RunControl, Runner, SystemClock};
use taskhost_core::schedule::Zone;
use taskhost_core::spec::{DirGrant, GrantsText, SpecPatch, TaskSpec};

use super::{engine_for, read_plugin};
use crate::args::{GrantArgs, RunArgs};
use crate::echo::printable;
use crate::failed_to;
use crate::rpc::errors::CRASHED_HINT;

pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 success; a command's own exit code; 1 the task failed, or the file can't be read; 65 a host would refuse the \
plugin; 70 it trapped, timed out, hit a limit or could not be run; 2 wrong usage.";

/// The guest said that it failed, and no more.
const FAILED: u8 = 1;
/// As `EX_USAGE` of clap.
const USAGE: u8 = 2;
/// `EX_DATAERR` of sysexits.h: the plugin is refused.
const REFUSED: u8 = 65;
/// `EX_SOFTWARE` of sysexits.h: the guest did not come to an end of its own.
const BROKEN: u8 = 70;

/// The only task there is.
const TASK: TaskId = 0;

/// The name of the task if the file's name is none.
const FALLBACK_NAME: &str = "run";

pub(crate) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let wasm = read_plugin(&args.file)?;
    let (name, spec) = match task(&args) {
        Ok(task) => task,
        Err(error) => {
            eprintln!("taskhost: {error:#}");
            return Ok(ExitCode::from(USAGE));
        }
    };
    // As a worker's: a guest that never waits must not keep its deadline from being seen.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(1)
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(run_ticks(wasm, name, spec, args))
}

/// The task that the arguments ask for, but its plugin.
fn task(args: &RunArgs) -> anyhow::Result<(TaskName, TaskSpec)> {
    let stem = args.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let name = TaskName::new(stem).or_else(|_| TaskName::new(FALLBACK_NAME))?;
    let patch = SpecPatch {
        timeout: Some(args.timeout.clone()),
        memory_bytes: Some(args.memory.map(|size| size.0)),
        args: Some(Some(args.args.clone())),
        grants: Some(Some(grants(&args.grants)?)),
        limits: Some(Some(args.limits.iter().filter_map(|limit| Some((limit.name.clone(), limit.value?))).collect())),
        instance: Some(args.instance.clone()),
        ..SpecPatch::default()
    };
    Ok((name, TaskSpec::default().patched(patch, &Zone::utc())?))
}

/// What is granted; relative paths are told from the working folder.
fn grants(args: &GrantArgs) -> anyhow::Result<GrantsText> {
    let GrantArgs { env, dirs, hosts, config, secrets, kv } = args;
    let pairs = |pairs: &[Pair]| pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
    let here = || {
        let here = std::env::current_dir().context("failed to find the working folder")?;
        here.into_os_string().into_string().map_err(|here| anyhow!("the working folder {} is no UTF-8", here.display()))
    };
    let dir = |dir: &DirText| {
        let base = if dir.host.starts_with('/') { String::new() } else { here()? };
        let Dir { host, guest, read_only } = dir.clone().into_dir(&base);
        anyhow::Ok(DirGrant { host, guest, read_only })
    };
    Ok(GrantsText {
        env: pairs(env),
        dirs: dirs.iter().map(dir).collect::<Result<_, _>>()?,
        hosts: hosts.clone(),
        config: pairs(config),
        secrets: secrets.clone(),
        kv: *kv,
    })
}

async fn run_ticks(wasm: Bytes, name: TaskName, mut spec: TaskSpec, args: RunArgs) -> anyhow::Result<ExitCode> {
    let engine = engine_for(wasm.clone(), crate::compiler(), args.secrets_dir).map_err(failed_to)?;
    let facts = match engine.admit(wasm).await {
        Ok(facts) => facts,
        Err(error) => return Ok(refuse(&error)),
    };
    if let Err(fault) = engine.check_grants(spec.grants().clone()).await {
        eprintln!("taskhost: {}\nhint: {}", printable(&fault.message), printable(&fault.hint));
        return Ok(ExitCode::from(USAGE));
    }
    spec.plugin = PluginRef::Sha256(facts.sha256);
    let spec = Arc::new(spec);
    let job = match engine.prepare(0, Arc::clone(&spec)).await {
        Ok(job) => job,
        Err(error) => return Ok(refuse(&error)),
    };
    let runner = engine.runner(0);

    let bus = EventBus::new();
    let log = TaskLog::detached_on(TASK, name.clone(), bus.clone());
    let printer = Printer::spawn(bus.subscribe(true), Arc::clone(&log)).context("failed to start a thread")?;
    let mut last = RunReport::of(Outcome::Success);
    let mut since = None;
    for _ in 0..args.ticks {
        let due = SystemClock.now();
        let attempt = Attempt {
            task: name.clone(),
            run_id: RunId { task: TASK, key: RunKey::of(due) },
            number: 1,
            since,
            reason: Reason::Manual,
            trigger: None,
            due_local: None,
            timeout: spec.timeout(),
            control: Arc::new(RunControl::default()),
            log: Arc::clone(&log),
        };
        last = runner.run(&job, attempt).await;
        if last.outcome != Outcome::Success {
            break;
        }
        since = Some(due);
    }
    bus.publish(|| Event { time: SystemClock.now(), kind: EventKind::Shutdown });
    printer.finish();
    tell(&last);
    Ok(ExitCode::from(exit_code(&last)))
}

fn refuse(error: &PluginError) -> ExitCode {
    eprintln!("taskhost: {}", printable(&error.to_string()));
    match error {
        PluginError::Invalid { hint: Some(hint), .. } => eprintln!("hint: {}", printable(hint)),
        PluginError::Crashed(_) => eprintln!("hint: {CRASHED_HINT}"),
        _ => {}
    }
    ExitCode::from(REFUSED)
}

/// Says how the last tick ended, on stderr: stdout is the guest's.
fn tell(report: &RunReport) {
    let more = report.detail.as_deref().or(report.result.as_deref()).map(printable);
    match (report.outcome, more) {
        (Outcome::Success, None) => {}
        (outcome, None) => eprintln!("taskhost: {outcome}"),
        (outcome, Some(more)) => eprintln!("taskhost: {outcome}: {more}"),
    }
}

fn exit_code(report: &RunReport) -> u8 {
    match (report.outcome, report.exit_code) {
        (Outcome::Success, _) => 0,
        // A system keeps eight bits of an exit code; a failure must not become success by that.
        (_, Some(code)) => u8::try_from(code & 0xff).ok().filter(|code| *code != 0).unwrap_or(FAILED),
        (Outcome::Error, None) => FAILED,
        (_, None) => BROKEN,
    }
}

/// Writes a guest's lines out, on a thread of its own: the guest's does not wait for stdout.
struct Printer(JoinHandle<()>);

impl Printer {
    fn spawn(events: EventStream, log: Arc<TaskLog>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let print = move || runtime.block_on(print_lines(events, &log));
        Ok(Self(std::thread::Builder::new().name("printer".to_owned()).spawn(print)?))
    }

    fn finish(self) {
        if self.0.join().is_err() {
            eprintln!("taskhost: the thread that prints panicked; output is lost");
        }
    }
}

async fn print_lines(mut events: EventStream, log: &TaskLog) {
    let (raw_stdout, raw_stderr) = (!io::stdout().is_terminal(), !io::stderr().is_terminal());
    let mut seen = 0;
    let mut print = |line: &LogLine| {
        if line.seq <= seen {
            return;
        }
        if line.seq > seen + 1 {
            eprintln!(
                "taskhost: {} lines are lost: the guest wrote faster than they could be printed",
                line.seq - seen - 1
            );
        }
        seen = line.seq;
        // A terminal is not the guest's to steer; a file or pipe gets what the guest wrote.
        let text = |raw: bool| if raw { line.text.clone() } else { printable(&line.text) };
        // Who closed our stdout does not want to know.
        match line.stream {
            Stream::Stdout => drop(writeln!(io::stdout(), "{}", text(raw_stdout))),
            Stream::Stderr | Stream::Host => drop(writeln!(io::stderr(), "{}", text(raw_stderr))),
            Stream::Log(level) => drop(writeln!(io::stderr(), "{}: {}", level.as_str(), text(raw_stderr))),
        }
    };
    loop {
        match events.next().await {
            Next::Event(event) => match &event.kind {
                EventKind::Log { line, .. } => print(line),
                EventKind::Shutdown => return,
                _ => {}
            },
            // The log still has the newest of what passed by.
            Next::Lagged(_) => log.tail(0, usize::MAX).iter().for_each(&mut print),
            Next::Closed => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use taskhost_core::spec::{InstancePolicy, Limit};

    use super::*;
    use crate::args::{Cli, Command};

    fn task_of(words: &[&str]) -> anyhow::Result<(TaskName, TaskSpec)> {
        let cli = Cli::try_parse_from([&["taskhost", "run"], words].concat()).expect("a command line");
        match cli.command {
            Some(Command::Run(args)) => task(&args),
            other => panic!("another command: {other:?}"),
        }
    }

    fn name_for(file: &str) -> String {
        task_of(&[file]).expect("valid").0.to_string()
    }

    #[test]
    fn the_exit_code_is_the_guests_where_it_has_one() {
        let code = |outcome, exit_code| super::exit_code(&RunReport { exit_code, ..RunReport::of(outcome) });
        assert_eq!(code(Outcome::Success, Some(0)), 0);
        assert_eq!(code(Outcome::Error, Some(42)), 42);
        assert_eq!(code(Outcome::Error, Some(256)), FAILED, "a failure is never success");
        assert_eq!(code(Outcome::Error, Some(-1)), 255);
        assert_eq!(code(Outcome::Error, None), FAILED);
        assert_eq!(code(Outcome::Trapped, None), BROKEN);
        assert_eq!(code(Outcome::TimedOut, None), BROKEN);
    }

    #[test]
    fn the_task_is_named_after_the_file_where_that_is_a_name() {
        assert_eq!(name_for("/tmp/hello.wasm"), "hello");
        assert_eq!(name_for("/tmp/-x.wasm"), FALLBACK_NAME);
    }

    #[test]
    fn a_plugin_is_granted_and_limited_as_a_task_is() {
        let words = "a.wasm --env A=b --dir data --dir /srv::/x:ro --allow-host example.com:443 --config c=d --secret key --kv \
                     --limit cpu_ms=5s --limit log_lines=default --memory 1MiB --instance keep";
        let (_, spec) = task_of(&words.split_whitespace().collect::<Vec<_>>()).expect("valid");
        let here = std::env::current_dir().expect("a working folder").join("data");
        let dir = |host: &str, guest: &str, read_only| DirGrant { host: host.into(), guest: guest.into(), read_only };
        let grants = spec.grants();
        assert_eq!(grants.dirs, [dir(here.to_str().expect("UTF-8"), "data", false), dir("/srv", "/x", true)]);
        assert_eq!((grants.env["A"].as_str(), grants.config["c"].as_str(), grants.kv), ("b", "d", true));
        assert_eq!((grants.hosts[0].to_string().as_str(), grants.secrets[0].as_str()), ("example.com:443", "key"));
        assert_eq!((spec.own_limit(Limit::CpuMs), spec.own_limit(Limit::LogLines)), (Some(5000), None));
        assert_eq!((spec.own_limit(Limit::MemoryBytes), spec.instance()), (Some(1 << 20), InstancePolicy::Keep));
        for (words, told) in [
            (&["a.wasm", "--allow-host", "example.com"][..], "it has no port"),
            (&["a.wasm", "--dir", "/a/../b"], "has no `..`"),
            (&["a.wasm", "--limit", "lines=5"], "`lines` is no limit; limits are"),
            (&["a.wasm", "--limit", "handles=0"], "it must be from 1 to 100000"),
            (&["a.wasm", "--instance", "warm"], "it is one of fresh and keep"),
        ] {
            let refused = task_of(words).expect_err("refused").to_string();
            assert!(refused.contains(told), "{words:?}: {refused}");
        }
    }
}
