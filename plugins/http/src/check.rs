//! What one run does: ask, follow, judge.

use std::time::Duration;

use taskhost_plugin::Failure;
use taskhost_plugin_common::words;

use crate::body::Digest;
use crate::exchange::{Answer, Body, Exchange, Fault, Request};
use crate::header::Header;
use crate::options::Options;
use crate::secret::Secrets;
use crate::target::Target;

/// How much of a body a failure repeats, in characters. The host keeps 1 KiB of a failure's message.
const EXCERPT_CHARS: usize = 200;

/// Of how much of the body, in bytes.
const EXCERPT_BYTES: usize = 4096;

/// How much of a URL from an answer is repeated, in characters.
const MAX_TOLD_URL_CHARS: usize = 200;

/// What is left of the attempt's time to say that there was no answer in time, which tells more than being stopped.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// What another origin than the one that was asked may read of a request.
const HEADERS_FOR_ALL: &[&str] = &["accept", "accept-language", "content-type", "user-agent"];

/// Asks for the URL and holds the answer against what is expected; what to say about a good one. `remaining` is how
/// long the attempt may still take, and `print` gets the lines of the body, if they are wanted.
pub(crate) fn check<E: Exchange>(
    exchange: &mut E,
    options: &Options,
    secrets: &Secrets,
    remaining: Option<Duration>,
    mut print: impl FnMut(&str),
) -> Result<String, Failure> {
    let begun = exchange.now();
    let timeout = match remaining {
        Some(remaining) => options.timeout.min(remaining.saturating_sub(LAST_WORDS.min(remaining / 2))),
        None => options.timeout,
    };
    let (mut answer, target, redirects) = follow(exchange, options, secrets, begun.saturating_add(timeout), timeout)?;

    let is_expected = options.expected.includes(answer.status);
    let (digest, whole) = read_body(&mut answer.body, options, secrets, is_expected);
    let took = exchange.now().saturating_sub(begun);
    let excerpt = || match words::printable(&secrets.mask(&digest.beginning, EXCERPT_BYTES), EXCERPT_CHARS) {
        excerpt if excerpt.is_empty() => String::new(),
        excerpt => format!(": {excerpt}"),
    };
    print_body(&digest, options, secrets, &mut print);
    if !is_expected {
        return Err(unexpected(&answer, options, &target, redirects, secrets, &excerpt()));
    }
    let status = answer.status;
    match whole {
        Ok(()) => {}
        Err(BodyFault::TooLarge) => {
            let most = words::bytes(options.max_body_bytes);
            return Err(Failure::new(format!("got {status}, but more than {most} of body; `--max-body` allows more")));
        }
        Err(BodyFault::Broken(fault)) => {
            let why = describe(&fault, &target, timeout);
            return Err(failure(
                &fault,
                format!("got {status} and {} of body, but not all: {why}", words::bytes(digest.bytes)),
            ));
        }
    }
    if let Some(text) = digest.missing() {
        let (text, size) = (words::printable(text, EXCERPT_CHARS / 2), words::bytes(digest.bytes));
        return Err(Failure::new(format!("got {status}, but the body of {size} has no `{text}` in it{}", excerpt())));
    }
    Ok(format!("{status} in {} ms, {}{}", took.as_millis(), words::bytes(digest.bytes), after(redirects)))
}

/// Where there were any.
fn after(redirects: u32) -> String {
    match redirects {
        0 => String::new(),
        1 => ", after 1 redirect".to_owned(),
        redirects => format!(", after {redirects} redirects"),
    }
}

/// Asks, and asks further as answers redirect; the answer that is to be judged, who gave it, and after how many redirects.
fn follow<E: Exchange>(
    exchange: &mut E,
    options: &Options,
    secrets: &Secrets,
    deadline: Duration,
    timeout: Duration,
) -> Result<(Answer<E::Body>, Target, u32), Failure> {
    let mut target = options.target.clone();
    let mut method = options.method.clone();
    let mut headers: Vec<Header> = options.headers.iter().chain(&secrets.headers).cloned().collect();
    let mut body = options.body.as_deref();
    for redirects in 0.. {
        let request = Request { method: &method, target: &target, headers: &headers, body: body.map(str::as_bytes) };
        let answer = exchange
            .send(&request, deadline)
            .map_err(|fault| failure(&fault, describe(&fault, &target, timeout) + &after(redirects)))?;
        let location = answer.header("location").filter(|_| matches!(answer.status, 301 | 302 | 303 | 307 | 308));
        let Some(location) =
            location.filter(|_| redirects < options.max_redirects && !options.expected.includes(answer.status))
        else {
            return Ok((answer, target, redirects));
        };

        let to = target.join(location).map_err(|why| {
            let location = words::printable(&secrets.mask(location.as_bytes(), location.len()), MAX_TOLD_URL_CHARS);
            Failure::new(format!("got {} from {target}, to a place that {why}: {location}", answer.status))
        })?;
        if target.is_https && !to.is_https {
            let to = told(&to, secrets);
            return Err(Failure::new(format!(
                "got {} from {target}, to {to}: not followed from https to http",
                answer.status
            )));
        }
        if !to.is_same_origin(&target) {
            headers.retain(|header| HEADERS_FOR_ALL.contains(&header.name.to_ascii_lowercase().as_str()));
            // Nor by a name that is for all: whoever made it a secret meant the first origin only.
            headers.retain(|header| !secrets.headers.contains(header));
        }
        // As in the Fetch standard.
        let becomes_get = match answer.status {
            303 => method != "HEAD",
            301 | 302 => method == "POST",
            _ => false,
        };
        if becomes_get {
            method = "GET".to_owned();
            body = None;
            headers.retain(|header| !header.name.eq_ignore_ascii_case("content-type"));
        }
        target = to;
    }
    unreachable!("the number of redirects is bounded")
}

enum BodyFault {
    TooLarge,
    Broken(Fault),
}

/// Reads the body: to its end if the answer is good so far, else what of it is to be shown.
fn read_body(
    body: &mut impl Body,
    options: &Options,
    secrets: &Secrets,
    is_expected: bool,
) -> (Digest, Result<(), BodyFault>) {
    let shown_bytes = options.print_bytes.max(EXCERPT_BYTES) + secrets.longest_bytes();
    let mut digest = Digest::new(shown_bytes, &options.contains);
    let whole = loop {
        if !is_expected && digest.bytes >= shown_bytes as u64 {
            break Ok(());
        }
        match body.next() {
            Ok(Some(piece)) => digest.add(&piece),
            Ok(None) => break Ok(()),
            Err(Fault::TooLarge) => break Err(BodyFault::TooLarge),
            Err(fault) => break Err(BodyFault::Broken(fault)),
        }
        if digest.bytes > options.max_body_bytes {
            break Err(BodyFault::TooLarge);
        }
    };
    (digest, whole)
}

fn print_body(digest: &Digest, options: &Options, secrets: &Secrets, print: &mut impl FnMut(&str)) {
    if options.print_bytes == 0 {
        return;
    }
    secrets.mask(&digest.beginning, options.print_bytes).lines().for_each(&mut *print);
    if digest.bytes > options.print_bytes as u64 {
        print("[the rest of the body is not printed]");
    }
}

/// The failure of an answer with another status than was expected.
fn unexpected<B>(
    answer: &Answer<B>,
    options: &Options,
    target: &Target,
    redirects: u32,
    secrets: &Secrets,
    excerpt: &str,
) -> Failure {
    let mut message = format!("got {}, expected {}", answer.status, options.expected);
    if redirects > 0 {
        message.push_str(&format!(", from {}", told(target, secrets)));
    }
    let location = answer.header("location").filter(|_| (300..400).contains(&answer.status));
    if let Some(to) = location.and_then(|location| target.join(location).ok()) {
        let more =
            if redirects > 0 { "more redirects than `--max-redirects`: the next is to" } else { "it redirects to" };
        message.push_str(&format!("; {more} {}", told(&to, secrets)));
        if redirects == 0 {
            message.push_str(" (`--max-redirects 5` follows)");
        }
    }
    let failure = Failure::new(message + excerpt);
    let seconds = answer.header("retry-after").and_then(|seconds| seconds.parse().ok());
    match seconds.filter(|_| matches!(answer.status, 429 | 503)) {
        Some(seconds) => failure.retry_after(Duration::from_secs(seconds)),
        None => failure,
    }
}

/// The failure of a fault.
fn failure(fault: &Fault, message: String) -> Failure {
    match fault {
        // Only an edit of the task mends these.
        Fault::Denied | Fault::DeniedAddress | Fault::Header(_) => Failure::permanent(message),
        _ => Failure::new(message),
    }
}

fn describe(fault: &Fault, target: &Target, timeout: Duration) -> String {
    let place = words::printable(&target.host_and_port(), MAX_TOLD_URL_CHARS);
    let within = words::duration(timeout);
    match fault {
        Fault::Denied => format!("the task may not connect to {place}; allow it with `--allow-host {place}`"),
        Fault::DeniedAddress => format!(
            "{place} has an address that is not public or not granted; allow the address itself with `--allow-host ADDRESS:{}`",
            target.port()
        ),
        Fault::Unresolved(None) => format!("failed to resolve the name in {place}"),
        Fault::Unresolved(Some(why)) => {
            format!("failed to resolve the name in {place}: {}", words::printable(why, EXCERPT_CHARS))
        }
        Fault::ConnectionRefused => format!("{place} refused the connection"),
        Fault::Unreachable => format!("{place} can't be reached"),
        Fault::ConnectTimeout => format!("no connection to {place} within {within}"),
        Fault::Timeout => format!("no whole answer from {place} within {within}"),
        Fault::Closed => format!("{place} closed the connection before its answer was whole"),
        Fault::Tls(why) => format!("no TLS with {place}: {}", words::printable(why, EXCERPT_CHARS)),
        Fault::TooLarge => format!("the answer of {place} is larger than the host takes"),
        Fault::Header(name) => {
            format!("the host lets no plugin set the header `{}`", words::printable(name, EXCERPT_CHARS))
        }
        Fault::TooManyConnections => "too many connections at once".to_owned(),
        Fault::Cancelled => "cancelled".to_owned(),
        Fault::Other(why) => format!("failed to talk to {place}: {}", words::printable(why, EXCERPT_CHARS)),
        fault => fault.to_string(),
    }
}

/// A URL that came with an answer: it may have what was sent in it.
fn told(target: &Target, secrets: &Secrets) -> String {
    let text = target.to_string();
    words::printable(&secrets.mask(text.as_bytes(), text.len()), MAX_TOLD_URL_CHARS)
}

#[cfg(test)]
mod tests;
