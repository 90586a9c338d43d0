//! The one table from what went wrong to exit codes. [`HELP`] shows it to the user; a test holds the two together.

use std::process::ExitCode;

use taskhost_api::ErrorCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    HostFailed = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    Invalid = 5,
    Unreachable = 6,
    NotPermitted = 7,
    RunFailed = 8,
}

/// The end of `taskctl --help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  the host failed
  2  usage: the command line is wrong, or names a file that can't be read
  3  not found: no such task, plugin, run or key
  4  exists, is in use, or conflicts
  5  refused as invalid; nothing was changed
  6  the host is unreachable
  7  not permitted
  8  the run did not succeed";

impl Exit {
    /// How the program ends when the host answered with this error; `None` for a code of a newer host.
    pub(crate) fn of_error(code: Option<ErrorCode>) -> Self {
        let Some(code) = code else { return Self::HostFailed };
        match code {
            ErrorCode::MethodNotFound
            | ErrorCode::Internal
            | ErrorCode::Busy
            | ErrorCode::StorageFailed
            | ErrorCode::StorageFull => Self::HostFailed,
            ErrorCode::TaskNotFound | ErrorCode::PluginNotFound | ErrorCode::RunNotFound | ErrorCode::KeyNotFound => {
                Self::NotFound
            }
            ErrorCode::TaskExists | ErrorCode::PluginInUse | ErrorCode::RunInProgress | ErrorCode::RevisionConflict => {
                Self::Conflict
            }
            ErrorCode::ParseError
            | ErrorCode::InvalidRequest
            | ErrorCode::InvalidParams
            | ErrorCode::TooLarge
            | ErrorCode::QuotaExceeded
            | ErrorCode::SpecInvalid
            | ErrorCode::PluginInvalid => Self::Invalid,
            // As with a host that is gone, another try may find it back.
            ErrorCode::ShuttingDown => Self::Unreachable,
            ErrorCode::NotPermitted => Self::NotPermitted,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    #[test]
    fn every_error_code_has_its_exit_code() {
        let table = ErrorCode::ALL.iter().fold(String::new(), |mut table, code| {
            writeln!(table, "{} {}", Exit::of_error(Some(*code)) as u8, code.name()).expect("a string takes all");
            table
        });
        insta::assert_snapshot!(table);
        assert_eq!(Exit::of_error(None), Exit::HostFailed);
    }

    #[test]
    fn the_help_names_every_exit_code() {
        let last = Exit::RunFailed as u8;
        let listed: Vec<_> = HELP.lines().skip(1).filter_map(|line| line.trim().split_once("  ")).collect();
        let codes: Vec<_> = listed.iter().map(|(code, _)| code.parse::<u8>().expect("a number")).collect();
        assert_eq!(codes, (0..=last).collect::<Vec<_>>());
    }
}
