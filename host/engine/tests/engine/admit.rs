//! What is refused at the door, and how.

use taskhost_core::plugin::PluginError;
use taskhost_core::ports::Engine;
use taskhost_engine::MAX_PLUGIN_BYTES;

use crate::guest::{ECHO, command, foreign, preview1, task};
use crate::host::Host;

async fn refusal(wasm: impl Into<bytes::Bytes>) -> String {
    match Host::new().engine.admit(wasm.into()).await {
        Err(PluginError::Invalid { message, .. }) => message,
        other => panic!("it should be invalid: {other:?}"),
    }
}

#[tokio::test]
async fn what_is_no_wasm_is_named() {
    for (bytes, what) in [
        (&b""[..], "empty"),
        (b"\x7fELF\x02", "a native program (ELF)"),
        (b"#!/bin/sh\n", "a script"),
        (b"PK\x03\x04", "a zip archive"),
        (b"hello", "text, but not of a `(module` or `(component`"),
        (b"\0as", "cut off within the magic number"),
        (b"\xff\xff", "of another format"),
    ] {
        assert_eq!(refusal(bytes).await, format!("the file is no WebAssembly: it is {what}"));
    }
}

#[tokio::test]
async fn text_that_does_not_parse_says_where() {
    let message = refusal("(module (func $f (result i32)\n  i32.cons 1))").await;
    assert!(message.starts_with("the WebAssembly text does not parse: "), "{message}");
    assert!(message.contains("2:"), "{message}");
}

#[tokio::test]
async fn what_is_repeated_of_a_plugin_is_short_and_safe_to_print() {
    let long = "x".repeat(50_000);
    let import = format!(r#"(module (import "\1b[2J{long}" "{long}" (func)) (func (export "_start")))"#);
    let exports = format!(r#"(module (func (export "\1b[2J")) (func (export "{long}")))"#);
    let twice = format!(r#"(module (func (export "\1b[2J{long}")) (func (export "\1b[2J{long}")))"#);
    let text = format!("(module (func (export \"_start\") i32.cons \u{1b}[2J{long}))");
    for wasm in [import, exports, twice, text] {
        let message = refusal(wasm).await;
        assert!(message.len() < 4_000 && !message.contains('\u{1b}'), "{} bytes: {message}", message.len());
    }
}

#[tokio::test]
async fn a_file_that_is_cut_off_is_refused_at_any_length() {
    let whole = task(ECHO);
    for length in [4, 9, 100, whole.len() / 2, whole.len() - 1] {
        let message = refusal(whole[..length].to_vec()).await;
        assert!(message.contains("cut off"), "at {length}: {message}");
    }
}

#[tokio::test]
async fn code_of_the_wrong_type_is_not_valid() {
    let wasm = wat::parse_str(r#"(module (func (export "_start") (result i64) (i32.const 1)))"#).expect("it parses");
    let message = refusal(wasm).await;
    assert!(message.starts_with("the wasm file is not valid: type mismatch"), "{message}");
}

#[tokio::test]
async fn a_core_module_without_start_is_refused_with_what_it_has() {
    let message = refusal(r#"(module (func (export "main")) (func (export "helper")))"#).await;
    assert_eq!(
        message,
        "the core module exports `main`, `helper`, and no `_start`; it has no `component-type` section either, \
         so it is neither a WASI preview-1 command nor a component"
    );
}

#[tokio::test]
async fn a_start_of_the_wrong_type_is_refused() {
    let message = refusal(r#"(module (func (export "_start") (param i32)))"#).await;
    assert!(message.contains("`_start`"), "{message}");
}

#[tokio::test]
async fn a_core_module_with_a_foreign_import_is_refused_with_its_name() {
    let message = refusal(r#"(module (import "env" "magic" (func)) (func (export "_start")))"#).await;
    assert_eq!(message, "the core module imports `env.magic`, which this host does not have");
}

#[tokio::test]
async fn an_import_of_the_wrong_type_is_refused() {
    let message = refusal(
        r#"(module (import "wasi_snapshot_preview1" "proc_exit" (func (param i64))) (func (export "_start")))"#,
    )
    .await;
    assert!(message.starts_with("the plugin does not fit this host: "), "{message}");
    assert!(message.contains("proc_exit"), "{message}");
}

#[tokio::test]
async fn a_component_of_a_foreign_world_is_refused_with_what_it_exports() {
    let wit = "package example:other; interface work { go: func(); } world w { export work; }";
    let wasm = foreign(wit, "w", r#"(module (func (export "example:other/work#go")))"#);
    assert_eq!(
        refusal(wasm).await,
        "the component exports `example:other/work`, and neither `taskhost:plugin/guest@0.1.0` (a task) \
         nor `wasi:cli/run@0.2.x` (a command)"
    );
}

#[tokio::test]
async fn a_component_of_another_version_of_the_contract_is_refused_with_both() {
    let wit = "package taskhost:plugin@9.0.0; interface guest { run: func(); } world w { export guest; }";
    let wasm = foreign(wit, "w", r#"(module (func (export "taskhost:plugin/guest@9.0.0#run")))"#);
    assert_eq!(
        refusal(wasm).await,
        "the component exports `taskhost:plugin/guest@9.0.0`, but this host serves `taskhost:plugin@0.1.0`"
    );
}

#[tokio::test]
async fn a_component_with_a_foreign_import_is_refused_with_its_name() {
    let wit = "package example:other@1.0.0; interface gate { open: func(); }
        world w { import gate; export run: func(); }";
    let module = r#"(module (import "example:other/gate@1.0.0" "open" (func)) (func (export "run")))"#;
    let message = refusal(foreign(wit, "w", module)).await;
    assert!(message.contains("imports `example:other/gate@1.0.0`, which this host does not have"), "{message}");
}

#[tokio::test]
async fn a_guest_of_the_wrong_type_is_refused() {
    let wit = "package taskhost:plugin@0.1.0; interface guest { run: func(); } world w { export guest; }";
    let wasm = foreign(wit, "w", r#"(module (func (export "taskhost:plugin/guest@0.1.0#run")))"#);
    let message = refusal(wasm).await;
    assert_eq!(
        message,
        "the plugin does not fit this host: the function `run` of `taskhost:plugin/guest@0.1.0` has another type: \
         it takes 0 parameters and must take 1 (the tick)"
    );
}

#[tokio::test]
async fn more_than_64_mib_is_too_large() {
    let wasm = vec![0; MAX_PLUGIN_BYTES as usize + 1];
    let refused = Host::new().engine.admit(wasm.into()).await;
    assert!(matches!(refused, Err(PluginError::TooLarge { limit_bytes: MAX_PLUGIN_BYTES, .. })));
}

#[tokio::test]
async fn what_is_refused_leaves_no_trace_and_can_be_sent_again() {
    let host = Host::new();
    for _ in 0..2 {
        assert!(host.engine.admit("(module)".into()).await.is_err());
    }
    assert!(host.engine.admit(preview1("").into()).await.is_ok());
    assert!(host.engine.admit(command("(i32.const 0)").into()).await.is_ok());
}
