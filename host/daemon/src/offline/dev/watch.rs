//! What a plugin is made of, and when that changes.
//!
//! The system only tells that something happened; what is different is found by looking at all files again. So an event that is lost, and
//! what an editor does when it saves, are of no account: a build is due when the contents are others than those of the last one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ignore::WalkBuilder;
use ignore::overrides::{Override, OverrideBuilder};
use notify::{ErrorKind, RecommendedWatcher, RecursiveMode, Watcher};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

use super::Trouble;
use crate::fragment;

/// How long nothing must happen before it is looked: who saves several files, or one in several steps, is done then.
const QUIET: Duration = Duration::from_millis(200);

/// How long it is waited for that at most.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The most files that are watched.
const MAX_FILES: usize = 20_000;

/// Of a larger file, its size and time stand for what is in it.
const MAX_READ_BYTES: u64 = 4 << 20;

/// What is no source, wherever it stands, as `.gitignore` would name it: what tools install or make, and what editors leave for a moment.
const NO_SOURCES: [&str; 6] = ["target/", "node_modules/", "__pycache__/", "*~", "#*#", "4913"];

/// What a build makes of the sources.
const BUILT: &str = "*.wasm";

const IGNORE_HINT: &str = "leave out what is no source with --ignore PATTERN, or in .gitignore";

/// What is looked at.
enum Scope {
    /// A folder with all in it, but what is no source.
    Folder { dir: PathBuf, left_out: Override },
    /// One file.
    File(PathBuf),
}

/// The sources of a plugin, watched.
pub(super) struct Sources {
    scope: Scope,
    watcher: RefCell<RecommendedWatcher>,
    happened: Arc<Notify>,
    /// The folders that are watched, and which ones those were: another may have taken the place of one.
    folders: RefCell<HashMap<PathBuf, (u64, u64)>>,
    /// Files that every build changes.
    made: RefCell<BTreeSet<PathBuf>>,
}

/// What the sources were at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Look(BTreeMap<PathBuf, Mark>);

/// What stands for the contents of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    Contents([u8; 32]),
    Large { size_bytes: u64, changed_ns: i128 },
    Unreadable,
}

impl Look {
    /// Takes a file for no source.
    pub(super) fn forget(&mut self, path: &Path) {
        self.0.remove(path);
    }

    /// The files that are others in `then`.
    pub(super) fn changes(&self, then: &Self) -> Vec<PathBuf> {
        let before_or_then: BTreeSet<_> = self.0.keys().chain(then.0.keys()).collect();
        before_or_then.into_iter().filter(|path| self.0.get(*path) != then.0.get(*path)).cloned().collect()
    }
}

impl Sources {
    /// All in a folder that a build may begin from; `ignore` has lines as of `.gitignore` for what else is none of it.
    pub(super) fn of_folder(dir: &Path, ignore: &[String]) -> Result<Self, Trouble> {
        Self::watched(Scope::Folder { dir: dir.to_owned(), left_out: left_out(dir, ignore)? })
    }

    /// One file, which is the plugin.
    pub(super) fn of_file(path: &Path) -> Result<Self, Trouble> {
        Self::watched(Scope::File(path.to_owned()))
    }

    fn watched(scope: Scope) -> Result<Self, Trouble> {
        let happened = Arc::new(Notify::new());
        let told = Arc::clone(&happened);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // To look is to open files. An error is one more reason to look.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                told.notify_one();
            }
        });
        let watcher = RefCell::new(watcher.map_err(|error| unwatchable(&error))?);
        Ok(Self { scope, watcher, happened, folders: RefCell::default(), made: RefCell::default() })
    }

    /// The sources as they are. What changes from now on ends a [`settled`](Self::settled).
    pub(super) fn look(&self) -> Result<Look, Trouble> {
        loop {
            let (files, folders) = self.walk()?;
            // What was written into a new folder before it was watched is seen by the next walk.
            if !self.watch(folders)? {
                let made = self.made.borrow();
                let sources = files.into_iter().filter(|path| !made.contains(path));
                return Ok(Look(sources.filter_map(|path| Some((path.clone(), mark(&path)?))).collect()));
            }
        }
    }

    /// Waits until something happens, and then until it is quiet again.
    pub(super) async fn settled(&self) {
        settled(&self.happened).await;
    }

    /// Takes no notice of this file from now on.
    pub(super) fn leave_out(&self, path: PathBuf) {
        self.made.borrow_mut().insert(path);
    }

    /// The files, and the folders with what identifies them.
    fn walk(&self) -> Result<(Vec<PathBuf>, HashMap<PathBuf, (u64, u64)>), Trouble> {
        let id = |metadata: &Metadata| (metadata.dev(), metadata.ino());
        let unreadable = |path: &Path, error: &io::Error| {
            Trouble::failed(format!("failed to look at {}: {}", path.display(), fragment(error)))
        };
        let (dir, left_out) = match &self.scope {
            Scope::Folder { dir, left_out } => (dir, left_out),
            Scope::File(path) => {
                let dir = path.parent().unwrap_or(path);
                let metadata = dir.metadata().map_err(|error| unreadable(dir, &error))?;
                return Ok((vec![path.clone()], [(dir.to_owned(), id(&metadata))].into()));
            }
        };
        dir.read_dir().map_err(|error| unreadable(dir, &error))?;
        // Only what stands in the folder itself counts, so that it is built alike wherever it lies.
        let walk = WalkBuilder::new(dir)
            .parents(false)
            .git_global(false)
            .git_exclude(false)
            .require_git(false)
            .overrides(left_out.clone())
            .build();
        let (mut files, mut folders) = (Vec::new(), HashMap::new());
        // What can't be read or is gone by now is no source.
        for entry in walk.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                folders.insert(entry.into_path(), id(&metadata));
            } else {
                files.push(entry.into_path());
            }
            if files.len() + folders.len() > MAX_FILES {
                let message = format!("{} has more than {MAX_FILES} files that might be sources", dir.display());
                return Err(Trouble::usage(message, IGNORE_HINT));
            }
        }
        Ok((files, folders))
    }

    /// Watches these folders and no others. Whether any is new.
    fn watch(&self, folders: HashMap<PathBuf, (u64, u64)>) -> Result<bool, Trouble> {
        let mut watched = self.folders.borrow_mut();
        let mut watcher = self.watcher.borrow_mut();
        for path in watched.keys().filter(|path| !folders.contains_key(*path)) {
            // It fails where the folder is gone.
            watcher.unwatch(path).ok();
        }
        watched.retain(|path, _| folders.contains_key(path));
        let mut is_new = false;
        for (path, id) in folders {
            if watched.get(&path) == Some(&id) {
                continue;
            }
            if watched.remove(&path).is_some() {
                watcher.unwatch(&path).ok();
            }
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    watched.insert(path, id);
                    is_new = true;
                }
                // It is gone again, which an event tells.
                Err(_) if !path.exists() => {}
                Err(error) => return Err(unwatchable(&error)),
            }
        }
        Ok(is_new)
    }
}

/// What is left out of a folder, over what `.gitignore` says.
fn left_out(dir: &Path, ignore: &[String]) -> Result<Override, Trouble> {
    let wrong = |error: &ignore::Error| {
        Trouble::usage(format!("--ignore: {error}"), "it takes a pattern as .gitignore does, like `dist/` or `*.log`")
    };
    let mut builder = OverrideBuilder::new(dir);
    let usual = NO_SOURCES.into_iter().chain([BUILT]);
    for pattern in usual.chain(ignore.iter().map(String::as_str)) {
        // Here `!` leaves out.
        builder.add(&format!("!{pattern}")).map_err(|error| wrong(&error))?;
    }
    builder.build().map_err(|error| wrong(&error))
}

/// What stands for the contents of a file; `None` if it is gone.
fn mark(path: &Path) -> Option<Mark> {
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(_) => return Some(Mark::Unreadable),
    };
    // To open a pipe would wait for its writer.
    if !metadata.is_file() {
        return None;
    }
    if metadata.len() > MAX_READ_BYTES {
        let changed_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        return Some(Mark::Large { size_bytes: metadata.len(), changed_ns });
    }
    let mut hash = HashWriter(Sha256::new());
    match File::open(path).and_then(|mut file| io::copy(&mut file, &mut hash)) {
        Ok(_) => Some(Mark::Contents(hash.0.finalize().into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => Some(Mark::Unreadable),
    }
}

struct HashWriter(Sha256);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn settled(happened: &Notify) {
    happened.notified().await;
    let latest = Instant::now() + LONGEST_WAIT;
    let quiet = async { while timeout(QUIET, happened.notified()).await.is_ok() {} };
    // Whichever is first.
    timeout_at(latest, quiet).await.ok();
}

fn unwatchable(error: &notify::Error) -> Trouble {
    let message = format!("failed to watch the folder: {error}");
    let hint = match error.kind {
        ErrorKind::MaxFilesWatch => {
            format!("{IGNORE_HINT}; or let more be watched: `sysctl fs.inotify.max_user_watches`")
        }
        _ => "let more be watched: `sysctl fs.inotify` tells the system's limits".to_owned(),
    };
    Trouble { hint: Some(hint), ..Trouble::failed(message) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(dir: &Path, name: &str, text: &str) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn names(dir: &Path, paths: impl IntoIterator<Item = PathBuf>) -> Vec<String> {
        paths.into_iter().map(|path| path.strip_prefix(dir).expect("in it").display().to_string()).collect()
    }

    #[test]
    fn what_tools_make_is_no_source() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in [
            "src/lib.rs",
            "Cargo.toml",
            "mine.wat",
            "wit/plugin.wit",
            "mine.wasm",
            "deep/other.wasm",
            "target/debug/x",
            "deep/target/x",
            "node_modules/a/index.js",
            ".git/HEAD",
            ".hidden",
            "src/lib.rs~",
            "dist/bundle.js",
            "notes/today.log",
            "__pycache__/x.pyc",
        ] {
            write(dir.path(), name, "x");
        }
        write(dir.path(), ".gitignore", "dist/\n");
        let sources = Sources::of_folder(dir.path(), &["*.log".to_owned()]).expect("watched");
        let look = sources.look().expect("a folder");
        assert_eq!(names(dir.path(), look.0.into_keys()), ["Cargo.toml", "mine.wat", "src/lib.rs", "wit/plugin.wit"]);
        let refused = Sources::of_folder(dir.path(), &["a[".to_owned()]).err().expect("no pattern");
        assert!(refused.message.starts_with("--ignore: "), "{refused}");
    }

    #[test]
    fn only_other_contents_are_a_change() {
        let dir = tempfile::tempdir().expect("a folder");
        for name in ["a", "b", "c"] {
            write(dir.path(), name, "before");
        }
        let sources = Sources::of_folder(dir.path(), &[]).expect("watched");
        let before = sources.look().expect("a folder");
        write(dir.path(), "a", "before");
        assert_eq!(before, sources.look().expect("a folder"));
        write(dir.path(), "a", "after!");
        fs::remove_file(dir.path().join("b")).expect("a file");
        write(dir.path(), "new/d", "after");
        let after = sources.look().expect("a folder");
        assert_eq!(names(dir.path(), before.changes(&after)), ["a", "b", "new/d"]);
        sources.leave_out(dir.path().join("a"));
        write(dir.path(), "a", "later");
        let then = after.changes(&sources.look().expect("a folder"));
        assert_eq!(names(dir.path(), then), ["a"], "it is gone, and no longer a source");
    }

    #[tokio::test]
    async fn a_change_in_a_folder_that_is_new_is_noticed() {
        let dir = tempfile::tempdir().expect("a folder");
        let sources = Sources::of_folder(dir.path(), &[]).expect("watched");
        let before = sources.look().expect("a folder");
        fs::create_dir_all(dir.path().join("src/deep")).expect("folders");
        sources.settled().await;
        let empty = sources.look().expect("a folder");
        assert_eq!(before, empty, "a folder is no source");
        write(dir.path(), "src/deep/lib.rs", "x");
        sources.settled().await;
        assert_eq!(names(dir.path(), empty.changes(&sources.look().expect("a folder"))), ["src/deep/lib.rs"]);
        fs::remove_dir_all(dir.path().join("src")).expect("folders");
        write(dir.path(), "src/deep/lib.rs", "y");
        sources.settled().await;
        assert!(!empty.changes(&sources.look().expect("a folder")).is_empty(), "another folder has its place");
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_together_is_one_change() {
        let happened = Arc::new(Notify::new());
        let begun = Instant::now();
        let busy = Arc::clone(&happened);
        tokio::spawn(async move {
            for _ in 0..5 {
                busy.notify_one();
                tokio::time::sleep(QUIET / 2).await;
            }
        });
        settled(&happened).await;
        assert_eq!(begun.elapsed(), 4 * (QUIET / 2) + QUIET, "it is quiet for so long after the last");
        assert!(timeout(Duration::from_secs(3600), settled(&happened)).await.is_err(), "nothing happens any more");
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_ends_does_not_keep_a_build_waiting() {
        let happened = Arc::new(Notify::new());
        let begun = Instant::now();
        let busy = Arc::clone(&happened);
        let never_quiet = tokio::spawn(async move {
            loop {
                busy.notify_one();
                tokio::time::sleep(QUIET / 2).await;
            }
        });
        settled(&happened).await;
        assert_eq!(begun.elapsed(), LONGEST_WAIT);
        never_quiet.abort();
    }
}
