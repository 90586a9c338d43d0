//! `kill -9` in the middle of everything: what was answered is there afterwards, and what was not is whole or not there.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::{Host, Stream, TestEnv, guest_bytes, sha256};

/// How often the host is killed, on the same data directory.
const CRASHES: u64 = 3;

/// How many clients change tasks at once.
const CLIENTS: u64 = 4;

/// How many names each of them uses.
const NAMES: u64 = 12;

/// How many answers are waited for before the host is killed.
const ACKNOWLEDGED: usize = 300;

/// How many connections are reset in the middle of calls.
const RESETS: u64 = 40;

/// What a task is to be: one number, in two places of its definition; `None` if it is not there.
type Mark = Option<u64>;

/// What the clients know: of each name, all that it may be. One mark, or two where the answer did not come.
type Known = BTreeMap<String, Vec<Mark>>;

#[test]
fn exactly_what_was_acknowledged_survives_kill_9_in_a_storm_three_times_in_a_row() {
    let env = TestEnv::new();
    let mut known = Known::new();
    for crash in 0..CRASHES {
        let host = env.host();
        let found = marks(&host);
        assert_matches(&known, &found);
        known = found.into_iter().map(|(name, mark)| (name, vec![Some(mark)])).collect();
        known = storm(host, crash, known);
    }
    let host = env.host();
    assert_matches(&known, &marks(&host));
    let info = host.call("Host.Info", json!({}));
    assert_eq!(info["faults"], json!([]));
    assert_eq!(files(&env.data_dir().join("uploads")), Vec::<String>::new());
    assert_eq!(files(&env.data_dir().join("plugins")), [format!("{}.wasm", sha256(&guest_bytes("exit.wat")))]);
}

/// A change that the store has and the host has not, or the other way round, makes every later one of the task fail.
#[test]
fn clients_that_are_killed_in_the_middle_of_a_call_leave_store_and_host_in_step() {
    let env = TestEnv::new();
    let host = env.host();
    for round in 0..RESETS {
        let mut socket = host.connect();
        let calls = (0..NAMES).flat_map(|number| {
            let name = format!("n{number}");
            [
                ("TaskUnit.Add", marked(&name, round, None)),
                ("TaskUnit.Edit", marked(&name, round + 1, None)),
                ("TaskUnit.Delete", json!({ "name": name })),
                ("TaskUnit.Add", marked(&name, round, None)),
            ]
        });
        let requests: String = calls
            .zip(1..)
            .map(|((method, params), id)| {
                format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": [params] }))
            })
            .collect();
        socket.write_all(requests.as_bytes()).expect("it is sent");
        // From no answer to a good part of them: the others are on their way.
        let mut answers = vec![0; usize::try_from(round).expect("it is small") * 100];
        socket.read_exact(&mut answers).expect("there are answers");
        // As with a killed process that has not read all: the connection is reset.
        rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).expect("it can be set");
    }
    let mut stream = host.stream();
    for number in 0..NAMES {
        let name = format!("n{number}");
        for (method, params) in [
            ("TaskUnit.Edit", marked(&name, RESETS + 2, None)),
            ("TaskUnit.Delete", json!({ "name": name })),
            ("TaskUnit.Add", marked(&name, RESETS + 3, None)),
            ("TaskUnit.Delete", json!({ "name": name })),
        ] {
            if let Err(refused) = stream.call(method, params) {
                assert!(["task_not_found", "task_exists"].contains(&&*refused.name), "{method} of {name}: {refused:?}");
            }
        }
    }
}

fn files(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("the directory is there").map(|entry| entry.expect("it can be listed"));
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Lets clients change tasks until there are enough answers, and kills the host; what is known then.
fn storm(host: Host<'_>, crash: u64, before: Known) -> Known {
    let (acknowledged, answers) = std::sync::mpsc::channel();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let own = (0..NAMES).map(|number| format!("c{client}-{number}"));
            let own = own.map(|name| (name.clone(), before.get(&name).and_then(|marks| marks[0]))).collect();
            let (stream, acknowledged) = (host.stream(), acknowledged.clone());
            let seed = crash * CLIENTS + client + 1;
            std::thread::spawn(move || change_until_the_end(stream, own, seed, || acknowledged.send(()).is_ok()))
        })
        .collect();
    drop(acknowledged);
    assert_eq!(answers.iter().take(ACKNOWLEDGED).count(), ACKNOWLEDGED, "the host answers until it is killed");
    host.kill();
    drop(answers);
    clients.into_iter().flat_map(|client| client.join().expect("a client does not panic")).collect()
}

/// Adds, edits and deletes tasks until the connection breaks.
fn change_until_the_end(
    mut stream: Stream,
    mut own: BTreeMap<String, Mark>,
    seed: u64,
    answered: impl Fn() -> bool,
) -> Known {
    let mut random = Random(seed);
    let wasm = BASE64_STANDARD.encode(guest_bytes("exit.wat"));
    loop {
        let name = format!("c{}-{}", (seed - 1) % CLIENTS, random.below(NAMES));
        let now = own[&name];
        let mark = random.below(1 << 32);
        let (method, params, then) = match now {
            None if random.below(3) == 0 => {
                ("TaskUnit.Add", marked(&name, mark, Some(json!({ "wasm": wasm }))), Some(mark))
            }
            None => ("TaskUnit.Add", marked(&name, mark, None), Some(mark)),
            Some(_) if random.below(3) == 0 => ("TaskUnit.Delete", json!({ "name": name }), None),
            Some(_) => ("TaskUnit.Edit", marked(&name, mark, None), Some(mark)),
        };
        match stream.try_call(method, params) {
            Ok(answer) => {
                answer.unwrap_or_else(|refused| panic!("{method} of {name}: {refused:?}"));
                own.insert(name, then);
                answered();
            }
            Err(_) => {
                let mut known: Known = own.into_iter().map(|(name, mark)| (name, vec![mark])).collect();
                known.entry(name).or_default().push(then);
                return known;
            }
        }
    }
}

/// A definition that says its mark twice, so that half of one would show.
fn marked(name: &str, mark: u64, plugin: Option<Value>) -> Value {
    let mut spec = json!({
        "name": name,
        "schedules": [{ "every": "1h" }],
        "labels": { "mark": mark.to_string() },
        "args": [mark.to_string()],
    });
    if let Some(plugin) = plugin {
        spec["plugin"] = plugin;
    }
    spec
}

/// The mark of every task that the host has.
fn marks(host: &Host<'_>) -> BTreeMap<String, u64> {
    let list = host.call("TaskUnit.List", json!({}));
    let tasks = list["tasks"].as_array().expect("tasks");
    tasks
        .iter()
        .map(|task| {
            let spec = &task["spec"];
            assert_eq!(task.get("fault"), None, "{task}");
            assert_eq!(spec["labels"]["mark"], spec["args"][0], "a definition is whole: {task}");
            let mark = spec["args"][0].as_str().and_then(|mark| mark.parse().ok());
            (spec["name"].as_str().expect("a name").to_owned(), mark.expect("a mark"))
        })
        .collect()
}

#[track_caller]
fn assert_matches(known: &Known, found: &BTreeMap<String, u64>) {
    for (name, allowed) in known {
        let mark = found.get(name).copied();
        assert!(allowed.contains(&mark), "{name} is {mark:?}, and was acknowledged as one of {allowed:?}");
    }
    for name in found.keys() {
        assert!(known.contains_key(name), "{name} came from nowhere");
    }
}

/// Numbers that are the same in every run: xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
