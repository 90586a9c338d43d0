//! `taskhost dev`: builds a plugin whenever its sources change, and has a task run what was built.
//!
//! The task is in a running host or in one of its own; both are driven over the same connection as by `taskctl`. Three things go on side
//! by side until a signal or a trouble ends them: building and swapping, following the log, and looking out for runs that fail.
//! `docs/dev.md` tells it to users.

mod args;
mod build;
mod child;
mod own_host;
mod plan;
mod trouble;
mod watch;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use taskhost_api::{Patch, PluginRef, Schedule};
use taskhost_cli::dev::{Brought, DevTask, Followed, LogStart, Refusal, schedule_in_words, sha256_of};
use tokio::sync::Notify;

pub(crate) use self::args::{DevArgs, EXIT_CODES};
pub(crate) use self::build::{DEV_BUILD, build_in_child};
use self::own_host::OwnHost;
pub(crate) use self::own_host::{DEV_HOST, serve_in_child};
use self::plan::Plan;
use self::trouble::{CONFLICT, Trouble, UNREACHABLE, say};
use self::watch::{Look, Sources};
use crate::shutdown::Signals;

/// When a task runs where neither the flags nor the plugin say it: as in a host.
const DEFAULT_EVERY: &str = "1s";

/// How many builds in a row may each change the same files before these are taken for their products.
const MAX_BUILDS_OF_THEIR_OWN: u32 = 5;

/// How much of a sha256 is shown: enough to tell builds apart.
const SHOWN_SHA256_CHARS: usize = 12;

/// How many changed files are named.
const MAX_NAMED_FILES: usize = 3;

pub(crate) fn dev(args: &DevArgs) -> anyhow::Result<ExitCode> {
    // On this thread alone: what it starts dies with the thread that started it.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start the runtime")?;
    Ok(match runtime.block_on(run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            // Who closed our stdout has seen enough.
            if trouble.exit != 0 {
                trouble.tell();
            }
            ExitCode::from(trouble.exit)
        }
    })
}

async fn run(args: &DevArgs) -> Result<(), Trouble> {
    let mut signals =
        Signals::listen().map_err(|error| Trouble::failed(format!("failed to take over signals: {error}")))?;
    let plan = Plan::of(args)?;
    let wanted = plan::definition(args)?;
    let sources = match &plan.build {
        Some(_) => Sources::of_folder(&plan.dir, &args.ignore)?,
        None => Sources::of_file(&plan.plugin()?)?,
    };
    let begun = async {
        let own = match args.host {
            Some(_) => None,
            None => Some(OwnHost::start(args.secrets_dir.as_deref()).await?),
        };
        let addr = own.as_ref().map(OwnHost::addr).or_else(|| args.host.clone());
        let addr = addr.expect("one of the two there is");
        let task = DevTask::connect(&addr, plan.name.to_string()).await.map_err(unreachable_host)?;
        let session = Session::begin(plan, wanted, sources, task, args.take_over).await?;
        Ok::<_, Trouble>((own, session))
    };
    let (mut own, session) = tokio::select! {
        biased;
        _ = signals.next() => return Ok(()),
        begun = begun => begun?,
    };
    let own_ended = async {
        match &mut own {
            Some(own) => own.ended().await,
            None => std::future::pending().await,
        }
    };
    let ended: Result<Infallible, Trouble> = tokio::select! {
        biased;
        trouble = own_ended => Err(trouble),
        _ = signals.next() => Err(Trouble { exit: 0, ..Trouble::failed(String::new()) }),
        ended = session.build_and_swap() => ended,
        ended = session.follow() => ended,
        ended = session.watch_failures() => ended,
    };
    match own {
        Some(own) => own.stop(&mut signals).await,
        None => drop(signals.during(session.leave(args.keep)).await),
    }
    match ended {
        Err(Trouble { exit: 0, .. }) => Ok(()),
        Err(trouble) => Err(trouble),
    }
}

fn unreachable_host(refusal: Refusal) -> Trouble {
    let hint = refusal
        .is_host_gone
        .then(|| "start it with `taskhost`, or leave --host and TASKHOST_HOST out for a host of its own".to_owned());
    Trouble { hint: hint.or(refusal.hint.clone()), ..refusal.into() }
}

/// A plugin in the making, and its task.
struct Session {
    plan: Plan,
    sources: Sources,
    task: DevTask,
    /// What the task is to be, as far as it was said.
    wanted: Patch,
    state: RefCell<State>,
    /// From where to follow the task's log, when there is a task again.
    log_start: Cell<Option<LogStart>>,
    follow: Notify,
}

#[derive(Default)]
struct State {
    /// The plugin that the task runs.
    running: Option<String>,
    /// Whether the task is as it was said to be.
    is_defined: bool,
    /// Whether the task was added here, and not found.
    is_added: bool,
    /// The schedule that it was added with because the plugin suggests it, or by default.
    chosen: Option<Schedule>,
    /// The plugins that were sent, and are to go when they are no longer used.
    sent: Vec<String>,
}

impl Session {
    /// Refuses to change a task that runs something else than this folder's plugin.
    async fn begin(
        plan: Plan,
        wanted: Patch,
        sources: Sources,
        task: DevTask,
        take_over: bool,
    ) -> Result<Self, Trouble> {
        let running = task.plugin().await?;
        let log_start = Cell::new(running.is_some().then_some(LogStart::Next));
        if let Some(plugin) = &running {
            let name = &plan.name;
            let ours = plan.plugin().ok().and_then(|file| sha256_of(&file).ok());
            if !take_over && ours.as_ref() != Some(plugin) {
                return Err(Trouble {
                    message: format!(
                        "the host has a task `{name}` already, whose plugin is not this folder's: {}",
                        short_sha256(plugin)
                    ),
                    hint: Some(
                        "--take-over gives that task this folder's plugin, --name NAME makes another task".to_owned(),
                    ),
                    exit: CONFLICT,
                });
            }
            say(&format!("{name} is there already; it will stay"));
        }
        let state = RefCell::new(State { running, ..State::default() });
        Ok(Self { plan, sources, task, wanted, state, log_start, follow: Notify::new() })
    }

    /// Builds, has the task run what was built, and waits for a change, again and again.
    async fn build_and_swap(&self) -> Result<Infallible, Trouble> {
        let mut seen = self.sources.look()?;
        let mut products = Products::default();
        loop {
            match self.built().await {
                Ok(plugin) => {
                    if let Err(refusal) = self.swap(&plugin).await {
                        if refusal.is_host_gone {
                            return Err(refusal.into());
                        }
                        self.go_on_after(&refusal.into());
                    }
                }
                Err(trouble) => self.go_on_after(&trouble),
            }
            seen = self.next_change(seen, &mut products).await?;
        }
    }

    /// Waits until the sources are others than those that were built, and tells which.
    async fn next_change(&self, mut seen: Look, products: &mut Products) -> Result<Look, Trouble> {
        loop {
            let (mut now, has_waited) = self.change_since(&seen).await?;
            let changed = seen.changes(&now);
            if !products.are(&changed, has_waited) {
                say(&format!("{} changed", self.named(&changed)));
                return Ok(now);
            }
            let named = self.named(&changed);
            say(&format!("every build changes {named}: not watched any more; --ignore or .gitignore keeps it so"));
            for path in changed {
                now.forget(&path);
                self.sources.leave_out(path);
            }
            seen = now;
        }
    }

    /// Waits until the sources are others than these. Whether that took until something happened.
    async fn change_since(&self, seen: &Look) -> Result<(Look, bool), Trouble> {
        let mut has_waited = false;
        loop {
            let now = self.sources.look()?;
            if now != *seen {
                return Ok((now, has_waited));
            }
            self.sources.settled().await?;
            has_waited = true;
        }
    }

    /// The plugin's file, built anew if it is built.
    async fn built(&self) -> Result<PathBuf, Trouble> {
        if let Some(command) = &self.plan.build {
            say(&format!("building with `{command}`…"));
            let begun = Instant::now();
            build::build(command, &self.plan.dir).await.map_err(|error| Trouble {
                hint: error.hint().map(ToOwned::to_owned),
                ..Trouble::failed(error.to_string())
            })?;
            say(&format!("built in {:.1} s", begun.elapsed().as_secs_f64()));
        }
        self.plan.plugin()
    }

    /// Has the task run the plugin in this file from its next run on. Without a task, adds it.
    async fn swap(&self, file: &Path) -> Result<(), Refusal> {
        let name = &self.plan.name;
        let sha256 = sha256_of(file)?;
        let is_same = self.state.borrow().running.as_ref() == Some(&sha256);
        if is_same && self.state.borrow().is_defined {
            say(&format!("the plugin is the same as before, sha256 {}", short_sha256(&sha256)));
            return Ok(());
        }
        let Brought { sha256, is_new, suggested } = self.task.bring(file, &self.plan.short(file)).await?;
        if is_new {
            self.state.borrow_mut().sent.push(sha256.clone());
        }
        let schedule =
            suggested.unwrap_or_else(|| Schedule { every: Some(DEFAULT_EVERY.to_owned()), ..Schedule::default() });
        let plugin = Some(PluginRef::Sha256(sha256.clone()));
        let mut told = String::new();
        let is_there = self.state.borrow().running.is_some();
        if !(is_there && self.task.edit(self.edit(plugin.clone(), &schedule)).await?) {
            let patch = Patch { plugin, ..self.wanted.clone() };
            let chosen = patch.schedules.is_none().then_some(schedule);
            let schedules = chosen.clone().map(|schedule| Some(vec![schedule])).or(patch.schedules.clone());
            if let Some(Some([schedule])) = schedules.as_ref().map(|all| all.as_deref()) {
                told = format!(", {}", schedule_in_words(schedule));
            }
            self.task.add(Patch { schedules, ..patch }).await?;
            let mut state = self.state.borrow_mut();
            state.is_added = true;
            state.chosen = chosen;
            self.log_start.set(Some(LogStart::First));
        } else if let Some(chosen) = self.state.borrow_mut().chosen.as_mut().filter(|chosen| **chosen != schedule) {
            told = format!(", {}", schedule_in_words(&schedule));
            *chosen = schedule;
        }
        self.follow.notify_one();
        self.runs(&sha256);
        say(&format!("{name} runs sha256 {}{told}", short_sha256(&sha256)));
        self.forget_sent(Some(&sha256)).await;
        Ok(())
    }

    /// From now on the task runs this plugin, and is as it was said to be.
    fn runs(&self, sha256: &str) {
        let mut state = self.state.borrow_mut();
        state.running = Some(sha256.to_owned());
        state.is_defined = true;
    }

    /// What is to change of a task that is there.
    fn edit(&self, plugin: Option<PluginRef>, schedule: &Schedule) -> Patch {
        let state = self.state.borrow();
        if !state.is_defined {
            return Patch { plugin, ..self.wanted.clone() };
        }
        // What was chosen here follows what the plugin suggests.
        let has_another = state.chosen.as_ref().is_some_and(|chosen| chosen != schedule);
        let schedules = has_another.then(|| Some(vec![schedule.clone()]));
        Patch { plugin, schedules, ..Patch::default() }
    }

    /// Tells what went wrong, and what becomes of the task.
    fn go_on_after(&self, trouble: &Trouble) {
        trouble.tell();
        match &self.state.borrow().running {
            Some(sha256) => say(&format!("{} goes on with sha256 {}", self.plan.name, short_sha256(sha256))),
            None => say("waiting for a change"),
        }
    }

    /// Follows the log of the task whenever there is one.
    async fn follow(&self) -> Result<Infallible, Trouble> {
        loop {
            let Some(start) = self.log_start.take() else {
                self.follow.notified().await;
                continue;
            };
            match self.task.follow(start).await? {
                Followed::Deleted => {
                    let mut state = self.state.borrow_mut();
                    state.running = None;
                    state.is_defined = false;
                    say(&format!("somebody deleted {}; the next build adds it again", self.plan.name));
                }
                Followed::Shutdown => {
                    let trouble = Trouble::failed("the host shuts down".to_owned());
                    return Err(Trouble { exit: UNREACHABLE, ..trouble });
                }
            }
        }
    }

    async fn watch_failures(&self) -> Result<Infallible, Trouble> {
        self.task.watch_failures(|ended| say(&format!("{}: {ended}", self.plan.name))).await?;
        // The host shuts down, which the log tells too.
        std::future::pending().await
    }

    /// Deletes the plugins that were sent and are no longer run.
    async fn forget_sent(&self, running: Option<&str>) {
        let sent = std::mem::take(&mut self.state.borrow_mut().sent);
        for sha256 in sent {
            // One that a run still needs goes the next time.
            if running == Some(&sha256) || !self.task.forget(&sha256).await {
                self.state.borrow_mut().sent.push(sha256);
            }
        }
    }

    /// Leaves a running host as it was found, but for a task that stays.
    async fn leave(&self, keep: bool) {
        let name = &self.plan.name;
        let (is_added, running) = {
            let state = self.state.borrow();
            (state.is_added, state.running.clone())
        };
        if !is_added || keep {
            if let Some(sha256) = &running {
                say(&format!("{name} stays in the host, with sha256 {}", short_sha256(sha256)));
            }
            return self.forget_sent(running.as_deref()).await;
        }
        match self.task.delete().await {
            Ok(()) => say(&format!("deleted {name}")),
            Err(refusal) => {
                Trouble { hint: Some(format!("`taskctl del {name}` deletes it")), ..refusal.into() }.tell();
            }
        }
        self.forget_sent(None).await;
    }

    /// Some of these files, by their names in the folder.
    fn named(&self, files: &[PathBuf]) -> String {
        let names: Vec<_> = files.iter().take(MAX_NAMED_FILES).map(|path| self.plan.short(path)).collect();
        let more = files.len().saturating_sub(MAX_NAMED_FILES);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", names.join(", "))
    }
}

/// Tells what builds write from what people do: who saves a file does not do so during each of several builds in a row.
#[derive(Default)]
struct Products {
    changed: Vec<PathBuf>,
    builds: u32,
}

impl Products {
    /// Whether these files are the builds' own. `has_waited` of those that changed after the build, and not during it.
    fn are(&mut self, changed: &[PathBuf], has_waited: bool) -> bool {
        if has_waited || self.changed != changed {
            *self = Self { changed: changed.to_vec(), builds: 0 };
        }
        self.builds += u32::from(!has_waited);
        self.builds >= MAX_BUILDS_OF_THEIR_OWN
    }
}

/// Enough of a sha256; the name of a built-in plugin as it is.
fn short_sha256(sha256: &str) -> String {
    match sha256.get(..SHOWN_SHA256_CHARS) {
        Some(short) if short.len() < sha256.len() => format!("{short}…"),
        _ => sha256.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_build_changes_is_its_product() {
        let (stamp, source) = ([PathBuf::from("stamp")], [PathBuf::from("source")]);
        let mut products = Products::default();
        let mut are = |files: &[PathBuf], has_waited| products.are(files, has_waited);
        for _ in 1..MAX_BUILDS_OF_THEIR_OWN {
            assert!(!are(&stamp, false));
        }
        assert!(are(&stamp, false));
        for _ in 0..2 * MAX_BUILDS_OF_THEIR_OWN {
            assert!(!are(&source, true), "between two builds, people save as often as they like");
        }
        for _ in 1..MAX_BUILDS_OF_THEIR_OWN {
            assert!(!are(&source, false));
        }
        assert!(!are(&stamp, false) && !are(&source, true) && !are(&source, false), "it begins anew");
    }
}
