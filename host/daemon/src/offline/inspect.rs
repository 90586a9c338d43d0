//! `taskhost inspect`: what a file is, as the host's door sees it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use taskhost_core::manifest::{About, Manifest, Need, NeedKind};
use taskhost_core::plugin::{PluginError, PluginKind};
use taskhost_core::ports::Engine;
use taskhost_engine::{CompilerConfig, Inspection, Memory, Problem, can_use};

use super::{engine_for, read_plugin};
use crate::compiler::compiler;
use crate::echo::printable;
use crate::failed_to;
use crate::rpc::convert::suggested_schedule;
use crate::rpc::errors::CRASHED_HINT;

pub(crate) const EXIT_CODES: &str =
    "Exit codes: 0 a host would run it, 5 it would refuse it, 1 the file can't be read.";

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The file to look at
    file: PathBuf,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// A host would refuse the file.
const REFUSED: u8 = 5;

pub(crate) fn inspect(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let wasm = read_plugin(&args.file)?;
    let found = look_at(wasm)?;
    let text = match args.output {
        Output::Table => table(&found),
        Output::Json => format!("{:#}\n", json(&found)),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(if found.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

/// What a host finds in a file, as it would take it: at the door, and when it compiles it.
pub(super) fn look_at(wasm: Bytes) -> anyhow::Result<Inspection> {
    let refusal = refusal(wasm.clone(), compiler())?;
    if let Some(PluginError::Crashed(_)) = &refusal {
        // Nor is it read here: that would be the end.
        return Ok(Inspection::unread(&wasm, refusal.into_iter().map(problem).collect()));
    }
    let mut found = taskhost_engine::inspect(&wasm);
    if found.problems.is_empty() {
        found.problems.extend(refusal.map(problem));
    }
    Ok(found)
}

/// Why the engine does not take it: only compiling tells whether the types of its functions fit.
fn refusal(wasm: Bytes, compiler: CompilerConfig) -> anyhow::Result<Option<PluginError>> {
    let engine = engine_for(wasm.clone(), compiler, None).map_err(failed_to)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start the runtime")?;
    Ok(runtime.block_on(engine.admit(wasm)).err())
}

fn problem(error: PluginError) -> Problem {
    match error {
        PluginError::Invalid { message, hint } => Problem { message, hint },
        PluginError::Crashed(_) => Problem { message: error.to_string(), hint: Some(CRASHED_HINT.to_owned()) },
        error => Problem { message: error.to_string(), hint: None },
    }
}

/// How wide the names of the rows are.
const TITLE_COLUMNS: usize = 9;

/// How wide a line is made, where its words allow it.
const LINE_COLUMNS: usize = 80;

fn table(found: &Inspection) -> String {
    let About { name, version, description, authors, licenses, source, homepage, revision, toolchain, manifest } =
        &found.about;
    let called = [name, version].into_iter().flatten().cloned().collect::<Vec<_>>().join(" ");
    let tools: Vec<_> = toolchain.iter().map(ToString::to_string).collect();
    let mut rows = Rows::default();
    rows.push("name", &called);
    rows.push("about", description.as_deref().unwrap_or_default());
    rows.push("kind", found.kind.map_or("no plugin", |kind| kind.as_str()));
    rows.push("world", &world(found).unwrap_or_default());
    rows.push("sha256", &found.sha256.to_string());
    rows.push("size", &size(found.size_bytes));
    // Of a file that could not be read, nobody knows.
    if found.kind.is_some() || !found.memories.is_empty() {
        rows.push("memory", &memory(&found.memories));
    }
    rows.push("made with", &tools.join(", "));
    for (title, text) in [
        ("authors", authors),
        ("licenses", licenses),
        ("source", source),
        ("homepage", homepage),
        ("revision", revision),
    ] {
        rows.push(title, text.as_deref().unwrap_or_default());
    }
    rows.list("imports", &found.imports);
    rows.list("exports", &found.exports);
    let may_use: Vec<_> =
        may_use(&found.imports).into_iter().map(|(flags, what)| format!("{flags:<18}  {what}")).collect();
    if !may_use.is_empty() {
        rows.list("may use", &may_use);
        rows.more("(toolchains import more than is used; only what is granted works)");
    }
    if let Some(manifest) = manifest {
        rows.manifest(manifest);
    }
    match &found.problems[..] {
        [] => rows.push("verdict", "a host would run it"),
        problems => {
            for problem in problems {
                rows.push("wrong", &problem.message);
                rows.push("hint", problem.hint.as_deref().unwrap_or_default());
            }
        }
    }
    rows.0
}

/// Lines of a table of two columns.
#[derive(Default)]
struct Rows(String);

impl Rows {
    /// A row, on several lines if it is long; none if there is nothing to tell.
    fn push(&mut self, title: &str, value: &str) {
        self.row(title, value, "");
    }

    /// What stands below the row before.
    fn more(&mut self, value: &str) {
        self.push("", value);
    }

    /// One line for each, the first with the title. What needs more than one is set in, so that it is not taken for the next value.
    fn list(&mut self, title: &str, values: &[String]) {
        if values.is_empty() {
            self.push(title, "none");
        }
        for (at, value) in values.iter().enumerate() {
            self.row(if at == 0 { title } else { "" }, value, "  ");
        }
    }

    fn row(&mut self, title: &str, value: &str, indent: &str) {
        if value.is_empty() {
            return;
        }
        let columns = LINE_COLUMNS - TITLE_COLUMNS - 1 - indent.len();
        let lines = match value.contains('\n') {
            // It points into a text.
            true => value.lines().map(printable).collect(),
            false => wrapped(&printable(value), columns),
        };
        for (at, line) in lines.iter().enumerate() {
            let (title, indent) = if at == 0 { (title, "") } else { ("", indent) };
            self.0.push_str(&format!("{title:<TITLE_COLUMNS$} {indent}{line}\n"));
        }
    }

    fn manifest(&mut self, manifest: &Manifest) {
        let told = |need: &Need| match &need.why {
            Some(why) => format!("{}  {why}", need.flag()),
            None => need.flag(),
        };
        for (title, needs) in [("needs", &manifest.grants.required), ("optional", &manifest.grants.optional)] {
            if !needs.is_empty() {
                self.list(title, &needs.iter().map(told).collect::<Vec<_>>());
            }
        }
        let settings = manifest.config.as_ref().map(settings).unwrap_or_default();
        if !settings.is_empty() {
            self.list("settings", &settings);
        }
        let mut suggested: Vec<_> =
            manifest.schedule.iter().map(|schedule| suggested_schedule(schedule).flags()).collect();
        suggested.extend(manifest.limits.iter().map(|(name, value)| match name.as_str() {
            "memory_bytes" => format!("--memory {value}"),
            name => format!("--limit {name}={value}"),
        }));
        self.push("suggests", &suggested.join(" "));
    }
}

/// The settings that a schema names, each with what is said of it.
fn settings(schema: &Value) -> Vec<String> {
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let required: Vec<_> = required.collect();
    let properties = schema["properties"].as_object();
    let named = properties.into_iter().flatten().map(|(name, setting)| {
        let must = if required.contains(&name.as_str()) { " (required)" } else { "" };
        let said = ["description", "title"].iter().find_map(|member| setting[member].as_str());
        let mut told = format!("{name}{must}");
        told.extend(said.map(|said| format!(": {said}")));
        told.extend(setting.get("default").map(|default| format!(" [default: {}]", plain(default))));
        told
    });
    let unnamed = required.iter().filter(|name| properties.is_none_or(|properties| !properties.contains_key(**name)));
    named.chain(unnamed.map(|name| format!("{name} (required)"))).collect()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The text in lines of at most so many characters, cut between words.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > columns {
            lines.push(std::mem::take(&mut line));
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// What it was built for, with the version: the package of the interface by which it is entered.
fn world(found: &Inspection) -> Option<String> {
    let version = |begin: &str| found.exports.iter().find_map(|export| export.strip_prefix(begin));
    match found.kind? {
        PluginKind::Task => {
            version("taskhost:plugin/guest@").map(|version| format!("task of taskhost:plugin@{version}"))
        }
        PluginKind::Command => version("wasi:cli/run@").map(|version| format!("command of wasi:cli@{version}")),
        PluginKind::Preview1 => Some("command of WASI preview 1".to_owned()),
    }
}

fn size(bytes: u64) -> String {
    match human(bytes) {
        Some(human) => format!("{bytes} bytes ({human})"),
        None => format!("{bytes} bytes"),
    }
}

/// In KiB or MiB, from one of them on.
fn human(bytes: u64) -> Option<String> {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    match bytes {
        0..KIB => None,
        KIB..MIB => Some(format!("{:.1} KiB", bytes as f64 / KIB as f64)),
        _ => Some(format!("{:.1} MiB", bytes as f64 / MIB as f64)),
    }
}

/// What its memories take at the start, and what they may take.
fn memory(memories: &[Memory]) -> String {
    let (initial, maximum) = sum(memories);
    let several = match memories.len() {
        0 => return "none of its own".to_owned(),
        1 => String::new(),
        several => format!("{several} memories, "),
    };
    let human = |bytes| human(bytes).unwrap_or_else(|| format!("{bytes} bytes"));
    let most = maximum.map_or("no maximum of its own".to_owned(), |maximum| format!("at most {}", human(maximum)));
    format!("{several}{} at the start, {most}", human(initial))
}

fn sum(memories: &[Memory]) -> (u64, Option<u64>) {
    let initial = memories.iter().fold(0_u64, |sum, memory| sum.saturating_add(memory.initial_bytes));
    let maximum = memories.iter().try_fold(0_u64, |sum, memory| Some(sum.saturating_add(memory.maximum_bytes?)));
    (initial, maximum)
}

/// The grants that imports ask for: the flags that give them, and what for. Every toolchain imports some that a program does not use.
fn may_use(imports: &[String]) -> Vec<(&'static str, &'static str)> {
    const FLAGS: [(NeedKind, &str, &str); 5] = [
        (NeedKind::Env, "--env", "environment variables"),
        (NeedKind::Dir, "--dir", "files"),
        (NeedKind::Host, "--allow-host", "connections"),
        (NeedKind::Config, "--config, --secret", "settings and secrets"),
        (NeedKind::Kv, "--kv", "a key-value store"),
    ];
    let usable = FLAGS.iter().filter(|(kind, ..)| can_use(*kind, imports));
    usable.map(|(_, flags, what)| (*flags, *what)).collect()
}

fn json(found: &Inspection) -> Value {
    let problems: Vec<_> =
        found.problems.iter().map(|problem| json!({ "message": problem.message, "hint": problem.hint })).collect();
    let memory = |Memory { initial_bytes, maximum_bytes }: &Memory| json!({ "initial_bytes": initial_bytes, "maximum_bytes": maximum_bytes });
    json!({
        "kind": found.kind.map(|kind| kind.as_str()),
        "world": world(found),
        "sha256": found.sha256.to_string(),
        "size_bytes": found.size_bytes,
        "memories": found.memories.iter().map(memory).collect::<Vec<_>>(),
        "imports": found.imports,
        "exports": found.exports,
        "may_use": may_use(&found.imports).iter().flat_map(|(flags, _)| flags.split(", ")).collect::<Vec<_>>(),
        "about": found.about,
        "problems": problems,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_ticker_is_a_task_that_a_host_would_run() {
        let (_, ticker) = crate::builtin::plugins().remove(0);
        let table = table(&taskhost_engine::inspect(&ticker));
        assert!(table.contains("kind      task component\nworld     task of taskhost:plugin@0.1.0\n"), "{table}");
        assert!(table.ends_with("verdict   a host would run it\n"), "{table}");
        assert!(table.contains("exports   taskhost:plugin/guest@"), "{table}");
        assert!(table.contains("made with rustc"), "{table}");
    }

    #[test]
    fn imports_tell_which_grants_a_plugin_may_use() {
        let flags = |imports: &[&str]| {
            let imports: Vec<_> = imports.iter().map(ToString::to_string).collect();
            may_use(&imports).into_iter().map(|(flags, _)| flags).collect::<Vec<_>>()
        };
        let all = ["--env", "--dir", "--allow-host", "--config, --secret", "--kv"];
        assert_eq!(
            flags(&[
                "wasi:cli/environment@0.2.6",
                "wasi:filesystem/preopens@0.2.6",
                "wasi:http/outgoing-handler@0.2.6",
                "wasi:config/store@0.2.0-rc.1",
                "wasi:keyvalue/store@0.2.0-draft",
            ]),
            all
        );
        assert_eq!(flags(&["wasi:sockets/tcp-create-socket@0.2.6"]), ["--allow-host"]);
        assert_eq!(flags(&["wasi:http/types@0.2.6", "wasi:cli/stdout@0.2.6"]), [""; 0]);
        assert_eq!(
            flags(&[
                "wasi_snapshot_preview1.environ_get",
                "wasi_snapshot_preview1.path_open",
                "wasi_snapshot_preview1.fd_write"
            ]),
            ["--env", "--dir"]
        );
    }

    #[test]
    fn a_function_of_the_wrong_type_is_found_by_compiling() {
        let wasm = Bytes::from_static(include_bytes!("../../../../tests/guests/wrong-signature.wat"));
        assert!(taskhost_engine::inspect(&wasm).problems.is_empty(), "it looks like a plugin");
        let problem = refusal(wasm, CompilerConfig::here()).expect("an engine").expect("it is refused");
        assert!(problem.to_string().contains("run"), "{problem:?}");
    }

    #[test]
    fn a_long_value_of_a_list_goes_on_where_it_is_not_taken_for_the_next_one() {
        let mut rows = Rows::default();
        let long = "--allow-host status.example.com:443  the page that tells whether all of our services are well";
        rows.list("needs", &[long.to_owned(), "--kv".to_owned()]);
        assert_eq!(
            rows.0,
            "needs     --allow-host status.example.com:443  the page that tells whether all\n            of our services are well\n          \
             --kv\n"
        );
    }

    #[test]
    fn an_import_that_is_named_twice_is_listed_once() {
        let import = r#"(import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))"#;
        let wasm = format!(r#"(module {import} {import} (memory (export "memory") 1) (func (export "_start")))"#);
        let found = taskhost_engine::inspect(&Bytes::from(wasm));
        assert_eq!((found.imports, found.problems), (vec!["wasi_snapshot_preview1.proc_exit".to_owned()], vec![]));
    }

    #[test]
    fn what_is_no_plugin_is_told_with_what_to_do() {
        let found = taskhost_engine::inspect(&Bytes::from_static(b"(module)"));
        insta::assert_snapshot!("table-of-an-empty-module", table(&found));
        insta::assert_snapshot!("json-of-an-empty-module", format!("{:#}", json(&found)));
    }
}
