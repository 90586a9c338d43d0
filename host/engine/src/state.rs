//! What a store holds: the world of one attempt, as the guest's calls see it.

use std::sync::Arc;
use std::time::Instant;

use taskhost_core::ports::RunControl;
use taskhost_core::spec::Limit;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store, StoreContextMut, UpdateDeadline};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use crate::epoch::{EPOCH, SLICE_EPOCHS};
use crate::grant::Granted;
use crate::grant::reach::{Reach, TooMuch};
use crate::held::Held;
use crate::limiter::Limits;
use crate::limits::{MAX_HOSTCALL_BYTES, MAX_RANDOM_BYTES};
use crate::output::Output;
use crate::report::Stopped;
use crate::setup::Setup;
use crate::turn::{Probe, Turn};
use crate::virtual_time::OutOfTime;

/// The world of one attempt.
pub(crate) struct State {
    wasi: Wasi,
    /// The objects of the host that a component holds.
    pub(crate) table: ResourceTable,
    pub(crate) limits: Limits,
    pub(crate) control: Arc<RunControl>,
    /// As [`Services::now`](crate::setup::Services::now) has it.
    pub(crate) deadline: Instant,
    /// What it is granted, and what it was denied.
    pub(crate) reach: Reach,
    pub(crate) granted: Granted,
    probe: Arc<Probe>,
}

/// wasmtime's own of WASI, for preview 1 and WASI 0.2 alike. It takes some twenty allocations and random numbers, and many guests
/// never ask for more than their output and the clock of their tick.
enum Wasi {
    /// With the folders of the task, if it has any.
    Unmade(Option<Box<WasiCtxBuilder>>),
    Made(Box<WasiP1Ctx>),
}

/// A fresh store for an attempt, with every limit set and the grants of its task; the folders are there already.
pub(crate) fn store(
    engine: &Engine,
    setup: &Arc<Setup>,
    held: Held,
    folders: Option<Box<WasiCtxBuilder>>,
    turn: &Turn,
) -> Store<State> {
    let Turn { attempt, deadline, probe, secrets } = turn;
    let output = Output::new(setup, &attempt.log, secrets.clone());
    let reach = Reach::new(Arc::clone(setup), Arc::clone(&output));
    let handles = setup.bounds.count(Limit::Handles);
    let mut table = ResourceTable::new();
    table.set_max_capacity(handles);
    let state = State {
        wasi: Wasi::Unmade(folders),
        table,
        limits: Limits::new(held),
        control: Arc::clone(&attempt.control),
        deadline: setup.services.shifted(*deadline),
        reach,
        granted: Granted::new(attempt.run_id.task, Arc::clone(setup), secrets.clone(), output),
        probe: Arc::clone(probe),
    };
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.limits);
    store.set_hostcall_fuel(MAX_HOSTCALL_BYTES);
    store.set_max_component_handles(handles);
    store.epoch_deadline_callback(end_of_slice);
    begin_slice(&mut store);
    store
}

/// Gives the guest its first slice.
pub(crate) fn begin_slice(store: &mut Store<State>) {
    store.set_epoch_deadline(SLICE_EPOCHS);
}

/// Called in the guest at the end of its slice. A stopped guest is never resumed; any other yields, and the runner sees that it
/// was the slice and not a host call that it waits for. Epochs go on while a guest waits in a host call: one that has only just
/// come back from there gets a slice first.
fn end_of_slice(store: StoreContextMut<'_, State>) -> wasmtime::Result<UpdateDeadline> {
    let state = store.data();
    if state.control.is_stopped() {
        return Err(Stopped.into());
    }
    if let Some(limit) = state.reach.must_end() {
        return Err(TooMuch(limit).into());
    }
    if state.probe.polled_for() < EPOCH {
        return Ok(UpdateDeadline::Continue(SLICE_EPOCHS));
    }
    if state.is_out_of_time() {
        return Err(OutOfTime.into());
    }
    state.probe.yielded();
    Ok(UpdateDeadline::Yield(1))
}

impl State {
    /// The next attempt of a kept instance begins. What the guest holds stays its own, and so do its arguments and what it was granted.
    pub(crate) fn begin_again(&mut self, turn: &Turn) {
        self.limits.begin_again();
        self.reach.begin_again();
        self.granted.begin_again(&turn.attempt.log);
        self.control = Arc::clone(&turn.attempt.control);
        self.deadline = self.granted.setup.services.shifted(turn.deadline);
        self.probe = Arc::clone(&turn.probe);
    }

    /// The attempt has ended, and the instance is kept: a line without an end is not continued.
    pub(crate) fn end(&mut self) {
        self.granted.output.end();
        self.reach.end();
    }

    /// How many objects of the host the guest holds, which is a component.
    pub(crate) fn handles(&mut self) -> usize {
        self.table.iter_mut().count()
    }

    /// What wasmtime's functions of preview 1 work on.
    pub(crate) fn preview1(&mut self) -> &mut WasiP1Ctx {
        if let Wasi::Unmade(folders) = &mut self.wasi {
            let mut wasi = folders.take().unwrap_or_default();
            let Granted { setup, output, .. } = &self.granted;
            wasi.arg(output.task_name().as_str())
                .args(&setup.spec.args)
                .stdout(output.stdout())
                .stderr(output.stderr())
                .max_random_size(MAX_RANDOM_BYTES);
            for (name, value) in &setup.spec.grants().env {
                wasi.env(name, value);
            }
            self.reach.give_network(&mut wasi);
            if let Some(time) = &setup.services.virtual_time {
                time.give(&mut wasi);
            }
            let mut wasi = wasi.build_p1();
            wasi.ctx().table.set_max_capacity(setup.bounds.count(Limit::Handles));
            self.wasi = Wasi::Made(Box::new(wasi));
        }
        match &mut self.wasi {
            Wasi::Made(wasi) => wasi,
            Wasi::Unmade(_) => unreachable!("it was made just now"),
        }
    }

    /// Whether the attempt's timeout is over by virtual time; of real time the runner sees to it.
    fn is_out_of_time(&self) -> bool {
        let time = self.granted.setup.services.virtual_time.as_ref();
        time.is_some_and(|time| time.instant() >= self.deadline)
    }

    /// The guest is entered now.
    pub(crate) fn entering(&self) {
        self.probe.entering();
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.reach.http().view(&mut self.table)
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        // Of two fields, which `preview1` would borrow as one.
        self.preview1();
        let Self { wasi: Wasi::Made(wasi), table, .. } = self else { unreachable!("it was made just now") };
        WasiCtxView { ctx: wasi.ctx().ctx, table }
    }
}
