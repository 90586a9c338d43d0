//! The first-party plugins, which are to be of use on the first day: `http` against a server of the test, `rotate` in a
//! folder of the test. How they judge is tested beside them; here it is shown that they get what they are granted, and
//! nothing else.

mod server;

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use self::server::{Answer, Server};
use crate::support::{Host, TestEnv, run_to_end, time};

const DAY: Duration = Duration::from_secs(86_400);

/// A plugin that is built by `plugins/build.sh`.
fn plugin(name: &str) -> Value {
    let wasm = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("plugins/{name}/{name}.wasm"));
    json!({ "wasm": BASE64.encode(fs::read(wasm).expect("the plugin is committed")) })
}

/// Adds a task that runs only when asked.
#[track_caller]
fn add(host: &Host<'_>, task: &str, name: &str, grants: &Value, args: &[&str], more: &Value) {
    let mut request = json!({
        "name": task, "plugin": plugin(name), "schedules": [{ "manual": true }], "grants": grants, "args": args,
    });
    let members = request.as_object_mut().expect("an object");
    members.extend(more.as_object().cloned().unwrap_or_default());
    host.call("TaskUnit.Add", request);
}

/// Runs a task; its run.
#[track_caller]
fn run(host: &Host<'_>, task: &str) -> Value {
    host.ctl(&["run", task, "-o", "json"]).json()["run"].clone()
}

/// Adds a task, and runs it.
#[track_caller]
fn run_once(host: &Host<'_>, task: &str, name: &str, grants: &Value, args: &[&str]) -> Value {
    add(host, task, name, grants, args, &json!({}));
    run(host, task)
}

/// What the run of a task that must succeed said.
#[track_caller]
fn result(run: &Value) -> &str {
    assert_eq!(run["outcome"], "success", "{run}");
    run["result"].as_str().unwrap_or_default()
}

/// Why a run failed; the plugin must have said it.
#[track_caller]
fn detail(run: &Value) -> &str {
    assert_eq!(run["outcome"], "error", "{run}");
    run["detail"].as_str().expect("a failure has a message")
}

/// What a task printed.
#[track_caller]
fn printed(host: &Host<'_>, task: &str) -> Vec<String> {
    let logs = host.call("TaskUnit.Logs", json!({ "name": task }));
    let lines = logs["lines"].as_array().expect("lines").iter();
    lines
        .filter(|line| line["stream"] == "stdout")
        .map(|line| line["text"].as_str().expect("a text").to_owned())
        .collect()
}

/// The grant to connect to a server.
fn allowed(servers: &[&Server]) -> Value {
    json!({ "hosts": servers.iter().map(|server| server.place()).collect::<Vec<_>>() })
}

#[test]
fn the_lines_of_their_readmes_add_tasks() {
    let env = TestEnv::new();
    let mut serve = env.serve();
    serve.env("TASKHOST_SECRET_API_TOKEN", "s3cret");
    let host = Host::start(&env, serve);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let programs = Path::new(env!("CARGO_BIN_EXE_taskctl")).parent().expect("a folder");
    let mut script = String::new();
    for name in ["http", "rotate"] {
        let readme = fs::read_to_string(root.join(format!("plugins/{name}/README.md"))).expect("it is there");
        script.push_str(readme.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("its lines"));
    }
    for dir in ["/var/backups", "/var/log/app"] {
        let own = env.path(dir.trim_start_matches('/'));
        fs::create_dir_all(&own).expect("made");
        script = script.replace(dir, own.to_str().expect("UTF-8"));
    }
    let mut shell = Command::new("/bin/sh");
    shell.args(["-ec", &script]).current_dir(root).env_clear();
    shell.env("PATH", programs).env("TASKHOST_HOST", format!("unix:{}", env.socket().display()));
    run_to_end(&mut shell).ok();
    let grants = |task: &str| host.task(task)["spec"]["grants"].clone();
    assert_eq!(grants("web"), json!({ "hosts": ["example.org:443"] }));
    assert_eq!(grants("api"), json!({ "hosts": ["api.example.org:443"], "secrets": ["api-token"] }));
    assert_eq!(host.task("nightly")["spec"]["args"][0], "--json");
    for (task, said) in [("rotate", "kept 0, removed 0"), ("tidy", "kept 0, removed 0")] {
        assert_eq!(result(&run(&host, task)), said);
    }
}

#[test]
fn without_grants_the_plugins_say_how_to_use_them_and_what_they_miss() {
    let env = TestEnv::new();
    let host = env.host();
    let server = Server::start(|_, _| Answer::new(200, "ok"));
    let url = server.url("/");
    for (task, name, args, told) in [
        ("http-none", "http", &[][..], "no URL; usage: http [OPTIONS] URL (`--help` explains it)".to_owned()),
        ("http-denied", "http", &[url.as_str()], format!("allow it with `--allow-host {}`", server.place())),
        ("rotate-none", "rotate", &[], "no DIR; usage: rotate --keep N".to_owned()),
        (
            "rotate-denied",
            "rotate",
            &["--keep", "7", "/backups"],
            "no folder `/backups` is granted; grant it with `--dir HOST_FOLDER::/backups`".to_owned(),
        ),
    ] {
        let retry = json!({ "retry": { "attempts": 3, "backoff": "1ms" } });
        add(&host, task, name, &json!({}), args, &retry);
        let run = run(&host, task);
        assert!(detail(&run).contains(&told), "{run}");
        assert_eq!(run["attempts"], 1, "trying again mends none of these: {run}");
    }
    assert!(server.requests().is_empty());
    for name in ["http", "rotate"] {
        let run = run_once(&host, &format!("{name}-help"), name, &json!({}), &["--help"]);
        assert_eq!(result(&run), "");
        let help = printed(&host, &format!("{name}-help")).join("\n");
        assert!(help.contains(&format!("usage: {name} ")), "{help}");
    }
}

#[test]
fn http_holds_an_answer_against_what_is_expected() {
    let env = TestEnv::new();
    let host = env.host();
    let server = Server::start(|path, _| match path {
        "/health" => Answer::new(200, "all is up"),
        _ => Answer::new(404, "there is\nnothing here"),
    });
    let grants = allowed(&[&server]);
    let (health, missing) = (server.url("/health"), server.url("/missing?key=1"));
    let ran = run_once(&host, "good", "http", &grants, &[&health, "--contains", "is up", "--print"]);
    let said = result(&ran);
    assert!(said.starts_with("200 in ") && said.ends_with(" ms, 9 B"), "{said}");
    assert_eq!(printed(&host, "good"), ["all is up"]);
    let ran = run_once(&host, "bad", "http", &grants, &[&missing]);
    assert_eq!(detail(&ran), "got 404, expected 2xx: there is nothing here");
    assert!(printed(&host, "bad").is_empty(), "it is quiet unless it is to print");
    result(&run_once(&host, "expected", "http", &grants, &[&missing, "--expect", "2xx,404"]));
    let ran = run_once(&host, "text", "http", &grants, &[&health, "--contains", "is down"]);
    assert_eq!(detail(&ran), "got 200, but the body of 9 B has no `is down` in it: all is up");
    assert_eq!(server.requests()[1].line, "GET /missing?key=1");
}

#[test]
fn http_sends_a_body_and_headers() {
    let env = TestEnv::new();
    let host = env.host();
    let server = Server::start(|_, _| Answer::new(204, ""));
    let url = server.url("/hook");
    let big = "x".repeat(20_000);
    for (task, body) in [("json", r#"{"text":"up"}"#), ("big", big.as_str())] {
        let args = ["--json", body, "-H", "X-Own: a b", url.as_str()];
        result(&run_once(&host, task, "http", &allowed(&[&server]), &args));
    }
    let requests = server.requests();
    for (request, body) in requests.iter().zip([r#"{"text":"up"}"#, &big]) {
        assert_eq!((request.line.as_str(), request.body.as_str()), ("POST /hook", body));
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("content-length"), Some(body.len().to_string().as_str()), "in one piece");
        assert_eq!((request.header("x-own"), request.header("host")), (Some("a b"), Some(server.place().as_str())));
        assert!(request.header("user-agent").is_some_and(|agent| agent.starts_with("taskhost-http/")));
    }
}

#[test]
fn a_secret_of_the_host_goes_out_in_a_header_and_stands_nowhere() {
    const SECRET: &str = "s3cret-of-the-test";
    let env = TestEnv::new();
    let mut serve = env.serve();
    serve.env("TASKHOST_SECRET_API_TOKEN", SECRET);
    let host = Host::start(&env, serve);
    // One that says what it was sent.
    let server = Server::start(|_, request| {
        let sent = request.header("authorization").unwrap_or("nothing").to_owned();
        Answer::new(403, &format!("not with {sent}")).with("Location", &format!("/login/{sent}"))
    });
    let args = ["--secret-header", "Authorization: Bearer {api-token}", "--print", &server.url("/")];
    let mut grants = allowed(&[&server]);
    let ran = run_once(&host, "none", "http", &grants, &args);
    assert_eq!(detail(&ran), "the task has no secret `api-token`; grant it with `--secret api-token`");
    assert!(server.requests().is_empty());

    grants["secrets"] = json!(["api-token"]);
    let ran = run_once(&host, "t", "http", &grants, &args);
    assert!(detail(&ran).starts_with("got 403, expected 2xx: not with Bearer ["), "{ran}");
    assert_eq!(server.requests()[0].header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    let lines = printed(&host, "t");
    assert!(lines.len() == 1 && lines[0].starts_with("not with Bearer ["), "{lines:?}");

    for words in [&["show", "t"][..], &["runs", "t"], &["logs", "t"], &["changes", "t"], &["export"], &["why", "t"]] {
        for output in [&["-o", "json"][..], &[]] {
            let ran = host.ctl(&[words, output].concat());
            assert!(!ran.stdout.contains(SECRET) && !ran.stderr.contains(SECRET), "{words:?}: {ran:?}");
        }
    }
    let told = host.stop_and_read();
    assert!(!told.join("\n").contains(SECRET), "{told:?}");
    let in_files = files_with(&env.path(""), SECRET.as_bytes());
    assert!(in_files.is_empty(), "{in_files:?}");
}

/// Files in a folder and those below that have these bytes in them.
fn files_with(dir: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("readable") {
        let entry = entry.expect("readable");
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            found.extend(files_with(&entry.path(), bytes));
        } else if kind.is_file() {
            let file = fs::read(entry.path()).expect("readable");
            if file.windows(bytes.len()).any(|window| window == bytes) {
                found.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn a_redirect_leads_nowhere_that_is_not_granted() {
    let env = TestEnv::new();
    let mut serve = env.serve();
    serve.env("TASKHOST_SECRET_API_TOKEN", "s3cret");
    let host = Host::start(&env, serve);
    let other = Server::start(|_, _| Answer::new(200, "other"));
    let to = other.url("/caught");
    let first = Server::start(move |path, _| match path {
        "/own" => Answer::new(302, "").with("Location", "/here"),
        "/here" => Answer::new(200, "here"),
        _ => Answer::new(302, "").with("Location", &to),
    });
    let mut grants = allowed(&[&first]);
    grants["secrets"] = json!(["api-token"]);
    let with =
        |url: &str| ["--secret-header", "X-Key: {api-token}", "--max-redirects", "2", url].map(str::to_owned).to_vec();
    let run_to = |task: &str, grants: &Value, url: &str| {
        run_once(&host, task, "http", grants, &with(url).iter().map(String::as_str).collect::<Vec<_>>())
    };
    let ran = run_to("own", &grants, &first.url("/own"));
    assert!(result(&ran).ends_with(", 4 B, after 1 redirect"), "{ran}");
    assert_eq!(first.requests()[1].header("x-key"), Some("s3cret"), "the same server gets it");

    let ran = run_to("away", &grants, &first.url("/away"));
    let told = format!("allow it with `--allow-host {}`, after 1 redirect", other.place());
    assert!(detail(&ran).ends_with(&told), "{ran}");
    assert!(other.requests().is_empty());

    grants["hosts"] = json!([first.place(), other.place()]);
    let ran = run_to("granted", &grants, &first.url("/away"));
    assert!(result(&ran).ends_with(", 5 B, after 1 redirect"), "{ran}");
    assert_eq!(other.requests()[0].header("x-key"), None, "another server does not");
}

#[test]
fn a_server_that_says_when_to_come_again_is_asked_again_then() {
    let env = TestEnv::new();
    let host = env.host();
    let server = Server::start(|_, request| match request.number {
        0 => Answer::new(429, "slow down").with("Retry-After", "1"),
        _ => Answer::new(200, "ok"),
    });
    let retry = json!({ "retry": { "attempts": 2, "backoff": "1ms" } });
    add(&host, "t", "http", &allowed(&[&server]), &[&server.url("/")], &retry);
    let run = run(&host, "t");
    result(&run);
    assert_eq!(run["attempts"], 2, "{run}");
    let took = time(&run["finished"]).duration_since(time(&run["due"]));
    assert!(took.as_millis() >= 1000, "it waited for the second that it was told: {run}");
}

#[test]
fn a_server_that_is_slow_gone_or_endless_fails_the_check_and_not_the_host() {
    let env = TestEnv::new();
    let host = env.host();
    let server = Server::start(|path, _| match path {
        "/never" => Answer::never(),
        "/half" => Answer::half(200, "half of it"),
        "/cut" => Answer::cut(200, "half of it"),
        _ => Answer::new(200, &"x".repeat(5000)),
    });
    let gone = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let grants = json!({ "hosts": [server.place(), gone.to_string()] });
    let url = |path: &str| server.url(path);
    for (task, args, told) in [
        (
            "never",
            &[url("/never"), "--timeout=300ms".to_owned()][..],
            format!("no whole answer from {} within 300ms", server.place()),
        ),
        (
            "half",
            &[url("/half"), "--timeout=300ms".to_owned()],
            format!("got 200 and 10 B of body, but not all: no whole answer from {} within 300ms", server.place()),
        ),
        (
            "large",
            &[url("/large"), "--max-body=4".to_owned()],
            "got 200, but more than 4.0 KiB of body; `--max-body` allows more".to_owned(),
        ),
        ("cut", &[url("/cut")], "got 200 and 10 B of body, but not all: ".to_owned()),
        ("gone", &[format!("http://{gone}/")], format!("{gone} refused the connection")),
    ] {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let ran = run_once(&host, task, "http", &grants, &args);
        assert!(detail(&ran).starts_with(&told), "{told}: {ran}");
    }
    assert!(result(&run_once(&host, "whole", "http", &grants, &[&url("/large")])).ends_with(", 4.9 KiB"));
}

/// Files of these names and ages in days, of ten bytes each, in a new folder of the test.
fn folder(env: &TestEnv, files: &[(&str, u32)]) -> PathBuf {
    let dir = env.path("backups");
    fs::create_dir(&dir).expect("made");
    for &(name, days) in files {
        let file = File::create(dir.join(name)).expect("made");
        fs::write(dir.join(name), "ten bytes.").expect("written");
        file.set_modified(SystemTime::now() - DAY * days).expect("a time");
    }
    dir
}

/// The names in a folder, in order.
fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).expect("readable").map(|entry| entry.expect("readable").file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

fn granted(dir: &Path, read_only: bool) -> Value {
    json!({ "dirs": [{ "host": dir.to_str().expect("UTF-8"), "guest": "/backups", "read_only": read_only }] })
}

#[test]
fn rotate_keeps_the_newest_files_and_touches_nothing_else() {
    let env = TestEnv::new();
    let host = env.host();
    let files = [("a.gz", 4), ("b.gz", 3), ("c.gz", 2), ("d.gz", 1), ("notes.txt", 9), (".old.gz", 9)];
    let dir = folder(&env, &files);
    fs::create_dir(dir.join("folder.gz")).expect("made");
    let elsewhere = env.write("elsewhere", "stays");
    symlink(&elsewhere, dir.join("link.gz")).expect("made");
    let grants = granted(&dir, false);
    let args = ["--keep", "2", "--pattern", "*.gz", "/backups"];
    let all = names(&dir);
    let ran = run_once(&host, "dry", "rotate", &grants, &[&args[..], &["--dry-run"]].concat());
    assert_eq!(result(&ran), "would keep 2, would remove 2 (20 B)");
    assert_eq!(names(&dir), all);

    let ran = run_once(&host, "t", "rotate", &grants, &args);
    assert_eq!(result(&ran), "kept 2, removed 2 (20 B)");
    assert_eq!(printed(&host, "t"), ["removed a.gz (10 B)", "removed b.gz (10 B)"]);
    assert_eq!(names(&dir), [".old.gz", "c.gz", "d.gz", "folder.gz", "link.gz", "notes.txt"]);
    assert_eq!(fs::read_to_string(elsewhere).expect("it is there"), "stays");
    assert_eq!(result(&run(&host, "t")), "kept 2, removed 0");
}

#[test]
fn rotate_removes_by_age_and_in_a_folder_below_a_granted_one() {
    let env = TestEnv::new();
    let host = env.host();
    let dir = folder(&env, &[("a", 8), ("b", 6)]);
    let below = dir.join("below");
    fs::create_dir(&below).expect("made");
    for name in ["a", "b"] {
        fs::rename(dir.join(name), below.join(name)).expect("moved");
    }
    let args = ["--keep", "0", "--older-than", "7d", "/backups/below"];
    let ran = run_once(&host, "t", "rotate", &granted(&dir, false), &args);
    assert_eq!(result(&ran), "kept 1, removed 1 (10 B)");
    assert_eq!(names(&below), ["b"]);
    let ran = run_once(&host, "none", "rotate", &granted(&dir, false), &["--keep=1", "/backups/none"]);
    assert_eq!(detail(&ran), "failed to open the folder /backups/none: there is none");
}

#[test]
fn rotate_removes_nothing_where_it_may_only_read_and_says_so() {
    let env = TestEnv::new();
    let host = env.host();
    let dir = folder(&env, &[("a", 2), ("b", 1)]);
    let ran = run_once(&host, "t", "rotate", &granted(&dir, true), &["--keep", "1", "/backups"]);
    assert_eq!(
        detail(&ran),
        "kept 2, removed 0; failed to remove 1: a (not permitted); is /backups granted without `:ro`, \
         and may the host's user write there?"
    );
    assert_eq!(names(&dir), ["a", "b"]);
}
