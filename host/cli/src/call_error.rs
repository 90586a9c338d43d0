//! What can go wrong with a call, once there is a connection.

use jsonrpsee::core::client::Error as RpcError;
use jsonrpsee::types::ErrorObjectOwned;
use taskhost_api::{ErrorCode, ErrorData};

use crate::transport::TransportError;

/// Why the host did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// It answered with an error.
    #[error("{message}")]
    Refused { code: Option<ErrorCode>, message: String, hint: Option<String> },
    /// The connection ended before the answer came.
    #[error("{0}")]
    Disconnected(String),
    /// The answer is not of the shape that this version knows.
    #[error("the host's answer makes no sense to this version of taskctl")]
    Answer(#[source] serde_json::Error),
    /// An answer that is of the right shape and can't be true.
    #[error("the host's answer makes no sense: {0}")]
    Protocol(String),
}

impl From<ErrorObjectOwned> for CallError {
    fn from(error: ErrorObjectOwned) -> Self {
        let data: Option<ErrorData> = error.data().and_then(|data| serde_json::from_str(data.get()).ok());
        Self::Refused {
            code: ErrorCode::from_number(error.code()),
            message: error.message().to_owned(),
            hint: data.and_then(|data| data.hint),
        }
    }
}

impl From<RpcError> for CallError {
    fn from(error: RpcError) -> Self {
        match error {
            RpcError::Call(error) => error.into(),
            RpcError::ParseError(error) => Self::Answer(error),
            RpcError::RestartNeeded(cause) => Self::of_disconnect(&cause),
            other => Self::of_disconnect(&other),
        }
    }
}

impl CallError {
    fn of_disconnect(error: &RpcError) -> Self {
        match error {
            RpcError::Transport(cause) => match cause.downcast_ref::<TransportError>() {
                Some(TransportError::Refused(error)) => error.clone().into(),
                Some(error @ TransportError::Io(cause)) => Self::Disconnected(format!("{error}: {cause}")),
                Some(error @ (TransportError::Closed | TransportError::LineTooLong)) => {
                    Self::Disconnected(error.to_string())
                }
                None => Self::Disconnected(cause.to_string()),
            },
            other => Self::Protocol(other.to_string()),
        }
    }
}
