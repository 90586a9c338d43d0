//! Tasks in files: `apply` and `export`.

use std::path::Path;

use serde_json::{Value, json};

use super::{task, taskctl};
use crate::exit::Exit;
use crate::output::Format;
use crate::testing::{Shown, client_of, plugins};

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("room");
    path.to_str().expect("a plain path").to_owned()
}

/// An answer with a change of every kind.
fn applied(applied: bool) -> Value {
    json!({
        "changes": [
            {"task": "a", "kind": "add"},
            {"task": "b", "kind": "edit", "diff": [
                {"member": "schedules", "to": [{"every": "5m"}]}, {"member": "timeout", "from": "5s"},
            ]},
            {"task": "c", "kind": "unchanged"},
            {"task": "d", "kind": "unchanged"},
            {"task": "e\u{1b}", "kind": "delete"},
        ],
        "applied": applied,
    })
}

#[tokio::test]
async fn what_is_exported_is_what_is_applied() {
    let exporting = client_of(|call| {
        assert_eq!((call.method.as_str(), &call.request["selector"]), ("TaskUnit.List", &json!("team=web")));
        match call.request["cursor"].as_str() {
            None => vec![call.answer(json!({"tasks": [task(0)], "next_cursor": "more"}))],
            Some(_) => vec![call.answer(json!({"tasks": [task(1), task(2)]}))],
        }
    });
    let mut shown = Shown::new();
    assert_eq!(taskctl(&exporting, &["export", "-l", "team=web"], &mut shown).await, Exit::Done);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = write(folder.path(), "tasks.toml", &shown.out());

    let specs = json!([task(0)["spec"], task(1)["spec"], task(2)["spec"]]);
    let expected = json!({"tasks": specs});
    let applying = client_of({
        let expected = expected.clone();
        move |call| {
            assert_eq!((call.method.as_str(), &call.request), ("TaskUnit.Apply", &expected));
            vec![call.answer(json!({"changes": [], "applied": true}))]
        }
    });
    let mut shown = Shown::new();
    assert_eq!(taskctl(&applying, &["apply", "-f", &file], &mut shown).await, Exit::Done, "{}", shown.err());

    let mut shown = Shown::of_format(Format::Json);
    assert_eq!(taskctl(&exporting, &["export", "-l", "team=web"], &mut shown).await, Exit::Done);
    assert_eq!(serde_json::from_str::<Value>(&shown.out()).expect("one document"), expected);
}

#[tokio::test]
async fn apply_shows_what_changes_and_what_was_done() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = write(folder.path(), "tasks.toml", "[[task]]\nname = \"a\"\n");
    let client = client_of(|call| {
        assert_eq!((&call.request["prune"], &call.request["selector"]), (&json!(true), &json!("team=web")));
        vec![call.answer(applied(call.request["dry_run"] != json!(true)))]
    });
    let words = ["apply", "-f", &file, "--prune", "--selector", "team=web"];
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &words, &mut shown).await, Exit::Done);
    insta::assert_snapshot!(shown.out(), @r"
    + a
    ~ b  schedules: (default) → every 5m
    ~ b  timeout: 5s → (default)
    - e\x1b
    1 added, 1 edited, 1 deleted, 2 unchanged
    ");
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &[&words[..], &["--dry-run"]].concat(), &mut shown).await, Exit::Done);
    assert!(shown.out().ends_with("1 to add, 1 to edit, 1 to delete, 2 unchanged; nothing was done\n"));
}

#[tokio::test]
async fn a_plugin_beside_the_file_is_sent_once_and_first() {
    const TASKS: &str = "
[[task]]
name = \"a\"
plugin = { wasm = \"plugins/p.wasm\" }

[[task]]
name = \"b\"
plugin = { wasm = \"plugins/p.wasm\" }

[[task]]
name = \"c\"
";
    let folder = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(folder.path().join("plugins")).expect("room");
    write(folder.path(), "plugins/p.wasm", "the plugin");
    let file = write(folder.path(), "tasks.toml", TASKS);
    for dry_run in [false, true] {
        let mut sent = 0;
        let client = client_of(move |call| match call.method.as_str() {
            "Plugin.Has" => vec![call.answer(json!({"has": false}))],
            "Plugin.Put" => {
                sent += 1;
                vec![call.answer(json!({"received": 10, "plugin": plugins()[0]}))]
            }
            _ => {
                assert_eq!(sent, if dry_run { 0 } else { 1 });
                let plugins: Vec<_> = (0..3).map(|at| call.request["tasks"][at]["plugin"].clone()).collect();
                assert_eq!(plugins[0]["sha256"].as_str().map(str::len), Some(64));
                assert_eq!(plugins[0], plugins[1]);
                assert_eq!(plugins[2], json!({"builtin": "ticker"}));
                vec![call.answer(applied(!dry_run))]
            }
        });
        let words = [&["apply", "-f", &file][..], if dry_run { &["--dry-run"] } else { &[] }].concat();
        let mut shown = Shown::new();
        assert_eq!(taskctl(&client, &words, &mut shown).await, Exit::Done, "{}", shown.err());
    }
}

#[tokio::test]
async fn a_file_that_is_wrong_is_told_with_its_line_and_not_sent() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let client = client_of(|_| Vec::new());
    let file = write(folder.path(), "tasks.toml", "[[task]]\nname = \"a\"\nevery = \"1s\"\n");
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["apply", "-f", &file], &mut shown).await, Exit::Invalid);
    let told = shown.err().replace(&file, "FILE");
    assert!(told.starts_with("error: failed to read FILE: line 3: unknown field `every`, expected one of"), "{told}");

    let absent = folder.path().join("absent.toml");
    let mut shown = Shown::new();
    let words = ["apply", "-f", absent.to_str().expect("a plain path")];
    assert_eq!(taskctl(&client, &words, &mut shown).await, Exit::Usage);
    let told = shown.err().replace(words[2], "FILE");
    insta::assert_snapshot!(told, @r"
    error: failed to read FILE: no such file or directory
    hint: give the path of a TOML file, or - for the standard input
    ");

    let file = write(folder.path(), "tasks.toml", "[[task]]\nname = \"a\"\nplugin = { wasm = \"absent.wasm\" }\n");
    let mut shown = Shown::new();
    assert_eq!(taskctl(&client, &["apply", "-f", &file], &mut shown).await, Exit::Usage);
    assert!(shown.err().contains("absent.wasm: no such file or directory"), "{}", shown.err());
}
