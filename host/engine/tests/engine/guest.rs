//! Guests, each a few lines of text that do one thing.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A preview-1 command with this body of `_start`; it has a page of memory with `data` at 1024.
pub(crate) fn preview1(body: &str) -> String {
    format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
            (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2)
            (data (i32.const 1024) "hello\nhalf")
            ;; Writes `len` bytes at `ptr` to `fd`.
            (func $write (param $fd i32) (param $ptr i32) (param $len i32)
                (i32.store (i32.const 0) (local.get $ptr))
                (i32.store (i32.const 4) (local.get $len))
                (if (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)) (then unreachable)))
            ;; Sleeps so many nanoseconds on the monotonic clock.
            (func $sleep (param $ns i64)
                (i64.store (i32.const 256) (i64.const 0))
                (i32.store8 (i32.const 264) (i32.const 0))
                (i32.store (i32.const 272) (i32.const 1))
                (i64.store (i32.const 280) (local.get $ns))
                (i64.store (i32.const 288) (i64.const 0))
                (i32.store16 (i32.const 296) (i32.const 0))
                (if (call $poll_oneoff (i32.const 256) (i32.const 320) (i32.const 1) (i32.const 400)) (then unreachable)))
            (func $recurse (export "recurse") (param i32) (result i32)
                (i32.add (i32.const 1) (call $recurse (i32.add (i32.const 1) (local.get 0)))))
            (func $start (export "_start") (local $i i32) {body}))"#
    )
}

pub(crate) const SPIN: &str = "(loop $again (br $again))";
pub(crate) const SLEEP_FOR_EVER: &str = "(call $sleep (i64.const 3600000000000))";

/// A core module of our world with this body of `run`, which may use `$tick` and leaves the address of its result; the component type stands
/// in a section of it.
pub(crate) fn task_module(body: &str) -> Vec<u8> {
    task_module_with("", body)
}

/// One that prints by preview 1, as a toolchain of `wasm32-wasip1` makes it.
pub(crate) fn printing_task_module() -> Vec<u8> {
    let imports =
        r#"(import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))"#;
    let body = format!(
        r#"(i32.store (i32.const 700) (i32.const 0x6c6c6568)) (i32.store (i32.const 704) (i32.const 0x0a6f))
           (i32.store (i32.const 720) (i32.const 700)) (i32.store (i32.const 724) (i32.const 6))
           (if (call $fd_write (i32.const 1) (i32.const 720) (i32.const 1) (i32.const 728)) (then unreachable))
           {ECHO}"#
    );
    task_module_with(imports, &body)
}

fn task_module_with(imports: &str, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
            {imports}
            (import "taskhost:plugin/context@0.1.0" "cancelled" (func $cancelled (result i32)))
            (import "taskhost:plugin/context@0.1.0" "remaining-ms" (func $remaining_ms (param i32)))
            (memory (export "memory") 8)
            (global $top (mut i32) (i32.const 4096))
            (data (i32.const 1024) "went wrong")
            ;; Answers ok with the string at `ptr` as the summary.
            (func $ok (param $ptr i32) (param $len i32) (result i32)
                (i32.store8 (i32.const 512) (i32.const 0))
                (i32.store8 (i32.const 520) (i32.const 1))
                (i32.store (i32.const 524) (local.get $ptr))
                (i32.store (i32.const 528) (local.get $len))
                (i32.const 512))
            ;; Answers with a failure, permanent, to be tried again after 1,500 ms.
            (func $fail (result i32)
                (i32.store8 (i32.const 512) (i32.const 1))
                (i32.store (i32.const 520) (i32.const 1024))
                (i32.store (i32.const 524) (i32.const 10))
                (i32.store8 (i32.const 528) (i32.const 1))
                (i32.store8 (i32.const 536) (i32.const 1))
                (i64.store (i32.const 544) (i64.const 1500))
                (i32.const 512))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (global.get $top))
                (global.set $top (i32.and (i32.add (i32.add (global.get $top) (local.get 3)) (i32.const 7)) (i32.const -8)))
                (local.get $at))
            (func (export "taskhost:plugin/guest@0.1.0#run") (param $tick i32) (result i32) {body}))"#
    );
    let wit = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/0.1.0");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(wit).expect("the contract parses");
    embed(&text, &resolve, package, "task")
}

/// Answers with the task's name.
pub(crate) const ECHO: &str = "(call $ok (i32.load (local.get $tick)) (i32.load offset=4 (local.get $tick)))";

/// The same as a component.
pub(crate) fn task(body: &str) -> Vec<u8> {
    component(&task_module(body))
}

/// A WASI 0.2 command whose `run` has this body.
pub(crate) fn command(body: &str) -> Vec<u8> {
    let wit = "package wasi:cli@0.2.0; interface run { run: func() -> result; } world command { export run; }";
    let text = format!(r#"(module (func (export "wasi:cli/run@0.2.0#run") (result i32) {body}))"#);
    foreign(wit, "command", &text)
}

/// A component of any world.
pub(crate) fn foreign(wit: &str, world: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let package = resolve.push_str("test.wit", wit).expect("the test's WIT parses");
    component(&embed(module, &resolve, package, world))
}

fn embed(module: &str, resolve: &Resolve, package: wit_parser::PackageId, world: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).expect("the test's module parses");
    let world = resolve.select_world(&[package], Some(world)).expect("the world is there");
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).expect("the module takes its type");
    module
}

fn component(module: &[u8]) -> Vec<u8> {
    let mut encoder = ComponentEncoder::default().validate(true).module(module).expect("the module fits its type");
    encoder.encode().expect("the module becomes a component")
}
