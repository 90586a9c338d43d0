//! What guests reach of the host's folders and variables, by preview 1 and by WASI 0.2.

use std::fs;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use taskhost_core::log::LogLine;
use taskhost_core::outcome::{Outcome, RunReport};
use taskhost_core::ports::Engine;
use taskhost_core::spec::{DirGrant, Grants};
use tempfile::TempDir;

use crate::guest::preview1;
use crate::host::{Host, Task, texts};

/// Preview 1's `errno`s.
const NOT_DIR: i32 = 54;
const NOT_PERMITTED: i32 = 63;

/// A folder within which `data` is granted and `secret` is not.
fn folder() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    let data = folder.path().join("data");
    fs::create_dir_all(data.join("inner")).expect("a folder");
    fs::write(data.join("file"), "of the folder").expect("a file");
    fs::write(folder.path().join("secret"), "a secret").expect("a file");
    std::os::unix::fs::symlink("../secret", data.join("link-out")).expect("a link");
    std::os::unix::fs::symlink("/etc/passwd", data.join("link-away")).expect("a link");
    std::os::unix::fs::symlink("file", data.join("link")).expect("a link");
    mknodat(CWD, data.join("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    folder
}

/// A preview-1 command that opens a path in its first folder, and exits with what it got for it.
fn opener(path: &str, oflags: u32, rights: u64) -> String {
    let open = format!(
        "(call $path_open (i32.const 3) (i32.const 1) (i32.const 2048) (i32.const {}) (i32.const {oflags})
            (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 500))",
        path.len()
    );
    with_files(path, &format!("(call $proc_exit {open})"))
}

/// A preview-1 command with functions for files, and this path at 2048.
fn with_files(path: &str, body: &str) -> String {
    let imports = r#"(module
        (import "wasi_snapshot_preview1" "path_open"
            (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_unlink_file" (func $unlink (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_remove_directory" (func $rmdir (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_symlink" (func $symlink (param i32 i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_link" (func $link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "path_filestat_set_times"
            (func $set_times (param i32 i32 i32 i32 i64 i64 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))"#;
    let data =
        format!(r#"(memory (export "memory") 2) (data (i32.const 2048) "{path}") (data (i32.const 3000) "new")"#);
    preview1(body).replacen("(module", imports, 1).replacen(r#"(memory (export "memory") 2)"#, &data, 1)
}

const READ: u64 = 1 << 1;
const WRITE: u64 = 1 << 6;
const CREATE: u32 = 1;
const TRUNCATE: u32 = 8;

async fn exit_code(task: &Task) -> (Option<i32>, Vec<String>) {
    let (report, lines) = Host::new().run(task).await;
    (report.exit_code, texts(&lines))
}

async fn steps(folder: &Path, read_only: bool, steps: &[&str]) -> Vec<String> {
    let (report, lines) = Host::new().run(&Task::reach(steps).dir(folder, "/data", read_only)).await;
    assert_eq!(report.outcome, Outcome::Success, "{report:?} {lines:?}");
    texts(&lines)
}

#[tokio::test]
async fn variables_are_there_for_both_kinds_of_wasi() {
    let task = Task::reach(&["env"]).env("NAME", "a value").env("OTHER", "");
    let (_, lines) = Host::new().run(&task).await;
    assert_eq!(texts(&lines), [r#"stdout: env: [("NAME", "a value"), ("OTHER", "")]"#]);

    let body = "(drop (call $environ_sizes_get (i32.const 600) (i32.const 604)))
        (drop (call $environ_get (i32.const 700) (i32.const 800)))
        (call $write (i32.const 1) (i32.const 800) (i32.load (i32.const 604)))";
    let (_, lines) = Host::new().run(&Task::of(with_files("", body)).env("NAME", "a value")).await;
    assert_eq!(lines[0].text, "NAME=a value\0");
}

#[tokio::test]
async fn a_preview_1_guest_reads_what_it_is_granted() {
    let folder = folder();
    let body = "(drop (call $path_open (i32.const 3) (i32.const 1) (i32.const 2048) (i32.const 4) (i32.const 0)
            (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 500)))
        (i32.store (i32.const 600) (i32.const 5000)) (i32.store (i32.const 604) (i32.const 100))
        (drop (call $fd_read (i32.load (i32.const 500)) (i32.const 600) (i32.const 1) (i32.const 608)))
        (call $write (i32.const 1) (i32.const 5000) (i32.load (i32.const 608)))";
    let task = Task::of(with_files("link", body)).dir(&folder.path().join("data"), "/data", true);
    let (report, lines) = Host::new().run(&task).await;
    assert_eq!((report.outcome, texts(&lines)), (Outcome::Success, vec!["stdout: of the folder".to_owned()]));
}

#[tokio::test]
async fn a_preview_1_guest_stays_in_its_folder_and_opens_files_and_folders_only() {
    let folder = folder();
    let data = folder.path().join("data");
    for path in ["../secret", "inner/../../secret", "/etc/passwd", "link-out", "link-away", "pipe"] {
        for (flags, rights) in [(0, READ), (0, WRITE), (CREATE, WRITE), (TRUNCATE, READ | WRITE)] {
            let task = Task::of(opener(path, flags, rights)).dir(&data, "/data", false).timeout_ms(20_000);
            let (code, lines) = exit_code(&task).await;
            assert_eq!(code, Some(NOT_PERMITTED), "{path} {flags} {rights}");
            let kind = if path == "pipe" { "neither a file nor a folder" } else { "leads out of the granted folder" };
            assert!(
                lines[0].starts_with(&format!("host: denied: opening `{path}`")) && lines[0].contains(kind),
                "{lines:?}"
            );
        }
    }
    let slash = Task::of(opener("file/", 0, READ)).dir(&data, "/data", false);
    assert_eq!(exit_code(&slash).await.0, Some(NOT_DIR));
    assert_eq!(fs::read_to_string(folder.path().join("secret")).expect("it is there"), "a secret");
}

#[tokio::test]
async fn a_preview_1_guest_changes_nothing_in_a_folder_that_is_read_only() {
    let folder = folder();
    let data = folder.path().join("data");
    let changes = [
        ("file", "(call $mkdir (i32.const 3) (i32.const 3000) (i32.const 3))"),
        ("file", "(call $unlink (i32.const 3) (i32.const 2048) (i32.const 4))"),
        ("inner", "(call $rmdir (i32.const 3) (i32.const 2048) (i32.const 5))"),
        (
            "file",
            "(call $rename (i32.const 3) (i32.const 2048) (i32.const 4) (i32.const 3) (i32.const 3000) (i32.const 3))",
        ),
        ("file", "(call $symlink (i32.const 2048) (i32.const 4) (i32.const 3) (i32.const 3000) (i32.const 3))"),
        (
            "file",
            "(call $link (i32.const 3) (i32.const 0) (i32.const 2048) (i32.const 4) (i32.const 3) (i32.const 3000)
                (i32.const 3))",
        ),
        (
            "file",
            "(call $set_times (i32.const 3) (i32.const 0) (i32.const 2048) (i32.const 4) (i64.const 0) (i64.const 0)
                (i32.const 10))",
        ),
    ];
    let openers = [("new", CREATE, WRITE), ("file", TRUNCATE, WRITE), ("file", 0, READ | WRITE)];
    let openers = openers.map(|(path, flags, rights)| opener(path, flags, rights));
    let changes = changes.map(|(path, change)| with_files(path, &format!("(call $proc_exit {change})")));
    let modified = || fs::metadata(data.join("file")).and_then(|file| file.modified()).expect("it is there");
    let before = modified();
    for guest in openers.into_iter().chain(changes) {
        let (code, lines) = exit_code(&Task::of(guest.clone()).dir(&data, "/data", true)).await;
        assert_eq!(code, Some(NOT_PERMITTED), "{guest}");
        let hint = format!("in /data (read-only); allow it with --dir {}::/data without :ro", data.display());
        assert!(lines[0].starts_with("host: denied: writing") && lines[0].ends_with(&hint), "{lines:?}");
    }
    assert_eq!(fs::read_to_string(data.join("file")).expect("it is there"), "of the folder");
    assert!(!data.join("new").exists() && data.join("inner").exists());
    assert_eq!(modified(), before);
}

#[tokio::test]
async fn a_component_stays_in_its_folder_and_opens_files_and_folders_only() {
    let folder = folder();
    let outside = ["../secret", "inner/../../secret", "/etc/passwd", "link-out", "link-away", "pipe"];
    let reads = outside.map(|path| ["read", path]);
    let writes = outside.map(|path| ["write", path, "x"]);
    let mut all: Vec<&str> = ["dirs", "read", "link"].to_vec();
    all.extend(reads.concat());
    all.extend(writes.concat());
    let mut lines = steps(&folder.path().join("data"), false, &all).await;
    assert_eq!(lines[..2], [r#"stdout: dirs: ["/data"]"#, "stdout: read: of the folder"]);
    let denial = lines.remove(2);
    assert!(denial.starts_with("host: denied: opening `../secret`, which leads out"), "{denial}");
    for (line, path) in lines[2..].iter().zip(outside.iter().cycle()) {
        assert!(line.ends_with("failed: not-permitted"), "{path}: {line}");
    }
    assert_eq!(lines.len(), 2 + 2 * outside.len(), "one denial only is told: {lines:?}");
    assert_eq!(fs::read_to_string(folder.path().join("secret")).expect("it is there"), "a secret");
}

#[tokio::test]
async fn a_component_changes_nothing_in_a_folder_that_is_read_only() {
    let folder = folder();
    let data = folder.path().join("data");
    let changes =
        ["truncate", "set-size", "rename", "unlink", "symlink-new", "link", "set-times", "mkdir-new", "rmdir-inner"];
    let mut all = vec!["write", "new", "x", "append", "file", "x"];
    for change in changes {
        let (how, path) =
            change.split_once('-').filter(|(_, path)| ["new", "inner"].contains(path)).unwrap_or((change, "file"));
        all.extend(["change", how, path]);
    }
    let lines = steps(&data, true, &all).await;
    assert!(lines[0].starts_with("host: denied: writing `new` in /data (read-only)"), "{lines:?}");
    assert_eq!(lines.len(), 1 + 2 + changes.len());
    assert!(lines[1..].iter().all(|line| line.ends_with("failed: not-permitted")), "{lines:#?}");
    assert_eq!(fs::read_to_string(data.join("file")).expect("it is there"), "of the folder");
    assert!(!data.join("new").exists() && data.join("inner").exists());
}

#[tokio::test]
async fn a_folder_that_may_be_written_is_written() {
    let folder = folder();
    let data = folder.path().join("data");
    let lines =
        steps(&data, false, &["write", "new", "a text", "change", "rename", "new", "change", "mkdir", "more"]).await;
    assert_eq!(lines, ["stdout: write: done", "stdout: change: done", "stdout: change: done"]);
    assert_eq!(fs::read_to_string(data.join("new.other")).expect("it is there"), "a text");
}

#[tokio::test]
async fn a_folder_that_was_replaced_is_seen_by_the_next_attempt_and_one_that_is_gone_is_the_hosts_error() {
    let folder = folder();
    let data = folder.path().join("data");
    let (host, task) = (Host::new(), Task::reach(&["read", "file"]).dir(&data, "/data", true));
    let job = host.prepare(&task).await.expect("a plugin");
    let run = async || {
        let started = host.start_job(&job, &task, 1);
        (started.run.await, texts(&started.log.tail(0, usize::MAX)))
    };
    assert_eq!(run().await.1, ["stdout: read: of the folder"]);
    fs::rename(&data, folder.path().join("old")).expect("it is renamed");
    let (report, _) = run().await;
    let gone = format!("the folder `{}` can't be opened: No such file or directory (os error 2)", data.display());
    assert_eq!((report.outcome, report.detail.as_deref()), (Outcome::HostError, Some(&*gone)));
    fs::create_dir(&data).expect("a folder");
    fs::write(data.join("file"), "of another folder").expect("a file");
    assert_eq!(run().await.1, ["stdout: read: of another folder"]);
    // What a guest that may write above it could do.
    fs::remove_dir_all(&data).expect("it goes");
    std::os::unix::fs::symlink("old", &data).expect("a link");
    let (report, _) = run().await;
    assert_eq!(report.outcome, Outcome::HostError);
    assert!(report.detail.expect("a detail").ends_with("its path goes through a symbolic link"));
}

async fn refusal(host: &Host, dir: &Path) -> Option<(String, String)> {
    let dir = DirGrant { host: dir.to_str().expect("text").to_owned(), guest: "/data".to_owned(), read_only: true };
    let checked = host.engine.check_grants(Grants { dirs: vec![dir], ..Grants::none() }).await;
    checked.err().map(|fault| (fault.message, fault.hint))
}

#[tokio::test]
async fn folders_of_the_host_itself_of_the_kernel_and_behind_links_are_not_granted() {
    let folder = folder();
    let own = folder.path().join("data");
    let host = Host::with_own_dir(&own);
    for dir in [&*own, &own.join("inner"), folder.path(), Path::new("/")] {
        let (message, _) = refusal(&host, dir).await.expect("it is refused");
        assert!(message.ends_with("the host keeps its own data there"), "{message}");
    }
    for dir in ["/proc/self", "/sys", "/dev/shm", "//proc"] {
        let (message, _) = refusal(&host, Path::new(dir)).await.expect("it is refused");
        assert!(message.ends_with("it is the kernel's and not a folder of files"), "{message}");
    }
    let other = TempDir::new().expect("a folder");
    std::os::unix::fs::symlink(other.path(), folder.path().join("link")).expect("a link");
    let (message, hint) = refusal(&host, &folder.path().join("link")).await.expect("it is refused");
    assert!(message.ends_with("its path goes through a symbolic link"), "{message}");
    assert_eq!(hint, format!("grant `{}`, where the link leads to", other.path().display()));
    let (message, _) = refusal(&host, &folder.path().join("secret")).await.expect("it is refused");
    assert!(message.ends_with("it is no folder"), "{message}");
    assert!(refusal(&host, &folder.path().join("nothing")).await.is_some());
    assert_eq!(refusal(&host, other.path()).await, None);
    // Swapped for the host's own after it was granted.
    let task = Task::reach(&["read", "file"]).dir(&own, "/data", true);
    let (report, _) = host.run(&task).await;
    assert_eq!(report.outcome, Outcome::HostError, "{report:?}");
}

async fn run(task: &Task) -> (RunReport, Vec<LogLine>) {
    Host::new().run(task).await
}

#[tokio::test]
async fn that_nothing_is_granted_is_told_of_an_attempt_that_failed_and_of_no_other() {
    let (_, lines) = run(&Task::reach(&["env", "dirs"])).await;
    assert_eq!(texts(&lines), ["stdout: env: []", "stdout: dirs: []"]);
    let (report, lines) = run(&Task::reach(&["dirs", "fail"])).await;
    assert_eq!(report.outcome, Outcome::Error);
    let told = "host: the plugin asked for folders and has none; grant one with --dir HOST::GUEST";
    assert_eq!(texts(&lines)[1..], [told]);
    let (_, lines) = run(&Task::reach(&["env", "dirs", "fail"])).await;
    assert!(texts(&lines)[2].contains("folders and environment variables"), "{lines:?}");
    // By preview 1, and of one that was stopped.
    let body = "(drop (call $fd_prestat_get (i32.const 3) (i32.const 600))) (loop $again (br $again))";
    let (report, lines) = run(&Task::of(with_files("", body)).timeout_ms(50)).await;
    assert_eq!((report.outcome, &*texts(&lines)), (Outcome::TimedOut, &[told.to_owned()][..]));
}
