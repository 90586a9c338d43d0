//! `taskhost pack`: writes into a plugin what it says of itself, as a TOML file has it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use taskhost_core::manifest::{
    About, MANIFEST_VERSION, MAX_MANIFEST_BYTES, Manifest, ManifestError, Needs, SuggestedSchedule, config_schema,
    suggested_limits, suggested_schedule,
};
use taskhost_core::told::told_lines;
use taskhost_engine::{Problem, is_binary};
use tempfile::NamedTempFile;

use super::inspect::look_at;
use super::read_plugin;
use crate::echo::{printable, printable_lines};

pub(crate) const EXIT_CODES: &str = "Exit codes: 0 it is written; 5 the plugin or what it is to say of itself is refused, and nothing is \
    written; 1 a file can't be read or written.";

#[derive(Debug, Args)]
pub(crate) struct PackArgs {
    /// The plugin
    file: PathBuf,
    /// The file that has it: docs/manifest.md tells what stands in it
    #[arg(short, long, value_name = "PLUGIN.TOML", default_value = "plugin.toml")]
    manifest: PathBuf,
    /// Where the plugin is written [default: in the place of FILE]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
}

/// The plugin, or what is to be written into it, is refused.
const REFUSED: u8 = 5;

/// The largest TOML or JSON file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The longest text, in bytes: readers cut what is longer.
const MAX_TEXT_BYTES: usize = 1024;

/// How much a message repeats of what the TOML reader says, which quotes the file.
const MAX_TOLD_CHARS: usize = 2000;

/// What stands in `plugin.toml`: what goes into the standard sections, and the members of a manifest.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PluginFile {
    name: Option<String>,
    version: Option<String>,
    description: Option<String>,
    authors: Option<String>,
    licenses: Option<String>,
    source: Option<String>,
    homepage: Option<String>,
    revision: Option<String>,
    /// The version of the manifest's shape, for those who like to write it.
    manifest: Option<u32>,
    #[serde(default, deserialize_with = "config_schema")]
    config: Option<Value>,
    /// A JSON file that has the schema instead, told from the folder of this one.
    config_schema: Option<PathBuf>,
    #[serde(default)]
    grants: Needs,
    #[serde(default, deserialize_with = "suggested_schedule")]
    schedule: Option<SuggestedSchedule>,
    #[serde(default, deserialize_with = "suggested_limits")]
    limits: BTreeMap<String, u64>,
}

pub(crate) fn pack(args: &PackArgs) -> anyhow::Result<ExitCode> {
    let wasm = read_plugin(&args.file)?;
    let out = args.output.as_ref().unwrap_or(&args.file);
    let about = match read_about(&args.manifest)? {
        Ok(about) => about,
        Err(problem) => return Ok(refuse(&[problem])),
    };
    if !is_binary(&wasm) && is_same_file(out, &args.file) {
        let message = format!("{} is text, and packing would put a binary in its place", args.file.display());
        let hint = Some("say with `-o OUT.wasm` where the binary goes".to_owned());
        return Ok(refuse(&[Problem { message, hint }]));
    }
    let packed = match taskhost_engine::pack(&wasm, &about) {
        Ok(packed) => packed,
        Err(problem) => return Ok(refuse(&[problem])),
    };
    let found = look_at(packed.clone().into())?;
    if !found.problems.is_empty() {
        return Ok(refuse(&found.problems));
    }
    write(out, &packed, &args.file).with_context(|| format!("failed to write {}", out.display()))?;
    let called = [&found.about.name, &found.about.version].into_iter().flatten();
    let called: String = called.map(|text| format!("{} ", printable(text))).collect();
    writeln!(io::stdout(), "packed {called}into {}, sha256 {}", printable(&out.display().to_string()), found.sha256)?;
    Ok(ExitCode::SUCCESS)
}

fn refuse(problems: &[Problem]) -> ExitCode {
    for Problem { message, hint } in problems {
        // The lines are those of a TOML error.
        eprintln!("taskhost: {}", printable_lines(message));
        if let Some(hint) = hint {
            eprintln!("hint: {}", printable(hint));
        }
    }
    ExitCode::from(REFUSED)
}

/// What a file says of a plugin, or what is wrong with it.
pub(super) fn read_about(path: &Path) -> anyhow::Result<Result<About, Problem>> {
    let file = match parse(path, &read_text(path)?) {
        Ok(file) => file,
        Err(problem) => return Ok(Err(problem)),
    };
    let schema = match &file.config_schema {
        None => None,
        Some(named) => {
            let named = path.parent().unwrap_or(Path::new("")).join(named);
            Some((read_text(&named)?, named))
        }
    };
    Ok(about(path, file, schema))
}

fn read_text(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text));
    read.with_context(|| format!("failed to read {}", path.display()))?;
    anyhow::ensure!(text.len() as u64 <= MAX_FILE_BYTES, "{} is larger than {MAX_FILE_BYTES} bytes", path.display());
    Ok(text)
}

/// Something that is wrong with what a file says.
fn wrong(path: &Path, what: impl std::fmt::Display) -> Problem {
    let hint = Some("docs/manifest.md tells what may stand there".to_owned());
    Problem { message: format!("{}: {}", path.display(), told_lines(what, MAX_TOLD_CHARS)), hint }
}

fn parse(path: &Path, text: &str) -> Result<PluginFile, Problem> {
    toml::from_str(text).map_err(|error| wrong(path, error.to_string().trim_end()))
}

fn about(path: &Path, file: PluginFile, schema: Option<(String, PathBuf)>) -> Result<About, Problem> {
    let PluginFile { name, version, description, authors, licenses, source, homepage, revision, .. } = file;
    for (member, text) in [
        ("name", &name),
        ("version", &version),
        ("description", &description),
        ("authors", &authors),
        ("licenses", &licenses),
        ("source", &source),
        ("homepage", &homepage),
        ("revision", &revision),
    ] {
        let is_url = matches!(member, "source" | "homepage");
        if let Some(what) = text.as_ref().and_then(|text| fault_of(text, is_url)) {
            return Err(wrong(path, format_args!("`{member}` {what}")));
        }
    }
    if let Some(other) = file.manifest.filter(|version| *version != MANIFEST_VERSION) {
        return Err(wrong(path, ManifestError::Version(other.into())));
    }
    let config = match (file.config, schema) {
        (Some(_), Some(_)) => return Err(wrong(path, "there are both `config` and `config_schema`; give one of them")),
        (config, None) => config,
        (None, Some((json, schema_path))) => {
            let schema = config_schema(&mut serde_json::Deserializer::from_str(&json));
            schema.map_err(|error| wrong(&schema_path, error))?
        }
    };
    let (grants, schedule, limits) = (file.grants, file.schedule, file.limits);
    let manifest = Manifest { manifest: MANIFEST_VERSION, config, grants, schedule, limits };
    let bytes = serde_json::to_vec(&manifest).map_err(|error| wrong(path, error))?.len();
    if bytes > MAX_MANIFEST_BYTES {
        return Err(wrong(path, ManifestError::TooLarge(bytes)));
    }
    let manifest = Some(Arc::new(manifest));
    let toolchain = Vec::new();
    Ok(About { name, version, description, authors, licenses, source, homepage, revision, toolchain, manifest })
}

/// Why a text can't go into a plugin.
fn fault_of(text: &str, is_url: bool) -> Option<String> {
    if text.trim().is_empty() {
        Some("is empty; leave it out".to_owned())
    } else if text.len() > MAX_TEXT_BYTES {
        Some(format!("has more than {MAX_TEXT_BYTES} bytes"))
    } else if text.chars().any(char::is_control) {
        Some("has a control character, or more than one line".to_owned())
    } else if is_url && !["https://", "http://"].iter().any(|scheme| text.starts_with(scheme)) {
        Some("is no URL that begins with `https://`".to_owned())
    } else {
        None
    }
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    whole(one) == whole(other)
}

/// Puts a file there as a whole, or not at all. It may be read by those who could read what was there before, or `like` that one.
fn write(out: &Path, bytes: &[u8], like: &Path) -> io::Result<()> {
    // What a link points to is replaced, and not the link.
    let out = fs::canonicalize(out).unwrap_or_else(|_| out.to_owned());
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let permissions = fs::metadata(&out).or_else(|_| fs::metadata(like))?.permissions();
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(permissions)?;
    file.as_file().sync_all()?;
    file.persist(&out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<About, Problem> {
        let path = Path::new("plugin.toml");
        parse(path, text).and_then(|file| about(path, file, None))
    }

    #[test]
    fn a_file_becomes_texts_and_a_manifest() {
        let about = read(
            r#"
            name = "feed-check"
            version = "1.2.0"
            licenses = "MIT OR Apache-2.0"
            source = "https://example.com/feed-check"

            [config]
            type = "object"
            required = ["feed"]
            [config.properties.feed]
            type = "string"
            format = "uri"

            [[grants.required]]
            kind = "host"
            value = "*.example.com:443"
            why = "to fetch the feed"
            [[grants.optional]]
            kind = "kv"

            [schedule]
            every = "15m"
            [limits]
            cpu_ms = 500
            "#,
        );
        let about = about.expect("a good file");
        assert_eq!((about.name.as_deref(), about.version.as_deref()), (Some("feed-check"), Some("1.2.0")));
        let json = serde_json::to_string(about.manifest.as_deref().expect("a manifest")).expect("JSON");
        assert_eq!(
            json,
            r#"{"manifest":1,"config":{"properties":{"feed":{"format":"uri","type":"string"}},"required":["feed"],"type":"object"},"grants":{"required":[{"kind":"host","value":"*.example.com:443","why":"to fetch the feed"}],"optional":[{"kind":"kv"}]},"schedule":{"every":"15m"},"limits":{"cpu_ms":500}}"#
        );
        assert_eq!(read("").map(|about| about.manifest), Ok(Some(Arc::default())), "nothing need be said");
    }

    #[test]
    fn what_may_not_stand_in_a_file_is_told_with_its_line() {
        let mut told = String::new();
        for text in [
            "name = \"x\"\nlicense = \"MIT\"\n",
            "[[grants.required]]\nkind = \"files\"\n",
            "\n[[grants.required]]\nkind = \"host\"\nvalue = \"example.com\"\n",
            "[schedule]\nevery = \"5 minutes or so\"\n",
            "[limits]\ncpu = 1\n",
            "[config]\ntype = \"object\"\nrequried = []\n",
            "[config]\nrequired = \"feed\"\n",
            "name = \"\"\n",
            "homepage = \"example.com\"\n",
            "manifest = 2\n",
            "name = x\n",
        ] {
            let problem = read(text).expect_err(text);
            told.push_str(&format!("{}\n\n", problem.message));
        }
        insta::assert_snapshot!("what-may-not-stand-in-a-plugin-toml", told);
    }
}
