//! What there is to do: where the plugin's folder is, what builds it, and which file the plugin is.

use std::path::{Path, PathBuf};

use taskhost_api::{Patch, Schedule};
use taskhost_core::name::TaskName;
use taskhost_core::schedule::Zone;
use taskhost_core::spec::{SpecPatch, TaskSpec};

use super::args::DevArgs;
use super::trouble::{Trouble, USAGE};
use crate::fragment;
use crate::rpc::convert;

/// What builds a plugin where nothing else is said.
const BUILD_SCRIPT: &str = "build.sh";

/// What a file with a plugin ends in.
const BINARY: &str = "wasm";
const TEXT: &str = "wat";

const WASM_HINT: &str = "say which file is the plugin with --wasm FILE";

/// What is watched, built and run.
#[derive(Debug)]
pub(super) struct Plan {
    /// The plugin's folder, from the root on.
    pub(super) dir: PathBuf,
    /// The task.
    pub(super) name: TaskName,
    /// What builds it, for `sh`; `None` if the plugin is the source.
    pub(super) build: Option<String>,
    wasm: Option<PathBuf>,
}

impl Plan {
    pub(super) fn of(args: &DevArgs) -> Result<Self, Trouble> {
        let dir = folder(&args.dir)?;
        let name = args.name.as_deref().or_else(|| dir.file_name()?.to_str()).unwrap_or_default();
        let name = TaskName::new(name)
            .map_err(|error| Trouble::usage(error, "name the task with --name NAME; by default it is the folder's"))?;
        let script = dir.join(BUILD_SCRIPT).is_file().then(|| format!("./{BUILD_SCRIPT}"));
        let plan = Self { name, build: args.build.clone().or(script), wasm: args.wasm.clone(), dir };
        if plan.build.is_none() {
            plan.plugin()?;
        }
        Ok(plan)
    }

    /// The plugin's file, as it is now:
    ///
    /// 1. the one that was named,
    /// 2. the one that has the folder's name,
    /// 3. the only one in the folder.
    ///
    /// What a build makes is a binary. Where nothing is built, a text is the source, and a binary beside it a copy.
    pub(super) fn plugin(&self) -> Result<PathBuf, Trouble> {
        if let Some(wasm) = &self.wasm {
            let path = self.dir.join(wasm);
            return if path.is_file() { Ok(path) } else { Err(self.nothing(&format!("no {}", path.display()))) };
        }
        let extensions = if self.build.is_some() { [BINARY, TEXT] } else { [TEXT, BINARY] };
        let folder = self.dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let named = extensions.map(|extension| self.dir.join(format!("{folder}.{extension}")));
        if let Some(path) = named.into_iter().find(|path| path.is_file()) {
            return Ok(path);
        }
        for extension in extensions {
            let mut found = files_with(&self.dir, extension)?;
            found.sort();
            match &found[..] {
                [] => {}
                [only] => return Ok(only.clone()),
                several => {
                    let names: Vec<_> = several.iter().map(|path| self.short(path)).collect();
                    let message = format!("none of {} has the name of its folder, {folder}", names.join(", "));
                    return Err(Trouble::usage(message, WASM_HINT));
                }
            }
        }
        Err(self.nothing(&format!("no {folder}.{BINARY}, nor any other plugin,")))
    }

    /// A path as one of the folder knows it.
    pub(super) fn short(&self, path: &Path) -> String {
        path.strip_prefix(&self.dir).unwrap_or(path).display().to_string()
    }

    /// There is no plugin: `what` completes "there is …".
    fn nothing(&self, what: &str) -> Trouble {
        match &self.build {
            Some(_) => Trouble::usage(format!("there is {what} after the build"), WASM_HINT),
            None if self.wasm.is_some() => {
                Trouble::usage(format!("there is {what}, and no {BUILD_SCRIPT} to make it"), BUILD_HINT)
            }
            None => {
                Trouble::usage(format!("there is {what} in {}, and no {BUILD_SCRIPT}", self.dir.display()), BUILD_HINT)
            }
        }
    }
}

const BUILD_HINT: &str =
    "say what builds the plugin with --build COMMAND, or begin one with `taskhost new NAME --lang LANGUAGE`";

/// The folder, from the root on.
fn folder(dir: &Path) -> Result<PathBuf, Trouble> {
    let hint = "give the folder of a plugin; `taskhost new NAME --lang LANGUAGE` makes one";
    let unreadable = |error| Trouble::usage(format!("failed to look at {}: {}", dir.display(), fragment(&error)), hint);
    let whole = dir.canonicalize().map_err(unreadable)?;
    if whole.is_dir() { Ok(whole) } else { Err(Trouble::usage(format!("{} is no folder", dir.display()), hint)) }
}

/// The files right in a folder with this extension; those that are hidden are nobody's plugin.
fn files_with(dir: &Path, extension: &str) -> Result<Vec<PathBuf>, Trouble> {
    let failed = |error| Trouble::failed(format!("failed to read {}: {}", dir.display(), fragment(&error)));
    let mut found = Vec::new();
    for entry in dir.read_dir().map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|found| found == extension) && path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}

/// What the task is to be beside its plugin: what was given, and nothing else.
pub(super) fn definition(args: &DevArgs) -> Result<Patch, Trouble> {
    let schedule = schedule(args);
    let text = convert::schedule_texts(schedule.iter().cloned().collect());
    let patch = SpecPatch {
        schedules: schedule.is_some().then_some(Some(text)),
        timeout: Some(args.timeout.clone()),
        memory_bytes: Some(args.memory.map(|size| size.0)),
        args: Some(Some(args.args.clone())),
        grants: Some(Some(args.grants.to_text().map_err(|error| Trouble::failed(format!("{error:#}")))?)),
        limits: Some(Some(args.limits.iter().filter_map(|limit| Some((limit.name.clone(), limit.value?))).collect())),
        instance: Some(args.instance.clone()),
        ..SpecPatch::default()
    };
    // Looked at here, before anything is built or started; the host has the last word.
    let spec = TaskSpec::default().patched(patch, &Zone::utc()).map_err(|error| Trouble {
        message: error.to_string(),
        hint: None,
        exit: USAGE,
    })?;
    let spec = convert::spec("", &spec, false);
    Ok(Patch {
        // As it was given: the time zone of a cron expression is the host's to choose.
        schedules: schedule.map(|schedule| Some(vec![schedule])),
        timeout: spec.timeout.map(Some),
        memory_bytes: spec.memory_bytes.map(Some),
        args: spec.args.map(Some),
        grants: spec.grants.map(Some),
        limits: spec.limits.map(Some),
        instance: spec.instance.map(Some),
        ..Patch::default()
    })
}

fn schedule(args: &DevArgs) -> Option<Schedule> {
    let DevArgs { every, cron, timezone, .. } = args;
    (every.is_some() || cron.is_some()).then(|| Schedule {
        every: every.clone(),
        cron: cron.clone(),
        timezone: timezone.clone(),
        ..Schedule::default()
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;
    use crate::testing::args_of;

    /// The folder of a plugin `mine` with these files.
    fn mine(files: &[&str]) -> TempDir {
        let world = tempfile::tempdir().expect("a folder");
        fs::create_dir(world.path().join("mine")).expect("a folder");
        for file in files {
            fs::write(world.path().join("mine").join(file), "").expect("a file");
        }
        world
    }

    fn args(world: &TempDir, words: &[&str]) -> DevArgs {
        let dir = world.path().join("mine");
        args_of(&[&[dir.to_str().expect("UTF-8")], words].concat())
    }

    /// What builds it, and what is run.
    fn found(files: &[&str], words: &[&str]) -> Result<(Option<String>, String), Trouble> {
        let world = mine(files);
        let plan = Plan::of(&args(&world, words))?;
        let plugin = plan.plugin()?;
        Ok((plan.build.clone(), plan.short(&plugin)))
    }

    #[test]
    fn the_plugin_is_the_one_that_has_the_folders_name_or_the_only_one() {
        for (files, words, build, plugin) in [
            (&["mine.wat"][..], &[][..], None, "mine.wat"),
            (&["mine.wat", "mine.wasm", "other.wat"], &[], None, "mine.wat"),
            (&["mine.wat", "mine.wasm", "build.sh"], &[], Some("./build.sh"), "mine.wasm"),
            (&["mine.wat", "build.sh"], &[], Some("./build.sh"), "mine.wat"),
            (&["other.wasm", "mine.rs"], &["--build", "make"], Some("make"), "other.wasm"),
            (&["other.wasm", ".hidden.wasm"], &[], None, "other.wasm"),
            (&["a.wasm", "b.wasm", "build.sh"], &["--wasm", "b.wasm"], Some("./build.sh"), "b.wasm"),
        ] {
            let found = found(files, words).unwrap_or_else(|trouble| panic!("{files:?} {words:?}: {trouble}"));
            assert_eq!(found, (build.map(ToOwned::to_owned), plugin.to_owned()), "{files:?} {words:?}");
        }
    }

    #[test]
    fn what_can_not_be_found_is_told_with_the_flag_that_helps() {
        for (files, words, message, hint) in [
            (&["notes.txt"][..], &[][..], "there is no mine.wasm, nor any other plugin, in ", "--build COMMAND"),
            (&["a.wasm", "b.wasm"], &[], "none of a.wasm, b.wasm has the name of its folder, mine", "--wasm FILE"),
            (&["build.sh"], &[], "there is no mine.wasm, nor any other plugin, after the build", "--wasm FILE"),
            (&["mine.wat"], &["--wasm", "out.wasm"], "out.wasm, and no build.sh to make it", "--build COMMAND"),
            (&["mine.wat", "build.sh"], &["--wasm", "out.wasm"], "out.wasm after the build", "--wasm FILE"),
            (&["mine.wat"], &["--name=-x"], "name", "--name NAME"),
        ] {
            let trouble = found(files, words).expect_err("refused");
            assert!(trouble.message.contains(message), "{files:?} {words:?}: {trouble}");
            assert!(trouble.hint.as_ref().is_some_and(|told| told.contains(hint)), "{trouble:?}");
            assert_eq!(trouble.exit, USAGE);
        }
        let nowhere = DevArgs { dir: "/nowhere/mine".into(), ..args(&mine(&[]), &[]) };
        let trouble = Plan::of(&nowhere).expect_err("refused");
        assert_eq!(trouble.message, "failed to look at /nowhere/mine: no such file or directory");
    }

    #[test]
    fn a_definition_has_what_was_given_and_nothing_else() {
        let world = mine(&[]);
        let given = |words: &[&str]| definition(&args(&world, words));
        assert_eq!(given(&[]).expect("nothing"), Patch::default());
        let words = [
            "--cron",
            "0 6 * * *",
            "--kv",
            "--limit",
            "cpu_ms=5s",
            "--memory",
            "1MiB",
            "--timeout",
            "5s",
            "--",
            "a",
            "-b",
        ];
        let patch = serde_json::to_value(given(&words).expect("valid")).expect("JSON");
        let expected = serde_json::json!({
            "schedules": [{"cron": "0 6 * * *"}], "grants": {"kv": true}, "limits": {"cpu_ms": 5000},
            "memory_bytes": 1 << 20, "timeout": "5s", "args": ["a", "-b"],
        });
        assert_eq!(patch, expected);
        for (words, told) in [
            (&["--every", "soon"][..], "soon"),
            (&["--allow-host", "example.com"], "it has no port"),
            (&["--limit", "lines=5"], "`lines` is no limit"),
        ] {
            let trouble = given(words).expect_err("refused");
            assert!(trouble.message.contains(told) && trouble.exit == USAGE, "{words:?}: {trouble:?}");
        }
    }
}
