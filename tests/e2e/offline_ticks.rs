//! `taskhost run` with a schedule, in virtual time and on record: how a plugin is tried out.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

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
    run(&env, "probe", &options).fails_with(1);
    let failed = record(&env);
    assert_eq!(failed["ticks"].as_array().map(Vec::len), Some(1), "{failed}");
    assert_eq!((&failed["ticks"][0]["outcome"], &failed["ticks"][0]["detail"]), (&json!("error"), &json!("no luck")));
    assert_eq!(failed["ticks"][0]["tick"]["reason"], "manual");
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
