//! `taskhost run`: a plugin with no host around it, for those who write one.
//!
//! The same engine, limits and contract as in a host, and no store. Ticks are due by a schedule, which is waited for or passed over, or
//! each when the one before has ended. `docs/testing.md` tells it to users.

mod due;
mod printer;
mod record;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use taskhost_api::{Dir, DirText, Pair};
use taskhost_core::events::{Event, EventBus, EventKind};
use taskhost_core::key_value::{KeyValue, MemoryKeyValue};
use taskhost_core::log::TaskLog;
use taskhost_core::name::TaskName;
use taskhost_core::outcome::{Outcome, Reason, RunId, RunKey, RunReport, TaskId};
use taskhost_core::plugin::{PluginError, PluginRef};
use taskhost_core::ports::{Attempt, Engine, RunControl, Runner};
use taskhost_core::schedule::Zone;
use taskhost_core::spec::{DirGrant, GrantsText, SpecPatch, TaskSpec};
use taskhost_engine::{EngineConfig, WasmEngine};

use self::due::{DueTimes, RunClock, schedule};
use self::printer::Printer;
use self::record::{Recorder, Target};
use super::{engine_config, read_plugin};
use crate::args::{GrantArgs, RunArgs};
use crate::echo::printable;
use crate::failed_to;
use crate::rpc::errors::CRASHED_HINT;
use crate::shutdown::Signals;

pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 success; a command's own exit code; 1 the task failed, or a file can't be read or written; 65 a host would refuse \
the plugin; 70 it trapped, timed out, hit a limit or could not be run; 130 or 143 a signal stopped it; 2 wrong usage.";

/// The guest said that it failed, and no more.
const FAILED: u8 = 1;
/// As `EX_USAGE` of clap.
const USAGE: u8 = 2;
/// `EX_DATAERR` of sysexits.h: the plugin is refused.
const REFUSED: u8 = 65;
/// `EX_SOFTWARE` of sysexits.h: the guest did not come to an end of its own.
const BROKEN: u8 = 70;
/// As shells tell that a signal ended a program.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// The only task there is.
const TASK: TaskId = 0;

/// The name of the task if the file's name is none.
const FALLBACK_NAME: &str = "run";

/// Arguments that do not go together, or say nothing that can be done.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Misuse {
    message: String,
    hint: &'static str,
}

impl Misuse {
    pub(super) fn new(message: impl ToString, hint: &'static str) -> Self {
        Self { message: message.to_string(), hint }
    }

    pub(super) fn tell(error: &anyhow::Error) -> ExitCode {
        eprintln!("taskhost: {}", printable(&format!("{error:#}")));
        if let Some(Self { hint, .. }) = error.downcast_ref::<Self>() {
            eprintln!("hint: {hint}");
        }
        ExitCode::from(USAGE)
    }
}

pub(crate) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let wasm = read_plugin(&args.file)?;
    let (name, spec, clock) = match task(&args).and_then(|(name, spec)| Ok((name, spec, RunClock::of(&args)?))) {
        Ok(task) => task,
        Err(error) => return Ok(Misuse::tell(&error)),
    };
    let recorder = args.record.as_deref().map(Target::check).transpose()?.map(Recorder::new);
    // As a worker's: a guest that never waits must not keep its deadline from being seen.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(1)
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(run_ticks(wasm, name, spec, clock, recorder, args))
}

/// The task that the arguments ask for, but its plugin.
fn task(args: &RunArgs) -> anyhow::Result<(TaskName, TaskSpec)> {
    let stem = args.file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let name = TaskName::new(stem).or_else(|_| TaskName::new(FALLBACK_NAME))?;
    let patch = SpecPatch {
        schedules: schedule(args)?.map(|schedule| Some(vec![schedule])),
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

async fn run_ticks(
    wasm: Bytes,
    name: TaskName,
    mut spec: TaskSpec,
    clock: RunClock,
    mut recorder: Option<Recorder>,
    args: RunArgs,
) -> anyhow::Result<ExitCode> {
    let key_values = match &recorder {
        Some(recorder) => recorder.store(),
        None => Arc::<MemoryKeyValue>::default() as Arc<dyn KeyValue>,
    };
    let engine = WasmEngine::new(EngineConfig {
        key_values,
        virtual_time: clock.0.clone(),
        requests: recorder.as_ref().map(Recorder::requests),
        ..engine_config(wasm.clone(), crate::compiler(), args.secrets_dir)
    })
    .map_err(failed_to)?;
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

    let bus = recorder.as_ref().map_or_else(EventBus::new, |recorder| EventBus::with_witness(recorder.witness()));
    let time = clock.clone();
    let log = TaskLog::detached_on(TASK, name.clone(), bus.clone(), move || time.now());
    let mut printer = Printer::spawn(bus.subscribe(true), Arc::clone(&log)).context("failed to start a thread")?;
    let mut signals = Signals::listen().context("failed to listen for signals")?;
    let due_times = DueTimes::new(&spec, clock.now());
    let mut ended = Ended::Unbegun;
    let mut since = None;
    for _ in 0..args.ticks {
        let Some(due) = due_times.next(clock.now()) else {
            if let Ended::Ran(_) = ended {
                eprintln!("taskhost: no further tick is due");
            }
            break;
        };
        if let Some(signal) = signals.during(clock.reach(due)).await {
            ended = Ended::Signal(signal);
            break;
        }
        let attempt = Attempt {
            task: name.clone(),
            run_id: RunId { task: TASK, key: RunKey::of(due) },
            number: 1,
            since,
            reason: if due_times.are_scheduled() { Reason::Schedule } else { Reason::Manual },
            trigger: None,
            due_local: due_times.local(due),
            timeout: spec.timeout(),
            control: Arc::new(RunControl::default()),
            log: Arc::clone(&log),
        };
        let (began, mut run) = (clock.now(), runner.run(&job, attempt.clone()));
        let (report, mut signal) = tokio::select! {
            biased;
            report = &mut run => (report, None),
            signal = signals.next() => {
                attempt.control.stop();
                (run.await, Some(signal))
            }
        };
        if let Some(recorder) = &mut recorder {
            recorder.ended(&attempt, &report, clock.now().since(began));
        }
        if signal.is_none() {
            signal = signals.during(printer.catch_up(log.position().0)).await;
        }
        let is_over = signal.is_some() || report.outcome != Outcome::Success;
        ended = signal.map_or(Ended::Ran(report), Ended::Signal);
        if is_over {
            break;
        }
        since = Some(due);
    }
    bus.publish(|| Event { time: clock.now(), kind: EventKind::Shutdown });
    // Whoever reads our stdout may have stopped reading.
    signals.during(printer.finish()).await;
    if let Some(recorder) = recorder {
        recorder.write(&facts, TASK).await?;
    }
    Ok(ended.tell())
}

/// How the last tick ended.
enum Ended {
    /// There was none: nothing is due any more.
    Unbegun,
    Ran(RunReport),
    /// By its name.
    Signal(&'static str),
}

impl Ended {
    /// Says so on stderr: stdout is the guest's.
    fn tell(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Unbegun => {
                eprintln!("taskhost: no tick is due: all the times that the schedule has are past");
                eprintln!("hint: give another schedule, or an earlier --start");
                USAGE
            }
            Self::Ran(report) => {
                tell(report);
                exit_code(report)
            }
            Self::Signal(signal) => {
                eprintln!("taskhost: stopped by {signal}");
                if *signal == "SIGINT" { INTERRUPTED } else { TERMINATED }
            }
        })
    }
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

/// Says how a tick ended.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use taskhost_core::schedule::parse_time;
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
    fn due_times_follow_the_schedule_past_what_a_clock_that_is_set_forward_skips() {
        // On 28 March 2027 there is no 02:30 in Berlin.
        let words = ["a.wasm", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin"];
        let (_, spec) = task_of(&words).expect("valid");
        let start = parse_time("2027-03-26T12:00:00Z").expect("a time");
        let due_times = DueTimes::new(&spec, start);
        let due: Vec<_> = std::iter::successors(due_times.next(start), |due| due_times.next(*due)).take(2).collect();
        let local: Vec<_> = due.iter().map(|due| due_times.local(*due).expect("it has a zone")).collect();
        assert_eq!(local, ["2027-03-27T02:30:00+01:00", "2027-03-29T02:30:00+02:00"]);

        let (_, spec) = task_of(&["a.wasm", "--every", "90s"]).expect("valid");
        let due_times = DueTimes::new(&spec, start);
        let at = |seconds| start.saturating_add(Duration::from_secs(seconds));
        let due = [0, 89, 90, 200].map(|now| due_times.next(at(now)));
        assert_eq!(due, [at(90), at(90), at(180), at(270)].map(Some));
        assert_eq!(due_times.local(at(90)), None);

        let (_, spec) = task_of(&["a.wasm"]).expect("valid");
        assert_eq!(DueTimes::new(&spec, start).next(at(5)), Some(at(5)), "when the one before has ended");
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
