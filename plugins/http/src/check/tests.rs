//! With a network of answers that were written down before.

use std::collections::VecDeque;

use super::*;
use crate::options::{self, Call};

/// Answers in turn, and writes down what it was asked.
#[derive(Default)]
struct Script {
    answers: VecDeque<Result<Answer<Pieces>, Fault>>,
    asked: Vec<String>,
    deadlines: Vec<Duration>,
    now: Duration,
}

/// A body in pieces.
struct Pieces(VecDeque<Result<Vec<u8>, Fault>>);

impl Body for Pieces {
    fn next(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        self.0.pop_front().transpose()
    }
}

impl Exchange for Script {
    type Body = Pieces;

    /// Each look at the clock takes a while.
    fn now(&self) -> Duration {
        self.now + Duration::from_millis(123) * u32::try_from(self.asked.len()).expect("few")
    }

    fn send(&mut self, request: &Request<'_>, deadline: Duration) -> Result<Answer<Pieces>, Fault> {
        let mut asked = format!("{} {}", request.method, request.target);
        for header in request.headers.iter().filter(|header| !["User-Agent", "Accept"].contains(&header.name.as_str()))
        {
            asked.push_str(&format!(" [{}: {}]", header.name, header.value));
        }
        if let Some(body) = request.body {
            asked.push_str(&format!(" {}", String::from_utf8_lossy(body)));
        }
        self.asked.push(asked);
        self.deadlines.push(deadline);
        self.answers.pop_front().expect("it is not asked so often")
    }
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Result<Answer<Pieces>, Fault> {
    let headers = headers.iter().map(|&(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect();
    let pieces = if body.is_empty() { VecDeque::new() } else { VecDeque::from([Ok(body.as_bytes().to_vec())]) };
    Ok(Answer { status, headers, body: Pieces(pieces) })
}

fn redirect(status: u16, to: &str) -> Result<Answer<Pieces>, Fault> {
    answer(status, &[("Location", to)], "moved")
}

/// What came of a run, what was asked, and what was printed.
struct Ran {
    result: Result<String, Failure>,
    script: Script,
    printed: Vec<String>,
}

impl Ran {
    #[track_caller]
    fn message(&self) -> String {
        self.result.as_ref().expect_err("it fails").to_string()
    }
}

fn run_within<const N: usize>(
    remaining: Option<Duration>,
    arguments: &[&str],
    answers: [Result<Answer<Pieces>, Fault>; N],
) -> Ran {
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let Call::Check(options) = options::read(arguments).expect("arguments") else { panic!("no help") };
    let secrets = Secrets::resolve(&options.secret_headers, |_| Ok(Some("s3cret".to_owned()))).expect("secrets");
    let mut script = Script { answers: answers.into(), now: Duration::from_secs(1000), ..Script::default() };
    let mut printed = Vec::new();
    let result = check(&mut script, &options, &secrets, remaining, |line| printed.push(line.to_owned()));
    Ran { result, script, printed }
}

fn run<const N: usize>(arguments: &[&str], answers: [Result<Answer<Pieces>, Fault>; N]) -> Ran {
    run_within(None, arguments, answers)
}

#[test]
fn an_answer_as_expected_is_told_in_a_line() {
    let ran = run(&["http://a/health"], [answer(204, &[], "")]);
    assert_eq!(ran.result, Ok("204 in 123 ms, 0 B".to_owned()));
    assert_eq!(ran.script.asked, ["GET http://a/health"]);
    assert!(ran.printed.is_empty(), "{:?}", ran.printed);
    let ran = run(&["http://a/", "--contains", "xx"], [answer(200, &[], &"x".repeat(4200))]);
    assert_eq!(ran.result, Ok("200 in 123 ms, 4.1 KiB".to_owned()));
}

#[test]
fn another_status_than_expected_is_told_with_the_beginning_of_the_body() {
    let page = format!("<h1>\n\tBad \x1b[31mgateway</h1>{}", "x".repeat(1000));
    let message = run(&["http://a/", "--expect", "2xx,304"], [answer(502, &[], &page)]).message();
    assert!(message.starts_with("got 502, expected 2xx,304: <h1> Bad [31mgateway</h1>xxx"), "{message}");
    assert!(message.ends_with("x…") && message.chars().count() < 260, "{message}");
    let ran = run(&["http://a/", "--expect", "404"], [answer(200, &[("Retry-After", "5")], "")]);
    assert_eq!(ran.result, Err(Failure::new("got 200, expected 404")), "no failure that is told to be tried later");
}

#[test]
fn a_server_that_says_when_to_come_again_is_asked_then() {
    let limit = || answer(429, &[("retry-after", " 120 ")], "slow down");
    let expected = Failure::new("got 429, expected 2xx: slow down").retry_after(Duration::from_secs(120));
    assert_eq!(run(&["http://a/"], [limit()]).result, Err(expected));
    assert_eq!(run(&["http://a/", "--expect", "429"], [limit()]).result, Ok("429 in 123 ms, 9 B".to_owned()));
    for (status, value) in [(503, "Fri, 31 Dec 2027 23:59:59 GMT"), (503, "-1"), (500, "120")] {
        let ran = run(&["http://a/"], [answer(status, &[("retry-after", value)], "")]);
        assert_eq!(ran.result, Err(Failure::new(format!("got {status}, expected 2xx"))));
    }
}

#[test]
fn a_text_that_is_not_in_the_body_fails() {
    let ran = run(&["http://a/", "--contains", "up", "--contains", "\"ok\""], [answer(200, &[], "all is up")]);
    assert_eq!(ran.message(), "got 200, but the body of 9 B has no `\"ok\"` in it: all is up");
}

#[test]
fn secrets_go_out_and_are_told_nowhere() {
    let arguments = ["http://a/", "--secret-header", "X-Key: <{key}>", "--print"];
    let ran = run(&arguments, [answer(403, &[], "no such key: <s3cret>")]);
    assert_eq!(ran.script.asked, ["GET http://a/ [X-Key: <s3cret>]"]);
    assert_eq!(ran.message(), "got 403, expected 2xx: no such key: <[secret]>");
    assert_eq!(ran.printed, ["no such key: <[secret]>"]);
    let body = format!("{}s3cret and more", "x".repeat(4094));
    let ran = run(&["http://a/", "--secret-header", "X-Key: {key}", "--print=4"], [answer(403, &[], &body)]);
    assert!(ran.printed[0].ends_with("xx[secret]"), "one that lies across the cut: {:?}", ran.printed);
    let ran = run(&arguments, [redirect(302, "/login/s3cret?x")]);
    let message = ran.message();
    assert!(!message.contains("s3cret") && message.contains("it redirects to http://a/login/[secret] ("), "{message}");
    let ran = run(&[&arguments[..], &["--max-redirects", "1"]].concat(), [redirect(302, "ftp://s3cret/")]);
    assert!(!ran.message().contains("s3cret"), "{}", ran.message());
}

#[test]
fn redirects_are_followed_only_as_far_as_is_said() {
    let ran = run(&["http://a/x"], [redirect(301, "y")]);
    assert_eq!(ran.message(), "got 301, expected 2xx; it redirects to http://a/y (`--max-redirects 5` follows): moved");
    let ran =
        run(&["http://a/x", "--max-redirects", "2"], [redirect(301, "y"), redirect(308, "/z"), answer(200, &[], "ok")]);
    assert_eq!(ran.result, Ok("200 in 369 ms, 2 B, after 2 redirects".to_owned()));
    assert_eq!(ran.script.asked, ["GET http://a/x", "GET http://a/y", "GET http://a/z"]);
    let ran = run(&["http://a/", "--max-redirects", "1"], [redirect(302, "/1"), redirect(302, "/2")]);
    assert_eq!(
        ran.message(),
        "got 302, expected 2xx, from http://a/1; more redirects than `--max-redirects`: the next is to http://a/2: moved"
    );
    let ran = run(&["http://a/", "--max-redirects", "1", "--expect", "3xx"], [redirect(302, "/1")]);
    assert_eq!(ran.result, Ok("302 in 123 ms, 5 B".to_owned()), "one that is expected is not followed");
    let ran = run(&["http://a/", "--max-redirects", "1"], [answer(304, &[("Location", "/1")], "")]);
    assert!(ran.message().starts_with("got 304, expected 2xx; it redirects"), "{}", ran.message());
}

#[test]
fn another_origin_gets_no_header_that_may_be_a_secret_nor_does_the_first_get_it_back() {
    let arguments = [
        "https://a/",
        "--max-redirects",
        "3",
        "-H",
        "Cookie: c",
        "-H",
        "X-Own: o",
        "-H",
        "Accept-Language: de",
        "--secret-header",
        "Authorization: Bearer {t}",
        "--secret-header",
        "Accept-Language: {t}",
    ];
    let ran = run(
        &arguments,
        [redirect(307, "/1"), redirect(307, "https://b/2"), redirect(307, "https://a/3"), answer(200, &[], "")],
    );
    assert_eq!(
        ran.script.asked,
        [
            "GET https://a/ [Cookie: c] [X-Own: o] [Accept-Language: de] \
             [Authorization: Bearer s3cret] [Accept-Language: s3cret]",
            "GET https://a/1 [Cookie: c] [X-Own: o] [Accept-Language: de] \
             [Authorization: Bearer s3cret] [Accept-Language: s3cret]",
            "GET https://b/2 [Accept-Language: de]",
            "GET https://a/3 [Accept-Language: de]",
        ]
    );
    for other in ["https://a:444/", "https://sub.a/", "//b/"] {
        let ran = run(&arguments, [redirect(302, other), answer(200, &[], "")]);
        assert!(!ran.script.asked[1].contains("s3cret"), "{:?}", ran.script.asked);
    }
}

#[test]
fn nothing_goes_from_https_to_http() {
    let ran = run(&["https://a/", "--max-redirects", "3"], [redirect(302, "http://a/login?s=1")]);
    assert_eq!(ran.message(), "got 302 from https://a/, to http://a/login: not followed from https to http");
    assert_eq!(ran.script.asked.len(), 1);
}

#[test]
fn a_redirect_changes_the_method_as_browsers_do() {
    for (status, method, then) in [
        (301, "POST", "GET http://a/1"),
        (302, "POST", "GET http://a/1"),
        (303, "PUT", "GET http://a/1"),
        (303, "HEAD", "HEAD http://a/1 [Content-Type: application/json] {}"),
        (302, "PUT", "PUT http://a/1 [Content-Type: application/json] {}"),
        (307, "POST", "POST http://a/1 [Content-Type: application/json] {}"),
        (308, "POST", "POST http://a/1 [Content-Type: application/json] {}"),
    ] {
        let arguments = ["http://a/", "-X", method, "--json", "{}", "--max-redirects", "1"];
        let ran = run(&arguments, [redirect(status, "/1"), answer(200, &[], "")]);
        assert_eq!(ran.script.asked[1], then, "{status} {method}");
    }
}

#[test]
fn what_goes_wrong_on_the_way_is_told_apart() {
    let mut messages = Vec::new();
    for fault in [
        Fault::Denied,
        Fault::DeniedAddress,
        Fault::Unresolved(Some("NXDOMAIN".to_owned())),
        Fault::ConnectionRefused,
        Fault::Unreachable,
        Fault::ConnectTimeout,
        Fault::Timeout,
        Fault::Closed,
        Fault::Tls("its certificate is not accepted".to_owned()),
    ] {
        let is_permanent = matches!(fault, Fault::Denied | Fault::DeniedAddress);
        let ran = run(&["https://example.org/", "--timeout", "10s"], [Err(fault)]);
        let message = ran.message();
        let expected = if is_permanent { Failure::permanent(&message) } else { Failure::new(&message) };
        assert_eq!(ran.result, Err(expected));
        messages.push(message);
    }
    assert_eq!(
        messages,
        [
            "the task may not connect to example.org:443; allow it with `--allow-host example.org:443`",
            "example.org:443 has an address that is not public or not granted; \
             allow the address itself with `--allow-host ADDRESS:443`",
            "failed to resolve the name in example.org:443: NXDOMAIN",
            "example.org:443 refused the connection",
            "example.org:443 can't be reached",
            "no connection to example.org:443 within 10s",
            "no whole answer from example.org:443 within 10s",
            "example.org:443 closed the connection before its answer was whole",
            "no TLS with example.org:443: its certificate is not accepted",
        ]
    );
    let ran = run(&["http://a/", "--max-redirects", "1"], [redirect(302, "http://b:81/"), Err(Fault::Denied)]);
    assert_eq!(ran.message(), "the task may not connect to b:81; allow it with `--allow-host b:81`, after 1 redirect");
}

#[test]
fn a_body_that_is_too_large_or_not_whole_fails() {
    let large = || answer(200, &[], &"x".repeat(1025));
    let ran = run(&["http://a/", "--max-body", "1"], [large()]);
    assert_eq!(ran.message(), "got 200, but more than 1.0 KiB of body; `--max-body` allows more");
    assert!(run(&["http://a/", "--max-body", "2"], [large()]).result.is_ok());
    let mut broken = large().expect("an answer");
    broken.body.0.push_back(Err(Fault::Closed));
    let ran = run(&["http://a/"], [Ok(broken)]);
    assert_eq!(
        ran.message(),
        "got 200 and 1.0 KiB of body, but not all: a:80 closed the connection before its answer was whole"
    );
}

#[test]
fn the_beginning_of_the_body_is_printed_if_that_is_wanted() {
    let body = format!("one\ntwo\r\n{}", "x".repeat(2000));
    let ran = run(&["http://a/", "--print=1"], [answer(200, &[], &body)]);
    assert_eq!((ran.printed[0].as_str(), ran.printed[1].as_str()), ("one", "two"));
    assert_eq!(ran.printed[2].len(), 1024 - 9);
    assert_eq!(ran.printed[3], "[the rest of the body is not printed]");
    assert_eq!(run(&["http://a/", "--print"], [answer(500, &[], "why")]).printed, ["why"]);
}

#[test]
fn a_check_ends_before_its_attempt_does() {
    let limit = |remaining_ms: Option<u64>| {
        let remaining = remaining_ms.map(Duration::from_millis);
        let ran = run_within(remaining, &["http://a/", "--timeout", "10s"], [answer(200, &[], "")]);
        ran.script.deadlines[0].as_millis() - 1_000_000
    };
    assert_eq!(limit(None), 10_000);
    assert_eq!(limit(Some(60_000)), 10_000);
    assert_eq!(limit(Some(5_000)), 4_750);
    assert_eq!(limit(Some(100)), 50);
    let ran = run(&["http://a/", "--timeout", "18446744073709551615s"], [answer(200, &[], "")]);
    assert_eq!(ran.script.deadlines, [Duration::MAX], "no time is too long");
}
