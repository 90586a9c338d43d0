//! What the arguments ask for.

use std::fmt::{self, Display};
use std::time::Duration;

use taskhost_plugin::Failure;
use taskhost_plugin_common::arguments::{self, told};

use crate::header::{Header, is_token, parse_header};
use crate::secret::{self, SecretHeader};
use crate::target::Target;

const USAGE: &str = "http [OPTIONS] URL";

pub(crate) const HELP: &str = "\
Asks for a URL, and fails unless the answer is as expected.

usage: http [OPTIONS] URL

  -X, --method METHOD           GET by default; POST with --data or --json
      --expect STATUS[,...]     200, 204,304 or 2xx; 2xx by default
      --contains TEXT           the body must have this in it; may be given again
  -H, --header 'NAME: VALUE'    may be given again
      --secret-header 'NAME: VALUE'
                                {name} in VALUE becomes the secret or setting of that name, as in
                                'Authorization: Bearer {api-token}', and is never printed; needs
                                taskctl add --secret name
  -d, --data TEXT               the body, as application/x-www-form-urlencoded unless --header says otherwise
      --json TEXT               the body, as application/json
      --max-redirects N         follow so many redirects; 0 by default, at most 20. To another host go no headers but Accept,
                                Accept-Language, Content-Type and User-Agent; from https to http goes nothing
      --timeout DURATION        for all of it, like 500ms or 10s; 30s by default, and never past the attempt's own deadline
      --max-body KIB            fail if the body is larger; 16384 by default
      --print[=KIB]             print the beginning of the body: 16 KiB by default, at most 1024

The task needs a grant for each host that it is to reach: taskctl add --allow-host HOST:PORT.";

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// As many as browsers follow.
const MAX_REDIRECTS: u32 = 20;

const DEFAULT_MAX_BODY_KIB: u32 = 16 * 1024;

const DEFAULT_PRINT_KIB: u32 = 16;

/// It is kept in memory, and a task's log has 1 MiB by default.
const MAX_PRINT_KIB: u32 = 1024;

/// What is looked for is held against each place of the body.
const MAX_CONTAINS_BYTES: usize = 1024;

/// What is wanted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Help,
    Check(Box<Options>),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) target: Target,
    pub(crate) method: String,
    pub(crate) expected: Expected,
    /// None is empty.
    pub(crate) contains: Vec<String>,
    /// Those that are always sent among them.
    pub(crate) headers: Vec<Header>,
    pub(crate) secret_headers: Vec<SecretHeader>,
    pub(crate) body: Option<String>,
    pub(crate) max_redirects: u32,
    pub(crate) timeout: Duration,
    pub(crate) max_body_bytes: u64,
    /// 0: it is not printed.
    pub(crate) print_bytes: usize,
}

/// Which statuses are good.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// As it was given, which is how it is told.
    text: String,
    /// First and last, inclusive.
    ranges: Vec<(u16, u16)>,
}

impl Expected {
    fn parse(text: &str) -> Result<Self, String> {
        let ranges = text.split(',').map(|one| Self::parse_one(one.trim())).collect::<Option<Vec<_>>>();
        let ranges =
            ranges.ok_or_else(|| format!("`--expect` takes statuses like `200` or `2xx,304`, not `{}`", told(text)))?;
        Ok(Self { text: text.to_owned(), ranges })
    }

    fn parse_one(text: &str) -> Option<(u16, u16)> {
        if let Some(class) = text.to_ascii_lowercase().strip_suffix("xx") {
            let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
            return Some((class * 100, class * 100 + 99));
        }
        let status = text.parse().ok().filter(|status| (100..=599).contains(status))?;
        Some((status, status))
    }

    pub(crate) fn includes(&self, status: u16) -> bool {
        self.ranges.iter().any(|&(first, last)| (first..=last).contains(&status))
    }
}

impl Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

pub(crate) fn read(given: Vec<String>) -> Result<Call, Failure> {
    parse(given).map_err(|why| arguments::refused(why, USAGE))
}

fn parse(given: Vec<String>) -> Result<Call, String> {
    use lexopt::Arg::{Long, Short, Value};

    let mut parser = arguments::parser(given);
    let mut url = None;
    let (mut method, mut expected, mut contains) = (None, Expected::parse("2xx")?, Vec::new());
    let (mut headers, mut secret_headers, mut body, mut body_type) = (Vec::new(), Vec::new(), None, None);
    let (mut max_redirects, mut timeout) = (0, DEFAULT_TIMEOUT);
    let (mut max_body_kib, mut print_kib) = (DEFAULT_MAX_BODY_KIB, 0);
    while let Some(argument) = parser.next().map_err(|error| told(&error.to_string()))? {
        match argument {
            Long("help") | Short('h') => return Ok(Call::Help),
            Short('X') | Long("method") => method = Some(parse_method(arguments::text(&mut parser)?)?),
            Long("expect") => expected = Expected::parse(&arguments::text(&mut parser)?)?,
            Long("contains") => {
                let text = arguments::text(&mut parser)?;
                if text.is_empty() || text.len() > MAX_CONTAINS_BYTES {
                    return Err(format!("`--contains` takes a text of 1 to {MAX_CONTAINS_BYTES} bytes"));
                }
                contains.push(text);
            }
            Short('H') | Long("header") => {
                let header = arguments::text(&mut parser)?;
                let (name, value) = parse_header(&header, "--header")?;
                headers.push(Header { name: name.to_owned(), value: value.to_owned() });
            }
            Long("secret-header") => {
                let header = arguments::text(&mut parser)?;
                let (name, value) = parse_header(&header, "--secret-header")?;
                let value =
                    secret::parse(value).map_err(|why| format!("the value of the header `{}` {why}", told(name)))?;
                secret_headers.push(SecretHeader { name: name.to_owned(), value });
            }
            Short('d') | Long("data") | Long("json") => {
                let is_json = argument == Long("json");
                if body.is_some() {
                    return Err("there is more than one body".to_owned());
                }
                body_type = Some(if is_json { "application/json" } else { "application/x-www-form-urlencoded" });
                body = Some(arguments::text(&mut parser)?);
            }
            Long("max-redirects") => max_redirects = at_most(&mut parser, "--max-redirects", MAX_REDIRECTS)?,
            Long("timeout") => timeout = arguments::duration(&mut parser, "--timeout")?,
            Long("max-body") => max_body_kib = arguments::number(&mut parser, "--max-body")?,
            Long("print") => {
                print_kib = match parser.optional_value() {
                    None => DEFAULT_PRINT_KIB,
                    Some(kib) => kib
                        .to_str()
                        .and_then(|kib| kib.parse().ok())
                        .filter(|kib| (1..=MAX_PRINT_KIB).contains(kib))
                        .ok_or_else(|| format!("`--print` takes a number of KiB from 1 to {MAX_PRINT_KIB}"))?,
                };
            }
            Value(value) if url.is_none() => {
                url = Some(value.into_string().map_err(|_| "the URL is not UTF-8".to_owned())?)
            }
            other => return Err(told(&other.unexpected().to_string())),
        }
    }
    let url = url.ok_or("no URL")?;
    let target = Target::parse(&url).map_err(|why| format!("`{}` {why}", told(&url)))?;
    let agent = concat!("taskhost-http/", env!("CARGO_PKG_VERSION"));
    for (name, value) in [("User-Agent", Some(agent)), ("Accept", Some("*/*")), ("Content-Type", body_type)] {
        if let Some(value) = value
            && !headers.iter().any(|header: &Header| header.name.eq_ignore_ascii_case(name))
        {
            headers.push(Header { name: name.to_owned(), value: value.to_owned() });
        }
    }
    let method = method.unwrap_or_else(|| if body.is_some() { "POST" } else { "GET" }.to_owned());
    Ok(Call::Check(Box::new(Options {
        target,
        method,
        expected,
        contains,
        headers,
        secret_headers,
        body,
        max_redirects,
        timeout,
        max_body_bytes: u64::from(max_body_kib) * 1024,
        print_bytes: print_kib as usize * 1024,
    })))
}

fn at_most(parser: &mut lexopt::Parser, option: &str, most: u32) -> Result<u32, String> {
    let number = arguments::number(parser, option)?;
    if number > most { Err(format!("`{option}` takes a number from 0 to {most}")) } else { Ok(number) }
}

/// Methods are told apart by case, and all of the standard ones are in capitals.
fn parse_method(method: String) -> Result<String, String> {
    if !is_token(&method) || method.eq_ignore_ascii_case("CONNECT") {
        return Err(format!("`{}` is no method", told(&method)));
    }
    Ok(method.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(arguments: &[&str]) -> Result<Call, String> {
        parse(arguments.iter().map(|&argument| argument.to_owned()).collect())
    }

    fn options(arguments: &[&str]) -> Options {
        match given(arguments) {
            Ok(Call::Check(options)) => *options,
            other => panic!("{arguments:?}: {other:?}"),
        }
    }

    fn headers(options: &Options) -> Vec<String> {
        options.headers.iter().map(|header| format!("{}: {}", header.name, header.value)).collect()
    }

    #[test]
    fn what_is_not_given_has_a_default() {
        let options = options(&["https://example.org/health"]);
        assert_eq!((options.method.as_str(), options.expected.to_string().as_str()), ("GET", "2xx"));
        assert_eq!((options.max_redirects, options.timeout), (0, Duration::from_secs(30)));
        assert_eq!((options.max_body_bytes, options.print_bytes), (16 << 20, 0));
        assert_eq!(headers(&options), ["User-Agent: taskhost-http/0.1.0", "Accept: */*"]);
    }

    #[test]
    fn every_option_is_read() {
        let arguments = [
            "-X",
            "put",
            "--expect",
            "2xx,304",
            "--contains",
            "ok",
            "-H",
            "accept: text/plain",
            "--data=a=b",
            "--secret-header",
            "Authorization: Bearer {api-token}",
            "--max-redirects",
            "3",
            "--timeout",
            "500ms",
            "--max-body",
            "1",
            "--print",
            "http://a/",
        ];
        let options = options(&arguments);
        assert_eq!((options.method.as_str(), options.body.as_deref()), ("PUT", Some("a=b")));
        assert_eq!(options.contains, ["ok"]);
        assert_eq!((options.max_redirects, options.timeout), (3, Duration::from_millis(500)));
        assert_eq!((options.max_body_bytes, options.print_bytes), (1024, 16 * 1024));
        let form = "Content-Type: application/x-www-form-urlencoded";
        assert_eq!(headers(&options), ["accept: text/plain", "User-Agent: taskhost-http/0.1.0", form]);
        assert_eq!(options.secret_headers[0].name, "Authorization");
        assert_eq!(given(&["--help"]), Ok(Call::Help));
    }

    #[test]
    fn a_body_is_posted_with_a_type() {
        let json = options(&["--json", "{}", "http://a/", "--print=2"]);
        assert_eq!((json.method.as_str(), json.print_bytes), ("POST", 2048));
        assert!(headers(&json).contains(&"Content-Type: application/json".to_owned()));
        let own = options(&["-d", "x", "-H", "content-type: text/plain", "http://a/"]);
        assert!(!headers(&own).iter().any(|header| header.starts_with("Content-Type")), "{:?}", headers(&own));
    }

    #[test]
    fn what_is_missing_or_makes_no_sense_is_refused() {
        for (arguments, why) in [
            (&[][..], "no URL"),
            (&["example.org"], "`example.org` is no URL; other letters than those of RFC 3986 are written like `%20`"),
            (&["http://a/", "http://b/"], "unexpected argument \"http://b/\""),
            (&["--retry", "http://a/"], "invalid option '--retry'"),
            (&["-X", "GE T", "http://a/"], "`GE T` is no method"),
            (&["-X", "connect", "http://a/"], "`connect` is no method"),
            (&["--expect", "2xx,", "http://a/"], "`--expect` takes statuses like `200` or `2xx,304`, not `2xx,`"),
            (&["--expect", "6xx", "http://a/"], "`--expect` takes statuses like `200` or `2xx,304`, not `6xx`"),
            (&["--expect", "99", "http://a/"], "`--expect` takes statuses like `200` or `2xx,304`, not `99`"),
            (&["--contains", "", "http://a/"], "`--contains` takes a text of 1 to 1024 bytes"),
            (&["-H", "Authorization Bearer s3cret", "http://a/"], "`--header` takes `NAME: VALUE`"),
            (&["-H", "A B: c", "http://a/"], "`A B` is no name of a header"),
            (
                &["-H", "A: s3cret\r\nB: c", "http://a/"],
                "the value of the header `A` has a line break or other control character in it",
            ),
            (
                &["--secret-header", "A: b", "http://a/"],
                "the value of the header `A` has no secret, like `{api-token}`; use `--header`",
            ),
            (&["-d", "a", "--json", "{}", "http://a/"], "there is more than one body"),
            (&["--max-redirects", "21", "http://a/"], "`--max-redirects` takes a number from 0 to 20"),
            (&["--print=0", "http://a/"], "`--print` takes a number of KiB from 1 to 1024"),
            (
                &["--timeout", "0s", "http://a/"],
                "`--timeout` takes a duration like `500ms`, `90s`, `1h30m` or `7d`, not `0s`",
            ),
        ] {
            assert_eq!(given(arguments), Err(why.to_owned()), "{arguments:?}");
        }
    }

    #[test]
    fn statuses_are_numbers_and_classes() {
        let expected = Expected::parse("2xx, 304,4XX").expect("statuses");
        for (status, is_included) in
            [(199, false), (200, true), (299, true), (300, false), (304, true), (404, true), (500, false)]
        {
            assert_eq!(expected.includes(status), is_included, "{status}");
        }
    }
}
