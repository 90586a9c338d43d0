//! A compiled plugin on one engine, linked and ready to be instantiated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{self, Component, ComponentNamedList, Lift, Lower};
use wasmtime::{Extern, ExternType, Instance, InstancePre, Module, ModuleExport, ResourcesRequired, Store};
use wasmtime_wasi::p2::bindings::{Command, CommandPre};
use wasmtime_wasi::p3::bindings::{Command as Command3, CommandPre as CommandPre3};

use taskhost_core::ports::Attempt;

use crate::artefact::{Artefact, Code};
use crate::linker::Linked;
use crate::pool::is_too_big;
use crate::report::Returned;
use crate::room::Room;
use crate::state::State;
use crate::wit::v0_1_0;

/// A memory that begins larger than this makes instantiation slow: a task with one starts in the slow lane.
const BIG_MEMORY_BYTES: u64 = 16 << 20;

const WASM_PAGE_BYTES: u64 = 64 << 10;

/// What a command exports; wasmtime finds every 0.2.x by it.
const COMMAND: &str = "wasi:cli/run@0.2.12";
/// The same of 0.3.
const COMMAND_3: &str = "wasi:cli/run@0.3.0";

/// A plugin on one engine, shared by all tasks that run it there.
pub(crate) struct Loaded {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) entry: Entry,
    pub(crate) room: Arc<Room>,
    /// How much memory it begins with, at most.
    pub(crate) initial_bytes: u64,
    /// Whether that is big.
    pub(crate) big: bool,
    pub(crate) last_use: LastUse,
}

/// When something was last used.
#[derive(Default)]
pub(crate) struct LastUse {
    /// In seconds after the engine's start. Written when that is another second only: it is on the tick path.
    second: AtomicU32,
}

impl LastUse {
    pub(crate) fn note(&self, second: u32) {
        if self.second.load(Ordering::Relaxed) != second {
            self.second.store(second, Ordering::Relaxed);
        }
    }

    pub(crate) fn second(&self) -> u32 {
        self.second.load(Ordering::Relaxed)
    }
}

/// How a plugin is entered.
pub(crate) enum Entry {
    Task(v0_1_0::TaskPre<State>),
    Command(CommandPre<State>),
    /// The same of WASI 0.3.
    Command3(CommandPre3<State>),
    Preview1 {
        module: InstancePre<State>,
        start: ModuleExport,
    },
}

/// Why a plugin was not loaded on an engine.
pub(crate) enum Unloaded {
    /// The artefact is gone, or the system refused to map it.
    Artefact(wasmtime::Error),
    /// It has more of something than a slot of the engine's pool.
    TooBig(wasmtime::Error),
    /// What it imports or exports has another type here.
    Unfit(wasmtime::Error),
}

impl Unloaded {
    pub(crate) fn into_error(self) -> wasmtime::Error {
        match self {
            Self::Artefact(error) | Self::TooBig(error) | Self::Unfit(error) => error,
        }
    }
}

impl Loaded {
    /// Loads an artefact.
    pub(crate) fn new(linked: &Linked, artefact: &Artefact) -> Result<Self, Unloaded> {
        let code = artefact.load(&linked.engine).map_err(|error| match is_too_big(&error) {
            true => Unloaded::TooBig(error),
            false => Unloaded::Artefact(error),
        })?;
        let (entry, resources) = match code {
            Code::Component(component) => (component_entry(linked, &component), component.resources_required()),
            Code::Module(module) => (module_entry(linked, &module), Some(module.resources_required())),
        };
        let initial_bytes = resources.as_ref().map_or(0, initial_bytes);
        Ok(Self {
            engine: linked.engine.clone(),
            entry: entry.map_err(Unloaded::Unfit)?,
            room: Arc::clone(&linked.room),
            initial_bytes,
            big: resources.is_none() || initial_bytes > BIG_MEMORY_BYTES,
            last_use: LastUse::default(),
        })
    }
}

fn component_entry(linked: &Linked, component: &Component) -> wasmtime::Result<Entry> {
    let instance = linked.components().instantiate_pre(component)?;
    if component.get_export_index(None, v0_1_0::GUEST).is_some() {
        check_run::<v0_1_0::RunParams<'_>, v0_1_0::RunResults>(&instance, v0_1_0::GUEST, (1, "1 (the tick)"))?;
        return Ok(Entry::Task(v0_1_0::TaskPre::new(instance)?));
    }
    if component.get_export_index(None, COMMAND_3).is_some() {
        return Ok(Entry::Command3(CommandPre3::new(instance)?));
    }
    check_run::<(), (Result<(), ()>,)>(&instance, COMMAND, (0, "none"))?;
    Ok(Entry::Command(CommandPre::new(instance)?))
}

/// Checks the type of an interface's function `run`. wasmtime would do so at every instantiation only, too late for the one who adds it.
/// `takes` is the number of parameters, and in words.
fn check_run<Params, Results>(
    instance: &component::InstancePre<State>,
    interface: &str,
    takes: (usize, &str),
) -> wasmtime::Result<()>
where
    Params: ComponentNamedList + Lower,
    Results: ComponentNamedList + Lift,
{
    let component = instance.component();
    let run = component.get_export_index(None, interface).and_then(|at| component.get_export(Some(&at), "run"));
    match run {
        Some((ComponentItem::ComponentFunc(run), _)) => check_counts(&run, takes)
            .and_then(|()| run.typecheck::<Params, Results>(&instance.instance_type()))
            .map_err(|error| error.context(format!("the function `run` of `{interface}` has another type"))),
        _ => Err(wasmtime::Error::msg(format!("`{interface}` has no function `run`"))),
    }
}

/// wasmtime tells these apart as tuples, which nobody wrote.
fn check_counts(run: &ComponentFunc, (params, in_words): (usize, &str)) -> wasmtime::Result<()> {
    let found = run.params().len();
    if found != params {
        let parameters = if found == 1 { "parameter" } else { "parameters" };
        return Err(wasmtime::Error::msg(format!("it takes {found} {parameters} and must take {in_words}")));
    }
    if run.results().len() == 0 {
        return Err(wasmtime::Error::msg("it returns nothing and must return a result"));
    }
    Ok(())
}

fn module_entry(linked: &Linked, module: &Module) -> wasmtime::Result<Entry> {
    let is_start = |ty: &ExternType| ty.func().is_some_and(|ty| ty.params().len() == 0 && ty.results().len() == 0);
    if !module.get_export("_start").as_ref().is_some_and(is_start) {
        return Err(wasmtime::Error::msg("`_start` must be a function that takes and returns nothing"));
    }
    let start = module.get_export_index("_start").ok_or_else(|| wasmtime::Error::msg("the module has no `_start`"))?;
    Ok(Entry::Preview1 { module: linked.modules().instantiate_pre(module)?, start })
}

/// wasmtime tells the largest memory and how many there are: their sum is no more than this.
fn initial_bytes(resources: &ResourcesRequired) -> u64 {
    let largest = resources.max_initial_memory_size.unwrap_or(0).saturating_mul(WASM_PAGE_BYTES);
    largest.saturating_mul(u64::from(resources.num_memories))
}

/// An instance of a plugin.
pub(crate) enum Live {
    Task(v0_1_0::Task),
    Command(Command),
    Command3(Command3),
    Preview1(Instance, ModuleExport),
}

impl Entry {
    /// Makes a fresh instance.
    pub(crate) async fn instantiate(&self, store: &mut Store<State>) -> wasmtime::Result<Live> {
        Ok(match self {
            Self::Task(task) => Live::Task(task.instantiate_async(store).await?),
            Self::Command(command) => Live::Command(command.instantiate_async(store).await?),
            Self::Command3(command) => Live::Command3(command.instantiate_async(store).await?),
            Self::Preview1 { module, start } => Live::Preview1(module.instantiate_async(store).await?, *start),
        })
    }

    /// Whether an instance can be called more than once.
    pub(crate) fn can_be_kept(&self) -> bool {
        matches!(self, Self::Task(_))
    }
}

impl Live {
    /// Calls it.
    pub(crate) async fn call(&self, store: &mut Store<State>, attempt: &Attempt) -> wasmtime::Result<Returned> {
        match self {
            Self::Task(task) => v0_1_0::call(task, store, attempt).await,
            Self::Command(command) => {
                let returned = command.wasi_cli_run().call_run(store).await?;
                Ok(Returned::Exit(i32::from(returned.is_err())))
            }
            Self::Command3(command) => {
                let returned =
                    store.run_concurrent(async |store| command.wasi_cli_run().call_run(store).await).await??;
                Ok(Returned::Exit(i32::from(returned.is_err())))
            }
            Self::Preview1(instance, start) => {
                call_start(*instance, start, store).await?;
                Ok(Returned::Exit(0))
            }
        }
    }
}

async fn call_start(instance: Instance, start: &ModuleExport, store: &mut Store<State>) -> wasmtime::Result<()> {
    let start = instance.get_module_export(&mut *store, start).and_then(Extern::into_func);
    let start = start.ok_or_else(|| wasmtime::Error::msg("`_start` is no function"))?;
    start.typed::<(), ()>(&*store)?.call_async(store, ()).await
}
