//! Versions that there are not yet, beside those that there are: what a release of one relies on.
//!
//! A host that serves 0.1.1 in the place of 0.1.0, as the next one would, and 0.2.0 beside it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use taskhost_core::log::TaskLog;
use taskhost_core::name::TaskName;
use taskhost_core::outcome::{Reason, RunId, RunKey};
use taskhost_core::ports::{Attempt, RunControl};
use taskhost_core::spec::{DEFAULT_TIMEOUT, TaskSpec};
use taskhost_core::time::Time;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Engine, Store};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::held::Held;
use crate::pool::{Kind, compiling};
use crate::setup::{Services, Setup};
use crate::state::{State, store};
use crate::turn::{Probe, Turn};

/// 0.1.0 and a function more.
mod v0_1_1 {
    wasmtime::component::bindgen!({
        path: "src/wit/tests/0.1.1",
        world: "task",
        exports: { default: async },
    });

    impl taskhost::plugin::context::Host for super::State {
        fn remaining_ms(&mut self) -> Option<u64> {
            Some(60_000)
        }

        fn cancelled(&mut self) -> bool {
            false
        }

        fn attempts_left(&mut self) -> u32 {
            7
        }
    }

    impl taskhost::plugin::types::Host for super::State {}
}

/// Other records, and another signature.
mod v0_2_0 {
    wasmtime::component::bindgen!({
        path: "src/wit/tests/0.2.0",
        world: "task",
        exports: { default: async },
    });

    impl taskhost::plugin::context::Host for super::State {
        fn attempt(&mut self) -> u32 {
            4
        }

        fn cancelled(&mut self) -> Option<String> {
            None
        }
    }

    impl taskhost::plugin::types::Host for super::State {}
}

/// Built against 0.1.0, and kept for ever.
const OF_0_1_0: &[u8] = include_bytes!("../../../../tests/contract/0.1.0/probe.wasm");

/// What every guest here has: memory, and a place for what it is handed.
const PRELUDE: &str = r#"
    (memory (export "memory") 1)
    (global $top (mut i32) (i32.const 4096))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (global.get $top))
        (global.set $top (i32.and (i32.add (i32.add (global.get $top) (local.get 3)) (i32.const 7)) (i32.const -8)))
        (local.get $at))"#;

/// Answers with the digit of how many attempts are left, which only 0.1.1 tells.
fn of_0_1_1() -> Vec<u8> {
    let module = format!(
        r#"(module
            (import "taskhost:plugin/context@0.1.1" "attempts-left" (func $attempts_left (result i32)))
            {PRELUDE}
            (func (export "taskhost:plugin/guest@0.1.1#run") (param i32) (result i32)
                (i32.store8 (i32.const 1024) (i32.add (i32.const 48) (call $attempts_left)))
                ;; ok(some(text)).
                (i32.store8 (i32.const 512) (i32.const 0))
                (i32.store8 (i32.const 520) (i32.const 1))
                (i32.store (i32.const 524) (i32.const 1024))
                (i32.store (i32.const 528) (i32.const 1))
                (i32.const 512)))"#
    );
    component("0.1.1", &module)
}

/// Answers with the task's name.
fn of_0_2_0() -> Vec<u8> {
    let module = format!(
        r#"(module
            (import "taskhost:plugin/context@0.2.0" "attempt" (func $attempt (result i32)))
            {PRELUDE}
            (func (export "taskhost:plugin/guest@0.2.0#run") (param $task i32) (param $bytes i32) (param $due_ms i64) (result i32)
                (if (i32.ne (call $attempt) (i32.const 4)) (then unreachable))
                ;; ok(text).
                (i32.store8 (i32.const 512) (i32.const 0))
                (i32.store (i32.const 516) (local.get $task))
                (i32.store (i32.const 520) (local.get $bytes))
                (i32.const 512)))"#
    );
    component("0.2.0", &module)
}

/// A component of the world `task` of a version that there is for tests only.
fn component(version: &str, module: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).expect("the test's module parses");
    let mut resolve = Resolve::default();
    let wit = format!("{}/src/wit/tests/{version}", env!("CARGO_MANIFEST_DIR"));
    let (package, _) = resolve.push_path(wit).expect("the test's WIT parses");
    let world = resolve.select_world(&[package], Some("task")).expect("the world is there");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("the module takes its type");
    let mut encoder = ComponentEncoder::default().validate(true).module(&module).expect("the module fits its type");
    encoder.encode().expect("the module becomes a component")
}

/// A host that serves 0.1.1 and 0.2.0, and compiles what it runs.
struct NextHost {
    engine: Engine,
    linker: Linker<State>,
}

impl NextHost {
    fn new() -> Self {
        let engine = compiling(false, Kind::Plain).expect("an engine");
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).expect("WASI");
        v0_1_1::Task::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state).expect("0.1.1");
        v0_2_0::Task::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state).expect("0.2.0");
        Self { engine, linker }
    }

    fn compile(&self, plugin: &[u8]) -> Component {
        Component::new(&self.engine, plugin).expect("it compiles")
    }

    /// The world of an attempt of a task with these arguments.
    fn store(&self, args: &[&str]) -> Store<State> {
        let name = TaskName::new("some-task").expect("it is a name");
        let spec = TaskSpec { args: args.iter().map(|arg| (*arg).to_owned()).collect(), ..TaskSpec::default() };
        let setup = Arc::new(Setup::new(Arc::new(spec), Arc::new(Services::detached(u64::MAX)), 0));
        let attempt = Attempt {
            run_id: RunId { task: 0, key: RunKey::of(Time(0)) },
            number: 1,
            since: None,
            reason: Reason::Schedule,
            trigger: None,
            due_local: None,
            timeout: DEFAULT_TIMEOUT,
            control: Arc::new(RunControl::default()),
            log: TaskLog::detached(0, name.clone()),
            task: name,
        };
        let now = Instant::now();
        let turn = Turn { attempt, deadline: now + Duration::from_secs(60), probe: Probe::new(now), secrets: None };
        store(&self.engine, &setup, Held::none(&setup), None, &turn)
    }

    /// Runs a plugin of 0.1.0 or 0.1.1, and answers with its summary.
    async fn run_0_1(&self, plugin: &[u8], args: &[&str]) -> Option<String> {
        let mut store = self.store(args);
        let component = self.compile(plugin);
        let task = v0_1_1::Task::instantiate_async(&mut store, &component, &self.linker).await.expect("it is linked");
        let tick = v0_1_1::taskhost::plugin::types::Tick {
            task: "some-task".to_owned(),
            run_id: "0-0".to_owned(),
            attempt: 1,
            due: v0_1_1::taskhost::plugin::types::Instant { seconds: 0, nanoseconds: 0 },
            due_local: "1970-01-01T00:00:00Z".to_owned(),
            since: None,
            reason: v0_1_1::taskhost::plugin::types::Reason::Schedule,
        };
        let returned = task.taskhost_plugin_guest().call_run(&mut store, &tick).await.expect("it does not trap");
        returned.expect("it succeeds")
    }
}

#[tokio::test]
async fn a_plugin_of_0_1_0_runs_where_0_1_1_is_served_in_its_place() {
    let host = NextHost::new();
    assert_eq!(host.run_0_1(OF_0_1_0, &["summary", "as", "ever"]).await.as_deref(), Some("as ever"));
    assert_eq!(host.run_0_1(OF_0_1_0, &["remaining"]).await.as_deref(), Some("60000"), "by the context of 0.1.1");
}

#[tokio::test]
async fn plugins_of_0_1_0_of_0_1_1_and_of_a_foreign_0_2_0_run_beside_each_other() {
    let host = NextHost::new();
    let (component, mut store) = (host.compile(&of_0_2_0()), host.store(&[]));
    let foreign = v0_2_0::Task::instantiate_async(&mut store, &component, &host.linker).await.expect("it is linked");
    let tick = v0_2_0::taskhost::plugin::types::Tick { task: "foreign".to_owned(), due_ms: 5 };
    let returned = foreign.taskhost_plugin_guest().call_run(&mut store, &tick).await.expect("it does not trap");
    assert_eq!(returned.as_deref(), Ok("foreign"));

    assert_eq!(host.run_0_1(&of_0_1_1(), &[]).await.as_deref(), Some("7"), "the function that was added");
    assert_eq!(host.run_0_1(OF_0_1_0, &["ok"]).await, None);
}

#[tokio::test]
async fn a_version_is_not_taken_for_another_one() {
    let (host, component) = (NextHost::new(), |plugin: &[u8]| Bytes::copy_from_slice(plugin));
    let mut store = host.store(&[]);
    let of_0_1_0 = host.compile(OF_0_1_0);
    let refused = v0_2_0::Task::instantiate_async(&mut store, &of_0_1_0, &host.linker).await;
    assert!(refused.is_err(), "0.1.0 is no 0.2.0");

    // This host is older than the two: it says so when the plugin is added.
    for (plugin, version) in [(of_0_1_1(), "0.1.1"), (of_0_2_0(), "0.2.0")] {
        let found = crate::inspect(&component(&plugin));
        let told: Vec<_> = found.problems.iter().map(|problem| problem.message.as_str()).collect();
        let exported =
            format!("exports `taskhost:plugin/guest@{version}`, but this host serves `taskhost:plugin@0.1.0`");
        assert!(told[0].contains(&exported), "{told:?}");
        let imported = format!("imports `taskhost:plugin/context@{version}`");
        assert!(told[1].contains(&imported), "{told:?}");
    }
}
