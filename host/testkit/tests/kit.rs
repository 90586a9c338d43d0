//! The kit at work on built plugins, as a plugin's author uses it.

use std::net::TcpListener;
use std::path::PathBuf;

use taskhost_testkit::{Answer, Data, Fixture, Level, Op, Outcome, Reason, Stream, Trial, TrialError};

const NEW_YEAR: &str = "2027-01-01T00:00:00Z";
const DAY_MS: u64 = 86_400_000;

fn plugin(file: &str) -> Trial {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    Trial::of_file(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn keeper() -> Trial {
    plugin("tests/guests/keeper/keeper.wasm")
}

fn http() -> Trial {
    plugin("plugins/http/http.wasm")
}

#[test]
fn a_year_of_a_daily_plugin_has_all_its_due_times_lines_keys_and_values() {
    let steps = "open default ; increment days 1 ; get greeting ; log info count done";
    let record = keeper()
        .cron_in("0 6 * * *", "Europe/Berlin")
        .starting_at(NEW_YEAR)
        .kv([("greeting", "hello"), ("days", "100")])
        .args(steps.split(' '))
        .run(365)
        .expect("it can be tried");
    record.expect_success();
    let (first, last) = (&record.ticks[0], &record.ticks[364]);
    assert_eq!((record.ticks.len(), first.tick.reason, first.tick.since), (365, Reason::Schedule, None));
    assert_eq!(first.tick.due, "2027-01-01T05:00:00Z".parse().expect("a time"));
    assert_eq!(last.tick.due_local, "2027-12-31T06:00:00+01:00");
    assert_eq!(last.tick.since, Some(record.ticks[363].tick.due));
    assert_eq!(record.value("days").expect("it is kept"), "465");

    let done: Vec<_> = first.kv.iter().map(|done| (done.op, done.value.clone())).collect();
    assert_eq!(done, [(Op::Increment, Some("101".into())), (Op::Get, Some("hello".into()))]);
    let logged = last.lines.last().expect("a line");
    assert_eq!((logged.stream, logged.level, logged.text.as_str()), (Stream::Log, Some(Level::Info), "count: done"));
    assert_eq!(record.texts().len(), 365 * first.texts().len());
}

#[test]
fn requests_have_the_answers_that_are_given_in_turn() {
    let url = "https://example.org/feed";
    let trial = http()
        .every("1h")
        .allow_host("example.org:443")
        .answer(Answer::get(url).header("etag", "\"1\"").body("news"))
        .answer(Answer::get(url).status(304))
        .answer(Answer::get(url).status(500).body("out of order"))
        .args(["--expect", "200,304", "--contains", "news", url]);
    // Without a body, there are no news in it.
    let record = trial.run(3).expect("it can be tried");
    assert_eq!(record.outcomes(), [Outcome::Success, Outcome::Error], "the first that fails is the last");

    let record = trial.keep_going().args(["--expect", "200,304", "--print", url]).run(5).expect("it can be tried");
    use Outcome::{Error, Success};
    assert_eq!(record.outcomes(), [Success, Success, Error, Error, Error]);
    let statuses: Vec<_> =
        record.ticks.iter().flat_map(|tick| tick.http.iter().map(|request| request.status)).collect();
    assert_eq!(statuses, [200, 304, 500, 500, 500].map(Some));
    assert_eq!(record.ticks[0].texts_of(Stream::Stdout), ["news"]);
    let detail = record.ticks[2].detail.as_deref().expect("it says why");
    assert!(detail.contains("500") && detail.contains("out of order"), "{detail}");
    // A failure leaves `since` where it was.
    assert_eq!(record.ticks[4].tick.since, Some(record.ticks[1].tick.due));
}

#[test]
fn an_answer_grants_nothing_and_what_has_none_fails_without_a_network() {
    let (url, other) = ("https://example.org/", "https://example.org/other");
    let trial = http().answer(Answer::get(url)).args([url]);
    let record = trial.run(1).expect("it can be tried");
    assert_eq!(record.ticks[0].http[0].error.as_deref(), Some("HTTP request denied"));
    let told = "denied: connecting to example.org:443; allow it with --allow-host example.org:443";
    assert_eq!(record.ticks[0].texts_of(Stream::Host), [told]);

    for (asked, trial) in [(other, trial.clone()), (url, http())] {
        let record = trial.allow_host("example.org:443").args([asked]).run(1).expect("it can be tried");
        let tick = &record.ticks[0];
        assert_eq!((tick.outcome, tick.http[0].status), (Outcome::Error, None), "{tick:?}");
        let error = tick.http[0].error.as_deref().unwrap_or_default();
        assert!(error.contains("no answer is given to this request"), "{error}");
        let told = format!("no answer: `GET {asked}` is none of the requests that are answered here");
        assert_eq!(tick.texts_of(Stream::Host), [told]);
    }
}

#[test]
fn sockets_and_names_have_no_network_either_unless_it_is_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let reach = |steps: &[&str]| {
        let steps = steps.iter().copied();
        plugin("tests/guests/reach/reach.wasm").allow_host("localhost:*").allow_host("127.0.0.1:*").args(steps)
    };
    let told = |trial: Trial| trial.run(1).expect("it can be tried").texts().join("\n");
    let tcp = reach(&["tcp", &address, "x"]).timeout("5s");
    let denied = format!("denied: connecting to {address}; nothing goes to the network where answers stand for it");
    let without = told(tcp.clone());
    assert!(without.starts_with(&denied) && without.ends_with("tcp failed: access-denied"), "{without}");
    let look_up = reach(&["look-up", "localhost"]);
    let without = told(look_up.clone());
    assert!(without.starts_with("denied: looking up `localhost`; nothing goes to the network"), "{without}");
    assert!(!told(look_up.with_network()).contains("denied"));
    let server = std::thread::spawn(move || drop(listener.accept()));
    assert!(!told(tcp.with_network()).contains("denied"));
    server.join().expect("it was connected to");
}

#[test]
fn what_an_answer_may_take_is_limited_and_what_is_sent_is_taken() {
    let reach = || plugin("tests/guests/reach/reach.wasm").allow_host("a:80");
    let record = reach()
        .limit("response_bytes", 100)
        .answer(Answer::get("http://a/").body("x".repeat(101)))
        .args(["get", "http://a/"])
        .run(1)
        .expect("it can be tried");
    assert_eq!(
        (record.ticks[0].outcome, record.ticks[0].detail.as_deref()),
        (Outcome::LimitExceeded, Some("response_bytes"))
    );
    // Piece by piece, of which one waits to be sent.
    let record = reach()
        .answer(Answer::post("http://a/").status(201).body("taken"))
        .args(["post", "http://a/", &"x".repeat(30_000)])
        .run(1)
        .expect("it can be tried");
    assert_eq!(record.ticks[0].http[0].body, Some("x".repeat(30_000).into()));
    assert_eq!(record.expect_success().texts(), ["post: 201 taken"]);
    let record = reach()
        .limit("connections", 1)
        .answer(Answer::get("http://a/"))
        .args(["get", "http://a/", "get", "http://a/"])
        .run(1)
        .expect("it can be tried");
    assert_eq!(record.texts(), ["get: 200 ", "get failed: ErrorCode::ConnectionLimitReached"]);
}

#[test]
fn a_sleep_is_not_waited_for_and_one_past_the_timeout_is_timed_out() {
    let probe =
        |ms: u64| plugin("tests/guests/probe/probe.wasm").args(["sleep".to_owned(), ms.to_string()]).timeout("7d");
    let record = probe(6 * DAY_MS).every("1d").starting_at(NEW_YEAR).run(2).expect("it can be tried");
    let took_ms = record.expect_success().ticks[0].took_ms;
    assert!((6 * DAY_MS..6 * DAY_MS + 60_000).contains(&took_ms), "{took_ms}");
    // What came due meanwhile was passed over.
    assert_eq!(record.ticks[1].tick.due, "2027-01-09T00:00:00Z".parse().expect("a time"));
    let record = probe(8 * DAY_MS).run(2).expect("it can be tried");
    assert_eq!(record.outcomes(), [Outcome::TimedOut]);
    assert_eq!(record.ticks[0].detail.as_deref(), Some("ran longer than 7d"));
}

#[test]
fn settings_and_secrets_are_as_the_trial_has_them() {
    let steps = "config city ; config token ; get city";
    let trial = keeper().config("city", "Köln").secret("token", "s3cret-value").args(steps.split(' '));
    let record = trial.run(1).expect("it can be tried");
    let texts = record.texts();
    assert!(texts[0].contains("Köln") && texts[1].contains("***"), "{texts:?}");
    assert!(record.kv.is_empty(), "no store is granted");
    // What a fixture has is not granted either.
    let fixture = Fixture::parse(br#"{"format": 1, "kv": {"default": {"city": "Bonn"}}}"#).expect("a fixture");
    let record = keeper().fixture(fixture).args("open default ; get city".split(' ')).run(1).expect("it can be tried");
    assert!(record.ticks[0].texts_of(Stream::Host)[0].contains("--kv"), "{:?}", record.texts());
    assert_eq!(record.value("city"), Some(&Data::from("Bonn")));
}

#[test]
fn what_was_sent_is_on_record_without_secrets() {
    let (url, header) = ("https://hooks.example.org/", "authorization: Bearer {token}");
    let record = http()
        .allow_host("hooks.example.org:443")
        .secret("token", "s3cret-value")
        .answer(Answer::post(url).status(201))
        .args(["--secret-header", header, "--json", r#"{"text": "it is s3cret-value"}"#, "--expect", "201", url])
        .run(1)
        .expect("it can be tried");
    let request = &record.expect_success().ticks[0].http[0];
    let body = request.body.as_ref().expect("a body");
    assert_eq!((request.method.as_str(), body.as_str()), ("POST", Some(r#"{"text": "it is ***"}"#)));
}

#[test]
fn a_folder_is_told_from_the_crates_own() {
    let reach = || plugin("tests/guests/reach/reach.wasm").dir_read_only("src/snapshots/..", "/bad");
    let refused = reach().run(1).expect_err("refused").to_string();
    assert!(refused.contains("has no `..`"), "{refused}");
    let trial = plugin("tests/guests/reach/reach.wasm").dir_read_only("tests", "/tests");
    let record = trial.args(["dirs", "read", "kit.rs", "write", "new", "x"]).run(1).expect("it can be tried");
    let texts = record.texts();
    assert!(texts[0] == r#"dirs: ["/tests"]"# && texts[1].starts_with("read: "), "{texts:?}");
    assert!(texts.contains(&"write failed: not-permitted"), "{texts:?}");
}

#[tokio::test]
async fn a_test_that_has_a_runtime_tries_a_plugin_too() {
    let record =
        plugin("tests/guests/probe/probe.wasm").args(["summary", "all", "well"]).run(2).expect("it can be tried");
    assert_eq!(record.expect_success().ticks[1].result.as_deref(), Some("all well"));
    assert_eq!((record.ticks[1].tick.task.as_str(), record.ticks[1].tick.reason), ("probe", Reason::Manual));
}

#[test]
fn what_cannot_be_tried_is_an_error_that_says_why() {
    let refused = |trial: Trial| trial.run(1).expect_err("refused");
    assert!(matches!(Trial::of_file("no/such.wasm"), Err(TrialError::Read { .. })));
    assert!(matches!(refused(http().every("soon")), TrialError::Every(_)));
    assert!(matches!(refused(http().cron("soon")), TrialError::Cron(_)));
    assert!(matches!(refused(http().cron_in("0 6 * * *", "Mars/Olympus")), TrialError::Zone(_)));
    assert!(matches!(refused(http().starting_at("1969-01-01T00:00:00Z")), TrialError::StartTooEarly(_)));
    assert!(matches!(refused(http().every("10y").starting_at("2261-12-31T23:59:59Z")), TrialError::NeverDue));
    assert!(matches!(refused(http().allow_host("example.org")), TrialError::Spec(_)));
    assert!(matches!(refused(http().answer(Answer::get("example.org"))), TrialError::Fixture(_)));
    assert!(matches!(refused(http().dir("/no/such", "/data")), TrialError::Grants(_)));
    let error = refused(Trial::of_bytes("no name!", "no wasm"));
    assert!(matches!(error, TrialError::Plugin(_)), "{error:?}");
}
