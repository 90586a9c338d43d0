//! Bringing a plugin to the host: asks whether it has it, and sends what it lacks in pieces.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jsonrpsee::core::client::Client;
use sha2::{Digest, Sha256};
use taskhost_api::{
    ErrorCode, MAX_CHUNK_BYTES, MAX_PLUGIN_BYTES, PluginApiClient, PluginChunk, PluginInfo, PluginSelector,
};

use crate::call_error::CallError;
use crate::cause::IoCause;
use crate::failure::{Doing, Failure, FileError};
use crate::output::Output;

/// How long an upload goes on before its progress is shown.
const PATIENCE: Duration = Duration::from_millis(400);

/// How long to wait for a plugin that others are sending too, or that the host compiles for them.
const SHARING_PATIENCE: Duration = Duration::from_secs(600);

/// How long to wait before the host is asked again.
const SHARING_PAUSE: Duration = Duration::from_millis(200);

/// How often others' pieces may come first: a plugin has at most 64.
const MAX_OVERTAKEN: u32 = 256;

/// How often progress is drawn.
const TICK: Duration = Duration::from_millis(100);

/// A plugin's bytes, and their sha256 in lower-case hex.
#[derive(Debug)]
pub(crate) struct Module {
    sha256: String,
    bytes: Vec<u8>,
}

impl Module {
    /// Reads a plugin's file. One that is too large is refused before it is read.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let bytes = read_bounded(path).map_err(|source| Failure::File { path: path.to_owned(), source })?;
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { sha256, bytes })
    }

    /// Sees to it that the host has this plugin; its sha256. `doing` completes "failed to …": people know files and tasks,
    /// and no sha256.
    pub(crate) async fn upload(self, client: &Client, output: &Output, doing: &str) -> Result<String, Failure> {
        self.send(client, output).await.doing(|| doing.to_owned())?;
        Ok(self.sha256)
    }

    pub(crate) fn sha256(&self) -> &str {
        &self.sha256
    }

    pub(crate) fn into_sha256(self) -> String {
        self.sha256
    }

    /// Sends what the host lacks of the plugin, and waits until it is compiled and stored.
    async fn send(&self, client: &Client, output: &Output) -> Result<(), CallError> {
        let bar = ProgressBar::with_draw_target(Some(self.size()), ProgressDrawTarget::hidden());
        let sending = self.send_with_others(client, &bar);
        tokio::pin!(sending);
        let sent = tokio::select! {
            sent = &mut sending => sent,
            () = tokio::time::sleep(PATIENCE), if output.progress => {
                bar.set_style(ProgressStyle::with_template("{spinner} {msg} {bytes} of {total_bytes}").expect("a template"));
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar.enable_steady_tick(TICK);
                sending.await
            }
        };
        bar.finish_and_clear();
        sent
    }

    /// Others may be sending the same plugin: then each sends on from what the host has, and all wait for the one that is
    /// compiled.
    async fn send_with_others(&self, client: &Client, bar: &ProgressBar) -> Result<(), CallError> {
        let give_up = tokio::time::Instant::now() + SHARING_PATIENCE;
        let mut overtaken = 0;
        loop {
            let has = client.has(PluginSelector { plugin: self.sha256.clone() }).await?;
            if has.has {
                return Ok(());
            }
            let Err(error) = self.send_chunks(client, bar, has.received).await else { return Ok(()) };
            match &error {
                CallError::Refused { code: Some(ErrorCode::Busy), .. } if tokio::time::Instant::now() < give_up => {
                    tokio::time::sleep(SHARING_PAUSE).await;
                }
                // Somebody else's piece came first.
                CallError::Refused { code: Some(ErrorCode::InvalidParams), .. } if overtaken < MAX_OVERTAKEN => {
                    overtaken += 1;
                }
                _ => return Err(error),
            }
        }
    }

    async fn send_chunks(&self, client: &Client, bar: &ProgressBar, mut offset: u64) -> Result<PluginInfo, CallError> {
        loop {
            let rest = usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..));
            let rest =
                rest.ok_or_else(|| CallError::Protocol(format!("it asks for byte {offset} of {}", self.size())))?;
            let piece = &rest[..rest.len().min(MAX_CHUNK_BYTES)];
            bar.set_position(offset);
            bar.set_message(if piece.len() == rest.len() { "compiling" } else { "sending" });
            let chunk =
                PluginChunk { sha256: self.sha256.clone(), size: self.size(), offset, data: BASE64.encode(piece) };
            let answer = client.put(chunk).await?;
            if let Some(plugin) = answer.plugin {
                return Ok(plugin);
            }
            if answer.received <= offset {
                let message = format!("it has {} bytes of the plugin after byte {offset} was sent", answer.received);
                return Err(CallError::Protocol(message));
            }
            offset = answer.received;
        }
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, FileError> {
    let of_io = |error: io::Error| FileError::Io(IoCause(error));
    // Looked at before it is opened: opening a pipe would wait for its writer.
    let metadata = path.metadata().map_err(of_io)?;
    if metadata.is_dir() {
        return Err(FileError::Directory);
    }
    if !metadata.is_file() {
        return Err(FileError::NotAFile);
    }
    if metadata.len() > MAX_PLUGIN_BYTES {
        return Err(FileError::TooLarge { size_bytes: metadata.len() });
    }
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_PLUGIN_BYTES + 1).read_to_end(&mut bytes)).map_err(of_io)?;
    match bytes.len() as u64 {
        size_bytes if size_bytes > MAX_PLUGIN_BYTES => Err(FileError::TooLarge { size_bytes }),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn refused(path: &Path) -> (Failure, String) {
        let failure = Module::read(path).expect_err("refused");
        let cause = std::error::Error::source(&failure).expect("a cause").to_string();
        (failure, cause)
    }

    #[test]
    fn a_file_that_is_too_large_is_refused_unread() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        // Sparse: reading it would be noticed by nobody but the clock.
        file.as_file().set_len(65 << 20).expect("a sparse file");
        let (failure, cause) = refused(file.path());
        assert_eq!(cause, "it has 68157440 bytes; a plugin has at most 64 MiB");
        assert_eq!(failure.exit(), Exit::Invalid);
    }

    #[test]
    fn what_is_no_file_is_refused_with_what_it_is() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (failure, cause) = refused(dir.path());
        assert_eq!((failure.exit(), cause.as_str()), (Exit::Usage, "it is a directory"));
        let (failure, cause) = refused(&dir.path().join("absent.wasm"));
        assert_eq!((failure.exit(), cause.as_str()), (Exit::Usage, "no such file or directory"));
        let (_, cause) = refused(Path::new("/dev/null"));
        assert_eq!(cause, "it is no regular file");
    }
}
