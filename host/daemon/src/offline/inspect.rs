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

pub(crate) const EXIT_CODES: &str =
    "Exit codes: 0 a host would run it, 5 it would refuse it, 1 the file can't be read.";

/// A host would refuse the file.
const REFUSED: u8 = 5;

pub(crate) fn inspect(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let wasm = read_plugin(&args.file)?;
    let mut found = taskhost_engine::inspect(&wasm);
    if found.problems.is_empty() {
        found.problems.extend(refusal(wasm, crate::compiler())?);
    }
    let text = match args.output {
        Output::Table => table(&found),
        Output::Json => format!("{:#}\n", json(&found)),
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(if found.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
}

/// Why the engine does not take what looks like a plugin: only compiling tells whether the types of its functions fit.
fn refusal(wasm: Bytes, compiler: CompilerConfig) -> anyhow::Result<Option<Problem>> {
    let engine = engine_for(wasm.clone(), compiler).map_err(failed_to)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start the runtime")?;
    Ok(match runtime.block_on(engine.admit(wasm)) {
        Ok(_) => None,
        Err(PluginError::Invalid { message, hint }) => Some(Problem { message, hint }),
        Err(error) => Some(Problem { message: error.to_string(), hint: None }),
    })
}

fn table(found: &Inspection) -> String {
    let mut rows = vec![
        ("kind", found.kind.map_or("no plugin", |kind| kind.as_str()).to_owned()),
        ("sha256", found.sha256.to_string()),
        ("size", format!("{} bytes", found.size_bytes)),
    ];
    rows.extend(listed("imports", &found.imports));
    rows.extend(listed("exports", &found.exports));
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
    fn a_function_of_the_wrong_type_is_found_by_compiling() {
        let wasm = Bytes::from_static(include_bytes!("../../../../tests/guests/wrong-signature.wat"));
        assert!(taskhost_engine::inspect(&wasm).problems.is_empty(), "it looks like a plugin");
        let problem = refusal(wasm, CompilerConfig::here()).expect("an engine").expect("it is refused");
        assert!(problem.message.contains("run"), "{problem:?}");
    }

    #[test]
    fn what_is_no_plugin_is_told_with_what_to_do() {
        let found = taskhost_engine::inspect(&Bytes::from_static(b"(module)"));
        insta::assert_snapshot!("table-of-an-empty-module", table(&found));
        insta::assert_snapshot!("json-of-an-empty-module", format!("{:#}", json(&found)));
    }
}
