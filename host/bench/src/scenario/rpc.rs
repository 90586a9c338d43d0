//! What a call costs that changes nothing: `TaskUnit.Get` over the Unix socket's stream and over HTTP, each beside a server with
//! nothing in it but its protocol, which answers with the very same JSON.
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

/// How many tasks the host has; they are asked for in turn.
const TASKS: u32 = 1000;

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
    let (mut host_calls, mut echo_calls, mut nothing) = <(PerCall, PerCall, PerCall)>::default();
    for _ in 0..ROUNDS {
        let path: PathBuf = path.clone();
        let before = Used::of(host.pid())?;
        let wall = blocking(move || pipeline::over_unix(UnixStream::connect(path)?, &gets(calls), IN_FLIGHT)).await?;
        host_calls.add(calls, wall, Used::of(host.pid())?.cpu.saturating_sub(before.cpu));
        for (kind, into) in [(Kind::Echo, &mut echo_calls), (Kind::Nothing, &mut nothing)] {
            let result = result.to_owned();
            let (wall, cpu) = blocking(move || {
                let (server, socket) = Bare::over_unix(kind, result)?;
                let wall = pipeline::over_unix(socket, &gets(calls), IN_FLIGHT)?;
                Ok((wall, server.cpu()?))
            })
            .await?;
            into.add(calls, wall, cpu);
        }
    }
    let title = format!("{METHOD} over the Unix socket, {IN_FLIGHT} on the way");
    let mut section = Section::new(title, bench.command("rpc", &format!("--calls {calls}")));
    compare(&mut section, "a bare serde_json echo", &mut host_calls, &mut echo_calls, STREAM_GOAL);
    section.figure("as fast as the client is", per_second(nothing.wall_and_cpu().0), Unit::PerSecond);
    Ok(section)
}

async fn over_http(bench: &Bench<'_>, host: &Host, result: &RawValue) -> anyhow::Result<Section> {
    let address = pipeline::tcp_address(host).await?;
    let calls = bench.args.calls as usize;
    let each = calls.div_ceil(HTTP_CONNECTIONS);
    let calls = each * HTTP_CONNECTIONS;
    let (mut host_calls, mut jsonrpsee_calls) = <(PerCall, PerCall)>::default();
    for _ in 0..ROUNDS {
        let before = Used::of(host.pid())?;
        let wall = blocking(move || pipeline::over_http(address, &get(0), HTTP_CONNECTIONS, each)).await?;
        host_calls.add(calls, wall, Used::of(host.pid())?.cpu.saturating_sub(before.cpu));
        let result = result.to_owned();
        let (wall, cpu) = blocking(move || {
            let (server, address, handle) = Bare::jsonrpsee(METHOD, result)?;
            let wall = pipeline::over_http(address, &get(0), HTTP_CONNECTIONS, each)?;
            handle.stop()?;
            Ok((wall, server.cpu()?))
        })
        .await?;
        jsonrpsee_calls.add(calls, wall, cpu);
    }
    let title = format!("{METHOD} over HTTP, {HTTP_CONNECTIONS} connections that are kept");
    let mut section = Section::new(title, bench.command("rpc", &format!("--calls {calls}")));
    compare(&mut section, "bare jsonrpsee", &mut host_calls, &mut jsonrpsee_calls, HTTP_GOAL);
    Ok(section)
}

fn compare(section: &mut Section, bare_name: &str, host: &mut PerCall, bare: &mut PerCall, goal: f64) {
    let ((host_wall, host_cpu), (bare_wall, bare_cpu)) = (host.wall_and_cpu(), bare.wall_and_cpu());
    section.figure("calls of the host", per_second(host_wall), Unit::PerSecond);
    section.figure(format!("calls of {bare_name}"), per_second(bare_wall), Unit::PerSecond);
    section.goal("the bare one's rate over the host's", host_wall.div_duration_f64(bare_wall), Unit::Times, goal);
    section.figure("CPU of the host per call", us(host_cpu), Unit::Us);
    section.figure(format!("CPU of {bare_name} per call"), us(bare_cpu), Unit::Us);
    section.figure("the host's CPU over the bare one's", host_cpu.div_duration_f64(bare_cpu), Unit::Times);
}

fn per_second(each: Duration) -> f64 {
    1.0 / each.as_secs_f64()
}

fn gets(calls: usize) -> Calls {
    (0..calls).map(|id| get(id) + "\n").collect()
}

fn get(id: usize) -> String {
    let name = load::ticker_name((id % TASKS as usize) as u32);
    json!({ "jsonrpc": "2.0", "id": id, "method": METHOD, "params": { "name": name } }).to_string()
}
