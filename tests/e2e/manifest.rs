//! A plugin's own word, from `plugin.toml` to a task: packed, inspected, shown, and held against what tasks are granted.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::{TestEnv, guest, sha256};

const PLUGIN_TOML: &str = r#"name = "status-check"
version = "1.2.0"
description = "Asks a status page whether all is well, and fails if it is not, so that somebody is told"
licenses = "MIT OR Apache-2.0"
source = "https://example.com/status-check"

[config]
type = "object"
required = ["team"]

[config.properties.team]
description = "who is told"
type = "string"
minLength = 2

[config.properties.level]
description = "from which level on"
default = "warn"
enum = ["warn", "error"]

[[grants.required]]
kind = "host"
value = "status.example.com:443"
why = "the status page"

[[grants.optional]]
kind = "secret"
value = "token"
why = "for pages that are not public"

[schedule]
every = "15m"

[limits]
cpu_ms = 500
"#;

fn http_plugin() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("plugins/http/http.wasm")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of UTF-8")
}

/// A world with the plugin `check.wasm`, packed.
fn packed() -> TestEnv {
    let env = TestEnv::new();
    env.write("plugin.toml", PLUGIN_TOML);
    env.write("check.wasm", fs::read(http_plugin()).expect("the plugin is committed"));
    env.run_taskhost(&["pack", "check.wasm"]).ok();
    env
}

#[test]
fn what_is_packed_is_what_inspect_shows() {
    let env = packed();
    let again = env.run_taskhost(&["pack", "check.wasm", "-m", "plugin.toml", "-o", "again.wasm"]).ok();
    let bytes = fs::read(env.path("again.wasm")).expect("it is written");
    assert_eq!(again.stdout, format!("packed status-check 1.2.0 into again.wasm, sha256 {}\n", sha256(&bytes)));
    assert_eq!(bytes, fs::read(env.path("check.wasm")).expect("it is written"), "packing again changes nothing");

    let shown = env.run_taskhost(&["inspect", "check.wasm"]).ok().stdout;
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    insta::with_settings!({ filters => vec![("[0-9a-f]{64}", "[sha256]"), (r"size      .*", "size      [size]")] }, {
        insta::assert_snapshot!("inspect-packed", shown);
    });
    let json = env.run_taskhost(&["inspect", "check.wasm", "-o", "json"]).ok().json();
    assert_eq!(json["about"]["name"], "status-check");
    assert_eq!(json["about"]["manifest"]["grants"]["required"][0]["kind"], "host");
    assert_eq!(json["world"], "task of taskhost:plugin@0.1.0");
    assert!(json["memories"][0]["initial_bytes"].as_u64().is_some_and(|bytes| bytes % 65_536 == 0), "{json}");
}

#[test]
fn what_inspect_shows_fits_eighty_columns_whatever_made_the_plugin() {
    let env = TestEnv::new();
    let built = |name: &str| http_plugin().with_file_name(format!("../{name}/{name}.wasm"));
    for file in
        [built("http"), built("rotate"), built("ticker"), guest("keeper/keeper.wasm"), guest("foreign-world.wat")]
    {
        let shown = env.run_taskhost(&["inspect", text(&file)]).stdout;
        assert!(shown.lines().count() > 5 && shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    }
}

#[test]
fn what_a_host_would_refuse_is_not_packed_and_nothing_is_written() {
    let env = packed();
    env.write("schema.json", "{}");
    let before = fs::read(env.path("check.wasm")).expect("it is there");
    let refused = |toml: &str, file: &str, says: &[&str]| {
        env.write("other.toml", toml);
        env.run_taskhost(&["pack", file, "-m", "other.toml", "-o", "out.wasm"]).fails_with(5).says(says);
        assert!(!env.path("out.wasm").exists(), "nothing half made");
    };
    refused(
        "[[grants.required]]\nkind = \"kv\"\n",
        "check.wasm",
        &["the grant `kv`", "hint: take it out of the manifest"],
    );
    refused("name = \"x\"\nnmae = \"y\"\n", "check.wasm", &["line 2", "unknown field `nmae`, expected one of `name`"]);
    refused("[config]\ntype = \"array\"\n", "check.wasm", &["line 1", "the settings are an object"]);
    refused("config_schema = \"schema.json\"\n[config]\n", "check.wasm", &["give one of them"]);
    refused("", text(&guest("no-start.wat")), &["no `_start`", "hint: build it as a program"]);
    refused("", text(&guest("truncated.wasm")), &["cut off"]);
    env.run_taskhost(&["pack", "check.wasm", "-m", "nowhere.toml"])
        .fails_with(1)
        .says(&["failed to read nowhere.toml"]);
    env.run_taskhost(&["pack", "check.wasm", "-o", "no/such/folder.wasm"]).fails_with(1).says(&["failed to write"]);
    assert_eq!(fs::read(env.path("check.wasm")).expect("it is there"), before);
    let others = fs::read_dir(env.path("")).expect("a folder").filter_map(Result::ok);
    assert!(!others.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with(".tmp")));
}

#[test]
fn a_text_becomes_a_binary_and_is_not_overwritten_by_it() {
    let env = TestEnv::new();
    env.write("plugin.toml", "name = \"exit\"\nconfig_schema = \"schema.json\"\n");
    env.write("schema.json", "{\"type\": \"object\"}");
    let source = fs::read(guest("exit.wat")).expect("the guest is committed");
    env.write("exit.wat", &source);
    env.run_taskhost(&["pack", "exit.wat", "-o", "exit.wasm"]).fails_with(5).says(&["settings (`config`)"]);
    env.write("plugin.toml", "name = \"exit\"\n");
    env.run_taskhost(&["pack", "exit.wat"]).fails_with(5).says(&["exit.wat is text", "hint: say with `-o OUT.wasm`"]);
    assert_eq!(fs::read(env.path("exit.wat")).expect("it is there"), source);
    env.run_taskhost(&["pack", "exit.wat", "-o", "exit.wasm"]).ok();
    env.run_taskhost(&["run", "exit.wasm", "--", "7"]).fails_with(7);
}

#[test]
fn a_task_must_be_granted_what_its_plugin_needs_and_have_settings_that_it_takes() {
    let env = packed();
    let host = env.host();
    let refused = |args: &[&str], says: &[&str]| {
        host.ctl(args).fails_with(5).says(says);
    };
    let add = ["add", "check", "--wasm", "check.wasm"];
    refused(
        &add,
        &[
            "the plugin needs what the task is not granted: `--allow-host status.example.com:443` (the status page), `--config team=VALUE`",
            "hint: add --allow-host status.example.com:443 --config team=VALUE",
        ],
    );
    host.ctl(&["show", "check"]).fails_with(3);
    let granted = [&add[..], &["--allow-host", "*.example.com:443"]].concat();
    refused(&granted, &["`--config team=VALUE`", "hint: add --config team=VALUE"]);
    refused(&[&granted[..], &["--config", "team=x"]].concat(), &["takes no such settings: `team`: ", "hint: "]);
    let wrong = [&granted[..], &["--config", "team=ops", "--config", "level=loud"]].concat();
    refused(&wrong, &["`level`: ", "loud"]);
    host.ctl(&["show", "check"]).fails_with(3);

    let added = host.ok(&[&granted[..], &["--config", "team=ops"]].concat());
    assert_eq!(
        added,
        "added check: runs every 1s (default); its plugin suggests every 15m: `taskctl edit check --every 15m`\n"
    );
    host.ok(&["edit", "check", "--every", "15m"]);
    let revision = host.task("check")["revision"].clone();
    refused(&["edit", "check", "--allow-host", "*.example.com:443-"], &["`--allow-host status.example.com:443`"]);
    refused(&["edit", "check", "--no-grants"], &["`--config team=VALUE`"]);
    host.ok(&["add", "other", "--manual"]);
    refused(&["edit", "other", "--wasm", "check.wasm"], &["`--config team=VALUE`"]);
    env.write("tasks.toml", host.ok(&["export"]).replace("\"ops\"", "\"o\""));
    refused(&["apply", "-f", "tasks.toml"], &["task `check`: the plugin takes no such settings: `team`"]);
    assert_eq!(host.task("check")["revision"], revision, "nothing was changed");
    assert_eq!(host.task("check")["spec"]["grants"]["config"], json!({ "team": "ops" }));
}

#[test]
fn plugin_show_and_list_tell_what_a_plugin_says_of_itself_also_after_a_restart() {
    let env = packed();
    let host = env.host();
    let sha256 = host.ok(&["plugin", "put", "check.wasm"]);
    let shown = host.ok(&["plugin", "show", sha256.trim()]);
    for line in [
        "name       status-check 1.2.0",
        "needs      --allow-host status.example.com:443  the status page",
        "optional   --secret token  for pages that are not public",
        "suggests   --every 15m --limit cpu_ms=500",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "no `{line}` in {shown}");
    }
    assert!(host.ok(&["plugin", "list"]).contains("status-check 1.2.0"), "{}", host.ok(&["plugin", "list"]));
    let plugin = host.json(&["plugin", "show", sha256.trim()]);
    assert_eq!(plugin["manifest"]["grants"]["required"][0]["flag"], "--allow-host status.example.com:443");
    host.kill();
    let host = env.host();
    assert_eq!(host.json(&["plugin", "show", sha256.trim()]), plugin);
}
