//! The sandbox under attack: each test is one attack, says what becomes of it, and looks afterwards whether the host is what it was
//! before: its memory, its open files, and what its neighbours did meanwhile.
//!
//! `tests/guests/modules` has the attackers that are modules, `tests/guests/hostile` the ones that are components; `docs/limits.md`
//! names for each limit the test that shows it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Host, TestEnv, eventually, guest};

/// A rate at which nothing runs during a test.
const NEVER: &str = "10y";

/// The task that must not notice.
const NEIGHBOUR: &str = "neighbour";

const ATTACKER: &str = "attacker";

/// How much more memory the host may have after an attack than before it: what a slot keeps warm, and buffers that have grown.
const MEMORY_TOLERANCE_BYTES: u64 = 48 << 20;

/// How long an attacker has that would never end.
const TIMEOUT: &str = "700ms";

/// One attack.
struct Attack {
    plugin: PathBuf,
    args: Vec<String>,
    timeout: &'static str,
    grants: Value,
    limits: Value,
}

impl Attack {
    /// By a module.
    fn module(name: &str) -> Self {
        let plugin = guest(&format!("modules/{name}.wat"));
        Self { plugin, args: Vec::new(), timeout: TIMEOUT, grants: json!({}), limits: json!({}) }
    }

    /// By the component that does what its arguments say.
    fn component(args: &[&str]) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Self { plugin: guest("hostile/hostile.wasm"), args, timeout: "20s", grants: json!({}), limits: json!({}) }
    }

    fn timeout(self, timeout: &'static str) -> Self {
        Self { timeout, ..self }
    }

    fn grants(self, grants: Value) -> Self {
        Self { grants, ..self }
    }

    fn limits(self, limits: Value) -> Self {
        Self { limits, ..self }
    }

    /// Makes it on a host of its own, beside an honest task.
    #[track_caller]
    fn make(self) -> Made {
        let env = TestEnv::new();
        let host = env.host();
        self.make_on(&host)
    }

    /// Makes another on the same host.
    #[track_caller]
    fn make_again_on(self, host: &Host<'_>) -> Made {
        for name in [ATTACKER, NEIGHBOUR] {
            host.ctl(&["del", name]);
        }
        self.make_on(host)
    }

    #[track_caller]
    fn make_on(self, host: &Host<'_>) -> Made {
        host.ok(&["add", NEIGHBOUR, "--every", "100ms"]);
        let sha256 = host.put_plugin(&std::fs::read(&self.plugin).expect("the guest is committed"));
        let spec = json!({
            "name": ATTACKER, "plugin": { "sha256": sha256 }, "schedules": [{ "every": NEVER }], "timeout": self.timeout,
            "grants": self.grants, "limits": self.limits, "args": self.args,
        });
        host.call("TaskUnit.Add", spec);
        // Whatever is made once is made before the measure is taken.
        host.wait_successes(NEIGHBOUR, 2);
        let (memory, files, successes) = (host.memory_bytes(), host.open_files(), host.count(NEIGHBOUR, "success"));

        let run = host.call("TaskUnit.Run", json!({ "name": ATTACKER, "wait": true }))["run"].clone();

        host.wait_successes(NEIGHBOUR, successes + 3);
        let counts = host.task(NEIGHBOUR)["counts"].clone();
        let fine = |outcome: &String| ["success", "skipped"].contains(&outcome.as_str());
        assert!(counts.as_object().expect("counts").keys().all(fine), "the neighbour was hurt: {counts}; {run}");
        eventually(&format!("the host has its open files again ({files} before; {run})"), || {
            (host.open_files() <= files).then_some(())
        });
        eventually(&format!("the host has its memory again ({memory} bytes before; {run})"), || {
            (host.memory_bytes() <= memory + MEMORY_TOLERANCE_BYTES).then_some(())
        });
        assert_eq!(host.call("Host.Info", json!({}))["slow_lane"], 0, "nothing runs on: {run}");
        let logs = host.call("TaskUnit.Logs", json!({ "name": ATTACKER, "limit": 1000 }));
        Made { run, logs: logs["lines"].as_array().expect("lines").clone() }
    }
}

/// What became of it.
struct Made {
    run: Value,
    logs: Vec<Value>,
}

impl Made {
    #[track_caller]
    fn ends(self, outcome: &str, detail: &str) -> Self {
        assert_eq!(self.run["outcome"], outcome, "{}", self.run);
        let told = self.run["detail"].as_str().unwrap_or_default();
        assert!(told.contains(detail), "{detail}: {}", self.run);
        self
    }

    #[track_caller]
    fn exceeds(self, limit: &str) -> Self {
        assert_eq!(
            (&self.run["outcome"], &self.run["detail"]),
            (&json!("limit_exceeded"), &json!(limit)),
            "{}",
            self.run
        );
        self
    }

    #[track_caller]
    fn succeeds_with(self, result: &str) -> Self {
        assert_eq!(self.run["outcome"], "success", "{}", self.run);
        let told = self.run["result"].as_str().unwrap_or_default();
        assert!(told.contains(result), "{result}: {}", self.run);
        self
    }

    /// Asserts that a line of the host's own tells of this.
    #[track_caller]
    fn host_says(self, words: &str) -> Self {
        let said =
            |line: &Value| line["stream"] == "host" && line["text"].as_str().is_some_and(|text| text.contains(words));
        assert!(self.logs.iter().any(said), "{words}: {:?}", self.logs);
        self
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.logs.iter().filter(|line| line["stream"] != "host").filter_map(|line| line["text"].as_str())
    }
}

/// Tests of modules that end in one way.
macro_rules! modules {
    ($($(#[$doc:meta])* $test:ident: $module:literal $(with $limits:tt)? => $end:ident($($expected:literal),+);)+) => {
        $($(#[$doc])* #[test]
        fn $test() {
            Attack::module($module)$(.limits(json!($limits)))?.make().$end($($expected),+);
        })+
    };
}

modules! {
    filling_a_big_memory_for_ever_is_stopped: "fill-memory" => ends("timed_out", "longer than");
    copying_a_big_memory_for_ever_is_stopped: "copy-memory" => ends("timed_out", "longer than");
    a_guest_that_is_denied_memory_and_goes_on_succeeds: "grow-by-pages" => ends("success", "");
    too_many_memories_exceed_their_limit: "many-memories" => exceeds("memories");
    a_table_of_four_hundred_million_elements_exceeds_its_limit: "huge-table" => exceeds("table_elements");
    too_many_tables_exceed_their_limit: "many-tables" with { "tables": 50 } => exceeds("tables");
    too_many_instances_exceed_their_limit: "many-instances" with { "memories": 100 } => exceeds("instances");
    calls_in_circles_end_with_the_stack: "call-in-circles" => ends("trapped", "stack");
    recursion_in_a_start_function_ends_with_the_stack: "recurse-in-start" => ends("trapped", "stack");
    a_trap_in_a_start_function_is_a_trap: "trap-in-start" => ends("trapped", "unreachable");
    a_frame_of_twenty_thousand_locals_ends_with_the_stack: "many-locals" => ends("trapped", "stack");
    an_exception_that_nobody_catches_is_a_trap: "throw" => ends("trapped", "exception");
    a_giant_array_of_the_collected_heap_is_denied: "giant-array" => ends("trapped", "allocation");
    asking_for_the_time_for_ever_is_stopped: "ask-the-time" => ends("timed_out", "longer than");
    giving_way_for_ever_is_stopped: "yield" => ends("timed_out", "longer than");
    random_bytes_past_the_end_of_memory_are_denied: "random-past-the-end" => ends("trapped", "");
    writing_past_the_end_of_memory_is_denied: "write-past-the-end" => ends("trapped", "");
    a_list_of_pieces_past_the_end_of_memory_is_denied: "many-pieces" => ends("trapped", "");
    a_million_timers_in_one_call_are_denied: "poll-a-million" => ends("trapped", "");
    exiting_in_a_start_function_is_an_exit: "exit-in-start" => ends("error", "exit code -1");
    closing_every_descriptor_closes_none_of_the_hosts: "close-all" => ends("trapped", "");
    empty_lines_for_ever_are_bounded: "flood-empty-lines" => ends("timed_out", "longer than");
}

#[test]
fn processor_time_has_a_limit_of_its_own() {
    Attack::module("ask-the-time").timeout("1m").limits(json!({ "cpu_ms": 200 })).make().exceeds("cpu_ms");
}

#[test]
fn filling_the_collected_heap_exceeds_the_memory_limit() {
    Attack::module("collect").timeout("1m").make().exceeds("memory_bytes");
}

#[test]
fn memory_that_no_limit_would_see_is_refused_before_it_is_compiled() {
    let env = TestEnv::new();
    let host = env.host();
    for module in ["shared-memory", "memory64"] {
        let file = guest(&format!("modules/{module}.wat"));
        host.ctl(&["add", module, "--wasm", file.to_str().expect("a path of UTF-8")])
            .fails_with(5)
            .says(&["must be enabled"]);
    }
}

/// Tests of what the component does that end in one way.
macro_rules! components {
    ($($test:ident: $verb:literal $(with $limits:tt)? => $end:ident($($expected:literal),+);)+) => {
        $(#[test]
        fn $test() {
            Attack::component(&[$verb])$(.limits(json!($limits)))?.make().$end($($expected),+);
        })+
    };
}

components! {
    a_million_handles_exceed_their_limit: "handles" => exceeds("handles");
    all_random_bytes_that_there_are_are_denied: "random" => ends("trapped", "");
    all_insecure_random_bytes_are_denied_too: "random-insecure" => ends("trapped", "");
    polling_nothing_is_a_trap: "poll-nothing" => ends("trapped", "");
    polling_a_million_times_the_same_exceeds_the_handles: "poll-many" => exceeds("handles");
    standard_input_is_closed: "read-stdin" => succeeds_with("closed");
    more_than_a_stream_takes_is_denied: "write-giant" => ends("trapped", "");
    zeroes_without_end_are_denied: "write-unasked" => ends("trapped", "");
    splicing_from_nothing_ends: "splice" => succeeds_with("closed");
    a_failure_of_forty_eight_mebibytes_is_more_than_the_host_takes: "giant-failure" => ends("trapped", "too much data");
    a_summary_of_forty_eight_mebibytes_is_more_than_the_host_takes: "giant-summary" => ends("trapped", "too much data");
    there_is_no_environment: "environment" => succeeds_with("[]");
    exiting_is_an_exit: "exit" => ends("success", "");
    fields_without_end_are_denied: "fields" => ends("trapped", "size of fields exceeds");
}

#[test]
fn a_panic_message_of_forty_eight_mebibytes_costs_no_memory() {
    let made = Attack::component(&["giant-panic"]).make();
    assert!(["trapped", "limit_exceeded"].contains(&made.run["outcome"].as_str().unwrap_or_default()), "{}", made.run);
}

#[test]
fn sleeping_and_polling_for_ever_are_stopped() {
    for verb in ["sleep", "poll", "poll-often"] {
        Attack::component(&[verb]).timeout(TIMEOUT).make().ends("timed_out", "longer than");
    }
}

#[test]
fn terminal_codes_and_bad_text_are_harmless_where_they_are_shown() {
    let env = TestEnv::new();
    let host = env.host();
    Attack::component(&["terminal-codes"]).make_on(&host).ends("success", "");
    let shown = host.ok(&["logs", ATTACKER]);
    let harmful = |letter: char| letter != '\n' && (letter.is_control() || ('\u{202a}'..='\u{202e}').contains(&letter));
    assert!(!shown.contains(harmful) && shown.contains("owned"), "{shown:?}");

    let made = Attack::component(&["not-utf8"]).make().ends("success", "");
    let line = made.lines().next().expect("a line").to_owned();
    assert!(line.contains('\u{fffd}') && line.ends_with(" end"), "{line:?}");
}

/// A folder with a file, a folder, and links out of it, beside a secret.
fn folder(env: &TestEnv) -> PathBuf {
    let folder = env.path("granted");
    std::fs::create_dir_all(folder.join("inside")).expect("made");
    env.write("secret", "the secret");
    env.write("granted/file", "0123456789");
    env.write("granted/inside/file", "0123456789");
    for (link, to) in [("link-to-secret", "../secret"), ("link-to-above", ".."), ("link-to-root", "/")] {
        std::os::unix::fs::symlink(to, folder.join(link)).expect("made");
    }
    folder
}

fn dirs(folder: &std::path::Path, read_only: bool) -> Value {
    json!({ "dirs": [{ "host": folder, "guest": "/data", "read_only": read_only }] })
}

#[test]
fn no_path_leads_out_of_a_granted_folder() {
    let env = TestEnv::new();
    let host = env.host();
    let folder = folder(&env);
    let made = Attack::component(&["paths", "/data"]).grants(dirs(&folder, false)).make_on(&host).succeeds_with("");
    for line in made.run["result"].as_str().expect("a summary").lines() {
        let (path, told) = line.rsplit_once(": ").expect("a path and what came of it");
        let within = ["inside/", "inside/.", "inside/..", "inside//file"].contains(&path);
        assert_eq!(told == "done", within, "{line}");
    }
}

#[test]
fn preview_1_leads_out_no_more_than_0_2() {
    let env = TestEnv::new();
    let host = env.host();
    let folder = folder(&env);
    Attack::module("open-above").grants(dirs(&folder, false)).make_on(&host).ends("success", "");
}

#[test]
fn nothing_changes_in_a_folder_that_is_granted_to_be_read() {
    let env = TestEnv::new();
    let host = env.host();
    let folder = folder(&env);
    let list = || {
        let mut names: Vec<_> =
            std::fs::read_dir(&folder).expect("it is there").map(|entry| entry.expect("read").file_name()).collect();
        names.sort();
        names
    };
    let before = list();
    let made = Attack::component(&["change", "/data"]).grants(dirs(&folder, true)).make_on(&host).succeeds_with("");
    let told = made.run["result"].as_str().expect("a summary");
    assert!(!told.contains("done"), "{told}");
    assert_eq!(std::fs::read_to_string(folder.join("file")).expect("it is there"), "0123456789");
    assert_eq!(list(), before);
}

#[test]
fn a_pipe_and_a_device_in_a_granted_folder_are_not_opened() {
    let env = TestEnv::new();
    let host = env.host();
    let folder = folder(&env);
    crate::support::make_fifo(&folder.join("pipe"));
    Attack::component(&["open", "/data/pipe"])
        .grants(dirs(&folder, false))
        .make_on(&host)
        .succeeds_with("not opened: not-permitted");
}

#[test]
fn open_files_have_a_limit() {
    let env = TestEnv::new();
    let host = env.host();
    let folder = folder(&env);
    Attack::component(&["descriptors", "/data"]).grants(dirs(&folder, false)).make_on(&host).exceeds("handles");
}

#[test]
fn without_a_grant_nothing_is_reached() {
    for (args, told) in [
        (&["http", "127.0.0.1:1", "/"][..], "--allow-host 127.0.0.1:1"),
        (&["connect", "127.0.0.1:1"], "--allow-host HOST:PORT"),
        (&["resolve", "localhost"], "--allow-host localhost:PORT"),
        (&["datagram", "127.0.0.1:1"], "--allow-host"),
        (&["listen"], "denied"),
        (&["store", "x"], "--kv"),
    ] {
        let made = Attack::component(args).make();
        assert_eq!(made.run["outcome"], "error", "{args:?}: {}", made.run);
        made.host_says(told);
    }
}

#[test]
fn what_is_granted_by_name_reaches_no_address_that_is_not_public() {
    let (server, _) = serve(|mut client| drop(client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")));
    let authority = format!("localhost:{}", server.port());
    let granted = json!({ "hosts": [format!("*:{}", server.port())] });
    let made = Attack::component(&["http", &authority, "/"]).grants(granted).make();
    assert_eq!(made.run["outcome"], "error", "a star is no loopback address: {}", made.run);
    made.host_says("--allow-host");

    let granted = json!({ "hosts": [authority] });
    Attack::component(&["http", &authority, "/"]).grants(granted).make().succeeds_with("200, 2 bytes");
}

#[test]
fn no_grant_leads_to_the_host_itself() {
    let env = TestEnv::new();
    let host = env.host();
    let (own, everything) = (host.tcp(), json!({ "hosts": ["*:*", "0.0.0.0/0:*", "localhost:*"] }));
    for args in [
        &["http", &own.to_string(), "/healthz"][..],
        &["http", &format!("localhost:{}", own.port()), "/healthz"],
        &["http", &format!("127.9.9.9:{}", own.port()), "/healthz"],
        &["connect", &own.to_string()],
    ] {
        let made = Attack::component(args).grants(everything.clone()).make_again_on(&host);
        assert_eq!(made.run["outcome"], "error", "{args:?}: {}", made.run);
        made.host_says("where the host itself listens");
    }
}

/// Serves connections on a port of its own until the test ends.
fn serve(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> (SocketAddr, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let answer = std::sync::Arc::new(answer);
    let thread = std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let answer = std::sync::Arc::clone(&answer);
            std::thread::spawn(move || {
                let mut head = [0; 4096];
                // What is asked does not matter.
                drop((&client).read(&mut head));
                answer(client);
            });
        }
    });
    (address, thread)
}

fn hosts(server: SocketAddr) -> Value {
    json!({ "hosts": [server.to_string()] })
}

#[test]
fn a_server_that_never_answers_is_waited_for_until_the_deadline_only() {
    let (server, _) = serve(|client| {
        std::thread::sleep(Duration::from_secs(60));
        drop(client);
    });
    let attack = Attack::component(&["http", &server.to_string(), "/"]).timeout(TIMEOUT).grants(hosts(server));
    attack.make().ends("timed_out", "longer than");
}

#[test]
fn a_body_without_end_exceeds_the_limit_of_what_is_received() {
    let (server, _) = serve(|mut client| {
        let head = client.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let piece = [b"10000\r\n".to_vec(), vec![b'x'; 65_536], b"\r\n".to_vec()].concat();
        if head.is_ok() {
            while client.write_all(&piece).is_ok() {}
        }
    });
    let attack = Attack::component(&["http", &server.to_string(), "/"]).grants(hosts(server));
    attack.limits(json!({ "response_bytes": 1 << 20 })).make().exceeds("response_bytes");
}

#[test]
fn a_header_without_end_is_an_error_of_that_request() {
    let (server, _) = serve(|mut client| {
        let piece = [b"x-y: ".to_vec(), vec![b'z'; 8_000], b"\r\n".to_vec()].concat();
        if client.write_all(b"HTTP/1.1 200 OK\r\n").is_ok() {
            while client.write_all(&piece).is_ok() {}
        }
    });
    Attack::component(&["http", &server.to_string(), "/"]).grants(hosts(server)).make().ends("error", "");
}

#[test]
fn connections_have_a_limit_by_sockets_and_by_http() {
    let (server, _) = serve(|mut client| drop(client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")));
    let limits = json!({ "connections": 10, "handles": 100_000 });
    let address = server.to_string();
    let attack = Attack::component(&["connect-many", &address]).grants(hosts(server)).limits(limits.clone());
    attack.make().exceeds("connections");
    let attack = Attack::component(&["http-many", &address, "/"]).grants(hosts(server)).limits(limits);
    attack.make().exceeds("connections");
}

#[test]
fn nobody_listens_even_where_an_address_is_granted() {
    let made = Attack::component(&["listen"]).grants(json!({ "hosts": ["127.0.0.0/8:*"] })).make();
    assert_eq!(made.run["outcome"], "error", "{}", made.run);
}

#[test]
fn keys_and_values_have_a_quota() {
    let (kv, limits) = (json!({ "kv": true }), json!({ "kv_bytes": 262_144 }));
    for verb in ["keys", "values"] {
        Attack::component(&[verb]).grants(kv.clone()).limits(limits.clone()).make().exceeds("kv_bytes");
    }
    for verb in ["giant-key", "giant-value"] {
        let made = Attack::component(&[verb]).grants(kv.clone()).make();
        assert!(
            ["error", "limit_exceeded", "trapped"].contains(&made.run["outcome"].as_str().unwrap_or_default()),
            "{}",
            made.run
        );
    }
    Attack::component(&["buckets"]).grants(kv).make().exceeds("handles");
}

#[test]
fn a_log_with_levels_is_bounded_as_any_other() {
    let made = Attack::component(&["log-for-ever"]).timeout(TIMEOUT).make().ends("timed_out", "longer than");
    assert!(made.lines().count() <= 1000);
    made.host_says("dropped");
    Attack::component(&["log-giant"]).make().ends("trapped", "");
}

#[test]
fn secrets_are_masked_wherever_a_guest_puts_them() {
    let env = TestEnv::new();
    let mut serve = env.serve();
    serve.env("TASKHOST_SECRET_API_TOKEN", "hunter2-hunter2");
    let host = Host::start(&env, serve);
    let grants = json!({ "secrets": ["api-token"], "config": { "city": "Ulm" } });
    let made = Attack::component(&["config"]).grants(grants).make_on(&host).succeeds_with("api-token=***");
    assert!(made.run["result"].as_str().is_some_and(|result| result.contains("city=Ulm")), "{}", made.run);
    assert!(made.lines().any(|line| line.contains("api-token=***")), "{:?}", made.logs);
    for shown in
        [host.ok(&["show", ATTACKER]), host.ok(&["logs", ATTACKER]), host.ok(&["export"]), host.ok(&["runs", ATTACKER])]
    {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
