//! `taskhost inspect`: what a file is, as the host's door sees it.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use bytes::Bytes;
use serde_json::{Value, json};
use taskhost_core::plugin::PluginError;
use taskhost_core::ports::Engine;
use taskhost_engine::{CompilerConfig, Inspection, Problem};

use super::{engine_for, read_plugin};
use crate::args::{InspectArgs, Output};
use crate::echo::printable;
use crate::failed_to;
use crate::rpc::errors::CRASHED_HINT;

pub(crate) const EXIT_CODES: &str =
    "Exit codes: 0 a host would run it, 5 it would refuse it, 1 the file can't be read.";

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

fn look_at(wasm: Bytes) -> anyhow::Result<Inspection> {
    let refusal = refusal(wasm.clone(), crate::compiler())?;
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

fn table(found: &Inspection) -> String {
    let mut rows = vec![
        ("kind", found.kind.map_or("no plugin", |kind| kind.as_str()).to_owned()),
        ("sha256", found.sha256.to_string()),
        ("size", format!("{} bytes", found.size_bytes)),
    ];
    rows.extend(listed("imports", &found.imports));
    rows.extend(listed("exports", &found.exports));
    let may_use: Vec<_> =
        may_use(&found.imports).into_iter().map(|(flags, what)| format!("{flags:<18} {what}")).collect();
    if !may_use.is_empty() {
        rows.extend(listed("may use", &may_use));
        rows.push(("", "(toolchains import more than a program uses)".to_owned()));
    }
    match &found.problems[..] {
        [] => rows.push(("verdict", "a host would run it".to_owned())),
        problems => {
            for problem in problems {
                rows.push(("wrong", printable(&problem.message)));
                rows.extend(problem.hint.iter().map(|hint| ("hint", printable(hint))));
            }
        }
    }
    rows.iter().map(|(title, value)| format!("{title:<8} {value}\n")).collect()
}

/// The grants that imports ask for: the flags that give them, and what for. Every toolchain imports some that a program does not use.
fn may_use(imports: &[String]) -> Vec<(&'static str, &'static str)> {
    const ASKED_FOR: [(&str, &str, &[&str]); 5] = [
        ("--env", "environment variables", &["wasi:cli/environment@", "wasi_snapshot_preview1.environ_get"]),
        ("--dir", "files", &["wasi:filesystem/", "wasi_snapshot_preview1.path_open"]),
        ("--allow-host", "connections", &["wasi:http/outgoing-handler@", "wasi:http/client@", "wasi:sockets/"]),
        ("--config, --secret", "settings and secrets", &["wasi:config/"]),
        ("--kv", "a key-value store", &["wasi:keyvalue/"]),
    ];
    let is_imported = |begins: &&str| imports.iter().any(|import| import.starts_with(*begins));
    let asked_for = ASKED_FOR.iter().filter(|(_, _, begins)| begins.iter().any(is_imported));
    asked_for.map(|(flags, what, _)| (*flags, *what)).collect()
}

/// One row for each name, the first with the title.
fn listed<'a>(title: &'static str, names: &'a [String]) -> impl Iterator<Item = (&'static str, String)> + 'a {
    let none = names.is_empty().then(|| (title, "none".to_owned()));
    let titles = std::iter::once(title).chain(std::iter::repeat(""));
    none.into_iter().chain(titles.zip(names.iter().map(|name| printable(name))))
}

fn json(found: &Inspection) -> Value {
    let problems: Vec<_> =
        found.problems.iter().map(|problem| json!({ "message": problem.message, "hint": problem.hint })).collect();
    json!({
        "kind": found.kind.map(|kind| kind.as_str()),
        "sha256": found.sha256.to_string(),
        "size_bytes": found.size_bytes,
        "imports": found.imports,
        "exports": found.exports,
        "may_use": may_use(&found.imports).iter().flat_map(|(flags, _)| flags.split(", ")).collect::<Vec<_>>(),
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
        assert!(table.starts_with("kind     task component\n"), "{table}");
        assert!(table.ends_with("verdict  a host would run it\n"), "{table}");
        assert!(table.contains("exports  taskhost:plugin/guest@"), "{table}");
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
    fn what_is_no_plugin_is_told_with_what_to_do() {
        let found = taskhost_engine::inspect(&Bytes::from_static(b"(module)"));
        insta::assert_snapshot!("table-of-an-empty-module", table(&found));
        insta::assert_snapshot!("json-of-an-empty-module", format!("{:#}", json(&found)));
    }
}
