//! The one translation of the core's errors into what callers get: a code of the table, a message, and a hint that says
//! what to type next.

use std::borrow::Cow;
use std::io;

use jsonrpsee::types::ErrorObjectOwned;
use taskhost_api::ErrorCode;
use taskhost_core::key_value::KeyValueError;
use taskhost_core::name::TaskName;
use taskhost_core::plugin::PluginError;
use taskhost_core::ports::StoreError;
use taskhost_core::schedule::ScheduleError;
use taskhost_core::spec::SpecError;
use taskhost_core::supervisor::TaskError;

pub(crate) fn to_rpc(error: TaskError) -> ErrorObjectOwned {
    let (code, hint) = translate(&error);
    // What is the host's own failure is for whoever reads its log, too.
    if matches!(code, ErrorCode::Internal | ErrorCode::StorageFailed) {
        tracing::error!(%error, "request failed");
    }
    code.to_error(error.to_string(), hint)
}

fn translate(error: &TaskError) -> (ErrorCode, Option<String>) {
    let hint = |text: &str| Some(text.to_owned());
    match error {
        TaskError::NotFound(_) => (ErrorCode::TaskNotFound, hint("`taskctl list` shows the tasks that exist")),
        TaskError::Exists(name) => {
            let name = shell(name);
            let hint = format!(
                "`taskctl edit {name} …` changes it, `taskctl add {name} --replace …` replaces it, `taskctl del {name}` deletes it"
            );
            (ErrorCode::TaskExists, Some(hint))
        }
        TaskError::RevisionConflict { name, .. } => (
            ErrorCode::RevisionConflict,
            Some(format!("somebody else changed it; `taskctl show {}` shows what it is now", shell(name))),
        ),
        TaskError::Leaving(name) => (
            ErrorCode::TaskExists,
            Some(format!(
                "try again when `taskctl del {}` has answered; a run that is cancelled ends within its grace",
                shell(name)
            )),
        ),
        TaskError::RunInProgress { name, .. } => (
            ErrorCode::RunInProgress,
            Some(format!("wait for it to end, or stop it with `taskctl cancel {}`", shell(name))),
        ),
        TaskError::NotRunning(name) | TaskError::RunNotFound { name, .. } => {
            (ErrorCode::RunNotFound, Some(format!("`taskctl runs {}` shows its last runs", shell(name))))
        }
        TaskError::PauseEnded(_) => (ErrorCode::InvalidParams, hint("give a time that is still to come")),
        TaskError::BackfillTooLong { .. } => (ErrorCode::InvalidParams, hint("make the stretch of time shorter")),
        TaskError::BackfillRange { .. } => {
            (ErrorCode::InvalidParams, hint("what is due later than now comes by itself"))
        }
        TaskError::BackfillsWait(name) => (
            ErrorCode::Busy,
            Some(format!("`taskctl show {}` tells how many due times wait; try again when they have run", shell(name))),
        ),
        TaskError::Among { error, .. } => translate(error),
        // What to do about the first; there is at least one.
        TaskError::Several(errors) => errors.first().map_or((ErrorCode::SpecInvalid, None), translate),
        TaskError::Twice(_) => (ErrorCode::InvalidParams, hint("give each task once")),
        TaskError::Spec(error) => (ErrorCode::SpecInvalid, spec_hint(error)),
        TaskError::Grant(fault) | TaskError::Manifest(fault) => (ErrorCode::SpecInvalid, Some(fault.hint.clone())),
        TaskError::MayNotGrant(fault) => (ErrorCode::NotPermitted, Some(fault.hint.clone())),
        TaskError::Plugin(error) => plugin(error),
        TaskError::PluginInUse { example, .. } => (
            ErrorCode::PluginInUse,
            Some(format!(
                "delete those tasks first, or give them another plugin, as in `taskctl edit {} --wasm FILE`",
                shell(example)
            )),
        ),
        TaskError::Store(error) => store(error),
        TaskError::ShuttingDown => (ErrorCode::ShuttingDown, hint("try again when it has been started again")),
    }
}

/// The same of a task's keys and values.
pub(super) fn key_value_error(error: &KeyValueError, name: &TaskName) -> ErrorObjectOwned {
    let (code, hint) = match error {
        KeyValueError::Store(error) => return to_rpc(TaskError::Store(error.clone())),
        KeyValueError::Key(0) => (ErrorCode::InvalidParams, "say which key".to_owned()),
        KeyValueError::Key(_) => (ErrorCode::InvalidParams, "give a shorter key".to_owned()),
        KeyValueError::Value(_) => (ErrorCode::TooLarge, "keep it in several values".to_owned()),
        KeyValueError::TooManyKeys(_) => (ErrorCode::InvalidParams, "do it in several steps".to_owned()),
        KeyValueError::NotANumber => (ErrorCode::InvalidParams, "set it to a number first".to_owned()),
        KeyValueError::Quota { .. } => {
            let name = shell(name);
            let hint = format!(
                "make room with `taskctl kv rm {name} KEY`, or raise it with `taskctl edit {name} --limit kv_bytes=N`"
            );
            (ErrorCode::QuotaExceeded, hint)
        }
    };
    code.to_error(error.to_string(), Some(hint))
}

/// What to do about a plugin that ends the process that reads it.
pub(crate) const CRASHED_HINT: &str = "no honest plugin does that; build it with another version of its toolchain";

/// A name as a shell takes it. Names have no quotes.
pub(super) fn shell(name: &TaskName) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
    match name.as_str() {
        name if name.chars().all(plain) => Cow::Borrowed(name),
        name => Cow::Owned(format!("'{name}'")),
    }
}

fn spec_hint(error: &SpecError) -> Option<String> {
    let hint = match error {
        SpecError::Name(_) => "give it a name like `web-check` or `eu/web/check`",
        SpecError::Schedule(ScheduleError::Count(0) | ScheduleError::Empty) => "give a schedule, like `--every 1s`",
        SpecError::NeverDue => "give it a time that is still to come, or `--manual` and run it with `taskctl run`",
        SpecError::TooManyLabels(_) => "take some away with `--label KEY-`",
        // Their messages say what would do.
        _ => return None,
    };
    Some(hint.to_owned())
}

fn plugin(error: &PluginError) -> (ErrorCode, Option<String>) {
    let hint = |text: &str| Some(text.to_owned());
    match error {
        PluginError::Invalid { hint, .. } => (ErrorCode::PluginInvalid, hint.clone()),
        PluginError::Crashed(_) => (ErrorCode::PluginInvalid, hint(CRASHED_HINT)),
        PluginError::TooLarge { .. } => {
            (ErrorCode::TooLarge, hint("build it with optimisation for size, and strip its debug information"))
        }
        PluginError::NotFound(_) => (ErrorCode::PluginNotFound, hint("`taskctl plugin list` shows what is stored")),
        PluginError::NotBuiltin { .. } => (
            ErrorCode::PluginNotFound,
            hint("run a plugin of your own with `--wasm FILE`, or a stored one with `--plugin SHA256`"),
        ),
        PluginError::Damaged(_) => {
            (ErrorCode::StorageFailed, hint("put the same file again with `taskctl plugin put FILE` and it is mended"))
        }
        PluginError::Busy(_) => (ErrorCode::Busy, hint("try again in a while")),
        PluginError::Host(_) => (ErrorCode::Internal, hint("the host's log has the cause")),
    }
}

fn store(error: &StoreError) -> (ErrorCode, Option<String>) {
    let hint = |text: &str| Some(text.to_owned());
    match error {
        StoreError::Full(_) => {
            (ErrorCode::StorageFull, hint("make room and try again; the host need not be restarted"))
        }
        StoreError::Failed(_) => (ErrorCode::StorageFailed, hint("the host's log has the cause")),
        StoreError::Closed => (ErrorCode::ShuttingDown, hint("try again when it has been started again")),
    }
}

/// What the daemon's own failure to write a file is to callers.
pub(crate) fn disk_error(what: &str, error: &io::Error) -> StoreError {
    let message = format!("failed to write {what}: {error}");
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(message),
        _ => StoreError::Failed(message),
    }
}

#[cfg(test)]
mod tests {
    use taskhost_api::ErrorData;
    use taskhost_core::outcome::{RunId, RunKey};
    use taskhost_core::plugin::Sha256;
    use taskhost_core::ports::GrantFault;
    use taskhost_core::spec::Limit;
    use taskhost_core::time::Time;

    use super::*;

    #[test]
    fn every_error_has_its_code_its_message_and_what_to_do() {
        let name = TaskName::new("web").expect("a name");
        let run = RunId { task: 1, key: RunKey::of(Time(2)) };
        let invalid = PluginError::Invalid { message: "no plugin".to_owned(), hint: Some("build one".to_owned()) };
        let rows: Vec<String> = [
            TaskError::NotFound(name.clone()),
            TaskError::Exists(TaskName::new("nightly backup").expect("a name")),
            TaskError::Exists(name.clone()),
            TaskError::Leaving(name.clone()),
            TaskError::RevisionConflict { name: name.clone(), expected: 1, actual: 2 },
            TaskError::RunInProgress { name: name.clone(), run },
            TaskError::NotRunning(name.clone()),
            TaskError::RunNotFound { name: name.clone(), run: run.into() },
            TaskError::Spec(SpecError::Name(TaskName::new("").expect_err("empty"))),
            TaskError::Spec(SpecError::MemoryRange(1)),
            TaskError::Spec(SpecError::Limit("lines".parse::<Limit>().expect_err("none of this name"))),
            TaskError::Grant(GrantFault {
                message: "the folder `/x` can't be granted".into(),
                hint: "make it first".into(),
            }),
            TaskError::Manifest(GrantFault { message: "the plugin needs `--kv`".into(), hint: "add --kv".into() }),
            TaskError::MayNotGrant(GrantFault { message: "uid 7 may not".into(), hint: "ask for it".into() }),
            TaskError::Plugin(invalid),
            TaskError::Plugin(PluginError::TooLarge { size_bytes: 2, limit_bytes: 1 }),
            TaskError::Plugin(PluginError::NotFound("`x`".to_owned())),
            TaskError::Plugin(PluginError::NotBuiltin { name: "x".to_owned(), known: "`ticker`".to_owned() }),
            TaskError::Plugin(PluginError::Damaged(Sha256([0xab; 32]))),
            TaskError::Plugin(PluginError::Host("the compiler was killed".to_owned())),
            TaskError::Plugin(PluginError::Busy("512 MiB of plugins wait to be compiled already".to_owned())),
            TaskError::PluginInUse { plugin: Sha256([0xab; 32]), tasks: 2, example: name },
            TaskError::Store(StoreError::Full("no space left".to_owned())),
            TaskError::Store(StoreError::Failed("input/output error".to_owned())),
            TaskError::Store(StoreError::Closed),
            TaskError::ShuttingDown,
        ]
        .into_iter()
        .map(|error| {
            let error = to_rpc(error);
            let data: ErrorData = serde_json::from_str(error.data().expect("data").get()).expect("the shape of data");
            format!("{} {}: {}\n  hint: {}", error.code(), data.name, error.message(), data.hint.unwrap_or_default())
        })
        .collect();
        insta::assert_snapshot!(rows.join("\n"));
    }
}
