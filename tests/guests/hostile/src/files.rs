//! Streams and files.

use taskhost_plugin::Failure;
use wasip2::cli::{stderr, stdin, stdout};
use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, NewTimestamp, OpenFlags, PathFlags};
use wasip2::io::streams::StreamError;

/// More files than a guest may hold.
const DESCRIPTORS: usize = 100_000;

pub(crate) fn read_stdin() -> String {
    match stdin::get_stdin().blocking_read(u64::MAX) {
        Ok(bytes) => format!("read {} bytes", bytes.len()),
        Err(StreamError::Closed) => "closed".to_owned(),
        Err(StreamError::LastOperationFailed(error)) => error.to_debug_string(),
    }
}

/// Hands everything to the host in one call, whatever it allows.
pub(crate) fn write_giant(bytes: usize) -> String {
    let written = stdout::get_stdout().write(&vec![b'x'; bytes]);
    format!("{written:?}")
}

/// Writes without asking how much it may.
pub(crate) fn write_unasked() -> String {
    let stderr = stderr::get_stderr();
    format!("{:?}", stderr.write_zeroes(u64::MAX))
}

/// Has the host copy from one stream to another, as much as there is.
pub(crate) fn splice() -> String {
    let spliced = stdout::get_stdout().blocking_splice(&stdin::get_stdin(), u64::MAX);
    match spliced {
        Ok(bytes) => format!("spliced {bytes}"),
        Err(StreamError::Closed) => "closed".to_owned(),
        Err(StreamError::LastOperationFailed(error)) => error.to_debug_string(),
    }
}

pub(crate) fn write_bytes(bytes: &[u8]) {
    // What the host makes of it is what the test looks at.
    drop(stdout::get_stdout().blocking_write_and_flush(bytes));
}

fn folder(name: &str) -> Result<Descriptor, Failure> {
    let folder = get_directories().into_iter().find(|(_, granted)| granted == name);
    folder.map(|(folder, _)| folder).ok_or_else(|| Failure::permanent(format!("there is no folder {name}")))
}

fn told<T>(result: Result<T, ErrorCode>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(code) => code.name().to_owned(),
    }
}

/// Tries to get out of a folder by paths. The test has put a link to a secret there, and one to the folder above it.
pub(crate) fn paths(name: &str) -> Result<Option<String>, Failure> {
    let folder = folder(name)?;
    let paths = [
        "..",
        "../",
        "../secret",
        "../../etc/passwd",
        "/etc/passwd",
        "./../secret",
        "inside/../../secret",
        "link-to-secret",
        "link-to-secret/",
        "link-to-above",
        "link-to-above/secret",
        "link-to-root/etc/passwd",
        "inside/",
        "inside/.",
        "inside/..",
        "nothing/../secret",
        "\0",
        "",
        "a\0b",
        "//etc/passwd",
        "inside//file",
        "inside/file/",
        "inside/file/..",
    ];
    let open = |path: &str| folder.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ);
    let told: Vec<_> = paths.iter().map(|path| format!("{}: {}", path.escape_debug(), told(open(path)))).collect();
    Ok(Some(told.join("\n")))
}

/// Opens one path and reads from it: a pipe or a device might never answer.
pub(crate) fn open(path: &str) -> Result<Option<String>, Failure> {
    let (name, path) = path.rsplit_once('/').ok_or_else(|| Failure::permanent("FOLDER/FILE"))?;
    let opened = folder(name)?.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ);
    match opened {
        Ok(file) => match file.read(1 << 40, 0) {
            Ok((bytes, _)) => Ok(Some(format!("read {} bytes", bytes.len()))),
            Err(code) => Ok(Some(format!("not read: {}", code.name()))),
        },
        Err(code) => Ok(Some(format!("not opened: {}", code.name()))),
    }
}

/// Tries everything that changes something in a folder.
pub(crate) fn change(name: &str) -> Result<Option<String>, Failure> {
    let folder = folder(name)?;
    let write = DescriptorFlags::READ | DescriptorFlags::WRITE;
    let open = |flags, mode| folder.open_at(PathFlags::empty(), "file", flags, mode);
    let create = folder.open_at(PathFlags::empty(), "new", OpenFlags::CREATE, write);
    let shrink = open(OpenFlags::empty(), DescriptorFlags::READ).and_then(|file| file.set_size(0));
    let write_open = open(OpenFlags::empty(), DescriptorFlags::READ).and_then(|file| file.write(b"x", 0));
    let told = [
        ("create", told(create)),
        ("write", told(open(OpenFlags::empty(), write))),
        ("truncate", told(open(OpenFlags::TRUNCATE, write))),
        ("set-size", told(shrink)),
        ("write-open", told(write_open)),
        ("mkdir", told(folder.create_directory_at("folder"))),
        ("rmdir", told(folder.remove_directory_at("inside"))),
        ("unlink", told(folder.unlink_file_at("file"))),
        ("rename", told(folder.rename_at("file", &folder, "renamed"))),
        ("link", told(folder.link_at(PathFlags::empty(), "file", &folder, "hard"))),
        ("symlink", told(folder.symlink_at("file", "soft"))),
        ("symlink-out", told(folder.symlink_at("/etc/passwd", "out"))),
        ("times", told(folder.set_times_at(PathFlags::empty(), "file", NewTimestamp::Now, NewTimestamp::Now))),
    ];
    let lines: Vec<_> = told.iter().map(|(what, told)| format!("{what}: {told}")).collect();
    Ok(Some(lines.join("\n")))
}

/// Opens the same file again and again, and keeps them all.
pub(crate) fn descriptors(name: &str) -> Result<Option<String>, Failure> {
    let folder = folder(name)?;
    let mut files = Vec::new();
    for _ in 0..DESCRIPTORS {
        match folder.open_at(PathFlags::empty(), "file", OpenFlags::empty(), DescriptorFlags::READ) {
            Ok(file) => files.push(file),
            Err(code) => return Err(Failure::new(format!("{} files, then {}", files.len(), code.name()))),
        }
    }
    Ok(Some(format!("{} files", files.len())))
}
