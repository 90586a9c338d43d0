//! What a call costs that changes nothing: `TaskUnit.Get` over the Unix socket's stream and over HTTP, each beside a server with
//! nothing in it but its protocol, which answers with the very same JSON.
//!
//! The host keeps answers of tasks that do nothing, some thousands. So it is asked for few tasks, whose answers it keeps, and for more
//! than it keeps answers of, in turn, so that each is asked of its worker and written anew.
//!
//! Rounds alternate, so that a slow moment of the machine is in both. With few cores the client takes one of them, and a rate says
//! as much about it as about the server: so the processor time per call is told as well, of the host's whole process.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use taskhost_api::{GetRequest, TaskUnitApiClient};

use super::Bench;
use crate::bare::{Bare, Kind};
use crate::host::Host;
use crate::load;
use crate::pipeline::{self, Calls, blocking};
use crate::procfs::Used;
use crate::report::{Section, Unit, quantile, us};

/// Often enough to be tasks like any other, so seldom that none runs meanwhile.
const EVERY: &str = "1d";

/// How many tasks the host has, and how many of them are asked for in turn where their answers are kept. Of all of them they are not.
const TASKS: u32 = 10_000;
const KEPT_TASKS: u32 = 1000;

/// How many calls are on the way at once over the Unix socket.
const IN_FLIGHT: usize = 64;

/// How many connections there are over HTTP, with one call on the way on each.
const HTTP_CONNECTIONS: usize = 8;

/// How often each is measured.
const ROUNDS: usize = 5;

/// The most that a bare server's rate may be over the host's: an echo's, and bare jsonrpsee's.
const STREAM_GOAL: f64 = 2.0;
const HTTP_GOAL: f64 = 1.25;

const METHOD: &str = "TaskUnit.Get";

/// What a call took in each round.
#[derive(Default)]
struct PerCall {
    wall: Vec<Duration>,
    cpu: Vec<Duration>,
}

impl PerCall {
    fn add(&mut self, calls: usize, wall: Duration, cpu: Duration) {
        self.wall.push(wall.div_f64(calls as f64));
        self.cpu.push(cpu.div_f64(calls as f64));
    }

    /// The medians.
    fn wall_and_cpu(&mut self) -> (Duration, Duration) {
        (quantile(&mut self.wall, 0.5), quantile(&mut self.cpu, 0.5))
    }
}

pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Vec<Section>> {
    let place = bench.place()?;
    let host = place.start().await?;
    let measured = async {
        load::add_tickers(host.client(), TASKS, EVERY).await?;
        let task = host.client().get(GetRequest { name: load::ticker_name(0), effective: false }).await?;
        let result = to_raw_value(&task)?;
        Ok(vec![over_unix(bench, &host, &result).await?, over_http(bench, &host, &result).await?])
    };
    let measured = measured.await;
    host.finish(measured).await
}

async fn over_unix(bench: &Bench<'_>, host: &Host, result: &RawValue) -> anyhow::Result<Section> {
    let path = pipeline::unix_address(host).await?;
    let calls = bench.args.calls as usize;
    let (mut kept, mut new, mut echo_calls, mut nothing) = <(PerCall, PerCall, PerCall, PerCall)>::default();
    for _ in 0..ROUNDS {
        for (tasks, into) in [(KEPT_TASKS, &mut kept), (TASKS, &mut new)] {
            let path: PathBuf = path.clone();
            let before = Used::of(host.pid())?;
            let get_all = move || pipeline::over_unix(UnixStream::connect(path)?, &gets(calls, tasks), IN_FLIGHT);
            let wall = blocking(get_all).await?;
            into.add(calls, wall, Used::of(host.pid())?.cpu.saturating_sub(before.cpu));
        }
        for (kind, into) in [(Kind::Echo, &mut echo_calls), (Kind::Nothing, &mut nothing)] {
            let result = result.to_owned();
            let (wall, cpu) = blocking(move || {
                let (server, socket) = Bare::over_unix(kind, result)?;
                let wall = pipeline::over_unix(socket, &gets(calls, KEPT_TASKS), IN_FLIGHT)?;
                Ok((wall, server.cpu()?))
            })
            .await?;
            into.add(calls, wall, cpu);
        }
    }
    let title = format!("{METHOD} over the Unix socket, {IN_FLIGHT} on the way");
    let mut section = Section::new(title, bench.command("rpc", &format!("--calls {calls}")));
    compare(&mut section, "a bare serde_json echo", [kept, new], echo_calls, STREAM_GOAL);
    section.figure("as fast as the client is", per_second(nothing.wall_and_cpu().0), Unit::PerSecond);
    Ok(section)
}

async fn over_http(bench: &Bench<'_>, host: &Host, result: &RawValue) -> anyhow::Result<Section> {
    let address = pipeline::tcp_address(host).await?;
    let calls = bench.args.calls as usize;
    let each = calls.div_ceil(HTTP_CONNECTIONS);
    let calls = each * HTTP_CONNECTIONS;
    let (mut kept, mut new, mut jsonrpsee_calls) = <(PerCall, PerCall, PerCall)>::default();
    for _ in 0..ROUNDS {
        for (tasks, into) in [(KEPT_TASKS, &mut kept), (TASKS, &mut new)] {
            let before = Used::of(host.pid())?;
            let wall = blocking(move || pipeline::over_http(address, &posts(tasks), HTTP_CONNECTIONS, each)).await?;
            into.add(calls, wall, Used::of(host.pid())?.cpu.saturating_sub(before.cpu));
        }
        let result = result.to_owned();
        let (wall, cpu) = blocking(move || {
            let (server, address, handle) = Bare::jsonrpsee(METHOD, result)?;
            let wall = pipeline::over_http(address, &posts(KEPT_TASKS), HTTP_CONNECTIONS, each)?;
            handle.stop()?;
            Ok((wall, server.cpu()?))
        })
        .await?;
        jsonrpsee_calls.add(calls, wall, cpu);
    }
    let title = format!("{METHOD} over HTTP, {HTTP_CONNECTIONS} connections that are kept");
    let mut section = Section::new(title, bench.command("rpc", &format!("--calls {calls}")));
    compare(&mut section, "bare jsonrpsee", [kept, new], jsonrpsee_calls, HTTP_GOAL);
    Ok(section)
}

/// The host with answers that it keeps, and with new ones, beside a bare server. The goal is the same for both.
fn compare(section: &mut Section, bare_name: &str, host: [PerCall; 2], mut bare: PerCall, goal: f64) {
    let (bare_wall, bare_cpu) = bare.wall_and_cpu();
    section.figure(format!("calls of {bare_name}"), per_second(bare_wall), Unit::PerSecond);
    section.figure(format!("CPU of {bare_name} per call"), us(bare_cpu), Unit::Us);
    for (mut host, answers) in host.into_iter().zip(["kept", "new"]) {
        let (wall, cpu) = host.wall_and_cpu();
        section.figure(format!("calls of the host, {answers} answers"), per_second(wall), Unit::PerSecond);
        let over = format!("the bare one's rate over that, {answers} answers");
        section.goal(over, wall.div_duration_f64(bare_wall), Unit::Times, goal);
        section.figure(format!("CPU of the host per call, {answers} answers"), us(cpu), Unit::Us);
        let over = format!("that over the bare one's, {answers} answers");
        section.figure(over, cpu.div_duration_f64(bare_cpu), Unit::Times);
    }
}

fn per_second(each: Duration) -> f64 {
    1.0 / each.as_secs_f64()
}

/// Calls that ask for so many tasks in turn.
fn gets(calls: usize, tasks: u32) -> Calls {
    (0..calls).map(|id| get(id, tasks) + "\n").collect()
}

fn posts(tasks: u32) -> Vec<String> {
    (0..tasks as usize).map(|id| get(id, tasks)).collect()
}

fn get(id: usize, tasks: u32) -> String {
    let name = load::ticker_name((id % tasks as usize) as u32);
    json!({ "jsonrpc": "2.0", "id": id, "method": METHOD, "params": { "name": name } }).to_string()
}
