//! What can go wrong, each with its exit code and what to type next. Printed by [`Output::report`](crate::output::Output::report).

use std::io;
use std::path::PathBuf;

use taskhost_api::{ErrorCode, MAX_PLUGIN_BYTES};

use crate::call_error::CallError;
use crate::cause::IoCause;
use crate::client::ConnectError;
use crate::exit::Exit;

/// The largest file of tasks that is read, in bytes: far more than a host takes in one message.
pub(crate) const MAX_TASK_FILE_BYTES: u64 = 16 << 20;

/// Why a verb was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Unreachable(#[from] ConnectError),
    /// `doing` completes "failed to …".
    #[error("failed to {doing}")]
    Call {
        doing: String,
        #[source]
        source: CallError,
    },
    #[error("failed to read {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: FileError,
    },
    #[error("failed to read {}", path.display())]
    TaskFile {
        path: PathBuf,
        #[source]
        source: TaskFileError,
    },
    #[error("failed to read {}", path.display())]
    ValueFile {
        path: PathBuf,
        #[source]
        source: IoCause,
    },
    /// The flags are each right, and wrong together.
    #[error("{message}")]
    Usage { message: String, hint: String },
    #[error("failed to write the output")]
    Output(#[source] IoCause),
    #[error("failed to start")]
    Runtime(#[source] IoCause),
}

/// Why a plugin's file was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error(transparent)]
    Io(IoCause),
    #[error("it is a directory")]
    Directory,
    #[error("it is no regular file")]
    NotAFile,
    #[error("it has {size_bytes} bytes; a plugin has at most {} MiB", MAX_PLUGIN_BYTES >> 20)]
    TooLarge { size_bytes: u64 },
}

/// Why a file of tasks was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskFileError {
    #[error(transparent)]
    Io(IoCause),
    #[error("it has more than {} MiB", MAX_TASK_FILE_BYTES >> 20)]
    TooLarge,
    #[error("line {line}: {message}")]
    Invalid { line: usize, message: String },
}

impl Failure {
    pub(crate) fn runtime(error: io::Error) -> Self {
        Self::Runtime(IoCause(error))
    }

    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: hint.into() }
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Unreachable(error) if error.is_not_permitted() => Exit::NotPermitted,
            Self::Unreachable(_) => Exit::Unreachable,
            Self::Call { source, .. } => match source {
                CallError::Refused { code, .. } => Exit::of_error(*code),
                CallError::Disconnected(_) => Exit::Unreachable,
                CallError::Answer(_) | CallError::Protocol(_) => Exit::HostFailed,
            },
            Self::File { source: FileError::TooLarge { .. }, .. } => Exit::Invalid,
            Self::TaskFile { source: TaskFileError::Io(_), .. } => Exit::Usage,
            Self::TaskFile { .. } => Exit::Invalid,
            Self::File { .. } | Self::ValueFile { .. } | Self::Usage { .. } => Exit::Usage,
            // Who closed the pipe has seen enough.
            Self::Output(cause) if cause.0.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Output(_) | Self::Runtime(_) => Exit::HostFailed,
        }
    }

    /// Whether there is anybody to tell.
    pub(crate) fn is_silent(&self) -> bool {
        self.exit() == Exit::Done
    }

    /// What to type next.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable(error) if error.is_not_permitted() => {
                Some("ask its operator to name you in `access.users` of the host's configuration".to_owned())
            }
            Self::Unreachable(_) => Some("start one with `taskhost`, or name another with --host".to_owned()),
            Self::Call { source, .. } => match source {
                CallError::Refused { hint: Some(hint), .. } => Some(hint.clone()),
                CallError::Refused { code: Some(ErrorCode::MethodNotFound), .. } | CallError::Answer(_) => Some(
                    "compare the versions: `taskctl host` shows the host's, `taskctl --version` this one's".to_owned(),
                ),
                CallError::Refused { .. } | CallError::Protocol(_) => None,
                CallError::Disconnected(_) => Some("see whether the host still runs with `taskctl host`".to_owned()),
            },
            Self::File { source, .. } => Some(match source {
                FileError::TooLarge { .. } => "build the plugin optimised, and strip its debug information".to_owned(),
                FileError::Io(cause) if cause.0.kind() == io::ErrorKind::PermissionDenied => {
                    "make the file readable for you; only its bytes go to the host".to_owned()
                }
                FileError::Io(_) | FileError::Directory | FileError::NotAFile => {
                    "give the path of a .wasm or .wat file".to_owned()
                }
            }),
            Self::TaskFile { source, .. } => Some(match source {
                TaskFileError::Io(_) => "give the path of a TOML file, or - for the standard input".to_owned(),
                TaskFileError::TooLarge => "apply the tasks from several files, without --prune".to_owned(),
                TaskFileError::Invalid { .. } => "see how such a file is written with `taskctl export`".to_owned(),
            }),
            Self::ValueFile { .. } => Some("give the path of a file, or - for the standard input".to_owned()),
            Self::Usage { hint, .. } => Some(hint.clone()),
            Self::Output(_) | Self::Runtime(_) => None,
        }
    }
}

/// Says what was being done when a call failed.
pub(crate) trait Doing<T> {
    /// `doing` completes "failed to …".
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<CallError>> Doing<T> for Result<T, E> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::Call { doing: doing(), source: error.into() })
    }
}

#[cfg(test)]
mod tests {
    use jsonrpsee::core::client::Error as RpcError;

    use super::*;

    #[test]
    fn the_hint_of_the_host_is_kept() {
        let error = ErrorCode::TaskExists.to_error("a task named `a` exists", Some("edit it".to_owned()));
        let failure = Err::<(), _>(RpcError::Call(error)).doing(|| "add `a`".to_owned()).expect_err("an error");
        assert_eq!(failure.hint().as_deref(), Some("edit it"));
        assert_eq!(failure.exit(), Exit::Conflict);
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let failure = Failure::Output(IoCause(io::ErrorKind::BrokenPipe.into()));
        assert!(failure.is_silent());
        assert!(!Failure::Output(IoCause(io::ErrorKind::StorageFull.into())).is_silent());
    }
}
