//! What compiling may take, and what becomes of a plugin that takes more.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use taskhost_core::outcome::Outcome;
use taskhost_core::plugin::{PluginError, PluginFacts};
use taskhost_core::ports::Engine;
use taskhost_engine::{ChildLimits, CompilePlace, CompilerConfig};
use tempfile::NamedTempFile;

use crate::big;
use crate::guest::{ECHO, preview1, task};
use crate::host::{Host, Task, compiler};

/// A compiler whose children note that they were started, in a file.
struct Noted {
    compiler: CompilerConfig,
    file: NamedTempFile,
}

impl Noted {
    fn new() -> Self {
        let file = NamedTempFile::new().expect("a temporary file");
        let compiler =
            CompilerConfig::child(env!("CARGO_BIN_EXE_taskhost-compile"), [file.path().as_os_str(), "--".as_ref()]);
        Self { compiler, file }
    }

    fn host(&self) -> Host {
        Host::with_compiler(self.compiler.clone())
    }

    /// The children that were started so far to do this.
    fn children(&self, task: &str) -> Vec<Pid> {
        let notes = fs::read_to_string(self.file.path()).expect("the file is there");
        let lines = notes.lines().filter_map(|line| line.split_once(' ')).filter(|(_, noted)| *noted == task);
        lines.map(|(pid, _)| Pid::from_raw(pid.parse().expect("a number")).expect("it is not 0")).collect()
    }

    /// Waits for the next child that compiles, after so many.
    async fn compiling(&self, before: usize) -> Pid {
        loop {
            if let Some(child) = self.children("compile").get(before) {
                return *child;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A plugin that takes seconds to compile.
fn slow_to_compile() -> Bytes {
    big::command(600, 60, 0).into()
}

fn message(admitted: Result<PluginFacts, PluginError>) -> String {
    match admitted {
        Err(PluginError::Invalid { message, hint: Some(_) }) => message,
        other => panic!("it should be refused, with a hint: {other:?}"),
    }
}

/// Admits a plugin where compiling has these limits.
async fn compiled_within(limit: impl Fn(&mut ChildLimits), wasm: Bytes) -> String {
    let mut compiler = compiler();
    limit(&mut compiler.compile);
    message(Host::with_compiler(compiler).engine.admit(wasm).await)
}

/// Admits a plugin where looking at it has these limits.
async fn looked_at_within(limit: impl Fn(&mut ChildLimits), wasm: Bytes) -> String {
    let mut compiler = compiler();
    limit(&mut compiler.look_at);
    message(Host::with_compiler(compiler).engine.admit(wasm).await)
}

#[tokio::test]
async fn a_plugin_that_takes_too_much_memory_to_compile_is_refused_and_told_so() {
    let message = compiled_within(|limits| limits.memory_bytes = 80 << 20, slow_to_compile()).await;
    assert_eq!(message, "compiling it takes more than 80 MiB of memory");
}

#[tokio::test]
async fn a_plugin_that_takes_too_much_processor_time_to_compile_is_refused_and_told_so() {
    let message = compiled_within(|limits| limits.cpu = Duration::from_secs(1), slow_to_compile()).await;
    assert_eq!(message, "compiling it takes more than 1 s of processor time");
}

#[tokio::test]
async fn a_plugin_that_takes_too_long_to_compile_is_refused_and_told_so() {
    let message = compiled_within(|limits| limits.wall = Duration::from_millis(100), slow_to_compile()).await;
    assert_eq!(message, "compiling it takes more than 100 ms of time");
}

#[tokio::test]
async fn a_plugin_that_takes_too_much_to_look_at_is_refused_before_it_is_compiled() {
    let text = Bytes::from(format!("(module (func (export \"_start\") {}))", "nop ".repeat(2_000_000)));
    let message = looked_at_within(|limits| limits.memory_bytes = 96 << 20, text.clone()).await;
    assert_eq!(message, "looking at it takes more than 96 MiB of memory");
    let message = looked_at_within(|limits| limits.wall = Duration::from_millis(1), text).await;
    assert_eq!(message, "looking at it takes more than 1 ms of time");
}

#[tokio::test]
async fn a_compiler_that_is_killed_from_outside_is_told_as_such_and_the_plugin_can_be_sent_again() {
    let noted = Noted::new();
    let host = noted.host();
    let wasm = slow_to_compile();
    let kill = async {
        kill_process(noted.compiling(0).await, Signal::KILL).expect("it is there");
    };
    let (admitted, ()) = tokio::join!(host.engine.admit(wasm.clone()), kill);
    let Err(PluginError::Host(message)) = admitted else { panic!("the host failed: {admitted:?}") };
    assert!(message.contains("the compiler was killed from outside"), "{message}");
    host.engine.admit(wasm).await.expect("it compiles now");
}

#[tokio::test]
async fn a_compiler_that_nobody_waits_for_any_more_is_killed() {
    let noted = Noted::new();
    let host = noted.host();
    let wasm = slow_to_compile();
    let child = tokio::select! {
        admitted = host.engine.admit(wasm.clone()) => panic!("it takes seconds: {admitted:?}"),
        child = noted.compiling(0) => child,
    };
    while Path::new(&format!("/proc/{}", child.as_raw_nonzero())).exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    host.engine.admit(preview1("").into()).await.expect("the next one's turn has come");
}

#[tokio::test]
async fn a_compiler_that_cannot_be_started_is_told_as_such() {
    let host = Host::with_compiler(CompilerConfig::child("/nowhere/taskhost", ["compile"]));
    let admitted = host.engine.admit(preview1("").into()).await;
    let Err(PluginError::Host(message)) = admitted else { panic!("the host failed: {admitted:?}") };
    assert_eq!(
        message,
        "failed to start the compiler, /nowhere/taskhost: No such file or directory (os error 2); \
         if the host's program was moved or deleted, start the host again"
    );
}

#[tokio::test]
async fn a_program_that_is_no_compiler_compiles_nothing() {
    for (program, said) in [("/bin/true", "not to be understood"), ("/bin/false", "did not end well")] {
        let host = Host::with_compiler(CompilerConfig::child(program, [""; 0]));
        let admitted = host.engine.admit(preview1("").into()).await;
        let Err(PluginError::Host(message)) = admitted else { panic!("the host failed: {admitted:?}") };
        assert!(message.contains(said), "{message}");
    }
}

#[tokio::test]
async fn fifty_who_send_one_plugin_at_once_have_it_compiled_once() {
    let noted = Noted::new();
    let host = noted.host();
    let wasm = Bytes::from(big::command(1_000, 60, 1));
    assert!(wasm.len() > 2_000_000, "{}", wasm.len());
    let admitted = join_all((0..50).map(|_| host.engine.admit(wasm.clone()))).await;
    let facts = admitted[0].as_ref().expect("it is admitted");
    assert!(admitted.iter().all(|admitted| admitted.as_ref().is_ok_and(|found| found == facts)), "{admitted:?}");
    assert_eq!((noted.children("look-at").len(), noted.children("compile").len()), (1, 1));
}

#[tokio::test]
async fn a_small_plugin_does_not_wait_for_a_large_one_to_be_compiled() {
    let noted = Noted::new();
    let host = noted.host();
    let large = Bytes::from(big::command(1_200, 60, 2));
    assert!(large.len() > 2 << 20, "{}", large.len());
    let small = async {
        noted.compiling(0).await;
        host.engine.admit(task(ECHO).into()).await.expect("it is admitted");
    };
    tokio::select! {
        admitted = host.engine.admit(large) => panic!("it takes seconds, and a small one does not wait for it: {admitted:?}"),
        () = small => {}
    }
}

#[tokio::test]
async fn fifty_who_send_one_that_can_not_be_compiled_are_refused_alike_after_one_try() {
    let mut noted = Noted::new();
    noted.compiler.compile.wall = Duration::from_millis(300);
    let host = noted.host();
    let wasm = slow_to_compile();
    let admitted = join_all((0..50).map(|_| host.engine.admit(wasm.clone()))).await;
    for admitted in admitted {
        assert_eq!(message(admitted), "compiling it takes more than 300 ms of time");
    }
    assert_eq!(noted.children("compile").len(), 1);
    // Who sends it later is not put off with the answer to the others.
    assert_eq!(message(host.engine.admit(wasm).await), "compiling it takes more than 300 ms of time");
    assert_eq!(noted.children("compile").len(), 2);
}

#[tokio::test]
async fn tasks_of_a_plugin_that_can_not_be_compiled_do_not_try_one_after_the_other() {
    let mut noted = Noted::new();
    noted.compiler.compile.wall = Duration::from_millis(300);
    let (host, task) = (noted.host(), Task::of(slow_to_compile()));
    for _ in 0..3 {
        let refused = host.prepare(&task).await.err();
        assert!(matches!(refused, Some(PluginError::Invalid { .. })), "{refused:?}");
    }
    assert_eq!(noted.children("compile").len(), 1);
    assert!(host.engine.admit(task.wasm.clone()).await.is_err());
    assert_eq!(noted.children("compile").len(), 2, "who sends it has it tried again");
}

#[tokio::test]
async fn what_is_refused_does_not_wait_for_what_is_compiled() {
    let noted = Noted::new();
    let host = noted.host();
    let refused = async {
        noted.compiling(0).await;
        assert!(host.engine.admit("(module)".into()).await.is_err());
    };
    tokio::select! {
        admitted = host.engine.admit(slow_to_compile()) => panic!("it was compiled before: {admitted:?}"),
        () = refused => {}
    }
}

#[tokio::test]
async fn waiting_plugins_take_no_more_than_half_a_gibibyte() {
    let mut compiler = compiler();
    compiler.place = CompilePlace::Here;
    let host = Host::with_compiler(compiler);
    // The same bytes, each time: no test needs the memory.
    let wasm = Bytes::from(vec![0; 64 << 20]);
    let mut waiting: Vec<_> = (0..9).map(|_| host.engine.admit(wasm.clone())).collect();
    let last = waiting.pop().expect("nine");
    let (first, last) = tokio::join!(join_all(waiting), last);
    assert!(first.iter().all(|admitted| matches!(admitted, Err(PluginError::Invalid { .. }))), "{first:?}");
    assert!(matches!(last, Err(PluginError::Busy(_))), "{last:?}");
    assert!(matches!(host.engine.admit(wasm).await, Err(PluginError::Invalid { .. })), "there is room again");
}

#[tokio::test]
async fn the_child_has_low_limits_and_nothing_of_the_hosts() {
    let noted = Noted::new();
    let host = noted.host();
    let look = async {
        let child = noted.compiling(0).await.as_raw_nonzero();
        let read = |name: &str| fs::read_to_string(format!("/proc/{child}/{name}")).expect("it still compiles");
        // It notes that it is there before it sets its limits, of which this is the last.
        while limit(&read("limits"), "Max address space").contains("unlimited") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // As proc(5) has it, field 19 is the nice value; the name, field 2, may have spaces.
        assert_eq!(read("stat").rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(16)), Some("10"));
        let limits = read("limits");
        for (name, value) in [
            ("Max core file size", "0 0 bytes"),
            ("Max file size", "0 0 bytes"),
            ("Max open files", "16 16 files"),
            ("Max cpu time", "300 301 seconds"),
            ("Max data size", "2147483648 2147483648 bytes"),
        ] {
            assert_eq!(limit(&limits, name), value, "{name}");
        }
        assert_eq!(read("oom_score_adj").trim(), "1000");
        assert_eq!(read("environ"), "");
        let files = fs::read_dir(format!("/proc/{child}/fd")).expect("it still compiles");
        let files: Vec<_> = files.filter_map(Result::ok).filter_map(|file| fs::read_link(file.path()).ok()).collect();
        assert_eq!(files.len(), 3, "{files:?}");
        assert!(files.iter().all(|file| file.to_string_lossy().starts_with("pipe:")), "{files:?}");
    };
    tokio::select! {
        admitted = host.engine.admit(slow_to_compile()) => panic!("it was compiled before: {admitted:?}"),
        () = look => {}
    }
}

/// A line of `/proc/PID/limits`, without its name, and with one space between its parts.
fn limit(limits: &str, name: &str) -> String {
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("Linux has this limit");
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_plugin_of_forty_thousand_functions_is_admitted_and_runs() {
    let (host, task) = (Host::new(), Task::of(big::command(40_000, 1, 2)));
    host.engine.admit(task.wasm.clone()).await.expect("it is honest");
    assert_eq!(host.run(&task).await.0.outcome, Outcome::Success);
}

#[tokio::test]
async fn a_plugin_of_sixty_mebibytes_of_data_is_admitted() {
    // Far apart in the memory, so that an image of it would have a gigabyte.
    let segment = |at: usize| format!("(data (i32.const {at}) \"x\")");
    let gaps: String = (0..1_000).map(|at| segment(at << 20)).collect();
    let text = format!("(module (memory 16384) {gaps} (func (export \"_start\")))");
    Host::new().engine.admit(text.into()).await.expect("it is honest");

    let mut module = wasm_encoder::Module::new();
    let (mut types, mut functions, mut exports, mut code, mut data) = (
        wasm_encoder::TypeSection::new(),
        wasm_encoder::FunctionSection::new(),
        wasm_encoder::ExportSection::new(),
        wasm_encoder::CodeSection::new(),
        wasm_encoder::DataSection::new(),
    );
    types.ty().function([], []);
    functions.function(0);
    exports.export("_start", wasm_encoder::ExportKind::Func, 0);
    let mut start = wasm_encoder::Function::new([]);
    start.instruction(&wasm_encoder::Instruction::End);
    code.function(&start);
    data.passive(vec![7; 60 << 20]);
    module.section(&types).section(&functions).section(&exports).section(&code).section(&data);
    Host::new().engine.admit(module.finish().into()).await.expect("it is honest");
}

#[tokio::test]
async fn an_honest_run_ends_in_its_first_poll_while_another_plugin_is_compiled() {
    let noted = Noted::new();
    let host = noted.host();
    let honest = Task::of(task(ECHO));
    let job = host.prepare(&honest).await.expect("a plugin");
    let beside = async {
        noted.compiling(1).await;
        let start = Instant::now();
        let mut runs = 0;
        while start.elapsed() < Duration::from_millis(500) {
            assert_eq!(host.start_job(&job, &honest, 1).run.await.outcome, Outcome::Success);
            runs += 1;
            tokio::task::yield_now().await;
        }
        assert!(runs > 100, "{runs}");
    };
    tokio::select! {
        admitted = host.engine.admit(slow_to_compile()) => panic!("it was compiled before: {admitted:?}"),
        () = beside => {}
    }
}
