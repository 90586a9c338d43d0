//! The stream dialect of the wire for jsonrpsee's client: one JSON value a line, over anything that reads and writes.
//!
//! Knows lines, not calls. The one thing it looks for in a line is an error without an id: the host's last word before it
//! closes a connection that it will not serve, which would otherwise be lost as an answer to nothing.

use std::io;
use std::time::Duration;

use jsonrpsee::core::client::{ReceivedMessage, TransportReceiverT, TransportSenderT};
use jsonrpsee::types::ErrorObjectOwned;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use crate::cause::IoCause;

/// The longest line that is read from a host, in bytes. Ten thousand log lines of some KiB each fit.
const MAX_LINE_BYTES: usize = 64 * 1024 * 1024;

/// The longest line that is looked at as the host's last word, in bytes.
const MAX_LAST_WORD_BYTES: usize = 16 * 1024;

/// How long a failed write waits for the reading half to say why the host closed the connection.
const LAST_WORD_GRACE: Duration = Duration::from_secs(1);

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    #[error("the host closed the connection")]
    Closed,
    #[error("the connection to the host broke")]
    Io(#[source] IoCause),
    #[error("the host sent a line of more than {} MiB", MAX_LINE_BYTES >> 20)]
    LineTooLong,
    #[error("{}", .0.message())]
    Refused(ErrorObjectOwned),
}

impl From<io::Error> for TransportError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(IoCause(error)),
        }
    }
}

/// The writing half.
pub(crate) struct LineSender<W>(pub(crate) W);

impl<W: AsyncWrite + Send + Unpin + 'static> TransportSenderT for LineSender<W> {
    type Error = TransportError;

    async fn send(&mut self, mut message: String) -> Result<(), TransportError> {
        message.push('\n');
        let sent = match self.0.write_all(message.as_bytes()).await {
            Ok(()) => self.0.flush().await,
            Err(error) => Err(error),
        };
        if sent.is_err() {
            tokio::time::sleep(LAST_WORD_GRACE).await;
        }
        Ok(sent?)
    }

    async fn close(&mut self) -> Result<(), TransportError> {
        Ok(self.0.shutdown().await?)
    }
}

/// The reading half.
pub(crate) struct LineReceiver<R> {
    reader: BufReader<R>,
}

impl<R: AsyncRead> LineReceiver<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader: BufReader::new(reader) }
    }
}

impl<R: AsyncRead + Send + Unpin + 'static> TransportReceiverT for LineReceiver<R> {
    type Error = TransportError;

    async fn receive(&mut self) -> Result<ReceivedMessage, TransportError> {
        // Lines that are already buffered cost no budget; without this a busy host would keep the reader of a subscription
        // from running until its buffer overflows.
        tokio::task::coop::consume_budget().await;
        let mut line = Vec::new();
        loop {
            line.clear();
            (&mut self.reader).take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut line).await?;
            if line.len() > MAX_LINE_BYTES {
                return Err(TransportError::LineTooLong);
            }
            if line.last() != Some(&b'\n') {
                return Err(TransportError::Closed);
            }
            if !line.trim_ascii().is_empty() {
                break;
            }
        }
        match last_word(&line) {
            Some(error) => Err(TransportError::Refused(error)),
            None => Ok(ReceivedMessage::Bytes(line)),
        }
    }
}

/// The error in a line that answers no call.
fn last_word(line: &[u8]) -> Option<ErrorObjectOwned> {
    #[derive(Deserialize)]
    struct WithoutId {
        id: (),
        error: ErrorObjectOwned,
    }
    if line.len() > MAX_LAST_WORD_BYTES {
        return None;
    }
    let WithoutId { id: (), error } = serde_json::from_slice(line).ok()?;
    Some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn received(sent: &'static [u8]) -> Result<ReceivedMessage, TransportError> {
        LineReceiver::new(sent).receive().await
    }

    #[tokio::test]
    async fn a_line_is_a_message_and_blank_lines_are_none() {
        let message = received(b"\r\n\n{\"id\":1}\n{\"id\":2}\n").await.expect("a line");
        assert!(matches!(message, ReceivedMessage::Bytes(line) if line == b"{\"id\":1}\n"));
    }

    #[tokio::test]
    async fn half_a_line_is_a_closed_connection() {
        assert!(matches!(received(b"{\"id\":").await, Err(TransportError::Closed)));
        assert!(matches!(received(b"").await, Err(TransportError::Closed)));
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_not_read_for_ever() {
        let mut receiver = LineReceiver::new(tokio::io::repeat(b'x'));
        assert!(matches!(receiver.receive().await, Err(TransportError::LineTooLong)));
    }

    #[tokio::test]
    async fn an_error_without_an_id_is_the_last_word() {
        let line = br#"{"jsonrpc":"2.0","id":null,"error":{"code":1403,"message":"user 1000 is not admitted"}}
"#;
        let error = received(line).await.expect_err("a refusal");
        assert!(matches!(&error, TransportError::Refused(error) if error.code() == 1403), "{error}");
        let answer = br#"{"jsonrpc":"2.0","id":7,"error":{"code":1404,"message":"no task"}}
"#;
        assert!(received(answer).await.is_ok());
    }
}
