//! What a call costs beside what is called: from the bytes of a stream to a request, and from what is answered to bytes again.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::process::ExitCode;

use divan::Bencher;
use jiff::Timestamp;
use jsonrpsee::RpcModule;
use jsonrpsee::types::ErrorObjectOwned;
use serde_json::json;
use taskhost_api::{AddTask, GetRequest, Run, RunState, Spec, Task};
use taskhost_core::schedule::Zone;
use taskhost_daemon::fuzzing::{added, sent, serve_stream};
use taskhost_parts::Part;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Runtime;

const PARTS: &[Part] = &[
    Part { name: "TaskUnit.Get: decode, encode", prepare: get, operations: CALLS, counted_calls: 100 },
    Part { name: "TaskUnit.Add: decode, check, encode", prepare: add, operations: CALLS, counted_calls: 100 },
];

/// How many calls are on the way: as many as a connection may have.
const CALLS: u32 = 64;

/// How much is on its way in one direction, in bytes.
const PIPE_BYTES: usize = 256 * 1024;

fn main() -> ExitCode {
    taskhost_parts::main("requests", PARTS)
}

#[divan::bench(args = PARTS, min_time = 0.5)]
fn requests(bencher: Bencher<'_, '_>, part: &Part) {
    part.time(bencher);
}

fn get() -> Box<dyn FnMut()> {
    let mut methods = RpcModule::new(task(spec()));
    let method = methods.register_async_method("TaskUnit.Get", |params, task, _| async move {
        black_box(params.one::<GetRequest>()?);
        Ok::<_, ErrorObjectOwned>((*task).clone())
    });
    method.expect("a name of its own");
    calls(methods, |number| json!({ "name": format!("team/service-{number:06}") }))
}

fn add() -> Box<dyn FnMut()> {
    let mut methods = RpcModule::new(Zone::utc());
    let method = methods.register_async_method("TaskUnit.Add", |params, zone, _| async move {
        let AddTask::Spec(request) = params.one()? else { panic!("it was no plain name") };
        Ok::<_, ErrorObjectOwned>(task(sent(&request.name.clone(), &added(*request, &zone)?, false)))
    });
    method.expect("a name of its own");
    calls(methods, |number| {
        json!({
            "name": format!("team/service-{number:06}"),
            "plugin": { "sha256": "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9" },
            "schedules": [{ "every": "30s" }],
            "args": ["--path", "/srv/data"],
            "labels": { "team": "storage", "tier": "1" },
        })
    })
}

/// All calls go out in one piece, and all are answered.
fn calls<C: Send + Sync + 'static>(methods: RpcModule<C>, params: fn(u32) -> serde_json::Value) -> Box<dyn FnMut()> {
    let method = methods.method_names().next().expect("there is one");
    let call = |id| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": [params(id)] });
    let sent: String = (0..CALLS).map(|id| format!("{}\n", call(id))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (mut client, server) = tokio::io::duplex(PIPE_BYTES);
    runtime.spawn(serve_stream(server, methods.into()));
    let mut read = vec![0; PIPE_BYTES];
    check(&runtime, &mut client, sent.as_bytes());
    Box::new(move || {
        runtime.block_on(async {
            client.write_all(sent.as_bytes()).await.expect("the host reads");
            let mut answers = 0;
            while answers < CALLS as usize {
                let count = client.read(&mut read).await.expect("the host answers");
                answers += memchr::memchr_iter(b'\n', &read[..count]).count();
            }
        });
    })
}

/// That they are answered with tasks and not with errors.
fn check(runtime: &Runtime, client: &mut DuplexStream, sent: &[u8]) {
    runtime.block_on(async {
        client.write_all(sent).await.expect("the host reads");
        let mut answers = Vec::new();
        while memchr::memchr_iter(b'\n', &answers).count() < CALLS as usize {
            client.read_buf(&mut answers).await.expect("the host answers");
        }
        let answers = String::from_utf8(answers).expect("JSON");
        assert_eq!(answers.matches(r#""result":{"spec":"#).count(), CALLS as usize, "{answers}");
    });
}

fn spec() -> Spec {
    let spec = json!({
        "name": "team/service-000001",
        "plugin": { "builtin": "ticker" },
        "schedules": [{ "every": "1s" }],
        "labels": { "team": "storage" },
    });
    serde_json::from_value(spec).expect("a spec")
}

/// One that ticks.
fn task(spec: Spec) -> Task {
    let time = |nanos: i128| Timestamp::from_nanosecond(1_700_000_000_000_000_000 + nanos).expect("it is in range");
    let run = Run {
        run_id: "5f3a9c0d1e2b4a67-1700000000123456789".to_owned(),
        task: spec.name.clone(),
        reason: "schedule".to_owned(),
        trigger: None,
        state: RunState::Ended,
        due: time(123_456_789),
        started: Some(time(123_756_789)),
        finished: Some(time(123_776_789)),
        outcome: Some("success".to_owned()),
        detail: None,
        exit_code: None,
        lateness_ms: Some(0.307),
        attempts: 1,
        next_attempt: None,
        result: None,
        plugin_sha256: Some("5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9".to_owned()),
        revision: 1,
        span: None,
    };
    Task {
        spec,
        revision: 1,
        state: "idle".to_owned(),
        paused: None,
        added_at: time(0),
        next_due: Some(time(1_123_456_789)),
        last_run: Some(run),
        counts: BTreeMap::from([("success".to_owned(), 86_400)]),
        failures: 0,
        backlog: 0,
        fault: None,
    }
}
