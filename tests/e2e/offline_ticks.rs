//! `taskhost run` with a schedule, in virtual time and on record: how a plugin is tried out.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use serde_json::{Value, json};
use taskhost_testkit::{Answer, Data, Fixture, Outcome, Record, Trial};

use crate::support::{Followed, Ran, TestEnv, guest, probe};

const NEW_YEAR: &str = "2027-01-01T00:00:00Z";

#[track_caller]
fn run(env: &TestEnv, file: &str, options: &[&str]) -> Ran {
    let file = if file == "probe" { probe() } else { guest(file) };
    env.run_taskhost(&[&["run", file.to_str().expect("a path of UTF-8")], options].concat())
}

#[track_caller]
fn record(env: &TestEnv) -> Value {
    let text = std::fs::read_to_string(env.path("record.json")).expect("the record is there");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON ({error}): {text}"))
}

fn texts(lines: &Value) -> Vec<&str> {
    lines.as_array().into_iter().flatten().filter_map(|line| line["text"].as_str()).collect()
}

#[test]
fn a_year_of_daily_ticks_is_one_row_of_due_times_and_keeps_its_keys_and_values() {
    let env = TestEnv::new();
    let days = ["--cron", "0 6 * * *", "--zone", "Europe/Berlin", "--ticks", "365", "--virtual-time"];
    let steps = ["--kv", "--", "open", "default", ";", "increment", "days", "1", ";", "log", "info", "", "a day"];
    let options = [&days[..], &["--start", NEW_YEAR, "--record", "record.json"], &steps].concat();
    run(&env, "keeper/keeper.wasm", &options).ok();
    let record = record(&env);
    let ticks = record["ticks"].as_array().expect("ticks");
    assert_eq!((ticks.len(), &record["kv"]), (365, &json!({ "default": { "days": "365" } })));
    let due = |at: usize| (ticks[at]["tick"]["due"].as_str(), ticks[at]["tick"]["due_local"].as_str());
    assert_eq!(due(0), (Some("2027-01-01T05:00:00Z"), Some("2027-01-01T06:00:00+01:00")));
    assert_eq!(due(180), (Some("2027-06-30T04:00:00Z"), Some("2027-06-30T06:00:00+02:00")));
    assert_eq!(due(364), (Some("2027-12-31T05:00:00Z"), Some("2027-12-31T06:00:00+01:00")));
    for (before, tick) in ticks.iter().zip(&ticks[1..]) {
        assert_eq!(tick["tick"]["since"], before["tick"]["due"]);
        assert_eq!((&tick["tick"]["reason"], &tick["outcome"]), (&json!("schedule"), &json!("success")));
        // Lines have the time of their tick.
        let (due, line) = (tick["tick"]["due"].as_str(), tick["lines"][1]["time"].as_str());
        assert_eq!(due.map(|due| &due[..13]), line.map(|time| &time[..13]), "{tick}");
    }
    let [first, last] = [&ticks[0], &ticks[364]].map(|tick| tick["kv"].clone());
    let increment =
        |value: &str| json!({ "op": "increment", "bucket": "default", "key": "days", "value": value, "by": 1 });
    assert_eq!((&first[0], &last[0]), (&increment("1"), &increment("365")));
    assert_eq!(
        ticks[0]["lines"][2],
        json!({
            "time": ticks[0]["lines"][2]["time"], "stream": "log", "level": "info", "text": "a day"
        })
    );
}

#[test]
fn logs_and_keys_and_values_in_virtual_time_are_as_in_real_time() {
    let env = TestEnv::new();
    let steps = ["--kv", "--", "open", "default", ";", "increment", "ticks", "1", ";", "log", "warn", "", "a tick"];
    // All that is the same from one time to another.
    let kept = |time: &[&str]| {
        let options = [&["--every", "50ms", "--ticks", "5", "--record", "record.json"], time, &steps].concat();
        run(&env, "keeper/keeper.wasm", &options).ok();
        let record = record(&env);
        let ticks = record["ticks"].as_array().expect("ticks").iter().map(|tick| {
            let lines = tick["lines"].as_array().into_iter().flatten();
            let lines = lines.map(|line| json!([line["stream"], line["level"], line["text"]])).collect::<Vec<_>>();
            json!([tick["outcome"], tick["result"], tick["tick"]["reason"], lines, tick["kv"]])
        });
        (ticks.collect::<Vec<_>>(), record["kv"].clone())
    };
    let (really, virtually) = (kept(&[]), kept(&["--virtual-time", "--start", NEW_YEAR]));
    assert_eq!(really, virtually);
    assert_eq!((really.0.len(), &really.1["default"]["ticks"]), (5, &json!("5")));
}

#[test]
fn the_clocks_of_a_guest_agree_with_its_due_times_and_a_sleep_moves_them() {
    let env = TestEnv::new();
    let options = ["--every", "1d", "--ticks", "2", "--virtual-time", "--start", NEW_YEAR, "--timeout", "2h"];
    // 1,798,848,000 is 2027-01-02T00:00:00Z; each tick sleeps an hour.
    let ran = run(&env, "clock.wat", &options).ok();
    assert_eq!(ran.stdout, "1798848000\n1798851600\n3600\n1798934400\n1798938000\n3600\n");
    // A component, by its wall clock: of what was changed on New Year's Eve, it removes what is older than a week.
    let dir = env.path("logs");
    std::fs::create_dir(&dir).expect("the temporary directory can be written");
    let old = std::fs::File::create(dir.join("old.log")).expect("a file");
    let eve = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_798_675_200);
    old.set_modified(eve).expect("a time");
    let rotate = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/rotate/rotate.wasm");
    let removed = |start: &str| {
        let options = ["--dir", "logs::/logs:ro", "--virtual-time", "--start", start];
        let args = ["--", "--keep", "0", "--older-than", "7d", "--dry-run", "/logs"];
        env.run_taskhost(&[&["run", rotate], &options[..], &args].concat()).ok()
    };
    let (early, late) = (removed("2027-01-05T00:00:00Z"), removed("2027-01-08T00:00:00Z"));
    let mentions = |ran: &Ran| ran.stdout.contains("old.log") || ran.stderr.contains("old.log");
    assert!(!mentions(&early) && mentions(&late), "{early:?} {late:?}");
}

#[test]
fn a_sleep_past_the_timeout_is_timed_out_at_once_and_a_spin_is_stopped_in_real_time() {
    let env = TestEnv::new();
    let virtually = ["--virtual-time", "--record", "record.json"];
    for (file, args) in [("sleep.wat", &[][..]), ("probe", &["--", "sleep", "604800000"])] {
        let options = [&virtually[..], &["--timeout", "7d"], args].concat();
        // It sleeps for a week and a little, or as long as its timeout.
        let ran = run(&env, file, &options);
        match file {
            "sleep.wat" => ran.fails_with(70).says(&["timed_out: ran longer than 7d"]),
            _ => ran.fails_with(70).says(&["timed_out"]),
        };
        let took_ms = record(&env)["ticks"][0]["took_ms"].as_u64().expect("a number");
        assert!((604_800_000..604_900_000).contains(&took_ms), "{took_ms}");
    }
    let options = [&virtually[..], &["--timeout", "300ms"]].concat();
    run(&env, "spin.wat", &options).fails_with(70).says(&["timed_out: ran longer than 300ms"]);
}

#[test]
fn due_times_that_pass_while_a_tick_runs_are_passed_over() {
    let env = TestEnv::new();
    let options = ["--every", "1m", "--ticks", "2", "--virtual-time", "--start", NEW_YEAR, "--timeout", "1h"];
    let options = [&options[..], &["--record", "record.json", "--", "sleep", "150000"]].concat();
    run(&env, "probe", &options).ok();
    let record = record(&env);
    let due = |at: usize| record["ticks"][at]["tick"]["due"].clone();
    assert_eq!((due(0), due(1)), (json!("2027-01-01T00:01:00Z"), json!("2027-01-01T00:04:00Z")));
}

#[test]
fn without_virtual_time_each_due_time_is_waited_for() {
    let env = TestEnv::new();
    let before = jiff::Timestamp::now();
    run(&env, "probe", &["--every", "50ms", "--ticks", "3", "--record", "record.json", "--", "ok"]).ok();
    let after = jiff::Timestamp::now();
    let record = record(&env);
    let due: Vec<jiff::Timestamp> =
        (0..3).map(|at| crate::support::time(&record["ticks"][at]["tick"]["due"])).collect();
    assert!(due.windows(2).all(|pair| pair[1].duration_since(pair[0]).as_millis() >= 50), "{due:?}");
    assert!(before.duration_since(due[0]).is_negative() && !after.duration_since(due[2]).is_negative(), "{due:?}");
}

#[test]
fn a_signal_ends_the_waiting_and_what_was_done_is_on_record() {
    let env = TestEnv::new();
    let file = probe();
    let file = file.to_str().expect("a path of UTF-8");
    let waits =
        ["run", file, "--cron", "* * * * * *", "--ticks", "1000000", "--record", "record.json", "--", "print", "x"];
    let followed = Followed::spawn(&mut env.taskhost(&waits));
    assert_eq!(followed.line(), "x");
    followed.interrupt();
    assert_eq!(followed.end(), Some(130));
    assert_eq!(texts(&record(&env)["ticks"][0]["lines"]), ["x"]);
}

#[test]
fn a_record_has_the_tick_that_failed_and_why() {
    let env = TestEnv::new();
    let on_record = ["--record", "record.json"];
    let options = [&on_record[..], &["--ticks", "5", "--", "fail-permanent", "no", "luck"]].concat();
    let said = run(&env, "probe", &options).fails_with(1);
    assert!(said.stderr.ends_with("error: no luck\nthe plugin says that trying again is of no use\n"), "{said:?}");
    let failed = record(&env);
    assert_eq!(failed["ticks"].as_array().map(Vec::len), Some(1), "{failed}");
    assert_eq!((&failed["ticks"][0]["outcome"], &failed["ticks"][0]["detail"]), (&json!("error"), &json!("no luck")));
    assert_eq!(failed["ticks"][0]["tick"]["reason"], "manual");
    assert_eq!(failed["ticks"][0]["permanent"], true);
    let said = run(&env, "probe", &[&on_record[..], &["--", "fail-retry-after", "1500"]].concat()).fails_with(1);
    assert!(said.stderr.ends_with("the plugin asks not to be tried again for 1s500ms\n"), "{said:?}");
    let later = record(&env);
    assert_eq!((&later["ticks"][0]["permanent"], &later["ticks"][0]["retry_after_ms"]), (&Value::Null, &json!(1500)));
    run(&env, "exit.wat", &[&on_record[..], &["--", "7"]].concat()).fails_with(7);
    assert_eq!(record(&env)["ticks"][0]["exit_code"], 7);
    run(&env, "trap.wat", &on_record).fails_with(70);
    assert_eq!(record(&env)["ticks"][0]["outcome"], "trapped");
    run(&env, "probe", &[&on_record[..], &["--", "summary", "all", "well"]].concat()).ok();
    assert_eq!(record(&env)["ticks"][0]["result"], "all well");
    let left: Vec<_> =
        std::fs::read_dir(env.path("")).expect("a folder").flatten().map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".taskhost")), "{left:?}");
}

#[test]
fn a_record_has_the_requests_that_were_made() {
    let env = TestEnv::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("a connection");
        let mut head = BufReader::new(connection.try_clone().expect("a socket"));
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            head.read_line(&mut line).expect("a request");
        }
        connection.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").expect("the guest reads");
    });
    let url = format!("http://{address}/a?b");
    let steps = ["--", "get", &url, "get", "http://example.com/"];
    let options = [&["--allow-host", &address, "--record", "record.json"][..], &steps].concat();
    run(&env, "reach/reach.wasm", &options).ok();
    let denied =
        json!({ "method": "GET", "url": "http://example.com/", "status": null, "error": "HTTP request denied" });
    let answered = json!({ "method": "GET", "url": url, "status": 404 });
    assert_eq!(record(&env)["ticks"][0]["http"], json!([answered, denied]));
}

const FIXTURE: &str = r#"{
    "format": 1,
    "kv": { "default": { "days": "41", "raw": { "base64": "/wA=" } } },
    "http": [
        { "method": "GET", "url": "https://example.org/feed", "status": 200, "headers": { "etag": "\"1\"" }, "body": "news" },
        { "method": "GET", "url": "https://example.org/feed", "status": 304 },
        { "url": "https://example.org/feed", "status": 500, "body": { "base64": "b3V0" } }
    ]
}"#;

#[test]
fn a_fixture_stands_for_the_network_and_grants_nothing() {
    let env = TestEnv::new();
    env.write("fixture.json", FIXTURE);
    let feed = "https://example.org/feed";
    let options = ["--fixture", "fixture.json", "--record", "record.json"];
    let http = concat!(env!("CARGO_MANIFEST_DIR"), "/plugins/http/http.wasm");
    let ask = |flags: &[&str], args: &[&str]| {
        let ran = env.run_taskhost(&[&["run", http][..], &options, flags, &["--"], args].concat());
        (ran, record(&env))
    };
    let days = ["--allow-host", "example.org:443", "--every", "1d", "--virtual-time", "--ticks", "5"];
    let (ran, recorded) = ask(&[&days[..], &["--keep-going"]].concat(), &["--expect", "200,304", "--print", feed]);
    assert_eq!(ran.fails_with(1).says(&["got 500"]).stdout, "news\nout\nout\nout\n");
    let ticks = recorded["ticks"].as_array().expect("ticks");
    let statuses: Vec<_> = ticks.iter().map(|tick| tick["http"][0]["status"].as_u64()).collect();
    assert_eq!(statuses, [200, 304, 500, 500, 500].map(Some));
    assert_eq!(ticks[2]["detail"], "got 500, expected 200,304: out");
    // Without `--keep-going` the first failure is the last tick.
    let (ran, recorded) = ask(&days, &[feed]);
    ran.fails_with(1).says(&["got 304"]);
    assert_eq!(recorded["ticks"].as_array().map(Vec::len), Some(2));

    let (ran, recorded) = ask(&[], &[feed]);
    ran.fails_with(1).says(&["denied: connecting to example.org:443; allow it with --allow-host example.org:443"]);
    assert_eq!(recorded["ticks"][0]["http"][0]["error"], "HTTP request denied");
    let (ran, recorded) = ask(&["--allow-host", "127.0.0.1:9"], &["http://127.0.0.1:9/"]);
    ran.fails_with(1).says(&["no answer: `GET http://127.0.0.1:9/`"]);
    assert_eq!(recorded["ticks"][0]["http"][0]["status"], Value::Null);

    let counts = ["--", "open", "default", ";", "increment", "days", "1"];
    run(&env, "keeper/keeper.wasm", &[&options[..], &["--kv"], &counts].concat()).ok();
    assert_eq!(record(&env)["kv"], json!({ "default": { "days": "42", "raw": { "base64": "/wA=" } } }));
    run(&env, "keeper/keeper.wasm", &[&options[..], &counts].concat()).says(&["allow it with --kv"]);
}

#[test]
fn what_is_no_fixture_is_told_with_its_place_before_anything_runs() {
    let env = TestEnv::new();
    let told = |json: &str| {
        env.write("fixture.json", json);
        run(&env, "command.wat", &["--fixture", "fixture.json"]).fails_with(2)
    };
    for (json, place) in [
        ("{", "fixture.json: EOF while parsing an object at line 1 column 1"),
        (r#"{"format": 2}"#, "fixture.json: `format` is 2, and only 1 is known here"),
        (r#"{"format": 1, "keys": {}}"#, "fixture.json: unknown field `keys`"),
        (
            r#"{"format": 1, "http": [{"url": "http://a/"}, {"url": "a"}]}"#,
            "fixture.json: `http[1].url` is `a`: it is no URL",
        ),
        (r#"{"format": 1, "kv": {"mine": {}}}"#, "fixture.json: `kv.mine`: a task has one bucket, `default`"),
    ] {
        let ran = told(json).says(&[place, "hint: docs/testing.md tells what stands in a fixture"]);
        assert_eq!(ran.stdout, "", "nothing ran");
    }
    run(&env, "command.wat", &["--fixture", "no-such.json"]).fails_with(1).says(&["failed to read no-such.json"]);
}

/// But for how long things took.
fn timeless(mut record: Record) -> Record {
    for tick in &mut record.ticks {
        tick.took_ms = 0;
        for line in &mut tick.lines {
            assert!(line.time >= tick.tick.due, "{line:?}");
            line.time = tick.tick.due;
        }
    }
    record
}

#[test]
fn a_record_is_what_the_test_kit_has_of_the_same_trial() {
    let env = TestEnv::new();
    env.write("fixture.json", FIXTURE);
    env.write("plugin.toml", "name = \"feed-keeper\"\nversion = \"1.2.0\"\n");
    let bytes = std::fs::read(guest("keeper/keeper.wasm")).expect("the guest is committed");
    let file = env.write("feed.wasm", bytes);
    env.run_taskhost(&["pack", "feed.wasm"]).ok();
    let steps =
        "open default ; increment days 1 ; set raw x ; get none ; log warn count done ; print two ; fail not today";
    let steps: Vec<&str> = steps.split(' ').collect();
    let flags =
        "run feed.wasm --kv --cron @hourly --zone Asia/Tokyo --virtual-time --ticks 3 --keep-going --config a=b";
    let files = ["--fixture", "fixture.json", "--record", "record.json"];
    let flags = flags.split(' ').chain(files).chain(["--start", NEW_YEAR, "--"]).chain(steps.iter().copied());
    env.run_taskhost(&flags.collect::<Vec<_>>()).fails_with(1);
    let written = Record::of_file(env.path("record.json")).expect("a record");

    let kit = Trial::of_file(&file)
        .expect("a file")
        .cron_in("@hourly", "Asia/Tokyo")
        .starting_at(NEW_YEAR)
        .keep_going()
        .config("a", "b")
        .kv([("days", "41".into()), ("raw", Data::from(vec![0xff, 0]))])
        .args(steps);
    let record = kit.run(3).expect("it can be tried");
    assert_eq!((record.plugin.name.as_deref(), record.plugin.version.as_deref()), (Some("feed-keeper"), Some("1.2.0")));
    assert_eq!((record.value("days"), record.outcomes()), (Some(&"44".into()), vec![Outcome::Error; 3]));
    assert_eq!(timeless(written), timeless(record.clone()));
    // The file is the same letter for letter, but for times.
    let mut json = Vec::new();
    record.write_to(&mut json).expect("written");
    let members = |text: &str| {
        text.lines()
            .filter(|line| !line.contains("\"time\"") && !line.contains("took_ms"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let written = std::fs::read_to_string(env.path("record.json")).expect("it is there");
    assert_eq!(members(&written), members(std::str::from_utf8(&json).expect("UTF-8")));

    // And so are answers and requests.
    let feed = "https://example.org/feed";
    let reach = guest("reach/reach.wasm");
    let steps = ["get", feed, "get", "http://example.org/", "post", feed, "x"];
    let options = [
        "--allow-host",
        "example.org:443",
        "--fixture",
        "fixture.json",
        "--record",
        "record.json",
        "--virtual-time",
        "--start",
        NEW_YEAR,
    ];
    run(&env, "reach/reach.wasm", &[&options[..], &["--"], &steps].concat()).ok();
    let kit = Trial::of_file(reach).expect("a file").starting_at(NEW_YEAR).allow_host("example.org:443").args(steps);
    let fixture = Fixture::of_file(env.path("fixture.json")).expect("a fixture");
    let record = kit.clone().fixture(fixture).run(1).expect("it can be tried");
    let in_file = |record: Record| timeless(record).ticks[0].http.clone();
    assert_eq!(in_file(Record::of_file(env.path("record.json")).expect("a record")), in_file(record.clone()));
    assert_eq!(record.ticks[0].http.iter().map(|request| request.status).collect::<Vec<_>>(), [Some(200), None, None]);
    let own = kit.answer(Answer::get(feed).body("news")).run(1).expect("it can be tried");
    assert_eq!(in_file(own), in_file(record));
}

#[test]
fn a_plugin_that_lacks_what_its_manifest_requires_is_not_run() {
    let env = TestEnv::new();
    env.write("plugin.toml", MANIFEST);
    env.write("check.wasm", std::fs::read(guest("keeper/keeper.wasm")).expect("the guest is committed"));
    env.run_taskhost(&["pack", "check.wasm"]).ok();
    let with =
        |options: &[&str]| env.run_taskhost(&[&["run", "check.wasm"], options, &["--", "print", "it ran"]].concat());
    let mut told = String::new();
    for options in
        [&[][..], &["--kv"], &["--kv", "--config", "team=x"], &["--kv", "--config", "team=night", "--config", "x=y"]]
    {
        let ran = with(options).fails_with(2);
        assert_eq!(ran.stdout, "", "nothing ran");
        told.push_str(&format!("$ taskhost run check.wasm {}\n{}\n", options.join(" "), ran.stderr));
    }
    insta::assert_snapshot!("run-against-the-manifest", told);
    assert_eq!(with(&["--kv", "--config", "team=night"]).ok().stdout, "it ran\n");
}

const MANIFEST: &str = r#"
name = "check"

[config]
type = "object"
required = ["team"]
additionalProperties = false

[config.properties.team]
type = "string"
minLength = 2

[[grants.required]]
kind = "kv"
why = "to remember what was"
"#;

#[test]
fn a_second_run_finds_the_plugin_compiled_and_a_folder_that_others_can_write_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let env = TestEnv::new();
    let kept = env.path("home/.cache/taskhost/plugins");
    let artefacts = || {
        let files = std::fs::read_dir(&kept).expect("it is made").flatten();
        files.filter(|file| file.path().extension().is_some_and(|extension| extension == "cwasm")).collect::<Vec<_>>()
    };
    let written = || artefacts()[0].metadata().and_then(|file| file.modified()).expect("a time");
    run(&env, "command.wat", &[]).ok();
    assert_eq!((artefacts().len(), kept.metadata().expect("it is made").permissions().mode() & 0o777), (1, 0o700));
    let first = written();
    assert_eq!(run(&env, "command.wat", &[]).ok().stdout, "hello from a command\n");
    assert_eq!((artefacts().len(), written()), (1, first));
    // One that is damaged is compiled again.
    std::fs::write(artefacts()[0].path(), "damaged").expect("it is ours");
    run(&env, "command.wat", &[]).ok();
    assert!(artefacts()[0].metadata().expect("it is there").len() > 100);

    std::fs::set_permissions(env.path("home/.cache"), std::fs::Permissions::from_mode(0o777)).expect("it is ours");
    assert_eq!(run(&env, "exit.wat", &[]).ok().stderr, "");
    assert_eq!(artefacts().len(), 1);
    // Nor is a home needed.
    let file = guest("exit.wat");
    let nowhere = env.taskhost(&["run", file.to_str().expect("a path of UTF-8")]).env("HOME", "/dev/null").output();
    assert!(nowhere.expect("it runs").status.success());
}

#[test]
fn a_tick_that_prints_more_than_can_wait_is_on_record_whole() {
    let env = TestEnv::new();
    run(&env, "flood-lines.wat", &["--timeout", "3s", "--record", "record.json"]).fails_with(70);
    let lines = record(&env)["ticks"][0]["lines"].as_array().map(Vec::len);
    // What a run may write, and that it wrote more.
    assert_eq!(lines, Some(10_001));
}

#[test]
fn arguments_that_make_no_sense_are_told_with_what_to_do() {
    let env = TestEnv::new();
    let mut told = String::new();
    for options in [
        &["--every", "1h", "--cron", "0 6 * * *"][..],
        &["--every", "soon"],
        &["--every", "1ms"],
        &["--cron", "0 6 * *"],
        &["--cron", "61 6 * * *"],
        &["--cron", "0 6 * * *", "--zone", "Mars/Olympus"],
        &["--zone", "Europe/Berlin"],
        &["--every", "1h", "--timezone", "Europe/Berlin"],
        &["--start", NEW_YEAR],
        &["--virtual-time", "--start", "tomorrow"],
        &["--virtual-time", "--start", "2027-01-01T00:00:00"],
        &["--virtual-time", "--start", "1969-12-31T23:59:59Z"],
        &["--virtual-time", "--start", "2261-12-31T23:59:59Z", "--every", "10y"],
    ] {
        let ran = run(&env, "exit.wat", options).fails_with(2);
        told.push_str(&format!("$ taskhost run exit.wat {}\n{}\n", options.join(" "), ran.stderr));
    }
    insta::assert_snapshot!("run-misuse", told);
    run(&env, "exit.wat", &["--ticks", "0"]).fails_with(2).says(&["0 is not in 1.."]);
    run(&env, "exit.wat", &["--record", "no-such-folder/record.json", "--", "7"])
        .fails_with(1)
        .says(&["no-such-folder"]);
}
