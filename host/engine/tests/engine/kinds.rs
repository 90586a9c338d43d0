//! Every kind of program runs.

use bytes::Bytes;
use taskhost_core::outcome::Outcome;
use taskhost_core::plugin::PluginKind;
use taskhost_core::ports::Engine;
use taskhost_engine::inspect;

use crate::guest::{ECHO, command, preview1, printing_task_module, task, task_module};
use crate::host::{Host, Task, texts};

const TICKER: &[u8] = include_bytes!("../../../../plugins/ticker/ticker.wasm");

#[tokio::test]
async fn a_component_of_our_world_runs_and_its_summary_is_kept() {
    let (report, _) = Host::new().run(&Task::of(task(ECHO))).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
    assert_eq!(report.result.as_deref(), Some("the task"));
    assert_eq!(report.exit_code, None);
    assert!(report.entry_delay.is_some());
}

#[tokio::test]
async fn a_core_module_with_a_component_type_section_runs_as_a_component() {
    let (host, task) = (Host::new(), Task::of(task_module(ECHO)));
    let facts = host.engine.admit(task.wasm.clone()).await.expect("it is admitted");
    assert_eq!(facts.kind, PluginKind::Task);
    assert_eq!(facts.exports, ["taskhost:plugin/guest@0.1.0"]);
    assert_eq!(facts.size_bytes, task.wasm.len() as u64);
    assert_eq!(host.run(&task).await.0.result.as_deref(), Some("the task"));
}

#[tokio::test]
async fn a_wasi_command_runs_and_its_answer_is_its_exit_code() {
    let host = Host::new();
    let (report, _) = host.run(&Task::of(command("(i32.const 0)"))).await;
    assert_eq!((report.outcome, report.exit_code), (Outcome::Success, Some(0)));
    let (report, _) = host.run(&Task::of(command("(i32.const 1)"))).await;
    assert_eq!((report.outcome, report.exit_code), (Outcome::Error, Some(1)));
}

#[tokio::test]
async fn a_preview_1_command_in_text_form_runs() {
    let (report, lines) =
        Host::new().run(&Task::of(preview1("(call $write (i32.const 1) (i32.const 1024) (i32.const 6))"))).await;
    assert_eq!((report.outcome, report.exit_code), (Outcome::Success, Some(0)), "{report:?}");
    assert_eq!(texts(&lines), ["stdout: hello"]);
}

#[tokio::test]
async fn a_preview_1_command_has_its_own_exit_code() {
    let host = Host::new();
    for code in [0, 3, 126, 255] {
        let (report, _) = host.run(&Task::of(preview1(&format!("(call $proc_exit (i32.const {code}))")))).await;
        let outcome = if code == 0 { Outcome::Success } else { Outcome::Error };
        assert_eq!((report.outcome, report.exit_code), (outcome, Some(code)));
    }
}

#[tokio::test]
async fn arguments_follow_the_name_of_the_task() {
    let body = "
        (drop (call $args_sizes_get (i32.const 0) (i32.const 4)))
        (local.set $i (i32.load (i32.const 4)))
        (drop (call $args_get (i32.const 512) (i32.const 2048)))
        (call $write (i32.const 1) (i32.const 2048) (local.get $i))";
    let (report, lines) = Host::new().run(&Task::of(preview1(body)).args(&["-v", "a b"])).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
    assert_eq!(texts(&lines), ["stdout: the task\0-v\0a b\0"]);
}

#[tokio::test]
async fn a_core_module_of_our_world_may_use_preview_1() {
    let (report, lines) = Host::new().run(&Task::of(printing_task_module())).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
    assert_eq!(texts(&lines), ["stdout: hello"]);
}

#[tokio::test]
async fn the_built_in_ticker_prints_its_task_and_the_time() {
    let host = Host::with_builtins(vec![("ticker".to_owned(), Bytes::from_static(TICKER))]);
    let [(name, facts)] = host.engine.builtins() else { panic!("one built-in plugin") };
    assert_eq!((name.as_str(), facts.kind), ("ticker", PluginKind::Task));
    assert_eq!(host.engine.builtin("ticker"), Some(facts.sha256));
    assert_eq!(host.engine.builtin("other"), None);

    let (report, lines) = host.run(&Task::of(TICKER)).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?}");
    let [line] = &texts(&lines)[..] else { panic!("one line: {lines:?}") };
    assert!(line.starts_with("stdout: Task the task tick at 2"), "{line}");
}

#[test]
fn a_built_in_plugin_that_the_door_refuses_is_left_out_and_the_others_are_not() {
    let builtins = [("broken", &b"(module"[..]), ("ticker", TICKER)];
    let builtins = builtins.map(|(name, wasm)| (name.to_owned(), Bytes::from_static(wasm)));
    let host = Host::with_builtins(builtins.into());
    assert_eq!(host.engine.builtins().iter().map(|(name, _)| name).collect::<Vec<_>>(), ["ticker"]);
}

#[tokio::test]
async fn nothing_is_granted_and_what_is_imported_unused_does_no_harm() {
    // Exits with 1 if there is an environment variable, 2 if there is a directory, 3 if stdin has anything.
    let guest = r#"(module
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
        (import "wasi_snapshot_preview1" "sock_accept" (func (param i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start")
            (drop (call $environ_sizes_get (i32.const 0) (i32.const 4)))
            (if (i32.load (i32.const 0)) (then (call $proc_exit (i32.const 1))))
            (if (i32.eqz (call $fd_prestat_get (i32.const 3) (i32.const 8))) (then (call $proc_exit (i32.const 2))))
            (i32.store (i32.const 16) (i32.const 1024))
            (i32.store (i32.const 20) (i32.const 16))
            (drop (call $fd_read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24)))
            (if (i32.load (i32.const 24)) (then (call $proc_exit (i32.const 3))))))"#;
    let (report, _) = Host::new().run(&Task::of(guest)).await;
    assert_eq!(report.exit_code, Some(0), "{report:?}");
}

#[test]
fn an_inspection_shows_what_a_plugin_is_and_has() {
    let inspection = inspect(&task(ECHO));
    assert_eq!(inspection.kind, Some(PluginKind::Task));
    assert_eq!(inspection.imports, ["taskhost:plugin/context@0.1.0", "taskhost:plugin/types@0.1.0"]);
    assert_eq!(inspection.exports, ["taskhost:plugin/guest@0.1.0"]);
    assert_eq!(inspection.problems, []);

    let inspection = inspect(b"(module (import \"env\" \"f\" (func)) (func (export \"_start\")))");
    assert_eq!((inspection.kind, inspection.problems.len()), (Some(PluginKind::Preview1), 1));
    assert_eq!(inspection.imports, ["env.f"]);
}

#[tokio::test]
async fn a_command_of_wasi_0_3_runs_where_that_is_allowed() {
    let command = include_bytes!("../../../../tests/guests/command-0.3.wat");
    let (report, _) = Host::new().run(&Task::of(&command[..])).await;
    assert_eq!((report.outcome, report.exit_code), (Outcome::Success, Some(0)), "{report:?}");

    let host = Host::without_wasi_0_3();
    let refused = host.engine.admit(Bytes::from_static(command)).await.expect_err("it is not allowed").to_string();
    assert_eq!(refused, "the plugin is of WASI 0.3, which this host does not run");
    assert!(host.prepare(&Task::of(&command[..])).await.is_err(), "nor is one that was stored before");
}
