//! Counts instructions with valgrind's callgrind, and compares them with those that were committed.
//!
//! A part runs in a child process under callgrind, which begins its count at one mark and writes it down at another. Both are
//! functions that do nothing: no stack is followed from the one to the other, so that all threads count, and a guest's own stack does
//! no harm.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::Part;

/// Has the program run one part, between the marks.
pub(crate) const COUNT: &str = "--count";

/// How many rounds are counted, of which the one with the fewest instructions is told: the others did something that is not theirs.
/// Under callgrind a guest is so slow that now and then it uses up its slice, and is moved to another thread.
pub(crate) const ROUNDS: usize = 10;

/// The committed counts.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.toml");

/// What stands above them.
const HEAD: &str = "\
# How many instructions an operation of each part takes: of the release build on x86-64, counted by callgrind.
#
#     cargo bench --workspace --bench '*_parts' -- --instructions   # counts anew and compares
#     cargo bench --workspace --bench '*_parts' -- --bless          # counts anew and writes this file
#
# One that is more than the tolerance beyond these fails. A change that is meant to cost that blesses them, and so does a new compiler.

";

/// By how much a count may be beyond the committed one, if the file does not say.
const DEFAULT_TOLERANCE_PERCENT: u32 = 10;

/// The file.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Committed {
    tolerance_percent: u32,
    /// By group and part.
    instructions: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Committed {
    fn read() -> anyhow::Result<Self> {
        if !fs::exists(FILE)? {
            return Ok(Self { tolerance_percent: DEFAULT_TOLERANCE_PERCENT, instructions: BTreeMap::new() });
        }
        let text = fs::read_to_string(FILE).with_context(|| format!("failed to read {FILE}"))?;
        toml::from_str(&text).with_context(|| format!("failed to read {FILE}"))
    }

    fn write(&self) -> anyhow::Result<()> {
        let text = format!("{HEAD}{}", toml::to_string(self)?);
        fs::write(FILE, text).with_context(|| format!("failed to write {FILE}"))
    }
}

/// Prints a table of what the parts take, beside what was committed. Answers whether all is within the tolerance; with `bless`, what was
/// counted is what is committed from now on.
pub(crate) fn compare(group: &str, parts: &[Part], bless: bool) -> anyhow::Result<bool> {
    ensure!(!cfg!(debug_assertions), "instructions are counted of an optimised build: `cargo bench`");
    let mut committed = Committed::read()?;
    let most = 1.0 + f64::from(committed.tolerance_percent) / 100.0;
    let known = committed.instructions.remove(group).unwrap_or_default();
    let mut counted = BTreeMap::new();
    let mut within = true;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<44} {:>14} {:>14}", format!("{group}: instructions per operation"), "counted", "committed")?;
    for part in parts.iter().filter(|part| part.counted_calls > 0) {
        let count = count(part)?;
        let (name, times) = (part.name, |old: u64| count as f64 / old.max(1) as f64);
        match known.get(name) {
            None => writeln!(out, "  {name:<42} {count:>14} {:>14}   new", "-")?,
            Some(&old) => {
                let verdict = match times(old) {
                    times if times > most => "TOO MANY",
                    times if times * most < 1.0 => "fewer: --bless",
                    _ => "ok",
                };
                within &= verdict != "TOO MANY";
                writeln!(out, "  {name:<42} {count:>14} {old:>14}   {:.3} × {verdict}", times(old))?;
            }
        }
        // One that nobody committed could grow unseen.
        within &= known.contains_key(name);
        counted.insert(name.to_owned(), count);
    }
    if bless {
        committed.instructions.insert(group.to_owned(), counted);
        committed.write()?;
    }
    Ok(within || bless)
}

/// How many instructions one operation takes.
fn count(part: &Part) -> anyhow::Result<u64> {
    let dir = tempfile::tempdir().context("failed to make a temporary directory")?;
    let written = dir.path().join("callgrind");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", written.display()))
        // Not `--zero-before`, which forgets nothing of a process with several threads.
        .args(["--dump-before=*counting_begins*", "--dump-before=*counting_ends*"])
        .arg(std::env::current_exe()?)
        .args([COUNT, part.name])
        .stdin(Stdio::null())
        .output()
        .context("failed to run valgrind; Debian has it in the package of that name")?;
    if !output.status.success() {
        bail!("`{}` failed under callgrind:\n{}", part.name, String::from_utf8_lossy(&output.stderr));
    }
    // By turns of what comes before a round and of the round.
    let rounds = (1..=ROUNDS).map(|round| summary(&written.with_extension((2 * round).to_string())));
    let rounds = rounds.collect::<anyhow::Result<Vec<_>>>()?;
    let least = rounds.into_iter().min().unwrap_or_default();
    let operations = u64::from(part.counted_calls) * u64::from(part.operations);
    Ok((least + operations / 2) / operations)
}

/// The total that callgrind wrote.
fn summary(file: &Path) -> anyhow::Result<u64> {
    let text = fs::read_to_string(file).context("callgrind did not see the marks")?;
    let summary = text.lines().find_map(|line| line.strip_prefix("summary: ")).context("callgrind has no summary")?;
    summary.trim().parse().context("callgrind counted more than instructions")
}

/// Where the count begins.
#[inline(never)]
pub(crate) fn counting_begins() {
    black_box("begins");
}

/// Where it is written down. It does something else than [`counting_begins`], or the compiler would make one function of the two.
#[inline(never)]
pub(crate) fn counting_ends() {
    black_box("ends");
}
