//! A client that costs next to nothing, so that what is measured is the server: over a Unix socket it keeps so many calls on
//! the way and only counts the lines that come back; over HTTP it has one call on the way on each of several connections.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use memchr::{memchr_iter, memmem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::host::Host;

/// How much is read at once.
const READ_BYTES: usize = 256 * 1024;

/// What an answer has that is an error.
const ERROR: &[u8] = b"\"error\":{";

/// What the head of an answer over HTTP says of the length of its body.
const CONTENT_LENGTH: &[u8] = b"content-length: ";

/// Calls as they are sent, one after the other.
pub(crate) struct Calls {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl FromIterator<String> for Calls {
    fn from_iter<I: IntoIterator<Item = String>>(calls: I) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for call in calls {
            bytes.extend_from_slice(call.as_bytes());
            ends.push(bytes.len());
        }
        Self { bytes, ends }
    }
}

impl Calls {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    fn range(&self, from: usize, to: usize) -> &[u8] {
        let end = |count: usize| count.checked_sub(1).map_or(0, |last| self.ends[last]);
        &self.bytes[end(from)..end(to)]
    }
}

/// The host's Unix socket.
pub(crate) async fn unix_address(host: &Host) -> anyhow::Result<PathBuf> {
    let addresses = host.info().await?.listen;
    let path = addresses.iter().find_map(|address| address.strip_prefix("unix:"));
    Ok(path.context("the host has no Unix socket")?.into())
}

/// The host's TCP port.
pub(crate) async fn tcp_address(host: &Host) -> anyhow::Result<SocketAddr> {
    let addresses = host.info().await?.listen;
    addresses.iter().find_map(|address| address.parse().ok()).context("the host has no TCP port")
}

/// Runs a client beside this program's own thread, which reads meanwhile what hosts say.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await.context("a client panicked")?
}

/// Makes these calls with at most `in_flight` on the way; answers how long it took until all were answered. Blocking.
pub(crate) fn over_unix(mut socket: UnixStream, calls: &Calls, in_flight: usize) -> anyhow::Result<Duration> {
    let mut read = vec![0; READ_BYTES];
    let began = Instant::now();
    let mut sent = 0;
    let mut answered = 0;
    while answered < calls.len() {
        let next = calls.len().min(answered + in_flight);
        socket.write_all(calls.range(sent, next)).context("failed to send calls")?;
        sent = next;
        let count = socket.read(&mut read).context("failed to read answers")?;
        let answers = &read[..count];
        ensure!(count > 0, "the connection was closed after {answered} answers");
        if memmem::find(answers, ERROR).is_some() {
            bail!("a call failed: {}", String::from_utf8_lossy(answers));
        }
        answered += memchr_iter(b'\n', answers).count();
    }
    Ok(began.elapsed())
}

/// Posts `times` of these calls on each of so many connections that are kept, each beginning at another place among them; answers how
/// long that took. Blocking.
pub(crate) fn over_http(
    address: SocketAddr,
    calls: &[String],
    connections: usize,
    times: usize,
) -> anyhow::Result<Duration> {
    let post = |call: &String| {
        let length = call.len();
        let head =
            format!("POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}");
        format!("{head}\r\n\r\n{call}")
    };
    let posts: Arc<[String]> = calls.iter().map(post).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut sockets = Vec::new();
        for _ in 0..connections {
            let mut socket = TcpStream::connect(address).await.context("failed to connect")?;
            socket.set_nodelay(true)?;
            // So that everything about a new connection is over.
            post_once(&mut socket, posts[0].as_bytes(), &mut Vec::new()).await?;
            sockets.push(socket);
        }
        let began = Instant::now();
        let mut working = JoinSet::new();
        for (number, mut socket) in sockets.into_iter().enumerate() {
            let posts = Arc::clone(&posts);
            working.spawn(async move {
                let mut answer = Vec::with_capacity(READ_BYTES);
                let first = number * posts.len() / connections;
                for post in posts.iter().cycle().skip(first).take(times) {
                    post_once(&mut socket, post.as_bytes(), &mut answer).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(worked) = working.join_next().await {
            worked??;
        }
        Ok(began.elapsed())
    })
}

async fn post_once(socket: &mut TcpStream, post: &[u8], answer: &mut Vec<u8>) -> anyhow::Result<()> {
    socket.write_all(post).await.context("failed to post")?;
    answer.clear();
    loop {
        ensure!(socket.read_buf(answer).await? > 0, "the connection was closed");
        if let Some(head) = memmem::find(answer, b"\r\n\r\n")
            && answer.len() >= head + 4 + body_bytes(&answer[..head])?
        {
            break;
        }
    }
    if !answer.starts_with(b"HTTP/1.1 200 ") || memmem::find(answer, ERROR).is_some() {
        bail!("a call failed: {}", String::from_utf8_lossy(answer));
    }
    Ok(())
}

fn body_bytes(head: &[u8]) -> anyhow::Result<usize> {
    let at = memmem::find(head, CONTENT_LENGTH).context("an answer does not tell its length")?;
    let digits = head[at + CONTENT_LENGTH.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    Ok(digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_sent_whole_and_in_order() {
        let calls: Calls = ["a", "bc", "", "d"].map(str::to_owned).into_iter().collect();
        assert_eq!(calls.len(), 4);
        assert_eq!((calls.range(0, 2), calls.range(2, 4), calls.range(4, 4)), (&b"abc"[..], &b"d"[..], &b""[..]));
    }

    #[test]
    fn the_length_of_a_body_is_in_the_head() {
        assert_eq!(body_bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 123\r\nx: 4").expect("it is there"), 123);
        assert!(body_bytes(b"HTTP/1.1 200 OK").is_err());
    }
}
