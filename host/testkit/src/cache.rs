//! Where compiled plugins are kept from trial to trial: in the user's folder for such things, since a plugin of JavaScript or Python
//! takes a quarter of a minute to compile.
//!
//! What stands there is run as machine code. The engine takes only what is signed with a key that stands beside it, and so the folder is
//! used only if nobody but its user (and root) can put anything there, or another folder in its place. Else, and where there is no home
//! folder, nothing is kept.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use etcetera::base_strategy::{BaseStrategy, Xdg};
use rustix::process::geteuid;

/// Its place in the user's cache folder.
const FOLDER: &str = "taskhost/plugins";

/// How much is kept, in bytes: some ten versions of a plugin of 12 MB. What was compiled first goes first.
const MAX_BYTES: u64 = 512 << 20;

/// What others may write.
const WRITABLE: u32 = 0o022;
/// In a folder with this, others can't move what is not theirs.
const STICKY: u32 = 0o1000;

/// The folder, made if it is not there, with room for more.
pub(crate) fn of_user() -> Option<PathBuf> {
    let dir = Xdg::new().ok()?.cache_dir().join(FOLDER);
    match opened(&dir, MAX_BYTES) {
        Ok(dir) => Some(dir),
        Err(error) => {
            tracing::debug!("compiled plugins are not kept in {}: {error}", dir.display());
            None
        }
    }
}

fn opened(dir: &Path, most_bytes: u64) -> io::Result<PathBuf> {
    // Nothing is made in a place that is not used: root, say, in the home of a user.
    let way = dir.parent().unwrap_or(dir).ancestors().find(|folder| folder.exists());
    check_way(&way.ok_or(io::ErrorKind::NotFound)?.canonicalize()?)?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // What is checked is what is used: links are followed now, and what leads there is nobody else's to change.
    let dir = dir.canonicalize()?;
    dir.parent().map(check_way).transpose()?;
    let own = fs::metadata(&dir)?;
    if own.uid() != geteuid().as_raw() || own.mode() & WRITABLE != 0 {
        return Err(others_may_change(&dir));
    }
    make_room(&dir, most_bytes)?;
    Ok(dir)
}

/// Refuses a way on which somebody who is neither this process's user nor root can exchange what leads on.
fn check_way(dir: &Path) -> io::Result<()> {
    let is_safe = |folder: &Metadata| {
        let is_closed = folder.mode() & WRITABLE == 0 || folder.mode() & STICKY != 0;
        is_closed && [0, geteuid().as_raw()].contains(&folder.uid())
    };
    for folder in dir.ancestors() {
        if !is_safe(&fs::metadata(folder)?) {
            return Err(others_may_change(folder));
        }
    }
    Ok(())
}

fn others_may_change(dir: &Path) -> io::Error {
    io::Error::other(format!("others may change what is in {}", dir.display()))
}

/// Deletes what was compiled longest ago, as far as all together is too much.
fn make_room(dir: &Path, most_bytes: u64) -> io::Result<()> {
    let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.path().extension().is_none_or(|extension| extension != "cwasm") {
            continue;
        }
        // One that another process deletes meanwhile is none.
        if let Ok(file) = entry.metadata() {
            files.push((file.modified()?, file.len(), entry.path()));
        }
    }
    files.sort_unstable();
    let mut bytes: u64 = files.iter().map(|(_, len, _)| len).sum();
    for (_, len, path) in files {
        if bytes <= most_bytes {
            break;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => bytes -= len,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{File, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names.into_iter().map(|name| name.into_string().expect("UTF-8")).collect()
    }

    #[test]
    fn a_folder_that_others_can_write_or_exchange_is_not_used() {
        let home = tempfile::tempdir().expect("a folder");
        let dir = home.path().join("cache/taskhost/plugins");
        let opened = || opened(&dir, MAX_BYTES);
        assert_eq!(opened().expect("it is ours").metadata().expect("a folder").mode() & 0o777, 0o700);
        let set = |dir: &Path, mode| fs::set_permissions(dir, Permissions::from_mode(mode)).expect("it is ours");
        for (folder, mode, is_used) in [
            ("cache", 0o777, false),
            ("cache", 0o770, false),
            ("cache/taskhost", 0o722, false),
            ("cache", 0o1777, true),
            ("cache", 0o755, true),
            ("cache/taskhost/plugins", 0o1777, false),
        ] {
            let folder = home.path().join(folder);
            set(&folder, mode);
            assert_eq!(opened().is_ok(), is_used, "{} {mode:o}", folder.display());
            set(&folder, 0o700);
        }
        // A link to what others can write is what it leads to.
        let (open, link) = (home.path().join("open"), home.path().join("link"));
        fs::create_dir(&open).expect("made");
        set(&open, 0o777);
        std::os::unix::fs::symlink(&open, &link).expect("a link");
        super::opened(&link.join("plugins"), MAX_BYTES).expect_err("others may change where it leads");
        assert!(!open.join("plugins").exists(), "and nothing is made there");
        assert!(super::opened(Path::new("/dev/null/plugins"), MAX_BYTES).is_err(), "no folder can be there");
    }

    #[test]
    fn what_was_compiled_first_goes_first_when_there_is_too_much() {
        let dir = tempfile::tempdir().expect("a folder");
        for (age_s, name) in [(30, "b.cwasm"), (20, "a.cwasm"), (10, "c.cwasm"), (99, "key")] {
            let file = File::create(dir.path().join(name)).expect("a file");
            file.set_len(100).expect("it is ours");
            file.set_modified(SystemTime::now() - Duration::from_secs(age_s)).expect("it is ours");
        }
        make_room(dir.path(), 300).expect("there is room");
        assert_eq!(names(dir.path()), ["a.cwasm", "b.cwasm", "c.cwasm", "key"]);
        make_room(dir.path(), 299).expect("there is room");
        assert_eq!(names(dir.path()), ["a.cwasm", "c.cwasm", "key"]);
        make_room(dir.path(), 0).expect("there is room");
        assert_eq!(names(dir.path()), ["key"]);
    }
}
