//! Tasks that mean harm: the guests of the tests of the sandbox, all kinds of them in turn.

use std::collections::BTreeMap;

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jsonrpsee::core::client::Client;
use taskhost_api::{AddRequest, Grants, ListRequest, PluginRef, Task, TaskUnitApiClient};

use crate::host::Host;
use crate::load::{add_all, schedule};

/// Most would run for ever: each runs until its deadline, and again a second later.
const TIMEOUT: &str = "19s";
const EVERY: &str = "20s";

macro_rules! module {
    ($file:literal) => {
        include_str!(concat!("../../../tests/guests/", $file))
    };
}

/// Modules, each of which attacks in one way.
const MODULES: &[&str] = &[
    module!("modules/ask-the-time.wat"),
    module!("modules/call-in-circles.wat"),
    module!("modules/close-all.wat"),
    module!("modules/collect.wat"),
    module!("modules/copy-memory.wat"),
    module!("modules/exit-in-start.wat"),
    module!("modules/fill-memory.wat"),
    module!("modules/flood-empty-lines.wat"),
    module!("modules/giant-array.wat"),
    module!("modules/grow-by-pages.wat"),
    module!("modules/huge-table.wat"),
    module!("modules/many-instances.wat"),
    module!("modules/many-locals.wat"),
    module!("modules/many-memories.wat"),
    module!("modules/many-pieces.wat"),
    module!("modules/many-tables.wat"),
    module!("modules/poll-a-million.wat"),
    module!("modules/random-past-the-end.wat"),
    module!("modules/recurse-in-start.wat"),
    module!("modules/throw.wat"),
    module!("modules/trap-in-start.wat"),
    module!("modules/write-past-the-end.wat"),
    module!("modules/yield.wat"),
    module!("spin.wat"),
    module!("spin-in-start.wat"),
    module!("sleep.wat"),
    module!("allocate.wat"),
    module!("allocate-table.wat"),
    module!("big-memory.wat"),
    module!("recurse.wat"),
    module!("out-of-bounds.wat"),
    module!("flood.wat"),
    module!("flood-lines.wat"),
    module!("trap.wat"),
];

/// The component, which attacks as its arguments say.
const COMPONENT: &[u8] = include_bytes!("../../../tests/guests/hostile/hostile.wasm");
const ATTACKS: &[&str] = &[
    "handles",
    "random",
    "random-insecure",
    "random-often",
    "sleep",
    "poll",
    "poll-nothing",
    "poll-many",
    "poll-often",
    "read-stdin",
    "write-giant",
    "write-unasked",
    "splice",
    "terminal-codes",
    "not-utf8",
    "giant-summary",
    "giant-failure",
    "giant-panic",
    "environment",
    "exit",
    "http 127.0.0.1:1 /",
    "http-many 127.0.0.1:1 /",
    "fields",
    "resolve localhost",
    "connect 127.0.0.1:1",
    "listen",
    "datagram 127.0.0.1:1",
    "keys",
    "values",
    "giant-value",
    "giant-key",
    "buckets",
    "store x",
    "log-for-ever",
    "log-giant",
    "config",
];

/// Adds so many, every kind before the first one comes again.
pub(crate) async fn add(client: &Client, tasks: u32) -> anyhow::Result<()> {
    let kinds = MODULES.len() + ATTACKS.len();
    let requests = (0..tasks).map(|number| {
        let kind = number as usize % kinds;
        let (wasm, args) = match MODULES.get(kind) {
            Some(module) => (module.as_bytes(), Vec::new()),
            None => (COMPONENT, ATTACKS[kind - MODULES.len()].split(' ').map(str::to_owned).collect()),
        };
        AddRequest {
            name: format!("hostile-{number}"),
            plugin: PluginRef::Wasm(BASE64_STANDARD.encode(wasm)),
            schedules: Some(vec![schedule(EVERY)]),
            timeout: Some(TIMEOUT.to_owned()),
            args: Some(args),
            grants: Some(Grants { kv: true, ..Grants::default() }),
            labels: Some([label()].into()),
            now: true,
            ..AddRequest::default()
        }
    });
    add_all(client, requests).await
}

fn label() -> (String, String) {
    ("bench".to_owned(), "hostile".to_owned())
}

async fn tasks(client: &Client) -> anyhow::Result<Vec<Task>> {
    let (key, value) = label();
    let request = ListRequest { selector: Some(format!("{key}={value}")), limit: Some(1000), ..ListRequest::default() };
    Ok(client.list(request).await.context("failed to list the hostile tasks")?.tasks)
}

/// What their due times came to.
pub(crate) async fn ended(client: &Client) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut ended = BTreeMap::new();
    for (outcome, times) in tasks(client).await?.into_iter().flat_map(|task| task.counts) {
        *ended.entry(outcome).or_default() += times;
    }
    Ok(ended)
}

/// How many due times of the others were skipped, and how many ended otherwise than with success.
pub(crate) async fn honest_ended_badly(host: &Host) -> anyhow::Result<(u64, u64)> {
    let hostile = ended(host.client()).await?;
    let all = host.info().await?.runs;
    let (mut skipped, mut otherwise) = (0, 0);
    for (outcome, times) in all {
        let honest = times.saturating_sub(hostile.get(&outcome).copied().unwrap_or(0));
        match outcome.as_str() {
            "success" => {}
            "skipped" => skipped += honest,
            _ => otherwise += honest,
        }
    }
    Ok((skipped, otherwise))
}
