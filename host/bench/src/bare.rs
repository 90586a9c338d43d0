//! Servers with nothing in them but their protocol: the floors under the host's own. Each has a thread with a runtime like the
//! host's, and tells what that thread has used.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::{Buf, BytesMut};
use jsonrpsee::RpcModule;
use jsonrpsee::server::{Server, ServerHandle};
use jsonrpsee::types::ErrorObjectOwned;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

/// How much room there is for what is read at once.
const READ_BYTES: usize = 16 * 1024;

/// A thread that serves until its client is gone, and then tells the processor time that it took.
pub(crate) struct Bare {
    thread: JoinHandle<anyhow::Result<Duration>>,
}

/// What a server over a Unix socket does with a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Parses it with serde_json, and answers it with the same result and its own id.
    Echo,
    /// Looks for its newline, and says always the same: how fast the client is.
    Nothing,
}

impl Bare {
    /// A server that answers with `result`, and the client's end of its connection.
    pub(crate) fn over_unix(kind: Kind, result: Box<RawValue>) -> anyhow::Result<(Self, StdUnixStream)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let thread = spawn(async move {
            let socket = UnixStream::from_std(ours)?;
            match kind {
                Kind::Echo => echo(socket, &result).await,
                Kind::Nothing => say_the_same(socket, &result).await,
            }
        });
        Ok((Self { thread: thread? }, theirs))
    }

    /// A jsonrpsee server with one method that answers with `result`, and what stops it.
    pub(crate) fn jsonrpsee(
        method: &'static str,
        result: Box<RawValue>,
    ) -> anyhow::Result<(Self, SocketAddr, ServerHandle)> {
        let mut module = RpcModule::new(Arc::new(result));
        module.register_async_method(method, |params, result, _| async move {
            params.parse::<Value>()?;
            Ok::<_, ErrorObjectOwned>((**result).clone())
        })?;
        let (started, is_started) = oneshot::channel();
        let thread = spawn(async move {
            let server = Server::builder().build("127.0.0.1:0").await?;
            let address = server.local_addr()?;
            let handle = server.start(module);
            started.send((address, handle.clone())).map_err(|_| anyhow!("nobody wants to know the address"))?;
            handle.stopped().await;
            Ok(())
        })?;
        let (address, handle) = is_started.blocking_recv().context("the bare server did not start")?;
        Ok((Self { thread }, address, handle))
    }

    /// Waits for its end; answers with the processor time of its thread.
    pub(crate) fn cpu(self) -> anyhow::Result<Duration> {
        self.thread.join().map_err(|_| anyhow!("a bare server panicked"))?
    }
}

fn spawn(
    serve: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) -> anyhow::Result<JoinHandle<anyhow::Result<Duration>>> {
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(serve)?;
        Ok(thread_cpu())
    };
    Ok(thread::Builder::new().name("bare".to_owned()).spawn(work)?)
}

fn thread_cpu() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), u32::try_from(used.tv_nsec).unwrap_or_default())
}

async fn echo(mut socket: UnixStream, result: &RawValue) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Answer<'a> {
        jsonrpc: &'static str,
        id: &'a Value,
        result: &'a RawValue,
    }
    let mut read = BytesMut::with_capacity(READ_BYTES);
    let mut answers = Vec::new();
    while socket.read_buf(&mut read).await? > 0 {
        let mut calls = serde_json::Deserializer::from_slice(&read).into_iter::<Value>();
        // One that is not whole yet is an error, and is begun again when more has come.
        while let Some(Ok(call)) = calls.next() {
            serde_json::to_writer(&mut answers, &Answer { jsonrpc: "2.0", id: &call["id"], result })?;
            answers.push(b'\n');
        }
        let whole = calls.byte_offset();
        read.advance(whole);
        read.reserve(READ_BYTES);
        socket.write_all(&answers).await?;
        answers.clear();
    }
    Ok(())
}

async fn say_the_same(mut socket: UnixStream, result: &RawValue) -> anyhow::Result<()> {
    let answer = format!("{}\n", result.get());
    let mut read = vec![0; READ_BYTES];
    let mut answers = Vec::new();
    loop {
        let count = socket.read(&mut read).await?;
        if count == 0 {
            return Ok(());
        }
        for _ in memchr::memchr_iter(b'\n', &read[..count]) {
            answers.extend_from_slice(answer.as_bytes());
        }
        socket.write_all(&answers).await?;
        answers.clear();
    }
}
