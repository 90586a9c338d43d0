//! The one table of error codes. `docs/errors.md` is checked against it by a test.

use jsonrpsee::types::ErrorObjectOwned;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Declares every error once: its number on the wire, its name, and what it means.
macro_rules! error_codes {
    ($($(#[doc = $meaning:literal])+ $variant:ident = $code:literal, $name:literal;)+) => {
        /// An error that a host answers with, by its number on the wire.
        ///
        /// Numbers of JSON-RPC 2.0 are used where it has one; ours are 1000 plus the HTTP status that fits best.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[doc = $meaning])+ $variant,)+ }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The number in the `code` member of a JSON-RPC error.
            pub fn number(self) -> i32 {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The name in `data.name`, the same in every language.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What the code means, one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($meaning),+).trim_ascii_start(),)+ }
            }
        }
    };
}

error_codes! {
    /// The bytes are no JSON, or JSON nested or sized past the limits.
    ParseError = -32700, "parse_error";
    /// The JSON is no JSON-RPC request.
    InvalidRequest = -32600, "invalid_request";
    /// No method has this name.
    MethodNotFound = -32601, "method_not_found";
    /// The parameters do not have the shape that the method takes.
    InvalidParams = -32602, "invalid_params";
    /// The host failed; its log has the cause.
    Internal = -32603, "internal";
    /// The caller may not do this.
    NotPermitted = 1403, "not_permitted";
    /// No task has this name.
    TaskNotFound = 1404, "task_not_found";
    /// No plugin with this sha256 or name is stored.
    PluginNotFound = 1405, "plugin_not_found";
    /// The named run is not going on, or no run is.
    RunNotFound = 1406, "run_not_found";
    /// The task has no such key.
    KeyNotFound = 1407, "key_not_found";
    /// A task of this name exists.
    TaskExists = 1409, "task_exists";
    /// A task uses the plugin.
    PluginInUse = 1410, "plugin_in_use";
    /// The task is running, and its overlap policy is `skip`.
    RunInProgress = 1411, "run_in_progress";
    /// The task's revision is not the one given.
    RevisionConflict = 1412, "revision_conflict";
    /// The plugin or message is larger than the host accepts.
    TooLarge = 1413, "too_large";
    /// The task would keep more than its limit allows; nothing was changed.
    QuotaExceeded = 1414, "quota_exceeded";
    /// The definition of the task is invalid; nothing was changed.
    SpecInvalid = 1422, "spec_invalid";
    /// The plugin can't be run by this host; nothing was stored.
    PluginInvalid = 1423, "plugin_invalid";
    /// A limit on how much may be going on at once was reached; try again.
    Busy = 1429, "busy";
    /// The store failed; nothing was changed.
    StorageFailed = 1500, "storage_failed";
    /// The host is shutting down.
    ShuttingDown = 1503, "shutting_down";
    /// The disk is full; nothing was changed, and tasks go on.
    StorageFull = 1507, "storage_full";
}

impl ErrorCode {
    /// The code with this number, if it is one of ours.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.number() == number)
    }

    /// The error object that is sent.
    pub fn to_error(self, message: impl Into<String>, hint: Option<String>) -> ErrorObjectOwned {
        let data = ErrorData { name: self.name().to_owned(), hint };
        ErrorObjectOwned::owned(self.number(), message, Some(data))
    }
}

/// The `data` member of an error.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct ErrorData {
    /// The name of the code, as in the table.
    pub name: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
