//! `taskhost run` and `taskhost inspect`: a plugin without a host.

use crate::support::{Ran, TestEnv, guest, probe};

#[track_caller]
fn run(env: &TestEnv, file: &str, options: &[&str]) -> Ran {
    let file = if file == "probe" { probe() } else { guest(file) };
    env.run_taskhost(&[&["run", file.to_str().expect("a path of UTF-8")], options].concat())
}

#[test]
fn a_command_prints_on_stdout_and_its_exit_code_is_ours() {
    let env = TestEnv::new();
    let ran = run(&env, "command.wat", &[]).ok();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("hello from a command\n", ""));
    run(&env, "exit.wat", &["--", "7"]).fails_with(7);
    run(&env, "exit.wat", &[]).ok();
    run(&env, "command-fails.wat", &[]).fails_with(1);
    let ran = run(&env, "echo-args.wat", &["--", "--ticks", "two words", "é"]).ok();
    assert_eq!(ran.stdout, "--ticks\ntwo words\né\n");
}

#[test]
fn a_task_gets_its_ticks_one_after_the_other() {
    let env = TestEnv::new();
    let ran = run(&env, "probe", &["--ticks", "3", "--", "print", "tick"]).ok();
    assert_eq!(ran.stdout, "tick\n".repeat(3));
    let ran = run(&env, "probe", &["--", "print-error", "oops"]).ok();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("", "oops\n"));
    let ran = run(&env, "probe", &["--ticks", "3", "--", "fail", "no", "luck"]).fails_with(1).says(&["error: no luck"]);
    assert_eq!(ran.stdout, "");
}

#[test]
fn a_guest_that_does_not_end_well_is_exit_code_70() {
    let env = TestEnv::new();
    run(&env, "trap.wat", &[]).fails_with(70).says(&["trapped", "unreachable"]);
    run(&env, "allocate.wat", &["--memory", "4MiB"])
        .fails_with(70)
        .says(&["limit_exceeded: memory_bytes", "hint: --memory SIZE gives it more"]);
    run(&env, "recurse.wat", &[]).fails_with(70).says(&["trapped", "stack"]);
    for file in ["spin.wat", "sleep.wat"] {
        run(&env, file, &["--timeout", "300ms"]).fails_with(70).says(&["timed_out: ran longer than 300ms"]);
    }
}

#[test]
fn a_file_that_no_host_would_take_is_exit_code_65_and_a_missing_one_1() {
    let env = TestEnv::new();
    run(&env, "no-start.wat", &[]).fails_with(65).says(&["no `_start`", "hint: "]);
    run(&env, "truncated.wasm", &[]).fails_with(65).says(&["cut off"]);
    run(&env, "wrong-signature.wat", &[]).fails_with(65);
    run(&env, "no-such.wasm", &[]).fails_with(1).says(&["no-such.wasm"]);
    run(&env, "exit.wat", &["--memory", "lots"]).fails_with(2);
}

#[test]
fn inspecting_says_what_a_file_is_and_what_is_wrong_with_it() {
    let env = TestEnv::new();
    let mut shown = String::new();
    for (file, code) in [
        ("exit.wat", 0),
        ("command.wat", 0),
        ("no-start.wat", 5),
        ("foreign-world.wat", 5),
        ("future-version.wat", 5),
        ("unknown-import.wat", 5),
        ("truncated.wasm", 5),
    ] {
        let path = guest(file);
        let ran = env.run_taskhost(&["inspect", path.to_str().expect("a path of UTF-8")]).fails_with(code);
        shown.push_str(&format!("$ taskhost inspect {file}\n{}\n", ran.stdout));
    }
    insta::assert_snapshot!("inspect", shown);
}

#[test]
fn inspecting_for_programs_is_json() {
    let env = TestEnv::new();
    let path = guest("foreign-world.wat");
    let ran = env.run_taskhost(&["inspect", path.to_str().expect("a path of UTF-8"), "-o", "json"]).fails_with(5);
    insta::assert_snapshot!("inspect-json", ran.stdout);
    assert!(ran.json()["problems"].as_array().is_some_and(|problems| problems.len() == 2), "{ran:?}");
    env.run_taskhost(&["inspect", "no-such.wasm"]).fails_with(1);
}
