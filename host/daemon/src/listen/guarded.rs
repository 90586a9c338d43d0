//! A socket that can't be used to hold the host up, whatever is spoken on it.
//!
//! It gives the byte back that was read to find the protocol; it fails when its client does not read for too long; it reads
//! nothing from a client that does not read, so that nothing piles up; it can be cut off; and it holds the connection's
//! permit until it is dropped, wherever it is carried: hyper takes it, and gives it back as a WebSocket.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How long a client may take nothing of what is being sent to it.
pub(super) const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Guarded<S> {
    socket: S,
    /// What was read from the socket and is to be read again.
    first: Option<u8>,
    cut: CancellationToken,
    /// Waited for by whoever reads. A writer waits for its own: another task may write.
    reading_cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// There while the client takes nothing.
    stall: Option<Stall>,
    /// Who wanted to read meanwhile.
    waiting_reader: Option<Waker>,
    _permit: OwnedSemaphorePermit,
}

/// What ends a write that does not go on.
struct Stall {
    timeout: Pin<Box<Sleep>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> Guarded<S> {
    pub(super) fn new(socket: S, first: u8, cut: CancellationToken, permit: OwnedSemaphorePermit) -> Self {
        Self {
            socket,
            first: Some(first),
            reading_cut: Box::pin(cut.clone().cancelled_owned()),
            cut,
            stall: None,
            waiting_reader: None,
            _permit: permit,
        }
    }

    /// Watches the time that a write takes.
    fn wrote<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_pending() {
            let Self { stall, cut, .. } = self;
            let stall = stall.get_or_insert_with(|| Stall {
                timeout: Box::pin(sleep(WRITE_STALL_TIMEOUT)),
                cut: Box::pin(cut.clone().cancelled_owned()),
            });
            if stall.cut.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(cut_off()));
            }
            ready!(stall.timeout.as_mut().poll(cx));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")));
        }
        self.stall = None;
        if let Some(reader) = self.waiting_reader.take() {
            reader.wake();
        }
        written
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the host stops")
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(first) = self.first.take_if(|_| buffer.remaining() > 0) {
            buffer.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        if self.reading_cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(cut_off()));
        }
        if self.stall.is_some() {
            self.waiting_reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.wrote(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bytes);
        self.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::Semaphore;
    use tokio::time::{Instant, timeout};

    use super::*;

    fn guarded(bytes: usize) -> (Guarded<DuplexStream>, DuplexStream, CancellationToken) {
        let (ours, theirs) = duplex(bytes);
        let cut = CancellationToken::new();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("it is free");
        (Guarded::new(ours, b'{', cut.clone(), permit), theirs, cut)
    }

    #[tokio::test]
    async fn the_first_byte_is_read_again() {
        let (mut ours, mut theirs, _cut) = guarded(64);
        theirs.write_all(b"}").await.expect("there is room");
        let mut read = [0; 2];
        ours.read_exact(&mut read).await.expect("two bytes are there");
        assert_eq!(&read, b"{}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_given_up_after_the_timeout() {
        let (mut ours, _theirs, _cut) = guarded(4);
        let before = Instant::now();
        let error = ours.write_all(b"more than fits").await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(before.elapsed().as_secs(), WRITE_STALL_TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_slowly_is_not_given_up() {
        let (mut ours, mut theirs, _cut) = guarded(4);
        let reader = tokio::spawn(async move {
            let mut read = Vec::new();
            for _ in 0..7 {
                sleep(WRITE_STALL_TIMEOUT - Duration::from_secs(1)).await;
                let mut piece = [0; 2];
                theirs.read_exact(&mut piece).await.expect("the writer goes on");
                read.extend(piece);
            }
            read
        });
        ours.write_all(b"more than fits").await.expect("it is read in the end");
        assert_eq!(reader.await.expect("no panic"), b"more than fits");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_from_a_client_that_does_not_read() {
        let (ours, mut theirs, _cut) = guarded(4);
        theirs.write_all(b"}").await.expect("there is room");
        let (mut reader, mut writer) = tokio::io::split(ours);
        let mut first = [0];
        reader.read_exact(&mut first).await.expect("it was put back");
        let writing = tokio::spawn(async move { writer.write_all(b"12345678").await });
        tokio::task::yield_now().await;
        timeout(Duration::from_secs(1), reader.read_u8()).await.expect_err("the writer waits");
        let mut answers = [0; 8];
        theirs.read_exact(&mut answers).await.expect("the writer goes on");
        assert_eq!(reader.read_u8().await.expect("now it is read"), b'}');
        writing.await.expect("no panic").expect("all was read");
    }

    #[tokio::test]
    async fn a_socket_that_is_cut_off_fails() {
        let (mut ours, _theirs, cut) = guarded(4);
        ours.read_u8().await.expect("it was put back");
        let reading = tokio::spawn(async move { ours.read_u8().await });
        tokio::task::yield_now().await;
        cut.cancel();
        let error = reading.await.expect("no panic").expect_err("it was cut");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    }
}
