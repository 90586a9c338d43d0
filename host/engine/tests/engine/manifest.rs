//! What a plugin says of itself: written by `pack`, read at the door.

use std::sync::Arc;

use bytes::Bytes;
use taskhost_core::manifest::{About, MANIFEST_SECTION, Manifest, NeedKind};
use taskhost_core::outcome::Outcome;
use taskhost_core::plugin::PluginError;
use taskhost_core::ports::Engine;
use taskhost_engine::{Inspection, Memory, can_use, inspect, pack};
use wasm_encoder::{CustomSection, Section};

use crate::guest::{ECHO, command, foreign, preview1, task, task_module};
use crate::host::{Host, Task};

fn about(manifest: &str) -> About {
    let text = |text: &str| Some(text.to_owned());
    About {
        name: text("feed-check"),
        version: text("1.2.0"),
        description: text("Tells when a feed has something new"),
        authors: text("A. Body <a@example.com>"),
        licenses: text("MIT"),
        source: text("https://example.com/feed-check"),
        homepage: text("https://example.com"),
        revision: text("0123abc"),
        toolchain: Vec::new(),
        manifest: Some(Arc::new(Manifest::parse(manifest.as_bytes()).expect("a manifest"))),
    }
}

const NOTHING: &str = r#"{"manifest": 1}"#;

/// The plugin with one more custom section at its end.
fn with_section(wasm: &[u8], name: &str, data: &[u8]) -> Vec<u8> {
    // As a binary, without anything written into it.
    let mut wasm = if taskhost_engine::is_binary(wasm) {
        wasm.to_vec()
    } else {
        pack(wasm, &About::default()).expect("it is WebAssembly")
    };
    CustomSection { name: name.into(), data: data.into() }.append_to(&mut wasm);
    wasm
}

fn problems(found: &Inspection) -> String {
    let told = |problem: &taskhost_engine::Problem| {
        format!("{} ({})", problem.message, problem.hint.clone().unwrap_or_default())
    };
    found.problems.iter().map(told).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn every_kind_of_plugin_can_be_packed_and_runs_as_before() {
    let preview1 = preview1("(call $write (i32.const 1) (i32.const 1024) (i32.const 6))");
    for wasm in [task(ECHO), task_module(ECHO), command("(i32.const 0)"), preview1.into_bytes()] {
        let before = inspect(&wasm);
        let packed = pack(&wasm, &about(NOTHING)).expect("it can be packed");
        let after = inspect(&packed);
        assert_eq!(after.problems, [], "{before:?}");
        assert_eq!((after.kind, &after.imports, &after.exports), (before.kind, &before.imports, &before.exports));
        assert_eq!(About { toolchain: Vec::new(), ..after.about.clone() }, about(NOTHING));
        assert_eq!(after.about.toolchain, before.about.toolchain, "what it was made with stays");

        let host = Host::new();
        let facts = host.engine.admit(Bytes::from(packed.clone())).await.expect("it is admitted");
        assert_eq!(facts.about.as_deref(), Some(&after.about), "what is kept is what is shown");
        assert_eq!(host.run(&Task::of(packed)).await.0.outcome, Outcome::Success);
    }
}

#[test]
fn packing_again_replaces_what_is_given_and_leaves_the_rest_as_it_was() {
    let once = pack(&task(ECHO), &about(NOTHING)).expect("it can be packed");
    assert_eq!(pack(&once, &about(NOTHING)).expect("again"), once, "nothing grows");
    let manifest = r#"{"manifest": 1, "schedule": {"every": "5m"}}"#;
    let other = About { name: Some("other".to_owned()), version: None, ..about(manifest) };
    let twice = inspect(&pack(&once, &other).expect("again"));
    assert_eq!(About { toolchain: Vec::new(), ..twice.about }, About { version: about(NOTHING).version, ..other });

    let named = br#"(module $inner (memory 1) (func $f (export "_start")))"#;
    let renamed = pack(named, &About { name: Some("outer".to_owned()), ..About::default() }).expect("it can be packed");
    assert_eq!(inspect(&renamed).about.name.as_deref(), Some("outer"));
    assert!(renamed.windows(2).any(|bytes| bytes == b"\x01f"), "functions keep their names");
    let none = inspect(&pack(&once, &About::default()).expect("again"));
    assert_eq!(none.about.manifest, None, "a manifest goes when there is none to write");
}

#[test]
fn a_manifest_that_asks_for_what_the_plugin_could_not_use_is_refused() {
    let need = |kind: &str, value: &str| {
        let value = if value.is_empty() { String::new() } else { format!(r#", "value": "{value}""#) };
        format!(r#"{{"manifest": 1, "grants": {{"required": [{{"kind": "{kind}"{value}}}]}}}}"#)
    };
    let quiet = r#"(module (func (export "_start")))"#;
    for (manifest, told) in [
        (
            need("kv", ""),
            "the manifest names the grant `kv`, and the plugin could not use it: it imports nothing that begins with `wasi:keyvalue/`",
        ),
        (need("host", "example.com:443"), "`wasi:http/outgoing-handler` or `wasi:http/client` or `wasi:sockets/`"),
        (need("secret", "token"), "`wasi:config/`"),
        (need("dir", "/data"), "`wasi:filesystem/`"),
        (need("env", "MODE"), "`wasi:cli/environment`"),
        (r#"{"manifest": 1, "config": {}}"#.to_owned(), "the manifest names settings (`config`)"),
        (need("kv", "").replace("required", "optional"), "the grant `kv`"),
    ] {
        let packed = pack(quiet.as_bytes(), &about(&manifest)).expect("it is written");
        let found = inspect(&packed);
        assert!(problems(&found).contains(told), "{manifest}: {}", problems(&found));
        assert!(problems(&found).contains("take it out of the manifest"), "{}", problems(&found));
        assert_eq!((found.about.manifest, found.about.name.as_deref()), (None, Some("feed-check")));
    }
    let env = r#"(module (import "wasi_snapshot_preview1" "environ_get" (func (param i32 i32) (result i32)))
        (func (export "_start")))"#;
    assert_eq!(inspect(&pack(env.as_bytes(), &about(&need("env", "MODE"))).expect("it is written")).problems, []);
    assert!(!can_use(NeedKind::Host, &["wasi_snapshot_preview1.sock_send".to_owned()]), "it could connect nowhere");
}

#[tokio::test]
async fn a_section_that_is_damaged_hostile_or_there_twice_is_refused_or_passed_over() {
    let guest = br#"(module (memory 1 2) (func (export "_start")))"#;
    let manifest = |data: &[u8]| inspect(&with_section(guest, MANIFEST_SECTION, data));
    for (data, told) in [
        (&b"\xff\xfe"[..], "the manifest is not to be understood"),
        (b"{\"manifest\": 1", "the manifest is not to be understood"),
        (&vec![b' '; 70_000], "the manifest has 70000 bytes; at most 65536 are accepted"),
        (&[b'['; 60_000], "the manifest is not to be understood"),
        (b"{\"manifest\": 7}", "the manifest has version 7, and this host knows version 1"),
        (b"{\"manifest\": 1, \"\x1b[2J\": 1}", "the manifest is not to be understood"),
    ] {
        let found = manifest(data);
        assert!(problems(&found).contains(told), "{}", problems(&found));
        assert!(!problems(&found).contains('\x1b'), "{:?}", problems(&found));
    }
    let twice =
        with_section(&with_section(guest, MANIFEST_SECTION, NOTHING.as_bytes()), MANIFEST_SECTION, NOTHING.as_bytes());
    assert!(problems(&inspect(&twice)).contains("has 2 sections `taskhost:manifest`, and may have one"));
    match Host::new().engine.admit(Bytes::from(twice)).await {
        Err(PluginError::Invalid { message, hint }) => {
            assert!(message.contains("2 sections") && hint.is_some(), "{message}");
        }
        other => panic!("it should be refused: {other:?}"),
    }

    // What only says something is never a reason to refuse.
    let mut hostile = guest.to_vec();
    for (name, data) in [
        ("description", vec![b'x'; 1 << 20]),
        ("version", b"\xff1.0".to_vec()),
        ("licenses", Vec::new()),
        ("name", vec![0, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("producers", [&[1, 8][..], b"language", &[0xff, 0xff, 3], &[0; 200_000]].concat()),
        (".dep-v0", vec![0x78, 0x9c, 0xff]),
    ] {
        hostile = with_section(&hostile, name, &data);
    }
    let found = inspect(&hostile);
    assert_eq!(found.problems, []);
    assert_eq!(found.about.description.map(|text| text.len()), Some(1024));
    assert_eq!(
        (found.about.version.as_deref(), found.about.licenses, found.about.name),
        (Some("\u{fffd}1.0"), None, None)
    );
    assert!(found.about.toolchain.len() <= 16, "{:?}", found.about.toolchain);
    assert_eq!(found.memories, [Memory { initial_bytes: 65_536, maximum_bytes: Some(131_072) }]);
}

#[test]
fn what_is_nested_says_nothing_for_the_whole() {
    let wit = "package wasi:cli@0.2.0; interface run { run: func() -> result; } world command { export run; }";
    let module = r#"(module (@custom "taskhost:manifest" "{\"manifest\": 9}") (@custom "version" "0.0.1")
        (func (export "wasi:cli/run@0.2.0#run") (result i32) (i32.const 0)))"#;
    let component = foreign(wit, "command", module);
    assert!(component.windows(17).any(|bytes| bytes == MANIFEST_SECTION.as_bytes()), "it is in there");
    let found = inspect(&component);
    assert_eq!(found.problems, []);
    assert_eq!((found.about.manifest, found.about.version), (None, None));
}
