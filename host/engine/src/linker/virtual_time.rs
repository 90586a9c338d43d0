//! How guests wait where plugins are tried out: our own functions pass [time](crate::virtual_time) over.

use std::sync::Arc;

use wasmtime::component::{self, Resource, ResourceTable};
use wasmtime::{Caller, StoreContextMut};
use wasmtime_wasi::clocks::WasiClocksView;
use wasmtime_wasi::p1::types::{
    Clockid, Errno, Event, EventFdReadwrite, Eventrwflags, Eventtype, Subclockflags, Subscription, SubscriptionClock,
    SubscriptionU,
};
use wasmtime_wasi::p1::wasi_snapshot_preview1 as preview1;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{DynPollable, subscribe};
use wasmtime_wasi_io::bindings::wasi::io::poll::{Host as _, HostPollable as _};
use wiggle::{GuestMemory, GuestPtr};

use crate::linker::preview1::{PREVIEW1, enter};
use crate::state::State;
use crate::virtual_time::{Timer, VirtualTime};

/// The most timers of one `poll_oneoff` that pass time over; programs wait for one or two.
const MAX_TIMERS: u32 = 1_000;

/// Puts our own functions before wasmtime's, for guests that wait.
pub(crate) fn add_to_linker(linker: &mut component::Linker<State>, time: &Arc<VirtualTime>) -> wasmtime::Result<()> {
    let mut clock = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    let own = Arc::clone(time);
    clock.func_wrap("subscribe-instant", move |mut store: StoreContextMut<'_, State>, (at_ns,): (u64,)| {
        Ok((timer(store.data_mut(), &own, at_ns)?,))
    })?;
    let own = Arc::clone(time);
    clock.func_wrap("subscribe-duration", move |mut store: StoreContextMut<'_, State>, (ns,): (u64,)| {
        let at_ns = own.monotonic_ns().saturating_add(ns);
        Ok((timer(store.data_mut(), &own, at_ns)?,))
    })?;

    let mut polling = linker.instance("wasi:io/poll@0.2.12")?;
    let own = Arc::clone(time);
    type Pollables = Vec<Resource<DynPollable>>;
    polling.func_wrap_async("poll", move |mut store: StoreContextMut<'_, State>, (asked,): (Pollables,)| {
        let time = Arc::clone(&own);
        Box::new(async move {
            // One that is asked twice is one.
            let mut distinct: Vec<u32> = asked.iter().map(Resource::rep).collect();
            distinct.sort_unstable();
            distinct.dedup();
            let State { table, deadline, .. } = store.data_mut();
            Ok((time.wait(*deadline, distinct.len(), table.poll(asked)).await??,))
        })
    })?;
    let own = Arc::clone(time);
    type Asked = (Resource<DynPollable>,);
    polling.func_wrap_async("[method]pollable.block", move |mut store: StoreContextMut<'_, State>, (asked,): Asked| {
        let time = Arc::clone(&own);
        Box::new(async move {
            let State { table, deadline, .. } = store.data_mut();
            time.wait(*deadline, 1, ResourceTable::block(table, asked)).await?
        })
    })
}

/// A pollable for a time of the monotonic clock.
fn timer(state: &mut State, time: &Arc<VirtualTime>, at_ns: u64) -> wasmtime::Result<Resource<DynPollable>> {
    if at_ns <= time.monotonic_ns() {
        // wasmtime's own lets others have a turn first, which a guest counts on that looks again and again.
        return monotonic_clock::Host::subscribe_duration(&mut state.clocks(), 0);
    }
    let timer = state.table.push(Timer { time: Arc::clone(time), at_ns })?;
    subscribe(&mut state.table, timer)
}

/// The same for preview 1.
pub(crate) fn add_to_preview1_linker(
    linker: &mut wasmtime::Linker<State>,
    time: &Arc<VirtualTime>,
) -> wasmtime::Result<()> {
    let own = Arc::clone(time);
    linker.func_wrap_async(
        PREVIEW1,
        "poll_oneoff",
        move |mut caller: Caller<'_, State>, (asked, events, count, ready): (i32, i32, i32, i32)| {
            let time = Arc::clone(&own);
            Box::new(async move {
                let memory = caller.get_export("memory");
                let (state, mut memory) = enter(&mut caller, memory.as_ref())?;
                match timers(&time, &memory, asked as u32, count as u32) {
                    Some(timers) => {
                        let first_ns = timers.iter().map(|timer| timer.at_ns).min().unwrap_or_default();
                        time.skip_to(first_ns, state.deadline)?;
                        Ok(tell_over(&time, &mut memory, &timers, events as u32, ready as u32))
                    }
                    None => preview1::poll_oneoff(state.preview1(), &mut memory, asked, events, count, ready).await,
                }
            })
        },
    )?;
    Ok(())
}

/// A timer of preview 1.
struct OneOff {
    userdata: u64,
    at_ns: u64,
}

/// What a guest of preview 1 waits for, if that is nothing but timers; wasmtime's own judges all that is wrong with it.
fn timers(time: &VirtualTime, memory: &GuestMemory<'_>, asked: u32, count: u32) -> Option<Vec<OneOff>> {
    if count == 0 || count > MAX_TIMERS {
        return None;
    }
    let (now, now_ns) = (time.now(), time.monotonic_ns());
    let asked = GuestPtr::<Subscription>::new(asked).as_array(count);
    let timer = |subscription: Subscription| {
        let SubscriptionU::Clock(SubscriptionClock { id, timeout, flags, .. }) = subscription.u else { return None };
        let is_absolute = flags.contains(Subclockflags::SUBSCRIPTION_CLOCK_ABSTIME);
        let at_ns = match (id, is_absolute) {
            (Clockid::Monotonic, true) => timeout,
            (Clockid::Realtime, true) => {
                let wall_ns = u64::try_from(now.0).unwrap_or_default();
                now_ns.saturating_add(timeout.saturating_sub(wall_ns))
            }
            (Clockid::Monotonic | Clockid::Realtime, false) => now_ns.saturating_add(timeout),
            _ => return None,
        };
        Some(OneOff { userdata: subscription.userdata, at_ns })
    };
    asked.iter().map(|at| timer(memory.read(at.ok()?).ok()?)).collect()
}

/// Tells the guest which timers are over; the error number of preview 1.
fn tell_over(time: &VirtualTime, memory: &mut GuestMemory<'_>, timers: &[OneOff], events: u32, ready: u32) -> i32 {
    let now_ns = time.monotonic_ns();
    let over = timers.iter().filter(|timer| timer.at_ns <= now_ns);
    let places = GuestPtr::<Event>::new(events).as_array(MAX_TIMERS);
    let mut count = 0_u32;
    for (timer, place) in over.zip(places.iter()) {
        let event = Event {
            userdata: timer.userdata,
            error: Errno::Success,
            type_: Eventtype::Clock,
            fd_readwrite: EventFdReadwrite { nbytes: 0, flags: Eventrwflags::empty() },
        };
        if place.and_then(|place| memory.write(place, event)).is_err() {
            return Errno::Fault as i32;
        }
        count += 1;
    }
    match memory.write(GuestPtr::new(ready), count) {
        Ok(()) => Errno::Success as i32,
        Err(_) => Errno::Fault as i32,
    }
}
