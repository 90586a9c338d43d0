//! What the fuzzer has gathered, run through the same checks without it: each file of the corpora and of what was once found, and
//! changes of them by chance. `tests/fuzz/README.md` tells of the fuzzer.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is a crate of its own for the fuzzer")]
mod checks;

/// How long one corpus is changed by chance, at most.
const CHANGING_PATIENCE: Duration = Duration::from_secs(2);

/// How many changed inputs there are for each file, in that time.
const CHANGES_PER_FILE: u64 = 8;

/// As much stack as the host's own threads have.
const STACK_BYTES: usize = 2 << 20;

/// What is put into inputs by chance: bytes that mean something to one parser or another.
const PIECES: [&[u8]; 16] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b":",
    b",",
    b"\n",
    b"\0",
    b"\x1b",
    b"\xff",
    b"null",
    b"-1",
    b"99999999999999999999",
    b";",
];

#[test]
fn whatever_was_found_for_the_stream_holds() {
    replay("stream", checks::stream::check);
}

#[test]
fn whatever_was_found_for_definitions_holds() {
    replay("spec", checks::spec::check);
}

#[test]
fn whatever_was_found_for_the_door_holds() {
    replay("door", checks::door::check);
}

#[test]
fn whatever_was_found_for_schedules_holds() {
    replay("schedule", checks::schedule::check);
}

fn replay(target: &str, check: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let mut inputs = Vec::new();
    for kind in ["corpus", "regressions"] {
        let folder = fuzz.join(kind).join(target);
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for file in files {
            let path = file.expect("the folder can be read").path();
            let input = fs::read(&path).expect("a file of the corpus can be read");
            inputs.push((path, input));
        }
    }
    inputs.sort();
    assert!(!inputs.is_empty());
    let failed: Vec<_> = inputs.iter().filter(|(path, input)| !holds(path.clone(), input.clone(), check)).collect();
    let failed: Vec<_> = failed.iter().map(|(path, _)| path).collect();
    assert!(failed.is_empty(), "these files fail: {failed:#?}");

    let until = Instant::now() + CHANGING_PATIENCE;
    for round in 0..CHANGES_PER_FILE {
        for (path, input) in &inputs {
            if Instant::now() > until {
                return;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let mut chance =
                StdRng::seed_from_u64(name.bytes().fold(round, |seed, byte| seed.wrapping_mul(31) + u64::from(byte)));
            let changed = changed(input, &inputs.choose(&mut chance).expect("some").1, &mut chance);
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{target}-{name}-{round}"));
            if !holds(kept.clone(), changed.clone(), check) {
                fs::write(&kept, changed).expect("the failing input can be kept");
                panic!("fails with a changed {}, kept as {}", path.display(), kept.display());
            }
        }
    }
}

/// Runs a check in a thread that is named after the input, so that even a stack that overflows says which it was.
fn holds(path: PathBuf, input: Vec<u8>, check: fn(&[u8])) -> bool {
    let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(&path).display().to_string();
    let thread = thread::Builder::new().name(name).stack_size(STACK_BYTES);
    let checked = thread.spawn(move || catch_unwind(AssertUnwindSafe(|| check(&input))).is_ok());
    checked.expect("a thread starts").join().expect("panics are caught in it")
}

/// The input with a few places changed; `other` gives some of its bytes.
fn changed(input: &[u8], other: &[u8], chance: &mut StdRng) -> Vec<u8> {
    let mut changed = input.to_vec();
    for _ in 0..chance.random_range(1..4) {
        let at = chance.random_range(0..=changed.len());
        let until = (at + chance.random_range(0..16)).min(changed.len());
        match chance.random_range(0..5) {
            0 => drop(changed.drain(at..until)),
            1 => changed.truncate(at),
            2 => drop(changed.splice(at..at, PIECES.choose(chance).expect("some").iter().copied())),
            3 if at < changed.len() => changed[at] ^= 1 << chance.random_range(0..8),
            _ => {
                let from = chance.random_range(0..=other.len());
                let to = (from + chance.random_range(0..64)).min(other.len());
                changed.splice(at..until, other[from..to].iter().copied());
            }
        }
    }
    changed
}
