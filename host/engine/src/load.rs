//! A compiled plugin on one engine, linked and ready to be instantiated.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{self, Component, ComponentNamedList, Lift, Lower};
use wasmtime::{Extern, ExternType, Instance, InstancePre, Module, ModuleExport, ResourcesRequired, Store};
use wasmtime_wasi::p2::bindings::CommandPre;

use taskhost_core::ports::Attempt;

use crate::artefact::{Artefact, Code};
use crate::linker::Linked;
use crate::report::{Broken, Returned};
use crate::state::State;
use crate::wit::v0_1_0;

/// A memory that begins larger than this makes instantiation slow: a task with one starts in the slow lane.
const BIG_MEMORY_BYTES: u64 = 16 << 20;

const WASM_PAGE_BYTES: u64 = 64 << 10;

/// What a command exports; wasmtime finds every 0.2.x by it.
const COMMAND: &str = "wasi:cli/run@0.2.12";

/// A plugin on one engine, shared by all tasks that run it there.
pub(crate) struct Loaded {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) entry: Entry,
    /// Whether its memory is big from the start.
    pub(crate) big: bool,
}

/// How a plugin is entered.
pub(crate) enum Entry {
    Task(v0_1_0::TaskPre<State>),
    Command(CommandPre<State>),
    Preview1 { module: InstancePre<State>, start: ModuleExport },
}

impl Loaded {
    /// Loads an artefact. Fails where the engine can't hold it: a pool has bounds that the overflow engine has not.
    pub(crate) fn new(linked: &Linked, artefact: &Artefact) -> wasmtime::Result<Self> {
        let (entry, resources) = match artefact.load(&linked.engine)? {
            Code::Component(component) => (component_entry(linked, &component)?, component.resources_required()),
            Code::Module(module) => (module_entry(linked, &module)?, Some(module.resources_required())),
        };
        Ok(Self { engine: linked.engine.clone(), entry, big: resources.is_none_or(|resources| is_big(&resources)) })
    }
}

fn component_entry(linked: &Linked, component: &Component) -> wasmtime::Result<Entry> {
    let instance = linked.components.instantiate_pre(component)?;
    if component.get_export_index(None, v0_1_0::GUEST).is_some() {
        check_run::<v0_1_0::RunParams<'_>, v0_1_0::RunResults>(&instance, v0_1_0::GUEST)?;
        return Ok(Entry::Task(v0_1_0::TaskPre::new(instance)?));
    }
    check_run::<(), (Result<(), ()>,)>(&instance, COMMAND)?;
    Ok(Entry::Command(CommandPre::new(instance)?))
}

/// Checks the type of an interface's function `run`. wasmtime would do so at every instantiation only, too late for the one who adds it.
fn check_run<Params, Results>(instance: &component::InstancePre<State>, interface: &str) -> wasmtime::Result<()>
where
    Params: ComponentNamedList + Lower,
    Results: ComponentNamedList + Lift,
{
    let component = instance.component();
    let run = component.get_export_index(None, interface).and_then(|at| component.get_export(Some(&at), "run"));
    match run {
        Some((ComponentItem::ComponentFunc(run), _)) => run
            .typecheck::<Params, Results>(&instance.instance_type())
            .map_err(|error| error.context(format!("the function `run` of `{interface}` has another type"))),
        _ => Err(wasmtime::Error::msg(format!("`{interface}` has no function `run`"))),
    }
}

fn module_entry(linked: &Linked, module: &Module) -> wasmtime::Result<Entry> {
    let is_start = |ty: &ExternType| ty.func().is_some_and(|ty| ty.params().len() == 0 && ty.results().len() == 0);
    if !module.get_export("_start").as_ref().is_some_and(is_start) {
        return Err(wasmtime::Error::msg("`_start` must be a function that takes and returns nothing"));
    }
    let start = module.get_export_index("_start").ok_or_else(|| wasmtime::Error::msg("the module has no `_start`"))?;
    Ok(Entry::Preview1 { module: linked.modules.instantiate_pre(module)?, start })
}

fn is_big(resources: &ResourcesRequired) -> bool {
    resources.max_initial_memory_size.is_some_and(|pages| pages.saturating_mul(WASM_PAGE_BYTES) > BIG_MEMORY_BYTES)
}

impl Entry {
    /// Makes a fresh instance and calls it once.
    pub(crate) async fn call(&self, store: &mut Store<State>, attempt: &Attempt) -> Result<Returned, Broken> {
        match self {
            Self::Task(task) => {
                let task = task.instantiate_async(&mut *store).await.map_err(Broken::Instance)?;
                v0_1_0::call(&task, store, attempt).await.map_err(Broken::Call)
            }
            Self::Command(command) => {
                let command = command.instantiate_async(&mut *store).await.map_err(Broken::Instance)?;
                let returned = command.wasi_cli_run().call_run(store).await.map_err(Broken::Call)?;
                Ok(Returned::Exit(i32::from(returned.is_err())))
            }
            Self::Preview1 { module, start } => {
                let instance = module.instantiate_async(&mut *store).await.map_err(Broken::Instance)?;
                call_start(instance, start, store).await.map_err(Broken::Call)?;
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
