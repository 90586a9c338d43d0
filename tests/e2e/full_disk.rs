//! A full disk: changes are refused and tasks go on, and when there is room again nobody has to restart anything.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::{TestEnv, eventually, guest, guest_bytes, probe, sha256};

/// Room for what a host makes at its start, and little more.
const DISK: &str = "size=96m";

/// What is written at once to fill it.
const PIECE_BYTES: usize = 64 << 10;

/// More changes than fit in what the store had set aside.
const MAX_CHANGES: u64 = 5_000;

/// A small file system of its own. Unmounted when it is dropped.
struct Disk(PathBuf);

impl Disk {
    /// `None`, with the reason on stderr, where this user may not mount one.
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("the temporary directory can be written");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            Ok(output) => {
                eprintln!("skipped: no small disk: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                eprintln!("skipped: no small disk: {error}");
                None
            }
        }
    }

    /// Fills it to the last byte.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.join("ballast");
        let mut file = File::create(&ballast).expect("there is room for a name");
        for piece in [PIECE_BYTES, 1] {
            let bytes = vec![0; piece];
            loop {
                match file.write_all(&bytes) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("the disk fails in another way: {error}"),
                }
            }
        }
        ballast
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a host that a failing test leaves is killed after this.
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking(), "the disk stays mounted");
    }
}

#[test]
fn on_a_full_disk_changes_are_refused_and_tasks_go_on_until_there_is_room() {
    let env = TestEnv::new();
    let Some(disk) = Disk::mount(&env.data_dir()) else { return };
    let host = env.host();
    host.ok(&["add", "tick", "--every", "50ms"]);
    host.wait_successes("tick", 1);
    let ballast = disk.fill();

    let put = host.ctl(&["plugin", "put", probe().to_str().expect("a path of UTF-8")]).fails_with(1);
    put.says(&["the disk is full", "make room and try again; the host need not be restarted"]);
    // What the store set aside holds some changes yet; each that is accepted is kept.
    let mut stream = host.stream();
    let spec = |number: u64| json!({ "name": format!("t{number}"), "schedules": [{ "every": "1h" }], "args": ["x".repeat(8_000)] });
    let (accepted, refused) = (0..MAX_CHANGES)
        .find_map(|number| stream.call("TaskUnit.Add", spec(number)).err().map(|refused| (number, refused)))
        .expect("a full disk refuses in the end");
    assert_eq!(refused.name, "storage_full", "{refused:?}");
    let tasks = host.call("Host.Info", json!({}))["tasks"].as_u64();
    assert_eq!(tasks, Some(accepted + 1), "what was refused is not there");
    let before = host.count("tick", "success");
    host.wait_successes("tick", before + 5);
    let info = host.call("Host.Info", json!({}));
    assert!(info["faults"].to_string().contains("full"), "{info}");

    std::fs::remove_file(ballast).expect("it is there");
    eventually("changes are taken again", || stream.call("TaskUnit.Add", spec(accepted)).ok());
    host.ok(&["plugin", "put", guest("exit.wat").to_str().expect("a path of UTF-8")]);
    eventually("nothing is wrong any more", || {
        (host.call("Host.Info", json!({}))["faults"] == json!([])).then_some(())
    });
    host.stop();

    let host = env.host();
    assert_eq!(host.call("Host.Info", json!({}))["tasks"], accepted + 2, "every change that was accepted is there");
    assert_eq!(host.call("Plugin.Has", json!(sha256(&guest_bytes("exit.wat"))))["has"], true);
    host.stop();
}
