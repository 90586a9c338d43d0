//! What a plugin is made of, and when that changes.
//!
//! The system only tells that something happened; what is different is found by looking at all files again. So an event that is lost, and
//! what an editor does when it saves, are of no account: a build is due when the contents are others than those of the last one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ignore::WalkBuilder;
use ignore::overrides::{Override, OverrideBuilder};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use super::trouble::Trouble;
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
    watcher: Watcher,
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
        let watcher = Watcher::new().map_err(unwatchable)?;
        Ok(Self { scope, watcher, made: RefCell::default() })
    }

    /// The sources as they are. What changes from now on ends a [`settled`](Self::settled).
    pub(super) fn look(&self) -> Result<Look, Trouble> {
        loop {
            let (files, folders) = self.walk()?;
            // What was written into a new folder before it was watched is seen by the next walk.
            if !self.watcher.watch(&folders).map_err(unwatchable)? {
                let made = self.made.borrow();
                let sources = files.into_iter().filter(|path| !made.contains(path));
                return Ok(Look(sources.filter_map(|path| Some((path.clone(), mark(&path)?))).collect()));
            }
        }
    }

    /// Waits until something happens, and then until it is quiet again.
    pub(super) async fn settled(&self) -> Result<(), Trouble> {
        settled(|| self.watcher.happened()).await.map_err(unwatchable)
    }

    /// Takes no notice of this file from now on.
    pub(super) fn leave_out(&self, path: PathBuf) {
        self.made.borrow_mut().insert(path);
    }

    /// The files, and the folders that they are in.
    fn walk(&self) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Trouble> {
        let (dir, left_out) = match &self.scope {
            Scope::Folder { dir, left_out } => (dir, left_out),
            Scope::File(path) => {
                return Ok((vec![path.clone()], path.parent().map(Path::to_owned).into_iter().collect()));
            }
        };
        dir.read_dir()
            .map_err(|error| Trouble::failed(format!("failed to look at {}: {}", dir.display(), fragment(&error))))?;
        // Only what stands in the folder itself counts, so that it is built alike wherever it lies.
        let walk = WalkBuilder::new(dir)
            .parents(false)
            .git_global(false)
            .git_exclude(false)
            .require_git(false)
            .overrides(left_out.clone())
            .build();
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        // What can't be read or is gone by now is no source.
        for entry in walk.flatten() {
            let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
            if is_dir { &mut folders } else { &mut files }.push(entry.into_path());
            if files.len() + folders.len() > MAX_FILES {
                let message = format!("{} has more than {MAX_FILES} files that might be sources", dir.display());
                return Err(Trouble::usage(message, IGNORE_HINT));
            }
        }
        Ok((files, folders))
    }
}

/// Tells that something happened in some folders, and not what.
struct Watcher {
    inotify: AsyncFd<OwnedFd>,
    /// By the system's numbers of them.
    folders: RefCell<HashSet<i32>>,
}

impl Watcher {
    #[expect(
        deprecated,
        reason = "it is unsound with what does not own its descriptor, and what replaces it is unsafe"
    )]
    fn new() -> io::Result<Self> {
        let inotify = AsyncFd::new(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?)?;
        Ok(Self { inotify, folders: RefCell::default() })
    }

    /// Watches these folders and no others. Whether any is new.
    fn watch(&self, folders: &[PathBuf]) -> io::Result<bool> {
        // Not what is only read: to look is to read.
        let changes = WatchFlags::CREATE
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let mut watched = HashSet::new();
        for folder in folders {
            // One that is watched already has its number again, and another that has taken its place a new one.
            match inotify::add_watch(&self.inotify, folder, changes) {
                Ok(number) => drop(watched.insert(number)),
                // It is gone again, which its parent's watch tells.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let is_new = watched.difference(&self.folders.borrow()).next().is_some();
        for number in self.folders.replace(watched).difference(&self.folders.borrow()) {
            // It fails where the folder is gone.
            inotify::remove_watch(&self.inotify, *number).ok();
        }
        Ok(is_new)
    }

    /// Waits until something has happened since the last time.
    async fn happened(&self) -> io::Result<()> {
        let mut events = [0; 4096];
        loop {
            let mut ready = self.inotify.readable().await?;
            let mut any = false;
            loop {
                match rustix::io::read(&self.inotify, &mut events) {
                    Ok(_) => any = true,
                    Err(Errno::AGAIN) => break,
                    Err(error) => return Err(error.into()),
                }
            }
            ready.clear_ready();
            if any {
                return Ok(());
            }
        }
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

/// Waits for the next one of what `happened` waits for, and then until no more follow.
async fn settled<F: Future<Output = io::Result<()>>>(happened: impl Fn() -> F) -> io::Result<()> {
    happened().await?;
    let latest = Instant::now() + LONGEST_WAIT;
    while let Ok(happened) = timeout_at(latest.min(Instant::now() + QUIET), happened()).await {
        happened?;
        if Instant::now() >= latest {
            break;
        }
    }
    Ok(())
}

fn unwatchable(error: io::Error) -> Trouble {
    let trouble = Trouble::failed(format!("failed to watch the folder: {}", fragment(&error)));
    match Errno::from_io_error(&error) {
        Some(Errno::NOSPC) => trouble
            .with_hint("leave out what is no source with --ignore, or raise `sysctl fs.inotify.max_user_watches`"),
        Some(Errno::MFILE) => {
            trouble.with_hint("end what else watches files, or raise `sysctl fs.inotify.max_user_instances`")
        }
        _ => trouble,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use tokio::sync::Notify;
    use tokio::time::timeout;

    use super::*;

    fn write(dir: &Path, name: &str, text: &str) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn names(dir: &Path, paths: impl IntoIterator<Item = PathBuf>) -> Vec<String> {
        paths.into_iter().map(|path| path.strip_prefix(dir).expect("in it").display().to_string()).collect()
    }

    #[tokio::test]
    async fn what_tools_make_is_no_source() {
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

    #[tokio::test]
    async fn only_other_contents_are_a_change() {
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
        sources.settled().await.expect("it is watched");
        let empty = sources.look().expect("a folder");
        assert_eq!(before, empty, "a folder is no source");
        write(dir.path(), "src/deep/lib.rs", "x");
        sources.settled().await.expect("it is watched");
        assert_eq!(names(dir.path(), empty.changes(&sources.look().expect("a folder"))), ["src/deep/lib.rs"]);
        fs::remove_dir_all(dir.path().join("src")).expect("folders");
        write(dir.path(), "src/deep/lib.rs", "y");
        sources.settled().await.expect("it is watched");
        assert!(!empty.changes(&sources.look().expect("a folder")).is_empty(), "another folder has its place");
    }

    async fn notified(happened: &Notify) -> io::Result<()> {
        happened.notified().await;
        Ok(())
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
        settled(|| notified(&happened)).await.expect("no error");
        assert_eq!(begun.elapsed(), 4 * (QUIET / 2) + QUIET, "it is quiet for so long after the last");
        assert!(
            timeout(Duration::from_secs(3600), settled(|| notified(&happened))).await.is_err(),
            "nothing happens any more"
        );
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
        settled(|| notified(&happened)).await.expect("no error");
        assert_eq!(begun.elapsed(), LONGEST_WAIT);
        never_quiet.abort();
    }
}
