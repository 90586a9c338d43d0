//! `taskhost run`: a plugin with no host around it, for those who write one.
//!
//! What a trial is, is the test kit's to know; here it gets its flags, prints its lines, and hears signals. `docs/testing.md` tells it to
//! users.

mod args;
mod printer;
mod target;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use taskhost_core::outcome::{Outcome, RunReport};
use taskhost_core::plugin::PluginError;
use taskhost_core::spec::Limit;
use taskhost_core::time::format_duration;
use taskhost_testkit::{Fixture, FixtureError, Session, Trial, TrialError};

pub(crate) use self::args::{EXIT_CODES, RunArgs};
use self::printer::Printer;
use self::target::Target;
use super::{Misuse, USAGE};
use crate::compiler::compiler;
use crate::echo::{printable, printable_lines};
use crate::rpc::errors::CRASHED_HINT;
use crate::secrets::Secrets;
use crate::shutdown::Signals;

/// The guest said that it failed, and no more.
const FAILED: u8 = 1;
/// `EX_DATAERR` of sysexits.h: the plugin is refused.
const REFUSED: u8 = 65;
/// `EX_SOFTWARE` of sysexits.h: the guest did not come to an end of its own.
const BROKEN: u8 = 70;
/// As shells tell that a signal ended a program.
const HUNG_UP: u8 = 129;
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

const EVERY_HINT: &str = "--every takes a rate like `10s`, `5m` or `1h30m`";
const CRON_HINT: &str =
    "--cron takes minute, hour, day, month and weekday, like \"0 6 * * *\", or these with seconds before them";
const ZONE_HINT: &str = "--timezone takes a name like `Europe/Berlin`";
const START_HINT: &str = "--start takes a time like `2027-01-31T03:00:00Z`, from 1970 on";
const NEVER_DUE_HINT: &str = "give another schedule, or an earlier --start";
const FIXTURE_HINT: &str = "docs/testing.md tells what stands in a fixture";

pub(crate) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let planned = Trial::of_file(&args.file).map_err(Into::into).and_then(|trial| planned(trial, &args));
    let trial = match planned {
        Ok(trial) => trial,
        Err(error) => return refuse(error),
    };
    let target = args.record.as_deref().map(Target::check).transpose()?;
    let trial = if target.is_some() { trial } else { trial.unrecorded() };
    // As a worker's: a guest that never waits must not keep its deadline from being seen.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(1)
        .build()
        .context("failed to start the runtime")?;
    runtime.block_on(run_ticks(&trial, args.ticks, target.as_ref()))
}

/// The trial as the arguments ask for it.
fn planned(trial: Trial, args: &RunArgs) -> anyhow::Result<Trial> {
    let trial = match (&args.every, &args.cron, &args.timezone) {
        (Some(_), Some(_), _) => {
            let message = "a plugin is tried by --every or by --cron, not by both";
            return Err(Misuse::new(message, "leave one of them out").into());
        }
        (_, None, Some(_)) => {
            let message = "--timezone is given without --cron";
            return Err(Misuse::new(message, "only due times of --cron have a time zone").into());
        }
        (Some(every), None, None) => trial.every(every),
        (None, Some(cron), None) => trial.cron(cron),
        (None, Some(cron), Some(zone)) => trial.cron_in(cron, zone),
        (None, None, None) => trial,
    };
    let trial = match (args.virtual_time, &args.start) {
        (true, Some(start)) => trial.starting_at(start),
        (true, None) => trial.starting_now(),
        (false, None) => trial.in_real_time(),
        (false, Some(_)) => {
            let message = "--start is given without --virtual-time";
            return Err(Misuse::new(message, "add --virtual-time, or leave it out: real time begins now").into());
        }
    };
    let trial = args.timeout.iter().fold(trial, |trial, timeout| trial.timeout(timeout));
    let trial = args.memory.iter().fold(trial, |trial, size| trial.memory_bytes(size.0));
    let trial = args.instance.iter().fold(trial, |trial, policy| trial.instance(policy));
    let limits = args.limits.iter().filter_map(|limit| Some((&limit.name, limit.value?)));
    let trial = limits.fold(trial, |trial, (name, value)| trial.limit(name, value));
    let fixture = args.fixture.as_deref().map(Fixture::of_file).transpose().map_err(TrialError::Fixture)?;
    let trial = if args.keep_going { trial.keep_going() } else { trial };
    let trial = trial
        .args(args.args.iter().cloned())
        .grants(args.grants.to_text()?)
        .secrets(Arc::new(Secrets::of_process(args.secrets_dir.clone())))
        .fixture(fixture.unwrap_or_default())
        .with_network()
        .compiler(compiler());
    trial.check()?;
    Ok(trial)
}

async fn run_ticks(trial: &Trial, ticks: u32, target: Option<&Target>) -> anyhow::Result<ExitCode> {
    let mut session = match Session::begin(trial).await {
        Ok(session) => session,
        Err(error) => return refuse(error.into()),
    };
    let log = Arc::clone(session.log());
    let mut printer = Printer::spawn(session.events(), Arc::clone(&log)).context("failed to start a thread")?;
    let mut signals = Signals::listen().context("failed to listen for signals")?;
    let mut ended = Ended::Unbegun;
    for _ in 0..ticks {
        let Some(due) = session.next_due() else {
            if let Ended::Ran(_) = ended {
                eprintln!("taskhost: no further tick is due");
            }
            break;
        };
        if let Some(signal) = signals.during(session.reach(due)).await {
            ended = Ended::Signal(signal);
            break;
        }
        let (report, mut signal) = session.tick(due, signals.next()).await;
        if signal.is_none() {
            signal = signals.during(printer.catch_up(log.position().0)).await;
        }
        let is_over = signal.is_some() || session.is_over();
        ended = signal.map_or(Ended::Ran(report), Ended::Signal);
        if is_over {
            break;
        }
    }
    session.end();
    // Whoever reads our stdout may have stopped reading.
    signals.during(printer.finish()).await;
    if let Some(target) = target {
        target.write(&session.record().await?)?;
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
                eprintln!("taskhost: {}", TrialError::NeverDue);
                eprintln!("hint: {NEVER_DUE_HINT}");
                USAGE
            }
            Self::Ran(report) => {
                tell(report);
                exit_code(report)
            }
            Self::Signal(signal) => {
                eprintln!("taskhost: stopped by {signal}");
                match *signal {
                    "SIGHUP" => HUNG_UP,
                    "SIGINT" => INTERRUPTED,
                    _ => TERMINATED,
                }
            }
        })
    }
}

/// Says why nothing was run, if the plugin or the arguments are to blame.
fn refuse(error: anyhow::Error) -> anyhow::Result<ExitCode> {
    let (hint, code) = match (error.downcast_ref(), error.downcast_ref()) {
        (Some(Misuse { hint, .. }), _) => (Some(*hint), USAGE),
        (_, Some(refused)) => match refused {
            TrialError::Every(_) => (Some(EVERY_HINT), USAGE),
            TrialError::Cron(_) => (Some(CRON_HINT), USAGE),
            TrialError::Zone(_) => (Some(ZONE_HINT), USAGE),
            TrialError::Start(_) | TrialError::StartTooEarly(_) => (Some(START_HINT), USAGE),
            TrialError::NeverDue => (Some(NEVER_DUE_HINT), USAGE),
            TrialError::Fixture(FixtureError::Read { .. }) => return Err(error),
            TrialError::Fixture(_) => (Some(FIXTURE_HINT), USAGE),
            TrialError::Spec(_) | TrialError::Grants(_) => (refused.hint(), USAGE),
            TrialError::Plugin(PluginError::Crashed(_)) => (Some(CRASHED_HINT), REFUSED),
            TrialError::Plugin(_) => (refused.hint(), REFUSED),
            TrialError::Read { .. }
            | TrialError::TooLarge(_)
            | TrialError::Engine(_)
            | TrialError::Runtime(_)
            | TrialError::Store(_) => return Err(error),
        },
        (None, None) => return Err(error),
    };
    // Those tell their causes themselves.
    eprintln!("taskhost: {}", printable_lines(&error.to_string()));
    if let Some(hint) = hint {
        eprintln!("hint: {}", printable(hint));
    }
    Ok(ExitCode::from(code))
}

/// Says how a tick ended.
fn tell(report: &RunReport) {
    let more = report.detail.as_deref().or(report.result.as_deref()).map(printable);
    match (report.outcome, more) {
        (Outcome::Success, None) => {}
        (outcome, None) => eprintln!("taskhost: {outcome}"),
        (outcome, Some(more)) => eprintln!("taskhost: {outcome}: {more}"),
    }
    if report.outcome == Outcome::LimitExceeded
        && let Some(limit) = report.detail.as_deref().and_then(|detail| detail.parse().ok())
    {
        match limit {
            Limit::MemoryBytes => eprintln!("hint: --memory SIZE gives it more"),
            limit => eprintln!("hint: --limit {limit}=VALUE gives it more"),
        }
    }
    if report.permanent {
        eprintln!("the plugin says that trying again is of no use");
    } else if let Some(after) = report.retry_after {
        eprintln!("the plugin asks not to be tried again for {}", format_duration(after));
    }
}

fn exit_code(report: &RunReport) -> u8 {
    match (report.outcome, report.exit_code) {
        (Outcome::Success, _) => 0,
        // A system keeps eight bits of an exit code; a failure must not become success by that.
        (Outcome::Error, Some(code)) => u8::try_from(code & 0xff).ok().filter(|code| *code != 0).unwrap_or(FAILED),
        (Outcome::Error, None) => FAILED,
        // Also where the guest took a limit for a failure of its own, and exited.
        _ => BROKEN,
    }
}

#[cfg(test)]
mod tests {
    use taskhost_core::spec::{DirGrant, InstancePolicy, TaskSpec};

    use super::*;
    use crate::testing::args_of;

    fn task_of(words: &[&str]) -> anyhow::Result<TaskSpec> {
        let args = args_of(&[&["a.wasm"], words].concat());
        Ok(planned(Trial::of_bytes("a", ""), &args)?.spec()?)
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
        assert_eq!(code(Outcome::LimitExceeded, Some(1)), BROKEN, "though the guest took it for a failure of its own");
    }

    #[test]
    fn a_plugin_is_granted_and_limited_as_a_task_is() {
        let words = "--env A=b --dir data --dir /srv::/x:ro --allow-host example.com:443 --config c=d --secret key --kv \
                     --limit cpu_ms=5s --limit log_lines=default --memory 1MiB --instance keep";
        let spec = task_of(&words.split_whitespace().collect::<Vec<_>>()).expect("valid");
        let here = std::env::current_dir().expect("a working folder").join("data");
        let dir = |host: &str, guest: &str, read_only| DirGrant { host: host.into(), guest: guest.into(), read_only };
        let grants = spec.grants();
        assert_eq!(grants.dirs, [dir(here.to_str().expect("UTF-8"), "data", false), dir("/srv", "/x", true)]);
        assert_eq!((grants.env["A"].as_str(), grants.config["c"].as_str(), grants.kv), ("b", "d", true));
        assert_eq!((grants.hosts[0].to_string().as_str(), grants.secrets[0].as_str()), ("example.com:443", "key"));
        assert_eq!((spec.own_limit(Limit::CpuMs), spec.own_limit(Limit::LogLines)), (Some(5000), None));
        assert_eq!((spec.own_limit(Limit::MemoryBytes), spec.instance()), (Some(1 << 20), InstancePolicy::Keep));
        for (words, told) in [
            (&["--allow-host", "example.com"][..], "it has no port"),
            (&["--dir", "/a/../b"], "has no `..`"),
            (&["--limit", "lines=5"], "`lines` is no limit; limits are"),
            (&["--limit", "handles=0"], "it must be from 1 to 100000"),
            (&["--instance", "warm"], "it is one of fresh and keep"),
        ] {
            let refused = task_of(words).expect_err("refused").to_string();
            assert!(refused.contains(told), "{words:?}: {refused}");
        }
    }
}
